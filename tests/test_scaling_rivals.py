"""Sparse and low-rank weights: what is kept, what moves, and how many bytes that is."""

import copy
from math import prod

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from mankit.blocks import LocalNet
from mankit.heads import Head
from mankit.measure import kept_bytes, saved_bytes
from mankit.networks import build_network
from mankit.rules import local_net
from mankit.scaling.rivals import densities, draw_columns, low_rank, sparsify
from mankit.training import make_optimizer, train, train_batch

SHAPES = [(4, 2, 1, 1), (8, 4, 3, 3), (16, 8, 3, 3)]  # 8, 288 and 1152 weights; 8, 18 and 30 in sum


def lab(rule="bp", K=1):
    generator = torch.Generator().manual_seed(0)
    return local_net(*build_network("lab", generator=generator), rule, K, image_shape=(3, 8, 8), generator=generator)


def images(n=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, 3, 8, 8, generator=generator, dtype=dtype)
    return x, torch.randint(10, (n,), generator=generator)


def trained(net, steps=3, each=lambda net, optimizer: None):
    optimizer = make_optimizer(net)
    for _ in train(net, optimizer, [images()] * steps):
        each(net, optimizer)
    return net


def weights(net):
    return [m for m in net.modules() if is_parametrized(m, "weight")]


# --- densities ---


def test_erk_by_hand():
    """Half of 1448 weights is 724. The first has 8 / 8 times a scale of 724 / 56: more than 1, so it is whole, and the
    716 that are left go to the others as 18 to 30: 268.5 of 288, and 447.5 of 1152."""
    assert densities(SHAPES, 0.5) == pytest.approx([1, 268.5 / 288, 447.5 / 1152])
    # one tenth is 144.8, and the scale 144.8 / 56 is still above 1: 136.8 to the others
    assert densities(SHAPES, 0.1) == pytest.approx([1, 136.8 * 18 / 48 / 288, 136.8 * 30 / 48 / 1152])
    # without the small one none is above 1: densities as (c_in + c_out + kh + kw) / (c_in c_out kh kw)
    first, second = densities(SHAPES[1:], 0.2)
    assert first / second == pytest.approx((18 / 288) / (30 / 1152)) and first < 1


@pytest.mark.parametrize("how", ["erk", "uniform"])
@pytest.mark.parametrize("total", [0, 0.01, 0.3, 0.77, 1])
def test_the_total_is_met_exactly_and_no_density_passes_1(how, total):
    found = densities(SHAPES, total, how)
    kept = sum(d * prod(shape) for d, shape in zip(found, SHAPES, strict=True))
    assert kept == pytest.approx(total * 1448, abs=1e-9)
    assert all(0 <= d <= 1 for d in found)
    assert how == "erk" or found == [total] * 3


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: densities(SHAPES, 1.5), "total=1.5: choose a number from 0.0 to 1.0"),
        (lambda: densities(SHAPES, 0.5, "erdos"), "how='erdos'"),
        (lambda: sparsify(lab(), -0.1), "total=-0.1"),
        (lambda: low_rank(lab(), 2), "rank=2"),
        (lambda: low_rank(lab(), 0.5, float("nan")), "trained=nan"),
    ],
)
def test_what_cannot_be_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


# --- sparse weights ---


@pytest.mark.parametrize("how", ["erk", "uniform"])
def test_places_that_are_not_kept_stay_0_through_training(how):
    net = sparsify(lab(), 0.3, how, torch.Generator().manual_seed(0))
    kept, before = [m.weight != 0 for m in weights(net)], [m.weight.clone() for m in weights(net)]
    size = sum(k.numel() for k in kept)
    assert len(kept) == 19 and sum(int(k.sum()) for k in kept) == pytest.approx(0.3 * size, abs=len(kept) / 2)
    trained(net)
    assert all(torch.equal(m.weight[~k], torch.zeros(int((~k).sum()))) for m, k in zip(weights(net), kept, strict=True))
    assert all((m.weight != old)[k].float().mean() > 0.9 for m, k, old in zip(weights(net), kept, before, strict=True))


