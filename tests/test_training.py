"""Training: K=1 is back-propagation, no gradient crosses a block, schedules, optimizers, layouts, errors."""

import copy
import functools
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mankit.networks import SubsampledConv, small_resnet
from mankit.rules import RULES, entry_of, local_net
from mankit.training import cosine, local_step, make_optimizer, train, train_batch

LOCAL = sorted(set(RULES) - {"bp"})
LABELLED = [rule for rule in LOCAL if not entry_of(rule).unlabelled]
SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def run(net, batches, optimizer=None, schedule=None, channels_last=True, first_step=0, **how):
    step, optimizer = functools.partial(train_batch, **how), optimizer or make_optimizer(net, 0.1)
    return list(train(net, optimizer, batches, schedule, step, channels_last=channels_last, first_step=first_step))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@given(seed=st.integers(0, 10_000), channels_last=st.booleans())
def test_one_block_is_plain_pytorch_bit_for_bit(seed, channels_last):
    torch.manual_seed(seed)
    layers, classifier = small_resnet((1, 1), (4, 6), classes=4)
    plain = copy.deepcopy(nn.Sequential(*layers, classifier))
    net = local_net(layers, classifier, "bp", 1, classes=4, image_shape=(3, 8, 8))
    batches = [(torch.rand(6, 3, 8, 8), torch.randint(4, (6,))) for _ in range(3)]
    run(net, batches, channels_last=channels_last)

    layout = torch.channels_last if channels_last else torch.contiguous_format
    plain.train().to(memory_format=layout)
    optimizer = torch.optim.SGD(plain.parameters(), **SGD)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(plain(x.contiguous(memory_format=layout)), y).backward()
        optimizer.step()
    ours = nn.Sequential(*net.layers, net.heads[-1].body)
    assert same(ours, plain)


@pytest.mark.parametrize("rule", LOCAL)
def test_no_gradient_crosses_a_block(make_net, make_batch, rule):
    """Poison: block i's training sends NaN into its own gradients; no other block or head may get one."""
    net = make_net(rule, K=4)
    x, y = make_batch()
    for i in range(net.K):
        net.zero_grad()
        h = net.features(x)[i - 1] if i else x.clone().requires_grad_()  # a graph through all earlier blocks
        h.retain_grad()
        poisoned = PoisonedHead(net.heads[i])
        local_step(net.blocks[i], poisoned, h, x, y)
        assert h.grad is None
        for j in range(net.K):
            own = [p.grad for p in [*net.blocks[j].parameters(), *net.heads[j].parameters()] if p.grad is not None]
            assert bool(own) == (i == j)
        assert all(p.grad.isnan().all() for p in net.blocks[i].parameters())


