"""Checks of lesson 4: MAN's moving average, its look-ahead, and its local step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import ask, close, expect, expect_tensor, passed


def _unit(seed: int) -> nn.Sequential:
    """A small layer (3 channels in and out) with BatchNorm, all its weights and statistics random."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # building a layer draws from the global generator
        unit = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU()).double()
    with torch.no_grad():
        for t in [*unit.parameters(), unit[1].running_mean, unit[1].running_var]:
            t.copy_(torch.rand(t.shape, generator=draw, dtype=t.dtype) + 0.1 * seed - 0.5 * (t.dim() > 1))
    return unit


def _images(seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, 4, 4, generator=draw, dtype=torch.float64)


def _same(tensors: list[Tensor], others: list[Tensor]) -> bool:
    return all(close(a.detach(), b.detach(), 1e-9) for a, b in zip(tensors, others, strict=True))


def ema_update(function: Callable) -> None:
    """Check ema <- decay * ema + (1 - decay) * layer: in place, no graph, parameters only."""
    for decay in (0.9, 0.0, 1.0):
        ema, layer = _unit(1).requires_grad_(False), _unit(2)
        own, followed = list(ema.parameters()), list(layer.parameters())
        start, target = ([p.detach().clone() for p in ps] for ps in (own, followed))
        statistics, places = [b.clone() for b in ema.buffers()], [p.data_ptr() for p in own]
        ask(function, ema, layer, decay)
        now = list(ema.parameters())
        expect(_same(followed, target), "your function changed the next layer itself: only the EMA moves.")
        kept = all(a is b for a, b in zip(own, now, strict=True)) and places == [p.data_ptr() for p in now]
        expect(kept, "the EMA has new tensors now: change its parameters in place (lerp_, copy_, or mul_ and add_).")
        attached = any(p.requires_grad for p in now)
        expect(not attached, "the EMA became a part of the graph: update it under torch.no_grad().")
        expect(
            _same(list(ema.buffers()), statistics),
            "BatchNorm's running statistics moved too: loop over parameters(), not over the whole state.",
        )
        right = [decay * s + (1 - decay) * t for s, t in zip(start, target, strict=True)]
        swapped = [decay * t + (1 - decay) * s for s, t in zip(start, target, strict=True)]
        expect(
            _same(now, right) or not _same(now, swapped),
            "decay and 1 - decay are swapped: the decay is what the EMA keeps of itself.",
        )
        still = decay < 1 and _same(now, start)
        expect(not still, f"nothing moved at decay {decay:g}: the EMA's own parameters must change.")
        expect(
            _same(now, right),
            f"wrong values at decay {decay:g}: each parameter becomes decay * ema + (1 - decay) * layer.",
        )
    passed("in place, no gradient, parameters only; decay 0 copies and decay 1 freezes.")


def half_life(function: Callable) -> None:
    """Check log(1/2) / log(decay), with 0 for a decay of 0 and infinity for 1."""
    for decay in (0.9, 0.995):
        value, right = ask(lambda d: float(function(d)), decay), math.log(0.5) / math.log(decay)
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
    expect(ask(function, 0.0) == 0, "at decay 0 nothing of the old EMA is left after a step: return 0.")
    expect(ask(function, 1.0) == math.inf, "at decay 1 the EMA never forgets: return math.inf.")
    passed("half of the old EMA is gone after that many steps.")


def ema_weights(function: Callable) -> None:
    """Check the weights of the last layers in an EMA, newest first, and of its start against a real EMA."""
    draw = torch.Generator().manual_seed(4)
    for decay, steps in ((0.8, 4), (0.5, 1), (0.0, 3), (1.0, 3)):
        layers = torch.randn(steps, generator=draw, dtype=torch.float64)
        start = torch.randn((), generator=draw, dtype=torch.float64)
        ema = start
        for layer in layers:
            ema = decay * ema + (1 - decay) * layer
        weights = ask(function, decay, steps)
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


def look_ahead(function: Callable) -> None:
    """Check a = learnable_bias(h) + ema(h), and that the gradient reaches h through both branches."""
    bias, ema, h = _unit(1), _unit(2).requires_grad_(False), _images(3).requires_grad_()
    a = expect_tensor(ask(function, bias, ema, h), (6, 3, 4, 4), "the look-ahead")
    one, other = bias(h), ema(h)
    right = one + other
    expect(not close(a, right / 2), "it is half as large: add the branches, the sum isn't rescaled.")
    row = close(a, bias(other)) or close(a, ema(one))
    expect(not row, "one branch got the other's output: both look at the same h, side by side.")
    expect(not (close(a, one) or close(a, other)), "one branch is missing: add learnable_bias(h) and ema(h).")
    expect(close(a, right), "right shape, wrong values: it is learnable_bias(h) + ema(h), and nothing else.")
    push = _images(5)
    got = torch.autograd.grad(a, h, push, allow_unused=True)[0] if a.requires_grad else None
    expect(got is not None, "no gradient reaches h, so the block would learn nothing: don't detach.")
    want = torch.autograd.grad(right, h, push)[0]
    expect(
        close(got, want),
        "the gradient reaches h through one branch only: the EMA isn't trained, but the gradient "
        "passes THROUGH it (no detach, no torch.no_grad).",
    )
    passed("the sum of both branches, and the gradient reaches h through both.")


def man_local_step(function: Callable) -> None:
    """Check a local step of MAN: what it returns, who gets which gradient, and who gets none."""
    block, bias, ema, before = _unit(1), _unit(2), _unit(3).requires_grad_(False), _unit(4)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # three classes: the channels
    x, y = _images(6), torch.arange(6) % 3
    answer = ask(function, block, bias, ema, head, before(x), y)
    pair = isinstance(answer, tuple | list) and len(answer) == 2
    expect(pair, "return two things: the features for the next block, and the loss.")
    given = [p.grad for module in (block, bias) for p in module.parameters()]
    expect(any(g is not None for g in given), "nothing has a gradient: call backward on the local loss.")
    leaked = any(p.grad is not None for p in before.parameters())
    expect(not leaked, "the loss changed the gradients of the block before: detach the INPUT of the block.")
    trained = any(p.requires_grad or p.grad is not None for p in ema.parameters())
    expect(not trained, "the EMA is trained now: leave its requires_grad at False.")
    h = block(before(x).detach())
    loss = F.cross_entropy(head(bias(h) + ema(h)), y)
    want = torch.autograd.grad(loss, [*block.parameters(), *bias.parameters()])
    out = expect_tensor(answer[0], (6, 3, 4, 4), "the features for the next block")
    ahead = close(out.detach(), (bias(h) + ema(h)).detach())
    expect(
        not ahead,
        "you return the look-ahead: the next block gets the block's own features, the head's view is "
        "the loss's business only.",
    )
    expect(close(out.detach(), h.detach()), "the returned features aren't the block's output.")
    expect(not out.requires_grad, "the returned features still hold the block's graph: return h.detach().")
    expect(
        close(answer[1], loss.detach()) if isinstance(answer[1], Tensor | float) else False,
        "the loss is the cross-entropy of head(learnable_bias(h) + ema(h)) and y.",
    )
    right = all(g is not None and close(g, w) for g, w in zip(given, want, strict=True))
    expect(right, "the loss is right, but not the gradients: it must reach the block through both branches.")
    passed("the gradient reaches the block and the learnable bias, not the EMA and not the block before.")