def test_what_is_kept_has_the_dense_networks_values_and_gradients():
    dense = lab().double()
    net = sparsify(copy.deepcopy(dense), 0.5, generator=torch.Generator().manual_seed(0))
    convs = [m for m in dense.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for conv, sparse in zip(convs, weights(net), strict=True):
            assert torch.equal(conv.weight[sparse.weight != 0], sparse.parametrizations.weight.original)
            conv.weight.copy_(sparse.weight)
    x, y = images(dtype=torch.float64)
    losses = [net_.heads[0].loss(net_.blocks[0](x), x, y) for net_ in (dense, net)]
    assert torch.equal(*losses)
    masked = torch.autograd.grad(losses[0], convs[3].weight)[0][weights(net)[3].weight != 0]
    torch.testing.assert_close(
        torch.autograd.grad(losses[1], weights(net)[3].parametrizations.weight.original)[0], masked
    )


def test_everything_kept_is_the_dense_network():
    x, _ = images()
    assert torch.equal(sparsify(lab(), 1.0).eval()(x), lab().eval()(x))


# --- low-rank weights ---


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_full_rank_gives_the_dense_networks_outputs(share):
    x, _ = images()
    torch.testing.assert_close(low_rank(lab(), 1.0, share).eval()(x), lab().eval()(x), atol=1e-5, rtol=1e-5)


def test_the_rank_is_what_was_asked_for_and_the_best_of_that_rank():
    dense, net = lab(), low_rank(lab(), 0.5)
    conv, low = dense.blocks[0][4].conv1, net.blocks[0][4].conv1
    assert torch.linalg.matrix_rank(low.weight.flatten(1)) == conv.out_channels // 2
    s = torch.linalg.svdvals(conv.weight.detach().flatten(1))
    error = (conv.weight - low.weight).square().sum()
    torch.testing.assert_close(error, s[conv.out_channels // 2 :].square().sum())


def whole(conv):
    """U, s, V^T of a weight, all columns."""
    weight = conv.parametrizations.weight
    u, vt = torch.cat([weight.original0, weight[0].u_rest], 1), torch.cat([weight.original2, weight[0].vt_rest])
    return u.detach().clone(), weight.original1.detach().clone(), vt.detach().clone()


def test_only_the_columns_that_were_drawn_move_and_all_singular_values():
    net = low_rank(lab(), 1.0, 0.25)
    conv = net.blocks[0][6].conv2
    u, s, vt = whole(conv)
    k = conv.parametrizations.weight[0].trained
    assert (k, len(s)) == (8, 32)
    trained(net)
    for before, after in ((u, whole(conv)[0]), (vt.T, whole(conv)[2].T)):
        moved = (before != after).any(0)
        assert moved[:k].all() and not moved[k:].any()
    assert (whole(conv)[1] != s).all()


def test_drawing_leaves_the_weight_and_moves_other_columns():
    net, generator = low_rank(lab(), 1.0, 0.25), torch.Generator().manual_seed(3)
    optimizer = make_optimizer(net)
    for _ in train(net, optimizer, [images()] * 2):
        pass
    conv = net.blocks[0][6].conv2
    (u, s, _), weight, momentum = (
        whole(conv),
        conv.weight.clone(),
        optimizer.state[conv.parametrizations.weight.original1],
    )
    of_s = dict(zip(s.tolist(), momentum["momentum_buffer"].tolist(), strict=True))
    draw_columns(net, optimizer, generator)
    torch.testing.assert_close(conv.weight, weight)
    assert not torch.equal(whole(conv)[0], u) and torch.equal(whole(conv)[1].sort().values, s.sort().values)
    after = dict(zip(whole(conv)[1].tolist(), momentum["momentum_buffer"].tolist(), strict=True))
    assert after == of_s, "each singular value keeps its own momentum"
    assert conv.parametrizations.weight.original0 not in optimizer.state
    u, _, vt = whole(conv)
    for _ in train(net, optimizer, [images()]):
        pass
    moved = (u != whole(conv)[0]).any(0) | (vt != whole(conv)[2]).any(1)
    assert moved[:8].all() and not moved[8:].any()


def test_large_singular_values_are_drawn_more_often():
    net, generator = low_rank(lab(), 1.0, 0.25), torch.Generator().manual_seed(0)
    conv = net.blocks[0][6].conv2
    with torch.no_grad():
        conv.parametrizations.weight.original1.copy_(torch.tensor([1.0] * 8 + [1e-4] * 24))
    optimizer, kept = make_optimizer(net), 0
    for _ in range(20):
        draw_columns(net, optimizer, generator)
        kept += int((conv.parametrizations.weight.original1[:8] == 1).sum())
    assert kept > 155  # of 160


# --- bytes ---


def tiny(blocks=1):
    """Convolutions 3 -> 4 and 4 -> 4 on 8x8 pixels with a linear head: 108 + 144 + 50 weights."""
    convs = [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False)]
    heads = [nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)) for _ in range(blocks)]
    parts = [nn.Sequential(*convs)] if blocks == 1 else [nn.Sequential(conv) for conv in convs]
    return LocalNet(parts, [Head(head) for head in heads], classes=10)


