"""Cutting: every K, explicit places, balance; LocalNet is the plain network."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mankit.blocks import LocalNet, _even_ends, cut
from mankit.heads import Head
from mankit.measure import layer_bytes
from mankit.networks import cifar_resnet, small_resnet
from mankit.rules import RULES, local_net


def sizes(blocks):
    return [len(block) for block in blocks]


@given(n=st.integers(1, 60), data=st.data())
def test_every_K_cuts_into_even_consecutive_blocks(n, data):
    K = data.draw(st.integers(1, n))
    layers = [nn.Identity() for _ in range(n)]
    blocks = cut(layers, K)
    assert len(blocks) == K
    assert [layer for block in blocks for layer in block] == layers
    assert max(sizes(blocks)) - min(sizes(blocks)) <= 1


@pytest.mark.parametrize(
    ("K", "published"),  # ends as [stage, unit] in the published configurations, counted from the stem
    [(2, [8]), (4, [4, 8, 12]), (8, [2, 4, 6, 8, 10, 12, 14])],
)
def test_resnet32_is_cut_where_the_published_code_cuts(K, published):
    layers, _ = cifar_resnet(32)
    assert sizes(cut(layers, K)) == sizes(cut(layers, at=published))


@given(costs=st.lists(st.integers(1, 50), min_size=1, max_size=9), data=st.data())
def test_memory_balance_is_the_best_there_is(costs, data):
    from itertools import combinations, pairwise

    K = data.draw(st.integers(1, len(costs)))
    n = len(costs)

    def largest(ends):
        return max(sum(costs[a:b]) for a, b in pairwise([0, *ends, n]))

    assert largest(_even_ends(costs, K)) == min(map(largest, combinations(range(1, n), K - 1)))


def test_memory_balance_gives_early_layers_smaller_blocks():
    layers, _ = cifar_resnet(32)  # its first stage saves four times as much per unit as its last
    costs = layer_bytes(layers, (3, 32, 32))
    blocks = cut(layers, 4, costs=costs)
    assert sizes(blocks)[0] < sizes(blocks)[-1]
    by_units = [sum(costs[i : i + 4]) for i in range(0, 16, 4)]
    assert max(sum(costs[layers.index(b[0]) : layers.index(b[-1]) + 1]) for b in blocks) < max(by_units)


def test_measuring_for_the_balance_changes_nothing():
    layers, _ = small_resnet((1, 1), (4, 8))
    before = [t.clone() for layer in layers for t in layer.state_dict().values()]
    layer_bytes(layers, (3, 8, 8))
    after = [t for layer in layers for t in layer.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(m.training for layer in layers for m in layer.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"K": 0}, r"K=0 blocks, but this network has 16 units \(stem \+ 15\): choose 1..16"),
        ({"K": 20}, "K=20 blocks.*choose 1..16"),
        ({"K": 2.5}, "K=2.5"),
        ({"K": True}, "K=True"),
        ({"K": 2.0}, "K=2.0"),
        ({"K": float("inf")}, "K=inf"),
        ({"at": [5, 3]}, r"at=\[5, 3\].*must rise"),
        ({"at": [0, 3]}, "must rise and lie in 1..15"),
        ({"at": [3, 16]}, "must rise and lie in 1..15"),
        ({}, "give one of the two"),
        ({"K": 2, "at": [3]}, "give one of the two"),
    ],
)
def test_bad_cuts_are_one_clear_line(arguments, message):
    layers, _ = cifar_resnet(32)
    with pytest.raises(ValueError, match=message) as error:
        cut(layers, **arguments)
    assert "\n" not in str(error.value)


def test_a_localnet_computes_the_plain_network(make_net, make_batch):
    net = make_net("man", K=4).eval()
    x, _ = make_batch()
    h = x
    for layer in net.layers:
        h = layer(h)
    assert torch.equal(net(x), net.heads[-1](h))
    assert torch.equal(net.features(x)[-1], h)


@pytest.mark.parametrize("K", range(1, 7))
@pytest.mark.parametrize("rule", sorted(set(RULES) - {"bp"}))
def test_every_K_and_rule_builds_and_runs(make_net, make_batch, rule, K):
    net = make_net(rule, K=K)
    x, y = make_batch()
    for head, h in zip(net.heads, net.features(x), strict=True):
        assert head(h).shape == (8, 4) or not head.has_logits
        assert head.loss(h, x, y).isfinite()


def test_recut_shares_the_layers_and_cant_be_trained(make_net, make_batch):
    net = make_net("bp", K=1)
    wide = net.recut(6)
    x, y = make_batch()
    assert wide.layers == net.layers
    assert len(wide.features(x)) == 6
    with pytest.raises(ValueError, match="no head"):
        wide.heads[0].loss(wide.features(x)[0], x, y)


def test_a_localnet_needs_a_head_for_each_block():
    with pytest.raises(ValueError, match="2 blocks and 1 heads"):
        LocalNet([nn.Identity(), nn.Identity()], [Head(nn.Identity())])


def test_set_decay_reaches_every_ema_or_says_that_there_is_none(make_net):
    net = make_net("man", K=4)
    net.set_decay(0.25)
    assert [head.decay for head in net.heads[:-1]] == [0.25] * 3
    with pytest.raises(ValueError, match="decay=1.5"):
        net.set_decay(1.5)
    with pytest.raises(ValueError, match="no EMA"):
        make_net("dgl").set_decay(0.5)
    for branches in ("bias", "twin"):  # all branches are trained: nothing follows
        with pytest.raises(ValueError, match="no EMA"):
            make_net("man", branches=branches).set_decay(0.5)


def test_heads_go_where_the_layers_already_are():
    layers, classifier = small_resnet((1, 1), (4, 8))
    for module in [*layers, classifier]:
        module.double()
    costs = layer_bytes(layers, (3, 8, 8))
    net = local_net(layers, classifier, "man", 3, costs=costs, image_shape=(3, 8, 8))
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert net(torch.rand(2, 3, 8, 8, dtype=torch.float64)).shape == (2, 10)
