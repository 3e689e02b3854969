"""AugLocal, MAN++, PredSim, LLS, and the options of heads: by hand-worked numbers, controls and what a head has."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from mankit.heads import wide_mlp_head
from mankit.lab.controls import Controls
from mankit.networks import build_network, small_resnet
from mankit.rules import RULES, bases, local_net
from mankit.rules.auglocal import head_depth, sampled_layers, strides
from mankit.rules.lls import basis
from mankit.rules.predsim import pooling, similarity
from mankit.studies.recipe import LAB
from mankit.training import local_step, make_optimizer, train

NEW = ["manpp", "predsim", "auglocal", "lls"]


def weights(module):
    return sum(p.numel() for p in module.parameters())


def steps(net, make_batch, count=3):
    """Train; the losses of each step."""
    batches = [make_batch(t) for t in range(count)]
    return torch.stack([step.losses for step in train(net, make_optimizer(net, 0.1), batches, channels_last=False)])


@pytest.mark.parametrize("rule", NEW)
def test_with_one_block_every_rule_is_bp(make_net, make_batch, rule):
    ours, bp = make_net(rule, K=1), make_net("bp", K=1)
    assert torch.equal(steps(ours, make_batch), steps(bp, make_batch))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), bp.parameters(), strict=True))


@pytest.mark.parametrize("base", [name for name in RULES if name in bases()])
@pytest.mark.parametrize("rule", ["man", "manpp"])
def test_a_look_ahead_over_every_other_rule_trains_at_every_cut(make_net, make_batch, rule, base):
    losses = steps(make_net(rule, K=6, base=base), make_batch)  # behind the last look-ahead there is no layer left
    assert losses.shape == (3, 6) and losses.isfinite().all()


def test_a_rule_that_has_a_base_is_no_base(make_net):
    assert not {"man", "manpp", "bp"} & set(bases()) and {"greedy", "lls"} < set(bases())
    with pytest.raises(ValueError, match="base='manpp': .*choose from greedy, dgl|base='manpp'"):
        make_net("man", base="manpp")


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("auglocal", {"depth": 0}, "depth=0: choose 1 or more"),
        ("auglocal", {"depth": 1.5}, "depth=1.5: choose a whole number"),
        ("auglocal", {"pyramid": 1.1}, "pyramid=1.1: choose a number from 0 to 1"),
        ("auglocal", {"head": "mlp"}, r"takes no option \['head'\]: choose from \['depth', 'norm', 'pyramid'\]"),
        ("manpp", {"s": -0.1}, "s=-0.1: choose a number from 0 to 2"),
        ("manpp", {"s": math.nan}, "s=nan: choose a number from 0 to 2"),
        ("manpp", {"s": "1"}, "s=1: choose a number"),
        ("manpp", {"branches": "three"}, "branches='three'"),
        ("manpp", {"base": "man"}, "base='man'"),
        ("predsim", {"beta": 2}, "beta=2: choose a number from 0 to 1"),
        ("predsim", {"limit": 0}, "limit=0: choose 1 or more"),
        ("lls", {"side": 0}, "side=0: choose 1 or more"),
        ("lls", {"tau": 0.0}, "tau=0.0: choose a number above 0"),
        ("lls", {"tau": math.nan}, "tau=nan"),
        ("lls", {"learned": "scalar"}, "learned='scalar': .*choose from none, vector, matrix"),
        ("lls", {"smooth": -1}, "smooth=-1: choose a number from 0 to 1"),
        ("lls", {"norm": True}, r"takes no option \['norm'\]"),
        ("dgl", {"head": "mlp5"}, "head='mlp5': choose 'mlp', 'mlp512', 'linear'"),
    ],
)
def test_bad_options_are_one_clear_line(make_net, rule, options, message):
    with pytest.raises(ValueError, match=message) as error:
        make_net(rule, K=3, **options)
    assert "\n" not in str(error.value)


# --- the end of a head ---


@pytest.mark.parametrize("head", ["0c1f", "1c2f", "2c3f", "mlp", "mlp512", "linear"])
@pytest.mark.parametrize("rule", ["dgl", "infopro", "man", "manpp"])
def test_norm_puts_a_batchnorm_right_before_the_last_linear_layer(make_net, make_batch, rule, head):
    plain, normed = (make_net(rule, K=3, head=head, norm=norm).heads[0] for norm in (False, True))
    plain, normed = ([*getattr(each, "base", each).body] for each in (plain, normed))
    assert isinstance(normed[-2], nn.BatchNorm1d) and normed[-2].num_features == normed[-1].in_features
    assert [type(m) for m in normed[:-2]] == [type(m) for m in plain[:-1]]
    assert torch.equal(normed[-1].weight, plain[-1].weight)  # drawn as without


def test_every_rule_with_a_linear_layer_takes_norm(make_net, make_batch):
    for rule in ("greedy", "predsim", "auglocal"):
        net = make_net(rule, K=3, norm=True)
        assert all(isinstance(head.body[-2], nn.BatchNorm1d) for head in net.heads[:-1])
        assert steps(net, make_batch).isfinite().all()


def test_greedy_without_pooling_is_mono_forward(make_net, make_batch):
    """One matrix on all numbers of a block, and cross-entropy."""
    net, (x, y) = make_net("greedy", K=3, pool=False), make_batch()
    for head, h in zip(net.heads[:-1], net.features(x), strict=False):
        linear = head.body[-1]
        assert linear.in_features == h[0].numel() and [type(m) for m in head.body] == [nn.Flatten, nn.Linear]
        scores = h.flatten(1) @ linear.weight.T + linear.bias
        torch.testing.assert_close(head.loss(h, x, y), F.cross_entropy(scores, y))


@pytest.mark.parametrize("size", [1, 4, 8, 12, 32])
def test_man_plus_plus_own_head_takes_any_size_and_is_as_large_as_published(size):
    head = wide_mlp_head((32, size, size), 10)
    assert head(torch.rand(2, 32, size, size)).shape == (2, 10)
    assert 0.6e6 < weights(head) < 0.66e6


# --- AugLocal ---


@pytest.mark.parametrize(
    ("l", "n", "d", "layers"),
    [
        (1, 7, 2, [4, 6]),  # 1 + 2.5 = 3.5 -> 4
        (3, 7, 2, [4, 6]),  # 3 + 1.5 = 4.5 -> 4: even, of the layer's own number
        (0, 7, 1, [6]),
        (0, 7, 4, [2, 3, 4, 6]),  # 1.5, 3, 4.5, 6
        (2, 7, 3, [3, 5, 6]),  # 3.33, 4.67, 6
        (0, 16, 2, [8, 15]),  # 7.5 -> 8
        (2, 16, 2, [8, 15]),  # 8.5 -> 8
        (0, 55, 4, [14, 27, 40, 54]),  # 13.5, 27, 40.5, 54
        (5, 7, 2, [6]),  # one is left
        (3, 7, 3, [4, 5, 6]),
        (6, 7, 2, []),
    ],
)
def test_a_head_looks_like_evenly_spaced_later_layers_rounded_half_to_even(l, n, d, layers):  # noqa: E741
    assert sampled_layers(l, n, d) == layers


@pytest.mark.parametrize(
    ("d", "r", "units"),
    [
        (2, 0.0, 2),
        (2, 0.5, 2),  # 1.5 -> 2
        (4, 0.5, 2),  # 2.5 -> 2
        (6, 0.5, 4),  # 3.5 -> 4
        (6, 0.1, 6),  # 5.5 -> 6
        (6, 0.3, 4),  # 4.5 -> 4
        (8, 0.5 * 5 / 7, 6),  # 5.5 -> 6; 8 (1 - r) + r is 5.4999... in floating point
        (1, 0.5, 1),
        (9, 1.0, 1),
    ],
)
def test_heads_shrink_towards_the_last_block(d, r, units):
    assert head_depth(d, r) == units


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ([16, 16, 32, 64], [1, 2, 2]),
        ([16, 64], [2]),  # a debt of two halvings, one unit: one stays unpaid
        ([16, 64, 64], [2, 2]),  # the next unit pays it, though its width stays
        ([16, 64, 64, 64], [2, 2, 1]),
        ([16, 16], [1]),
        ([8, 12, 16], [1, 2]),  # half an octave and a bit, then the rest
        ([64, 32, 64], [1, 1]),
    ],
)
def test_strides_pay_for_doubled_widths(widths, expected):
    assert strides(widths) == expected


def test_auglocal_shrinks_by_the_pyramid_and_has_norm_where_it_should_have_one_unit():
    layers, classifier = small_resnet((2, 2, 2), (4, 8, 16), classes=10)
    net = local_net(layers, classifier, "auglocal", 7, depth=4, pyramid=1.0)
    units = [sum(isinstance(m, BasicBlock) for m in head.body) for head in net.heads[:-1]]
    assert units == [4, 3, 3, 2, 2, 1]  # r = 0, 0.2, ..., 1: d = 4, 3.4, 2.8, 2.2, 1.6, 1; at l = 5 one is left
    assert [isinstance(head.body[-2], nn.BatchNorm1d) for head in net.heads[:-1]] == [False] * 5 + [True]
    for norm in (False, True):
        net = local_net(layers, classifier, "auglocal", 7, depth=4, pyramid=1.0, norm=norm)
        assert all(isinstance(head.body[-2], nn.BatchNorm1d) == norm for head in net.heads[:-1])


def test_auglocals_heads_have_weights_of_their_own(make_net):
    net = make_net("auglocal", K=6, depth=5)
    own = {p.data_ptr() for p in net.heads.parameters()}
    assert not own & {p.data_ptr() for p in net.blocks.parameters()}
    unit, layer = net.heads[0].body[0], net.layers[1]
    assert unit.conv1.weight.shape == layer.conv1.weight.shape and not torch.equal(
        unit.conv1.weight, layer.conv1.weight
    )


def test_the_published_cut_is_said_by_at():
    layers, classifier = build_network("cifar_resnet32")
    n, d = len(layers), 2
    net = local_net(layers, classifier, "auglocal", at=range(1, n - d), depth=d)
    assert [len(block) for block in net.blocks] == [1] * (n - d - 1) + [d + 1]


def test_a_network_of_bottlenecks_gets_heads_of_bottlenecks():
    """All later layers: the head behind the stem is the rest of ResNet-50; strides follow the inner widths."""
    layers, classifier = build_network("resnet50", classes=10)
    net = local_net(layers, classifier, "auglocal", at=[1], image_shape=(3, 64, 64), depth=16, norm=False)
    *units, pool, flatten, linear = net.heads[0].body
    assert all(type(unit) is Bottleneck for unit in units) and linear.in_features == 2048
    assert [unit.stride for unit in units] == [layer.stride for layer in layers[1:]]
    assert [unit.conv2.weight.shape for unit in units] == [layer.conv2.weight.shape for layer in layers[1:]]
    assert weights(nn.Sequential(*units)) == weights(nn.Sequential(*layers[1:]))
    deeper = local_net(layers, classifier, "auglocal", at=[4], image_shape=(3, 64, 64), depth=1, norm=True).heads[0]
    assert (deeper.body[0].conv1.in_channels, deeper.body[0].stride) == (256, 2)


# --- MAN++ ---


def test_with_s_at_1_it_is_man_to_the_last_bit(make_net, make_batch):
    man, ours = make_net("man", K=4), make_net("manpp", K=4, s=1.0, train_s=False)
    assert torch.equal(steps(man, make_batch), steps(ours, make_batch))
    after = ours.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in man.state_dict().items())


@pytest.mark.parametrize(("s", "bias", "ema"), [(0.0, 0, 2), (1.0, 1, 1), (2.0, 2, 0), (0.5, 0.5, 1.5)])
def test_s_weighs_the_two_branches(make_net, make_batch, s, bias, ema):
    net, (x, _) = make_net("manpp", K=3, s=s, train_s=False), make_batch()
    head, h = net.heads[0], net.features(x)[0]
    torch.testing.assert_close(head.look_ahead(h), bias * head.learnable_bias(h) + ema * head.ema(h))
    before = head.scale.clone()
    steps(net, make_batch)
    assert torch.equal(head.scale, before)


def test_s_is_trained_with_weight_decay_like_any_weight(make_net, make_batch):
    net, (x, y) = make_net("manpp", K=3), make_batch()
    head, h = net.heads[0], net.features(x)[0].detach()
    head.loss(h, x, y).backward()
    bias, ema = head.learnable_bias(h).detach(), head.ema(h).detach()
    s = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    head.base.loss(s * bias + (2 - s) * ema, x, y).backward()
    torch.testing.assert_close(head.scale.grad, s.grad)
    optimizer = make_optimizer(net, lr=0.1, momentum=0.0, weight_decay=0.01)
    optimizer.step()
    torch.testing.assert_close(head.scale.detach(), 1 - 0.1 * (s.grad + 0.01))


@pytest.mark.parametrize("rule", ["man", "manpp"])
def test_pulled_is_trained_and_then_averaged(make_net, make_batch, rule):
    net, (x, y) = make_net(rule, K=3, branches="pulled", decay=0.9), make_batch()
    head, layer = net.heads[0], net.blocks[1][0]
    local_step(net.blocks[0], head, x, x, y)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.ema.parameters())
    assert head.decay == 0.9 and head.average is head.ema
    before = [p.detach().clone() for p in head.ema.parameters()]
    head.after_step(net.blocks[1])
    for old, new, n in zip(before, head.ema.parameters(), layer.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * n)


# --- PredSim ---


@pytest.mark.parametrize(
    ("shape", "limit", "kernel", "padding", "left"),
    [
        ((16, 32, 32), 512, (8, 4), (0, 0), 512),  # 16384: 2x2 4096, 4x4 1024, 8x4 fits
        ((64, 8, 8), 512, (4, 2), (0, 0), 512),
        ((16, 32, 32), 4096, (2, 2), (0, 0), 4096),
        ((8, 4, 4), 512, (1, 1), (0, 0), 128),
        ((64, 9, 9), 2048, (2, 2), (1, 1), 1600),  # 9/2 is rounded up to 5
        ((600, 4, 4), 512, (4, 4), (0, 0), 600),  # at least one a channel
    ],
)
def test_pooling_doubles_its_kernel_until_few_enough_numbers_are_left(shape, limit, kernel, padding, left):
    pool, numbers = pooling(shape, limit)
    assert (pool.kernel_size, pool.padding, numbers) == (kernel, padding, left)
    assert pool(torch.rand(2, *shape)).flatten(1).shape[1] == left


def test_similarity_equals_its_definition():
    h = torch.randn(5, 6, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = h.flatten(2).var(2, correction=1).sqrt()
    rows = rows - rows.mean(1, keepdim=True)
    expected = [[F.cosine_similarity(a, b, dim=0).item() for b in rows] for a in rows]
    torch.testing.assert_close(similarity(h), torch.tensor(expected, dtype=torch.float64))
    one_hot = F.one_hot(torch.tensor([0, 1, 1]), 4).double()
    third = -1 / 3
    wanted = [[1, third, third], [third, 1, 1], [third, 1, 1]]
    torch.testing.assert_close(similarity(one_hot), torch.tensor(wanted, dtype=torch.float64))


def test_predsims_ends_are_pred_alone_and_sim_alone(make_net, make_batch):
    x, y = make_batch()
    for beta, trained in ((0.0, "body"), (1.0, "conv")):
        net = make_net("predsim", K=3, beta=beta)
        local_step(net.blocks[0], net.heads[0], x, x, y)
        moved = {name for name, p in net.heads[0].named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert moved and all(name.startswith(trained) for name in moved)


def test_predsim_may_start_at_zero(make_net):
    assert not make_net("predsim", zero_start=True).heads[0].body[-1].weight.any()
    assert make_net("predsim").heads[0].body[-1].weight.any()


# --- LLS ---


def test_lls_heads_have_no_parameters_and_nothing_to_save(make_net):
    net = make_net("lls", K=6)
    assert all(not list(head.parameters()) and not head.state_dict() for head in net.heads[:-1])
    for learned, count in (("vector", 4), ("matrix", 16)):
        assert [weights(head) for head in make_net("lls", K=3, learned=learned).heads[:-1]] == [count] * 2


def test_lls_equals_its_definition(make_net, make_batch):
    net, (x, y) = make_net("lls", K=3, side=2, tau=0.5, smooth=0.1), make_batch()
    head, h = net.heads[0], net.features(x)[0]
    a = F.avg_pool2d(h, h.shape[-1] // 2).flatten(1)
    f = [50, 204, 358, 512]
    waves = torch.tensor([[math.sin(fc * t) for t in range(a.shape[1])] for fc in f], dtype=torch.float64)
    logits = a / a.norm(dim=1, keepdim=True) @ waves.T / 0.5
    torch.testing.assert_close(head(h), logits)
    torch.testing.assert_close(head.loss(h, x, y), F.cross_entropy(logits, y, label_smoothing=0.1))
    for learned in ("vector", "matrix"):  # both start as the plain rule
        torch.testing.assert_close(make_net("lls", K=3, side=2, tau=0.5, learned=learned).heads[0](h), logits)


def test_the_square_basis_is_the_sines_sign():
    assert set(basis(10, 300, square=True).unique().tolist()) == {-1.0, 0.0, 1.0}  # 0 at t = 0
    assert torch.equal(basis(10, 300, square=True), basis(10, 300).sign())


def test_the_waves_stay_exact_in_a_network_of_32_bits(make_net):
    net = make_net("lls", K=3, dtype=torch.float32)
    assert torch.equal(net.heads[0].waves, basis(4, net.heads[0].waves.shape[1]))


# --- the panel ---


def test_auglocals_norm_is_as_published_until_it_is_ticked():
    controls = Controls(LAB["MAN"])
    controls.rule.value = "auglocal"
    assert controls.recipe.options == {}
    controls.options["norm"].value = True
    assert controls.recipe.options == {"norm": True}


def test_only_the_decay_is_said_to_be_movable_while_it_trains():
    controls = Controls(LAB["MAN"])
    movable = {name for name, widget in controls.options.items() if "while it trains" in widget.tooltip}
    assert movable == {"decay"} and controls.options["beta"].max == 1 and controls.options["s"].max == 2