def kept(net, x=None, **options):
    x, y = images() if x is None else x
    return kept_bytes(net, make_optimizer(net, **options) if options else [make_optimizer(net)], x, y, train_batch)


def test_kept_bytes_by_hand():
    """Saved: the second convolution's input, 6 x 4 x 8 x 8; the linear layer's, 6 x 4; the loss's log-probabilities,
    6 x 10, and one number, the sum of its weights."""
    net = tiny()
    found = kept(net)
    assert [found[name] for name in ("weights", "gradients", "optimizer")] == [4 * (108 + 144 + 50)] * 3
    assert found["activations"] == 4 * (6 * (256 + 4 + 10) + 1)
    assert all(p.grad is None for p in net.parameters())


def test_an_optimizer_for_each_block_holds_one_blocks_gradients():
    found = kept(tiny(2), per_block=True)
    assert found["weights"] == found["optimizer"] == 4 * (108 + 144 + 100)
    assert found["gradients"] == 4 * (144 + 50)
    assert kept(tiny(2))["gradients"] == found["weights"]


def test_sparse_weights_count_values_and_one_bit_a_place():
    net = sparsify(tiny(), 0.5, "uniform")
    found = kept(net)
    assert found["gradients"] == found["optimizer"] == 4 * (54 + 72 + 50)
    assert found["weights"] == 4 * (54 + 72 + 50) + 14 + 18  # 108 and 144 bits, in whole bytes
    assert found["activations"] == kept(tiny())["activations"]  # without the dense copies ...
    assert saved_bytes(net, *images())[0] > found["activations"] + 4 * 144  # ... that PyTorch makes
    trained(net)  # the network can still be trained: counting left it alone


def test_low_rank_weights_count_what_is_trained():
    """4 x 27 and 4 x 36 at rank 2, one column trained: 2 (4 + 27 + 1) and 2 (4 + 36 + 1) numbers."""
    found = kept(low_rank(tiny(), 0.5, 0.5))
    assert found["weights"] == 4 * (64 + 82 + 50)
    assert found["gradients"] == found["optimizer"] == 4 * ((4 + 27 + 2) + (4 + 36 + 2) + 50)
    assert found["activations"] == kept(tiny())["activations"]


def test_bf16_halves_everything():
    x, y = images()
    full, half = kept(tiny()), kept(tiny().bfloat16(), (x.bfloat16(), y))
    assert [half[name] * 2 for name in ("weights", "gradients", "optimizer")] == [full["weights"]] * 3
    assert 0.45 < half["activations"] / full["activations"] < 0.6
