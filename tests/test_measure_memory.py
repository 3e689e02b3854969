"""Bytes saved for backward and FLOPs, on ResNet-32 against counts made independently."""

import gc
import weakref

import pytest
import torch
from tiny import batch, conv_net, resnet32
from torch import nn

from mankit.measure import SavedBytes, best_checkpoints, checkpointed_bytes, checkpointed_flops, flops, saved_bytes
from mankit.networks import cifar_resnet
from mankit.rules import local_net

MERGED = tuple(range(2, 16))  # 15 blocks, the stem with the first unit: what the published code calls K=16
PURE = tuple(range(1, 16))  # 16 blocks, the stem alone


def kib_an_image(count, n):
    return count / n / 1024


@pytest.mark.parametrize("cuts, expected", [((), 2416), (MERGED, 384), (PURE, 320)])
def test_resnet32_peak(cuts, expected):
    x, y = batch(32, size=32)
    assert kib_an_image(max(saved_bytes(resnet32(cuts), x, y)), 32) == pytest.approx(expected, rel=0.01)


def test_resnet32_every_block_by_arithmetic():
    """A feature map of stage 1, 2, 3 takes 64, 32, 16 KiB. The stem saves its BatchNorm's input and its
    ReLU's output, a unit two such pairs; an input that comes from the block before counts too; a shortcut's
    BatchNorm saves one map more. (Head and BatchNorm vectors: under 1 KiB.)"""
    expected = (
        [2 * 64] + [64 + 4 * 64] * 5 + [64 + 4 * 32 + 32] + [32 + 4 * 32] * 4 + [32 + 4 * 16 + 16] + [16 + 4 * 16] * 4
    )
    x, y = batch(16, size=32)
    measured = [kib_an_image(count, 16) for count in saved_bytes(resnet32(PURE), x, y)]
    assert measured == pytest.approx(expected, rel=0.01, abs=1)


def test_resnet32_checkpointed():
    """The worst moment is unit 15, the last: all units' inputs are still there, and its own four maps.
    A stage's first unit has the stage before's map as its input."""
    x, y = batch(16, size=32)
    inputs = 5 * 64 + (64 + 4 * 32) + (32 + 4 * 16)
    measured = kib_an_image(checkpointed_bytes(resnet32(()), x, y), 16)
    assert measured == pytest.approx(inputs + 4 * 16, rel=0.01)


def test_bytes_grow_with_the_batch_and_halve_with_the_precision():
    net = conv_net((16, 16, 16))
    small, large = (sum(saved_bytes(net, *batch(n, size=16))) for n in (8, 16))
    assert large == pytest.approx(2 * small, rel=0.01)
    x, y = batch(16, size=16)
    assert sum(saved_bytes(net.double(), x.double(), y)) == pytest.approx(2 * large, rel=0.01)


def test_the_network_and_the_batch_stay_as_they_were():
    net, (x, y) = conv_net().eval(), batch()
    one_block, before = resnet32(()), x.clone()
    nets = (net, one_block)
    states = [{name: value.clone() for name, value in n.state_dict().items()} for n in nets]
    saved_bytes(net, x, y), flops(net, x, y)
    checkpointed_bytes(one_block, x, y), checkpointed_flops(one_block, x, y)
    for n, state in zip(nets, states, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in n.state_dict().items())
        assert all(p.grad is None for p in n.parameters())
    assert not net.training and one_block.training and torch.equal(x, before)


def test_a_storage_counts_once_and_an_excluded_one_not_at_all():
    a = torch.ones(256, requires_grad=True)
    with SavedBytes() as saved:
        b = a.exp()  # saves its result
        (b * b).sum()  # saves b twice more
        b.view(16, 16).square().sum()  # and a view of it
    assert saved.bytes == 256 * 4
    with SavedBytes(exclude=[a]) as saved:
        (a * a).sum()
    assert saved.bytes == 0


def test_memory_that_is_used_again_counts_again():
    a = torch.ones(1 << 16, requires_grad=True)
    with SavedBytes() as saved:
        for _ in range(5):
            a.exp()  # dropped at once: the next result may get the same address
    assert saved.bytes == 5 * 4 * (1 << 16)


