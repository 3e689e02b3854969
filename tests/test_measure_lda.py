"""LDA from sums is scikit-learn's on features; redundancy is the mean square of NumPy's correlations."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mankit.measure import block_sums, lda, lda_accuracy, redundancy
from mankit.measure.lda import EPS, Sums, pooled_features


def sums_of(h, y, classes):
    member = torch.nn.functional.one_hot(y, classes).double()
    return Sums(member.sum(0), member.T @ h, h.T @ h)


def blobs(n=300, classes=3, width=5):
    g = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=g)
    centres = 2 * torch.randn(classes, width, generator=g, dtype=torch.float64)
    mix = torch.randn(width, width, generator=g, dtype=torch.float64)
    return centres[y] + torch.randn(n, width, generator=g, dtype=torch.float64) @ mix, y


def test_it_is_scikit_learns():
    h, y = blobs()
    weights, bias = lda(sums_of(h, y, 3), 1e-9)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(h.numpy(), y.numpy())
    scores = (h @ weights.T + bias).numpy()
    expected = theirs.decision_function(h.numpy())
    np.testing.assert_allclose(scores - scores[:, :1], expected - expected[:, :1], rtol=1e-5, atol=1e-5)


def test_sums_of_batches_are_sums_of_all(make_net, make_batch):
    net, batches = make_net("dgl", K=3), [make_batch(seed, 6) for seed in range(4)]
    features, labels = pooled_features(net, batches)
    for block, h in zip(block_sums(net, batches, 4), features, strict=True):
        for ours, theirs in zip(block, sums_of(h, labels, 4), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_eps_is_chosen_on_validation_and_read_on_test(make_net, make_batch):
    net = make_net("dgl", K=2)
    train, val, test = ([make_batch(seed, 40)] for seed in (1, 2, 3))
    found = lda_accuracy(net, lambda: train, lambda: val, lambda: test, 4)
    (on_val, y_val), (on_test, y_test) = pooled_features(net, val), pooled_features(net, test)
    for block, sums in enumerate(block_sums(net, train, 4)):

        def right(eps, h, y, sums=sums):
            weights, bias = lda(sums, eps)
            return ((h @ weights.T + bias).argmax(1) == y).double().mean().item()

        best = max(EPS, key=lambda eps: right(eps, on_val[block], y_val))  # noqa: B023
        assert found[block] == pytest.approx(100 * right(best, on_test[block], y_test))


def test_redundancy_is_that_of_numpys_correlations(make_net, make_batch):
    net, batches = make_net("dgl", K=3), [make_batch(seed, 8) for seed in range(3)]
    for ours, h in zip(redundancy(net, batches), pooled_features(net, batches)[0], strict=True):
        with np.errstate(invalid="ignore"):
            c = np.nan_to_num(np.corrcoef(h.numpy().T))  # a channel that never changes
        assert ours == pytest.approx((c[~np.eye(len(c), dtype=bool)] ** 2).mean(), rel=1e-9)


def test_bad_input_is_a_line():
    h, y = blobs()
    for eps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"eps={eps}"):
            lda(sums_of(h, y, 3), eps)
    with pytest.raises(ValueError, match="no image of class 3"):
        lda(sums_of(h, y, 4), 0.1)
