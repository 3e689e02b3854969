"""Rules, heads and losses: shapes, MAN's controls, InfoPro's weights, clear errors."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mankit.heads import conv_head, mlp_sr_head
from mankit.networks import build_network, cifar_resnet
from mankit.rules import RULES, local_net
from mankit.rules.infopro import supervised_contrastive
from mankit.rules.man import MomentumHead
from mankit.training import local_step


@pytest.mark.parametrize("spec", ["0c1f", "0c2f", "1c1f", "1c2f", "1c3f", "2c2f"])
def test_conv_heads_have_what_their_name_says(spec):
    head = conv_head(16, 10, spec)
    assert sum(isinstance(m, nn.Conv2d) for m in head) == int(spec[0])
    assert sum(isinstance(m, nn.Linear) for m in head) == int(spec[2])
    assert head(torch.rand(2, 16, 8, 8)).shape == (2, 10)


def test_a_conv_head_grows_but_for_the_last_stage():
    assert conv_head(16, 10, "1c2f")[0].weight.shape == (32, 16, 3, 3)
    assert conv_head(64, 10, "1c2f", last_stage=True)[0].stride == (1, 1)
    net = local_net(*cifar_resnet(20), "dgl", 10, head="1c2f")
    assert [h.body[0].out_channels for h in net.heads[:-1]] == [32] * 4 + [64] * 5


@pytest.mark.parametrize("size", [1, 3, 8, 32])
def test_mlp_head_takes_any_size(size):
    assert mlp_sr_head((8, size, size), 5)(torch.rand(2, 8, size, size)).shape == (2, 5)


def test_infopro_weights_are_linear_in_the_block_index(make_net):
    net = make_net("infopro", K=5, lam_x=(5.0, 0.5), lam_y=(0.5, 1.0))
    assert [head.lam_x for head in net.heads[:-1]] == pytest.approx([5.0, 3.5, 2.0, 0.5])
    assert [head.lam_y for head in net.heads[:-1]] == pytest.approx([0.5, 2 / 3, 5 / 6, 1.0])
    assert make_net("infopro", K=2, lam_x=(5.0, 0.5)).heads[0].lam_x == 5.0


def test_infopro_without_reconstruction_is_cross_entropy(make_net, make_batch):
    net = make_net("infopro", K=2, lam_x=0.0, lam_y=1.0)
    x, y = make_batch()
    h = net.features(x)[0]
    assert torch.equal(net.heads[0].loss(h, x, y), nn.functional.cross_entropy(net.heads[0](h), y))


def test_infopro_reconstruction_is_the_papers_bce(make_net, make_batch):
    net = make_net("infopro", K=2, lam_x=2.0, lam_y=0.0).eval()
    x, y = make_batch()
    h = net.features(x)[0]
    image = net.heads[0].decoder(h, (8, 8)).sigmoid()
    bce = -(x * image.log() + (1 - x) * (1 - image).log()).mean()
    torch.testing.assert_close(net.heads[0].loss(h, x, y), 2 * bce)


def contrastive_by_loops(z, y, t):
    z, total = nn.functional.normalize(z, dim=1), 0.0
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        friends = [j for j in others if y[j] == y[i]]
        log_sum = math.log(sum(math.exp(z[i] @ z[j] / t) for j in others))
        total += sum(log_sum - (z[i] @ z[j] / t).item() for j in friends) / max(len(friends), 1)
    return total / len(z)


@given(seed=st.integers(0, 1000), n=st.integers(2, 9), t=st.sampled_from([0.07, 0.5, 2.0]))
def test_supervised_contrastive_equals_its_definition(seed, n, t):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 5, generator=g, dtype=torch.float64)
    y = torch.randint(3, (n,), generator=g)
    assert supervised_contrastive(z, y, t).item() == pytest.approx(contrastive_by_loops(z, y, t), abs=1e-9)


def test_supervised_contrastive_is_computed_in_float32_under_autocast():
    g = torch.Generator().manual_seed(0)
    z, y = torch.randn(64, 32, generator=g), torch.randint(4, (64,), generator=g)
    with torch.autocast("cpu", torch.bfloat16):
        low = supervised_contrastive(z, y)
    assert torch.equal(low, supervised_contrastive(z, y))


def test_contrastive_infopro_trains_and_has_no_class_scores(make_net, make_batch):
    net = make_net("infopro", K=3, contrast=True)
    assert [head.has_logits for head in net.heads] == [False, False, True]
    x, y = make_batch()
    local_step(net.blocks[0], net.heads[0], x, x, y)
    assert net.blocks[0][0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("branches", "bias", "ema", "ema_trains"),
    [("both", True, True, False), ("bias", True, False, None), ("ema", False, True, False), ("twin", True, True, True)],
)
def test_man_and_its_controls(make_net, make_batch, branches, bias, ema, ema_trains):
    net = make_net("man", K=3, branches=branches)
    x, y = make_batch()
    head = net.heads[0]
    local_step(net.blocks[0], head, x, x, y)
    assert (head.learnable_bias is not None) == bias
    assert (head.ema is not None) == ema
    if ema:
        assert all((p.grad is not None) == ema_trains for p in head.ema.parameters())
    if bias:
        assert all(p.grad is not None for p in head.learnable_bias.parameters())
    before = copy.deepcopy(head.state_dict())
    head.after_step(net.blocks[1])
    moved = any(not torch.equal(before[k], v) for k, v in head.state_dict().items())
    assert moved == (branches in ("both", "ema"))


@pytest.mark.parametrize("rule", [*sorted(set(RULES) - {"bp"}), "man over infopro"])
def test_a_rules_weights_are_drawn_from_the_generator_and_from_nothing_else(rule):
    def drawn(seed):
        layers, classifier = build_network("lab", generator=torch.Generator().manual_seed(0))
        name, _, base = rule.partition(" over ")
        options, draw = {"base": base} if base else {}, torch.Generator().manual_seed(seed)
        net = local_net(layers, classifier, name, 3, image_shape=(3, 16, 16), generator=draw, **options)
        return [p for head in net.heads[:-1] for p in head.parameters()]

    before = torch.get_rng_state()
    one, again, other = drawn(0), drawn(0), drawn(1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    differ = [not torch.equal(a, b) for a, b in zip(one, other, strict=True)]
    assert differ == [p.numel() > 1 and bool(p.std() > 0) for p in one]  # not MAN++'s scale, BatchNorm's ones and zeros


@given(decay=st.floats(0, 1), seed=st.integers(0, 99))
def test_ema_formula(decay, seed):
    torch.manual_seed(seed)
    unit, follower = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    head = MomentumHead(conv_base(), None, follower, decay)
    old = [p.clone() for p in follower.parameters()]
    head.after_step(nn.Sequential(unit))
    for o, new, n in zip(old, follower.parameters(), unit.parameters(), strict=True):
        torch.testing.assert_close(new, decay * o + (1 - decay) * n, rtol=1e-14, atol=1e-15)
        assert decay != 1 or torch.equal(new, o)
        assert decay != 0 or torch.equal(new, n)


def conv_base():
    from mankit.heads import Head

    return Head(nn.Identity())


def test_ema_averages_parameters_and_leaves_batchnorm_statistics(make_net, make_batch):
    net = make_net("man", K=3, decay=0.0)
    x, _ = make_batch()
    net.features(x)  # gives the next block statistics of its own
    head = net.heads[0]
    statistics = {k: v.clone() for k, v in head.ema.named_buffers()}
    head.after_step(net.blocks[1])
    for (_, a), b in zip(head.ema.named_parameters(), net.blocks[1][0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(statistics[k], v) for k, v in head.ema.named_buffers())


def test_the_ema_starts_at_random_as_published_or_as_a_copy(make_net):
    def same(net):
        pairs = zip(net.heads[0].ema.parameters(), net.blocks[1][0].parameters(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    assert same(make_net("man", start="copy"))
    assert not same(make_net("man", start="random"))


def test_look_ahead_has_the_next_layers_shape_at_a_stage_boundary(make_net, make_batch):
    net = make_net("man", K=6)  # the layer behind block 3 is strided and wider
    h = net.features(make_batch()[0])
    assert net.heads[2].look_ahead(h[2]).shape == h[3].shape


def test_same_seed_gives_the_same_network_under_every_rule(make_net):
    nets = [make_net(rule, K=3) for rule in sorted(set(RULES) - {"bp"})]
    for net in nets[1:]:
        for a, b in zip(nets[0].blocks.parameters(), net.blocks.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (
            "mann",
            {},
            r"rule='mann': did you mean 'man' or 'manpp'\? choose from bp, greedy, dgl, infopro, man, manpp, ",
        ),
        ("bp", {}, "choose K=1"),
        ("dgl", {"decay": 0.9}, r"takes no option \['decay'\]: choose from \['head', 'norm'\]"),
        ("dgl", {"head": "3c1f"}, "head='3c1f'"),
        ("man", {"decay": 1.01}, "decay=1.01"),
        ("man", {"decay": -0.1}, "decay=-0.1"),
        ("man", {"decay": float("nan")}, "decay=nan"),
        ("man", {"branches": "three"}, "branches='three'"),
        ("man", {"start": "zero"}, "start='zero'"),
        ("man", {"base": "man"}, "base='man'"),
        ("man", {"lam_x": 1.0}, "takes no option"),
    ],
)
def test_bad_rules_and_options_are_one_clear_line(make_net, rule, options, message):
    with pytest.raises(ValueError, match=message) as error:
        make_net(rule, K=3, **options)
    assert "\n" not in str(error.value)


def test_a_new_rule_is_one_function_and_one_line(make_net, make_batch, monkeypatch):
    from mankit.heads import Head
    from mankit.networks import init_weights

    def wide(place):
        return Head(init_weights(conv_head(place.shape[0], place.classes, "2c1f")))

    monkeypatch.setitem(RULES, "wide", wide)
    assert make_net("wide", K=3).heads[0](make_net("wide", K=3).features(make_batch()[0])[0]).shape == (8, 4)


@pytest.mark.parametrize("rule", ["dgl", "infopro", "man"])
def test_torchvision_networks_take_every_rule(rule):
    layers, classifier = build_network("resnet18", classes=5)
    net = local_net(layers, classifier, rule, 2, image_shape=(3, 64, 64), head="1c2f", classes=5)
    x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 4])
    h, loss = local_step(net.blocks[0], net.heads[0], x, x, y)
    assert loss.isfinite()
    assert h.shape[0] == 2


def test_a_rule_of_ones_own_may_be_built_over_one_that_has_a_base(make_net, make_batch):
    def scaled(place, *, base="dgl", c=1.0):
        head = base(place)
        head.scale = c
        return head

    net = make_net(scaled, K=3, base="man", decay=0.5, c=2.0)
    assert [type(head).__name__ for head in net.heads[:-1]] == ["MomentumHead"] * 2
    assert net.heads[0].decay == 0.5 and net.heads[0].scale == 2.0
    for rule in ("man", "manpp"):
        with pytest.raises(ValueError, match="base='man(pp)?': it looks ahead itself; choose"):
            make_net(rule, K=3, base="manpp" if rule == "man" else "man")