class PoisonedHead(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def loss(self, h, x, y):
        return self.head.loss(h, x, y) * torch.nan


@pytest.mark.parametrize("rule", LABELLED)
def test_other_blocks_labels_dont_reach_a_block(make_net, make_batch, rule):
    """Block i's gradient is the same whatever the loss of block i+1 is."""
    gradients = []
    for wrong in (False, True):
        net = make_net(rule, K=3)
        x, y = make_batch()
        h = x
        for i, (block, head) in enumerate(zip(net.blocks, net.heads, strict=True)):
            h, _ = local_step(block, head, h, x, (y + 1) % 4 if wrong and i > 0 else y)
        gradients.append([[p.grad for p in block.parameters()] for block in net.blocks])
    right, wrong = gradients
    assert all(torch.equal(a, b) for a, b in zip(right[0], wrong[0], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(right[1], wrong[1], strict=True))


@pytest.mark.parametrize("rule", LOCAL)
def test_one_backward_on_the_summed_losses_gives_the_same_gradients(make_net, make_batch, rule):
    block_wise, summed = make_net(rule, K=4), make_net(rule, K=4)
    x, y = make_batch()
    h = x
    for block, head in zip(block_wise.blocks, block_wise.heads, strict=True):
        h, _ = local_step(block, head, h, x, y)
    h, total = x, 0
    for block, head in zip(summed.blocks, summed.heads, strict=True):
        h = head.through(block, h.detach())
        total = total + head.loss(h, x, y)
    total.backward()
    for a, b in zip(block_wise.parameters(), summed.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("rule", LOCAL)
@pytest.mark.parametrize("ema_update", ["before", "after"])
def test_one_optimizer_or_one_per_block_gives_the_same_weights(make_net, make_batch, rule, ema_update):
    batches = [make_batch(t) for t in range(3)]
    shared, each = make_net(rule, K=4), make_net(rule, K=4)
    run(shared, batches, ema_update=ema_update)
    run(each, batches, make_optimizer(each, 0.1, per_block=True), ema_update=ema_update)
    assert same(shared, each)


def test_the_ema_reads_the_next_block_before_or_after_the_optimizer(make_net, make_batch):
    for order in ("before", "after"):
        net = make_net("man", K=3, decay=0.0)
        start = [p.clone() for p in net.blocks[1][0].parameters()]
        run(net, [make_batch()], ema_update=order)
        target = start if order == "before" else list(net.blocks[1][0].parameters())
        assert all(torch.equal(a, b) for a, b in zip(net.heads[0].ema.parameters(), target, strict=True))
        assert not torch.equal(start[0], next(net.blocks[1][0].parameters()))


def test_the_loops_body_may_leave_the_net_in_evaluation_mode(make_net, make_batch):
    batches = [make_batch(t) for t in range(3)]
    left, kept = make_net("man"), make_net("man")
    for _ in train(left, make_optimizer(left, 0.1), batches):
        left.eval()
    run(kept, batches)
    assert same(left, kept)


def test_the_decay_may_change_between_steps(make_net, make_batch):
    net = make_net("man", K=3, decay=1.0)
    ema = net.heads[0].ema
    frozen = [p.clone() for p in ema.parameters()]
    for step in train(net, make_optimizer(net, 0.1), [make_batch(t) for t in range(3)]):
        unchanged = all(torch.equal(a, b) for a, b in zip(frozen, ema.parameters(), strict=True))
        assert unchanged == (step.index < 2)
        if step.index == 1:
            net.set_decay(0.5)


def test_training_lowers_every_local_loss(make_net, make_batch):
    net = make_net("infopro", K=3, lam_x=1.0, lam_y=1.0)
    steps = run(net, [make_batch()] * 40)
    assert (steps[-1].losses < 0.7 * steps[0].losses).all()


def test_graph_is_freed_and_losses_wait_on_the_device(make_net, make_batch):
    net = make_net("dgl", K=3)
    step = next(train(net, make_optimizer(net, 0.1), [make_batch()]))
    assert step.losses.shape == (3,)
    assert not step.losses.requires_grad
    h, loss = local_step(net.blocks[0], net.heads[0], *[make_batch()[0]] * 2, make_batch()[1])
    assert h.grad_fn is None
    assert loss.grad_fn is None


def test_bf16_autocast_trains_close_to_float32(make_net, make_batch):
    losses = {}
    for bf16 in (False, True):
        net = make_net("man", K=3, base="infopro", dtype=torch.float32)
        batches = [make_batch(0, 32, torch.float32)] * 5
        losses[bf16] = torch.stack([s.losses for s in run(net, batches, bf16=bf16)])
        assert all(p.dtype == torch.float32 for p in net.parameters())
    assert not torch.equal(losses[True], losses[False])
    torch.testing.assert_close(losses[True].float(), losses[False], rtol=0.1, atol=0.1)


def test_channels_last_is_the_default_layout(make_net, make_batch):
    seen = []
    net = make_net("dgl", K=2)
    net.blocks[1][0].register_forward_hook(lambda m, i, out: seen.append(out))
    run(net, [make_batch()])
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def published_lr(epoch, lr, epochs):  # the published code's two lines, epoch from 1
    c = 0.5 * lr * (1 + torch.cos(torch.tensor(torch.pi * epoch / epochs, dtype=torch.float64))).item()
    return c * (epoch - 1) / 10 + 0.01 * (11 - epoch) / 10 if epoch <= 10 else c


@given(step=st.integers(0, 400 * 49 - 1))
def test_the_schedule_is_the_published_one(step):
    assert cosine(0.8, 400, 49)(step) == pytest.approx(published_lr(step // 49 + 1, 0.8, 400), abs=1e-12)


def test_the_per_step_schedule_rises_then_falls_to_zero():
    lrs = [cosine(0.1, 6, 40, warmup=1, per_step=True)(s) for s in range(240)]
    peak = lrs.index(max(lrs))
    assert peak == 39
    assert lrs[-1] == pytest.approx(0, abs=1e-9)
    assert all(a > b for a, b in zip(lrs[peak:], lrs[peak + 1 :], strict=False))


def test_the_schedule_sets_the_learning_rate(make_net, make_batch):
    net = make_net("dgl")
    optimizer = make_optimizer(net, 0.1)
    steps = run(net, [make_batch(t) for t in range(3)], optimizer, schedule=lambda s: 0.1 / (s + 1), first_step=4)
    assert [s.index for s in steps] == [4, 5, 6]
    assert [s.lr for s in steps] == pytest.approx([0.1 / 5, 0.1 / 6, 0.1 / 7])
    assert optimizer.param_groups[0]["lr"] == steps[-1].lr


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.rand(4, 1, 8, 8), torch.zeros(4).long(), r"images \(4, 1, 8, 8\).*3, H, W"),
        (torch.rand(3, 8, 8), torch.zeros(3).long(), r"images \(3, 8, 8\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), "floats in"),
        (torch.rand(4, 3, 8, 8) * 255, torch.zeros(4).long(), "floats in"),
        (torch.rand(1, 3, 8, 8), torch.zeros(1).long(), "at least 2 images"),
        (torch.rand(4, 3, 8, 8), torch.zeros(3).long(), "one per image"),
        (torch.rand(4, 3, 8, 8), torch.zeros(4), "whole numbers"),
        (torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 4]), r"labels 0..4: this network has classes 0..3"),
        (torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, -1]), "labels -1..2"),
    ],
)
def test_a_bad_batch_is_one_clear_line(make_net, x, y, message):
    net = make_net("dgl", dtype=torch.float32)
    with pytest.raises(ValueError, match=message) as error:
        run(net, [(x, y)])
    assert "\n" not in str(error.value)