def test_gradients_are_right_under_the_hooks_and_nothing_is_held_afterwards():
    a = torch.linspace(-1, 1, 100, requires_grad=True)
    with SavedBytes() as saved:
        b = a.exp()
        (gradient,) = torch.autograd.grad((b * b).sum(), a)
    torch.testing.assert_close(gradient, 2 * (2 * a.detach()).exp())
    assert saved.bytes == 100 * 4
    with SavedBytes():
        b = a.exp()  # saves its own result: dropped without a backward pass, it must still go
    result = weakref.ref(b)
    del b
    gc.collect()
    assert result() is None


def test_back_propagation_needs_more_than_its_largest_block_alone():
    x, y = batch()
    local = conv_net()
    whole = conv_net()
    whole.blocks = nn.ModuleList([nn.Sequential(*whole.blocks)])
    whole.heads = whole.heads[-1:]
    counts = saved_bytes(local, x, y)
    (at_once,) = saved_bytes(whole, x, y)
    assert max(counts) < at_once < sum(counts)
    assert checkpointed_bytes(whole, x, y) < at_once


def test_the_best_checkpoints_are_the_least_over_all_distances():
    """Two equal units, a segment: less than a checkpoint at each, less than all at once; at the full depth BP's bytes
    without the loss, which is a segment of its own."""
    net, (x, y) = resnet32(()), batch(4, size=32)
    peaks = {every: checkpointed_bytes(net, x, y, every) for every in range(1, 17)}
    assert best_checkpoints(net, x, y) == (min(peaks.values()), min(peaks, key=peaks.get))
    assert min(peaks.values()) < peaks[1] < peaks[16] <= saved_bytes(net, x, y)[0]


def test_checkpointing_wants_one_block():
    for measure in (checkpointed_bytes, best_checkpoints, checkpointed_flops):
        with pytest.raises(ValueError, match="K=3 blocks.*K=1"):
            measure(conv_net(), *batch())


def conv_flops(net, x):
    """Per convolution or linear layer of the network, 2 x multiply-adds of one forward pass over x."""
    found, hooks = [], []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            hooks.append(
                module.register_forward_hook(lambda m, _, out: found.append(2 * out.numel() * m.weight[0].numel()))
            )
    net(x)
    for hook in hooks:
        hook.remove()
    return found


def test_flops_of_resnet32():
    """Forward, weight gradient, input gradient: 3 equal parts, except that images need no gradient."""
    net, (x, y) = resnet32(()), batch(4, size=32)
    forward = conv_flops(net, x)
    measured = flops(net, x, y)
    assert measured == 3 * sum(forward) - forward[0]
    assert measured / 4 == pytest.approx(0.4139e9, rel=0.002)
    # every layer runs once more, the classifier not: 4 parts
    assert checkpointed_flops(net, x, y) == measured + sum(forward[:-1])


def test_flops_of_local_blocks_leave_out_gradients_at_the_block_inputs():
    x, y = batch(4, size=32)
    assert flops(resnet32(MERGED), x, y) / 4 == pytest.approx(0.352e9, rel=0.01)
    assert flops(resnet32(PURE), x, y) < flops(resnet32(MERGED), x, y) < flops(resnet32(()), x, y)


def test_flops_leave_out_frozen_and_unused_parameters():
    net, (x, y) = conv_net(), batch()
    everything = flops(net, x, y)
    net.heads[0].unused = nn.Linear(4, 4)
    assert flops(net, x, y) == everything
    for p in net.blocks[2].parameters():
        p.requires_grad_(False)
    frozen = 2 * 16 * 8 * 8 * 8 * 6 * 9  # the weight gradient of the last convolution
    head_input = 2 * 16 * 8 * 10  # and the gradient at its head's input, which nothing asks for now
    assert flops(net, x, y) == everything - frozen - head_input
    net.requires_grad_(False)
    assert flops(net, x, y) == sum(conv_flops(net, x)) + sum(2 * 16 * c * 10 for c in (4, 6))


def test_resnet32_saves_the_published_bytes():
    """2416 KiB an image in back-propagation; 384 in the largest block of the published 'K=16', which has 15."""
    x, y = torch.rand(8, 3, 32, 32), torch.arange(8)
    bp = local_net(*cifar_resnet(32), "bp", 1)
    published = local_net(*cifar_resnet(32), "dgl", at=range(2, 16), head="0c1f")
    sixteen = local_net(*cifar_resnet(32), "dgl", 16, head="0c1f")
    kib = [max(saved_bytes(net, x, y)) / 8 / 1024 for net in (bp, published, sixteen)]
    assert kib == pytest.approx([2416, 384, 320], rel=0.01)  # 320: with the stem a block of its own
