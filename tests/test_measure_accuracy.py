"""Accuracy per block and linear probes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import batch, conv_net
from torch import nn

from mankit.measure import block_accuracy, block_features, eval_mode, evaluate, linear_probe, probe_accuracy


def by_hand(net, batches):
    """Image by image in evaluation mode: slow and plain."""
    net.eval()
    right, total = [0] * len(net.blocks), 0
    for x, y in batches:
        for i in range(len(y)):
            total += 1
            for k, h in enumerate(net.features(x[i : i + 1])):
                right[k] += int(net.heads[k](h).argmax()) == int(y[i])
    return [100 * r / total for r in right]


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_accuracy_is_the_count_by_hand(sizes, seed):
    net, batches = conv_net(seed=seed), [batch(n, seed=seed + i) for i, n in enumerate(sizes)]
    measured = block_accuracy(net, iter(batches))
    last = evaluate(net, iter(batches))
    assert measured == pytest.approx(by_hand(net, batches))
    assert last == pytest.approx(measured[-1])


def test_right_labels_are_100_percent_and_wrong_ones_0():
    net, (x, _) = conv_net().eval(), batch()
    labels = net(x).argmax(1)
    assert evaluate(net, [(x, labels)]) == 100
    assert evaluate(net, [(x, (labels + 1) % 10)]) == 0
    assert evaluate(net, [(x, labels), (x, (labels + 1) % 10)]) == 50


def test_head_without_class_scores_is_nan_and_never_called():
    net, (x, y) = conv_net(), batch()
    expected = block_accuracy(net, [(x, y)])
    net.heads[1].has_logits = False
    net.heads[1].linear = None  # a call would fail
    measured = block_accuracy(net, [(x, y)])
    assert math.isnan(measured[1])
    assert [measured[0], measured[2]] == [expected[0], expected[2]]


@pytest.mark.parametrize(
    "measure",
    [
        lambda net, batches: evaluate(net, batches),
        lambda net, batches: block_accuracy(net, batches),
        lambda net, batches: block_features(net, batches),
    ],
)
def test_modes_and_statistics_stay_and_no_batches_is_an_error(measure):
    net = conv_net().train()
    net.blocks[0].eval()  # a frozen part must stay frozen
    modes = [module.training for module in net.modules()]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    measure(net, [batch()])
    with pytest.raises(ValueError, match="batches held 0"):
        measure(net, [])
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_eval_mode_restores_after_an_error():
    net = conv_net().train()
    with pytest.raises(RuntimeError, match="stop"), eval_mode(net):
        assert not any(module.training for module in net.modules())
        raise RuntimeError("stop")
    assert all(module.training for module in net.modules())


def test_features_are_cell_averages_in_the_order_of_the_images():
    net, batches = conv_net().eval(), [batch(5, seed=1), batch(3, seed=2)]
    features, labels = block_features(net, batches)
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert torch.equal(labels, y)
    for pooled, h in zip(features, net.features(x), strict=True):
        torch.testing.assert_close(pooled, h.mean((2, 3)), atol=1e-5, rtol=1e-4)


def clusters(n, seed, spread=0.1):
    """Three classes on a line through shifted, badly scaled features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = centres[labels] + spread * torch.randn(n, 2, generator=generator)
    return points * torch.tensor([1e-3, 1e3]) + 50, labels


def test_probe_finds_separable_classes_whatever_the_scale_and_repeats():
    train, test = clusters(300, 0), clusters(300, 1)
    first = linear_probe(*train, *test)
    assert first > 99
    assert linear_probe(*train, *test) == first
    shuffled = train[1][torch.randperm(300, generator=torch.Generator().manual_seed(2))]
    assert linear_probe(train[0], shuffled, *test) < 60  # the labels, not the features, are what it learns
    noise = torch.randn(300, 2, generator=torch.Generator().manual_seed(3))
    assert 20 < linear_probe(noise, train[1], noise.flip(0), test[1]) < 47


def test_probe_equals_ridge_regression_solved_by_hand():
    (a, y), (b, z) = clusters(90, 0, spread=0.6), clusters(90, 1, spread=0.6)
    mean, deviation = a.double().mean(0), a.double().std(0, correction=0)
    a1, b1 = ((t.double() - mean) / deviation for t in (a, b))
    targets = 2.0 * nn.functional.one_hot(y).double() - 1
    for alpha in (1.0, 200.0):
        weights = torch.linalg.solve(a1.T @ a1 + alpha * torch.eye(2), a1.T @ (targets - targets.mean(0)))
        right = ((b1 @ weights + targets.mean(0)).argmax(1) == z).double().mean()
        assert linear_probe(a, y, b, z, alpha=alpha) == pytest.approx(100 * right.item())


def test_probe_accuracy_sees_in_which_block_the_class_is_lost():
    """The class is the brightness of one colour, and the second block gives that colour the weight 0."""
    x = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(200) % 2
    x[:, 0] = 0.3 * x[:, 0] + 0.4 * y[:, None, None]
    net = conv_net((4, 4)).eval()
    net.blocks[0] = nn.Identity()
    net.blocks[1] = nn.Conv2d(3, 4, 1)
    net.blocks[1].weight.data[:, 0] = 0
    first, second = probe_accuracy(net, [(x[:100], y[:100])], [(x[100:], y[100:])])
    assert first == 100
    assert second < 70


def test_bad_values_name_the_cure():
    x, y = clusters(30, 0)
    with pytest.raises(ValueError, match="alpha=0.*try 1.0"):
        linear_probe(x, y, x, y, alpha=0)
    with pytest.raises(ValueError, match="hold 1 classes, at least 2"):
        linear_probe(x, torch.zeros(30, dtype=torch.long), x, y)


@pytest.mark.parametrize("measure", [evaluate, block_accuracy, block_features])
@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda x, y: ((x * 255).to(torch.uint8), y), "floats in"),
        (lambda x, y: (x * 255, y), "floats in"),
        (lambda x, y: (x.masked_fill(x > 0.5, torch.nan), y), "floats in"),
        (lambda x, y: (x, y.float()), "whole numbers"),
        (lambda x, y: (x, y[1:]), "one per image"),
    ],
)
def test_batches_that_do_not_fit_are_refused(make_net, make_batch, measure, wrong, said):
    net, (x, y) = make_net("dgl", K=2), make_batch()
    with pytest.raises(ValueError, match=said):
        measure(net, [(x, y), wrong(x, y)])


@pytest.mark.parametrize("measure", [evaluate, block_accuracy])
@pytest.mark.parametrize("label", [-1, 10])
def test_labels_outside_the_classes_are_refused(make_net, make_batch, measure, label):
    net, (x, y) = make_net("dgl", K=2), make_batch()
    with pytest.raises(ValueError, match=r"has classes 0\.\.\d"):
        measure(net, [(x, torch.full_like(y, label))])