def test_bad_settings_are_one_clear_line(make_net, make_batch):
    net = make_net("dgl", K=3)
    with pytest.raises(ValueError, match="2 optimizers for K=3"):
        run(net, [make_batch()], [make_optimizer(net)] * 2)
    with pytest.raises(ValueError, match="ema_update='never'"):
        run(net, [make_batch()], ema_update="never")
    with pytest.raises(ValueError, match="epochs=0"):
        cosine(0.1, 0, 10)
    with pytest.raises(ValueError, match="would be 0"):
        cosine(0.1, 1, 10, warmup=0)


TRAIN_LARGE = """
import sys, torch
from torch import nn
from mankit import build_network, local_net, make_optimizer, train

own = sys.argv[1] == "own"
layers, classifier = build_network("lab")
if not own:  # as torchvision would build it
    for layer in layers[1:]:
        if layer.downsample is not None:
            conv = layer.downsample[0]
            layer.downsample[0] = nn.Conv2d(conv.in_channels, conv.out_channels, 1, 2, bias=False)
net = local_net(layers, classifier, "dgl", 3, head="0c1f")
for size in (16, 46, 64):
    batches = [(torch.rand(6, 3, size, size), torch.arange(6)) for _ in range(5)]
    assert len(list(train(net, make_optimizer(net), batches))) == 5
weight = net.blocks[0][1].conv1.weight
print("channels_last" if weight.is_contiguous(memory_format=torch.channels_last) else "contiguous")
"""


@pytest.mark.parametrize(
    "network, layout", [("own", "channels_last"), pytest.param("foreign", "contiguous", marks=pytest.mark.slow)]
)
def test_no_layout_writes_past_its_memory(network, layout):
    """oneDNN's issue 6035 ends a process, so this one has its own: strided 1x1 convolutions of 8 channels."""
    command = [sys.executable, "-c", TRAIN_LARGE, network]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "MALLOC_CHECK_": "3"}
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.split() == [layout]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_subsampled_convolution_is_a_strided_one(every):
    torch.manual_seed(0)
    ours = SubsampledConv(4, 6, every).double()
    theirs = nn.Conv2d(4, 6, 1, every, bias=False).double()
    theirs.load_state_dict(ours.state_dict())
    h = torch.randn(3, 4, 7, 8, dtype=torch.float64, requires_grad=True)
    weights = [ours.weight, theirs.weight]
    outputs = [ours(h), theirs(h)]
    assert torch.allclose(*outputs, rtol=0, atol=1e-12)
    push = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad(out, [h, w], push) for out, w in zip(outputs, weights, strict=True)]
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*gradients, strict=True))


def test_an_optimizer_of_another_network_is_refused(make_net, make_batch):
    net, other = make_net("dgl", K=2), make_net("dgl", K=2)
    with pytest.raises(ValueError, match="the optimizer doesn't hold blocks.0.*make it of this network"):
        run(net, [make_batch()], make_optimizer(other))
    per_block = [*make_optimizer(net, per_block=True)[:1], *make_optimizer(other, per_block=True)[1:]]
    with pytest.raises(ValueError, match="doesn't hold blocks.1"):
        run(net, [make_batch()], per_block)
    for p in net.blocks[0].parameters():  # what is frozen needs no optimizer
        p.requires_grad_(False)
    del per_block[0]
    only = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    assert len(run(net, [make_batch()], only)) == 1


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "x"])
def test_an_optimizer_of_no_number_is_refused(make_net, name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        make_optimizer(make_net("dgl", K=2), **{name: value})


def test_images_with_a_nan_are_refused(make_net, make_batch):
    x, y = make_batch()
    with pytest.raises(ValueError, match="give floats in"):
        run(make_net("dgl", K=2), [(x.masked_fill(x > 0.5, torch.nan), y)])
