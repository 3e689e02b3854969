"""Checks of lesson 4: MAN's moving average, its look-ahead, and its local step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import (
    CheckFailed,
    all_close,
    ask,
    close,
    exercise,
    expect,
    expect_number,
    expect_tensor,
    generator,
    gradients,
    more,
    normal,
    passed,
    run,
)
from .watch import Watch


def _unit(seed: int) -> nn.Sequential:
    """A small layer (3 channels in and out) with BatchNorm, all its weights and statistics random."""
    draw = generator(seed)
    with torch.random.fork_rng(devices=[]):  # building a layer draws from the global generator
        unit = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU()).double()
    with torch.no_grad():
        for t in [*unit.parameters(), unit[1].running_mean, unit[1].running_var]:
            t.copy_(torch.rand(t.shape, generator=draw, dtype=t.dtype) + 0.1 * seed - 0.5 * (t.dim() > 1))
    return unit


@exercise
def ema_update(function: Callable) -> None:
    """Check ema <- decay * ema + (1 - decay) * layer: in place, no graph, parameters only."""
    for decay in more((0.9, 0.0, 1.0), lambda r: r.uniform(0.1, 0.9), 1):
        ema, layer = _unit(1).requires_grad_(False), _unit(2)
        start, target = ([p.detach().clone() for p in m.parameters()] for m in (ema, layer))
        with Watch(ema=ema, layer=layer) as watch:
            run(function, ema, layer, decay)
        now = list(ema.parameters())
        still_layer = all_close(layer.parameters(), target, 1e-9)
        expect(still_layer, "your function changed the next layer itself: only the EMA moves.")
        new = watch.changed("ema", "tensors")
        expect(not new, "the EMA has new tensors now: change its parameters in place (copy_, or mul_ and add_).")
        in_graph = any(not p.is_leaf for p in now)
        expect(not in_graph, "the EMA became a part of the graph: update it under torch.no_grad().")
        statistics = watch.changed("ema", "buffers")
        expect(not statistics, "BatchNorm's running statistics moved too: loop over parameters(), not the whole state.")
        watch.expect_untouched("ema parameters")
        _expect_average(now, start, target, decay)
    passed("in place, no gradient, parameters only; decay 0 copies and decay 1 freezes.")


def _expect_average(now: list[Tensor], start: list[Tensor], target: list[Tensor], decay: float) -> None:
    """Raise CheckFailed unless the EMA is decay * start + (1 - decay) * target now."""
    right = [decay * s + (1 - decay) * t for s, t in zip(start, target, strict=True)]
    swapped = [decay * t + (1 - decay) * s for s, t in zip(start, target, strict=True)]
    other = 0 < decay < 1 and all_close(now, swapped, 1e-9)
    expect(not other, "decay and 1 - decay are swapped: the decay is what the EMA keeps of itself.")
    still = decay < 1 and all_close(now, start, 1e-9)
    cure = "e = ... makes a new tensor under an old name; mul_, add_ and copy_ change the EMA's own"
    expect(not still, f"nothing moved at decay {decay:g}: {cure if decay else 'at 0 the EMA becomes the layer'}.")
    why = {0.0: "0 is a decay too: the EMA becomes a copy of the layer", 1.0: "at 1 nothing may move"}
    rule = why.get(decay, "each parameter becomes decay * ema + (1 - decay) * layer")
    expect(all_close(now, right, 1e-9), f"wrong values at decay {decay:g}: {rule}.")


@exercise
def half_life(function: Callable) -> None:
    """Check log(1/2) / log(decay), with 0 for a decay of 0 and infinity for 1."""
    for decay in more((0.9, 0.995), lambda r: r.uniform(0.5, 0.99)):
        value, right = expect_number(ask(function, decay), "the half-life"), math.log(0.5) / math.log(decay)
        mean_age, near = 1 / (1 - decay), math.log(2) / (1 - decay)
        whole = value == round(value) and abs(value - right) < 1
        where = f"at decay {decay:g} the answer is {right:.4g} steps, but yours is {value:.4g}"
        expect(
            not close(value, mean_age),
            f"{where}: 1 / (1 - decay) is the time constant, not the half-life; solve decay ** t = 1/2 for t.",
        )
        expect(
            not close(value, near),
            f"{where}: log(2) / (1 - decay) is an approximation for decays near 1; use the logarithm of the decay.",
        )
        expect(not close(value, -right), f"{where}: check the sign.")
        expect(not whole, f"{where}: don't round, a half-life is any positive number.")
        expect(close(value, right), f"{where}: solve decay ** t = 1/2 for t.")
    none, all_of_it = "nothing of the old EMA is left after a step: return 0", "the EMA never forgets: return math.inf"
    for decay, right, why in ((0.0, 0, none), (1.0, math.inf, all_of_it)):
        try:
            value = ask(function, decay)
        except CheckFailed as error:
            raise CheckFailed(f"at decay {decay:g} {why}, before any logarithm; {error}") from error
        expect(expect_number(value, "the half-life", finite=False) == right, f"at decay {decay:g} {why}.")
    passed("half of the old EMA is gone after that many steps.")


@exercise
def ema_weights(function: Callable) -> None:
    """Check the weights of the last layers in an EMA, newest first, and of its start against a real EMA."""
    draw = generator(4)
    cases = (0.8, 4), (0.5, 1), (0.0, 3), (1.0, 3)
    for decay, steps in more(cases, lambda r: (r.uniform(0.2, 0.9), r.randint(2, 9))):
        layers = torch.randn(steps, generator=draw, dtype=torch.float64)
        start = torch.randn((), generator=draw, dtype=torch.float64)
        ema = start
        for layer in layers:
            ema = decay * ema + (1 - decay) * layer
        weights = ask(function, decay, steps)
        if isinstance(weights, list | tuple | np.ndarray):
            weights = torch.tensor([expect_number(weight, "a weight") for weight in weights])
        short = isinstance(weights, Tensor) and weights.shape == (steps,)
        expect(not short, "the weight of the EMA's start is missing: give steps + 1 numbers, the start's last.")
        weights = expect_tensor(weights, (steps + 1,), "the answer").double()
        seen = torch.cat([layers.flip(0), start[None]])  # newest first
        backwards = steps > 1 and close(weights @ torch.cat([layers, start[None]]), ema)
        expect(close(weights @ seen, ema) or not backwards, "the order is reversed: newest layer first.")
        expect(
            close(weights.sum(), 1),
            f"at decay {decay:g} the weights of {steps} steps and of the start add up "
            f"to {weights.sum():.4g}: an average has weights that sum to 1.",
        )
        expect(
            close(weights @ seen, ema),
            f"the weights sum to 1, but at decay {decay:g} they don't give the EMA: "
            "the layer of j steps ago was multiplied by the decay j times.",
        )
    passed("weights and layers give the EMA, and the weights sum to 1.")


@exercise
def look_ahead(function: Callable) -> None:
    """Check a = learnable_bias(h) + ema(h), and that the gradient reaches h through both branches."""
    bias, ema, h = _unit(1), _unit(2).requires_grad_(False), normal(6, 3, 4, 4, seed=3).requires_grad_()
    twin, twin_ema = copy.deepcopy((bias, ema))  # what is right is computed on copies, before the answer runs
    one, other = twin(h), twin_ema(h)
    right, swapped = one + other, (copy.deepcopy(bias)(other), copy.deepcopy(ema)(one))
    with Watch(learnable_bias=bias, ema=ema, h=h) as watch:
        a = ask(function, bias, ema, h)
    a = expect_tensor(a, (6, 3, 4, 4), "the look-ahead")
    watch.expect_untouched("learnable_bias buffers", "ema buffers")
    expect(not close(a, right / 2), "it is half as large: add the branches, the sum isn't rescaled.")
    row = any(close(a, wrong) for wrong in swapped)
    expect(not row, "one branch got the other's output: both look at the same h, side by side.")
    expect(not (close(a, one) or close(a, other)), "one branch is missing: add learnable_bias(h) and ema(h).")
    expect(close(a, right), "right shape, wrong values: it is learnable_bias(h) + ema(h), and nothing else.")
    push = normal(6, 3, 4, 4, seed=5)
    (got,) = gradients(a, h, push=push)
    expect(got is not None, "no gradient reaches h, so the block would learn nothing: don't detach.")
    (want,) = gradients(right, h, push=push)
    expect(
        close(got, want),
        "the gradient reaches h through one branch only: the EMA isn't trained, but the gradient "
        "passes THROUGH it (no detach, no torch.no_grad).",
    )
    ours = gradients(a, *bias.parameters(), push=push)
    trained = all_close(ours, gradients(right, *twin.parameters(), push=push))
    expect(trained, "no gradient reaches the learnable bias's weights: call learnable_bias(h) itself.")
    watch.expect_one_pass("learnable_bias", "ema")
    once = all_close([*bias.buffers(), *ema.buffers()], [*twin.buffers(), *twin_ema.buffers()])
    expect(once, "the branches' BatchNorm didn't see h once, in training mode: call each branch once, as it is.")
    passed("the sum of both branches, and the gradient reaches h through both.")


@exercise
def man_local_step(function: Callable) -> None:
    """Check a local step of MAN: what it returns, who gets which gradient, and who gets none."""
    block, bias, ema, before = _unit(1), _unit(2), _unit(3).requires_grad_(False), _unit(4)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # three classes: the channels
    given, y = before(normal(6, 3, 4, 4, seed=6)), torch.arange(6) % 3
    twin, twin_bias, twin_ema, twin_head = copy.deepcopy((block, bias, ema, head))
    h = twin(given.detach())
    ahead = twin_bias(h) + twin_ema(h)
    loss = F.cross_entropy(twin_head(ahead), y)
    want = torch.autograd.grad(loss, [*twin.parameters(), *twin_bias.parameters()])
    with Watch(block=block, learnable_bias=bias, ema=ema, head=head, h=given, y=y) as watch:
        answer = ask(function, block, bias, ema, head, given, y)
    pair = isinstance(answer, tuple | list) and len(answer) == 2
    expect(pair, "return two things: the features for the next block, and the loss.")
    got = [p.grad for module in (block, bias) for p in module.parameters()]
    watch.expect_gradients(got, want, "block", "learnable_bias")
    expect(any(g is not None for g in got), "nothing has a gradient: call backward on the local loss.")
    leaked = any(p.grad is not None for p in before.parameters())
    expect(not leaked, "the loss changed the gradients of the block before: detach the INPUT of the block.")
    trained = any(p.requires_grad or p.grad is not None for p in ema.parameters())
    expect(not trained, "the EMA is trained now: leave its requires_grad at False.")
    watch.expect_untouched("block buffers", "learnable_bias buffers", "ema buffers")
    _expect_features(answer[0], h, ahead)
    value = expect_number(answer[1].detach() if isinstance(answer[1], Tensor) else answer[1], "the loss")
    expect(close(value, loss.detach()), "the loss is the cross-entropy of head(learnable_bias(h) + ema(h)) and y.")
    right = all_close(got, want)
    expect(right, "the loss is right, but not the gradients: it must reach the block through both branches.")
    watch.expect_one_pass("block", "learnable_bias", "ema", "head")
    seen = [[*a.buffers(), *b.buffers(), *c.buffers()] for a, b, c in ((block, bias, ema), (twin, twin_bias, twin_ema))]
    expect(all_close(*seen), "BatchNorm didn't see one pass in training mode: call each module once, as it is.")
    attached = isinstance(answer[1], Tensor) and answer[1].requires_grad
    expect(not attached, "the returned loss still holds the block's graph: return loss.detach().")
    passed("the gradient reaches the block and the learnable bias, not the EMA and not the block before.")


def _expect_features(out: object, h: Tensor, ahead: Tensor) -> None:
    """Raise CheckFailed unless these are the block's own features, off the graph."""
    out = expect_tensor(out, (6, 3, 4, 4), "the features for the next block")
    expect(
        not close(out.detach(), ahead.detach()),
        "you return the look-ahead: the next block gets the block's own features, the head's view is "
        "the loss's business only.",
    )
    expect(close(out.detach(), h.detach()), "the returned features aren't the block's output.")
    expect(not out.requires_grad, "the returned features still hold the block's graph: return h.detach().")
