"""Cosine between local and back-propagated gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny import PoolHead, TinyNet, batch, conv_net
from torch import nn
from torch.func import functional_call, grad

from mankit.measure import gradient_cosine


class RestHead(nn.Module):
    """The loss of the network's own remainder, times a sign: +- the gradient of back-propagation."""

    has_logits = True

    def __init__(self, rest, sign):
        super().__init__()
        self.rest, self.sign = rest, sign

    def loss(self, h, x, y):
        return self.sign * F.cross_entropy(self.rest(h), y)


def cosine_by_functional_gradients(net, x, y, k):
    """The same quantity from torch.func: the weights as an argument, other blocks untouched."""
    h = net.normalize(x) if k == 0 else net.features(x)[k - 1].detach()
    own = dict(net.blocks[k].named_parameters())

    def local(weights):
        return net.heads[k].loss(functional_call(net.blocks[k], weights, (h,)), x, y)

    def final(weights):
        out = functional_call(net.blocks[k], weights, (h,))
        for block in net.blocks[k + 1 :]:
            out = block(out)
        return F.cross_entropy(net.heads[-1](out), y)

    a, b = (torch.cat([g.flatten() for g in grad(loss)(own).values()]) for loss in (local, final))
    return F.cosine_similarity(a, b, dim=0).item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_functional_gradients_and_ends_with_1(seed):
    net, (x, y) = conv_net(seed=seed), batch(seed=seed)
    measured = gradient_cosine(net, x, y)
    assert measured[-1] == pytest.approx(1, abs=1e-6)
    for block in net.blocks:  # no running averages: the same outputs, and torch.func can run it
        block[1] = nn.BatchNorm2d(block[1].num_features, track_running_stats=False)
    expected = [cosine_by_functional_gradients(net, x, y, k) for k in range(3)]
    assert measured == pytest.approx(expected, abs=1e-4)
    assert max(measured[:2]) < 0.999


@pytest.mark.parametrize("sign", [1, -3])
def test_a_loss_that_sees_the_rest_gives_the_direction_of_back_propagation(sign):
    plain, (x, y) = conv_net(), batch()
    rest = nn.Sequential(plain.blocks[1], plain.blocks[2], plain.heads[2])
    net = TinyNet(plain.blocks, None, heads=[RestHead(rest, sign), plain.heads[1], plain.heads[2]])
    measured = gradient_cosine(net, x, y)
    assert measured[0] == pytest.approx(math.copysign(1, sign), abs=1e-5)
    assert abs(measured[1]) < 0.999


def test_one_block_is_back_propagation():
    net = conv_net((4,))
    assert gradient_cosine(net, *batch()) == pytest.approx([1], abs=1e-6)


def test_the_network_stays_as_it_was_and_the_mode_does_not_matter():
    net, (x, y) = conv_net().train(), batch()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    first = gradient_cosine(net, x, y)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    net.eval()
    assert gradient_cosine(net, x, y) == first
    assert not net.training


def test_no_gradient_has_no_direction():
    net, (x, y) = conv_net(), batch()
    net.heads[0] = RestHead(PoolHead(4), 0)  # a local loss of weight 0
    net.blocks[1].requires_grad_(False)
    first, second, last = gradient_cosine(net, x, y)
    assert math.isnan(first) and math.isnan(second)
    assert last == pytest.approx(1, abs=1e-6)
