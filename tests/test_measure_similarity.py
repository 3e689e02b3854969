"""Linear CKA against the definition of unbiased HSIC, and its invariances."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import batch, conv_net

from mankit.measure import block_cka, cka, minibatch_cka

seeds = st.integers(0, 10_000)


def normal(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def hsic_u(a, b):
    """Song et al. 2012: the U-statistic, mean of k_ij (l_ij + l_qr - 2 l_iq) over distinct i, j, q, r."""
    k, m = (a @ a.T).tolist(), (b @ b.T).tolist()
    distinct = itertools.permutations(range(len(a)), 4)
    terms = [k[i][j] * (m[i][j] + m[q][r] - 2 * m[i][q]) for i, j, q, r in distinct]
    return sum(terms) / len(terms)


def hsic_1(a, b):
    """Nguyen et al. 2021, equation 3: the closed form with traces and sums."""
    n = len(a)
    k, m = ((t @ t.T) * (1 - torch.eye(n, dtype=t.dtype)) for t in (a, b))
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
    return ((k @ m).trace() + sums) / (n * (n - 3))


def ratio(hsic, a, b):
    return hsic(a, b) / (hsic(a, a) * hsic(b, b)) ** 0.5


@given(seed=seeds, n=st.integers(4, 7), p=st.integers(2, 5), q=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_equals_the_u_statistic_and_the_closed_form(seed, n, p, q):
    a, b = normal(n, p, seed=seed) + 1, normal(n, q, seed=seed + 1) - 2
    assert cka(a, b).item() == pytest.approx(ratio(hsic_u, a, b), abs=1e-7)
    assert cka(a, b).item() == pytest.approx(ratio(hsic_1, a, b).item(), abs=1e-7)


@given(seed=seeds, n=st.integers(5, 30), p=st.integers(2, 20), scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
@settings(max_examples=30, deadline=None)
def test_blind_to_rotation_scale_and_shift_symmetric_and_1_to_itself(seed, n, p, scale, shift):
    a, b = normal(n, p, seed=seed), normal(n, 7, seed=seed + 1)
    rotation = torch.linalg.qr(normal(p, p, seed=seed + 2)).Q
    assert cka(a, a).item() == pytest.approx(1, abs=1e-9)
    assert cka(a, scale * a @ rotation + shift).item() == pytest.approx(1, abs=1e-6)
    assert cka(scale * a @ rotation + shift, b).item() == pytest.approx(cka(a, b).item(), abs=1e-6)
    assert cka(a, b).item() == pytest.approx(cka(b, a).item(), abs=1e-12)
    assert abs(cka(a, b).item()) <= 1 + 1e-12


def test_not_blind_to_a_general_linear_map():
    a = normal(50, 5, seed=0)
    assert cka(a, a * torch.tensor([100.0, 1, 1, 1, 1])).item() < 0.8


def test_unrelated_features_give_0_where_the_biased_estimate_gives_nearly_1():
    draws = [(normal(20, 2000, seed=2 * s), normal(20, 2000, seed=2 * s + 1)) for s in range(60)]
    values = torch.stack([cka(a, b) for a, b in draws])
    assert abs(values.mean().item()) < 4 * values.std().item() / 60**0.5
    assert values.min() < 0 < values.max()
    a, b = (t - t.mean(0) for t in draws[0])
    biased = (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())  # Kornblith et al. 2019
    assert biased > 0.95


def test_matrix_holds_every_pair_and_flattens_feature_maps():
    maps = [normal(10, 4, 3, 3, seed=1), normal(10, 6, seed=2)]
    others = [normal(10, 5, 2, seed=3), normal(10, 2, 2, 2, seed=4), normal(10, 3, seed=5)]
    matrix = minibatch_cka([(maps, others)])
    assert matrix.shape == (2, 3) and matrix.dtype == torch.float64
    expected = [[ratio(hsic_1, a.flatten(1), b.flatten(1)).item() for b in others] for a in maps]
    torch.testing.assert_close(matrix, torch.tensor(expected, dtype=torch.float64))


def test_float32_features_with_a_large_mean_keep_their_digits():
    a = normal(30, 50, seed=0).float()
    assert cka(a + 1000, (a + 1000).double()).item() == pytest.approx(1, abs=1e-9)
    assert cka(a + 1000, a).item() == pytest.approx(1, abs=1e-6)


def test_minibatches_average_hsic_before_dividing():
    parts = [(normal(n, 5, seed=n), normal(n, 6, seed=n + 50)) for n in (5, 8, 13)]
    ab, aa, bb = (
        sum(hsic_1(*args) for args in each)
        for each in ([(a, b) for a, b in parts], [(a, a) for a, _ in parts], [(b, b) for _, b in parts])
    )
    assert minibatch_cka(([a], [b]) for a, b in parts).item() == pytest.approx((ab / (aa * bb).sqrt()).item())


def test_minibatches_come_near_the_full_estimate():
    a = normal(2000, 5, seed=0)
    b = a @ normal(5, 5, seed=1) + normal(2000, 5, seed=2)
    parts = zip(a.split(50), b.split(50), strict=True)
    assert minibatch_cka(([a], [b]) for a, b in parts).item() == pytest.approx(cka(a, b).item(), abs=0.03)


def test_block_cka_of_one_batch_is_the_matrix_of_the_eval_features():
    a, b, (x, y) = conv_net(seed=0).train(), conv_net((5, 7), seed=1).train(), batch(12)
    state = {name: value.clone() for name, value in a.state_dict().items()}
    measured, own = block_cka(a, b, [(x, y)]), block_cka(a, a, iter([(x, y)]))
    assert a.training and b.training
    assert all(torch.equal(value, state[name]) for name, value in a.state_dict().items())
    a.eval(), b.eval()
    torch.testing.assert_close(measured, minibatch_cka([(a.features(x), b.features(x))]))
    torch.testing.assert_close(own, minibatch_cka([(a.features(x), a.features(x))]))
    torch.testing.assert_close(own.diagonal(), torch.ones(3, dtype=torch.float64))


def test_constant_features_have_no_similarity():
    assert cka(torch.full((6, 3), 0.1, dtype=torch.float64), normal(6, 3, seed=0)).isnan()


@pytest.mark.parametrize(
    "shapes, message",
    [
        (((3, 5), (3, 5)), "n=3 images.*n >= 4"),
        (((8, 5), (7, 5)), r"\[7, 8\] images.*same images"),
        (((8,), (8, 2)), "n images first"),
    ],
)
def test_bad_shapes_name_the_cure(shapes, message):
    with pytest.raises(ValueError, match=message):
        cka(torch.ones(shapes[0]), torch.ones(shapes[1]))


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="0 batches"):
        block_cka(conv_net(), conv_net(), [])
