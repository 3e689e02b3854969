"""Check of any rule of one's own, `any_rule(place, *, option=...) -> Head`; lesson 5's asks for more, see twin.py."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .base import ask, exercise, expect, expect_tensor, gradients, normal, passed, run, seeded
from .watch import Watch

STEPS, RATE = 30, 0.05
OF_A_HEAD = ("loss", "after_step", "has_logits", "average", "decay")  # what training, panel and measures ask for


@dataclass(frozen=True)
class Place:
    """What a rule may look at: the fields of the library's own Place."""

    shape: tuple[int, int, int]
    rest: Sequence[nn.Module]
    depth: float
    classes: int
    layer: int
    layers: int
    generator: torch.Generator | None = None


@exercise
def any_rule(function: Callable) -> None:
    """Check a rule: its options, its head's shapes, gradient isolation, and that its loss falls in a few steps."""
    expect_rule(function)
    passed("a head for every place; it learns, and no other block's weights are touched.")


def expect_rule(function: Callable) -> None:
    """Raise CheckFailed unless it is a rule that blocks can be trained with."""
    _expect_options(function)
    for place in _places():
        with seeded(0):
            with Watch(rest=nn.ModuleList(place.rest)) as watch:
                head = ask(function, place)
            watch.expect_untouched()
            _expect_head(head, place)
            _expect_own_weights(head, place)
            _expect_learning(head, place)


def _expect_options(function: Callable) -> None:
    """Raise CheckFailed unless the place is the one positional parameter, and options are keywords with defaults."""
    place, *options = inspect.signature(function).parameters.values()
    expect(place.kind is not place.KEYWORD_ONLY, "the first parameter is the place: def rule(place, *, ...).")
    for option in (o for o in options if o.kind is not o.VAR_KEYWORD):
        expect(
            option.kind is option.KEYWORD_ONLY,
            f"the option `{option.name}` can be given by its position: options are keyword-only, put `*, ` before it.",
        )
        has = option.default is not option.empty
        expect(has, f"the option `{option.name}` has no default: a panel or a table needs one to start from.")


def _places() -> list[Place]:
    """The first and the last auxiliary block of a small network: behind them other shapes, and two kinds of layers."""
    with seeded(1):
        layers = [
            nn.Sequential(nn.Conv2d(i, o, 3, stride=s, padding=1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o, s in ((6, 6, 1), (6, 8, 2), (8, 8, 1))
        ]
    generator = torch.Generator().manual_seed(2)
    return [Place((6, 8, 8), layers, 0.0, 4, 0, 4, generator), Place((8, 4, 4), layers[2:], 1.0, 4, 2, 4, generator)]


def batch(place: Place) -> tuple[Tensor, Tensor, Tensor]:
    """The input of the block before the head, images, labels: 12 of 4 classes."""
    return normal(12, *place.shape).float(), normal(12, 3, 8, 8, seed=1).sigmoid().float(), torch.arange(12) % 4


def _expect_head(head: nn.Module, place: Place) -> None:
    """Raise CheckFailed unless it has a head's loss, and logits of the right shape where it says so."""
    made = isinstance(head, nn.Module) and set(OF_A_HEAD) <= set(dir(head))
    expect(made, f"return a Head, which has loss(h, x, y) and after_step(next_block), not {type(head).__name__}.")
    h, x, y = batch(place)
    if getattr(head, "has_logits", True):
        expect_tensor(ask(head, h), (12, 4), f"for features {tuple(h.shape)} and 4 classes what the head gives")
    h.requires_grad_()
    with Watch(h=h, x=x, y=y) as watch:
        loss = ask(head.loss, h, x, y)
    expect_tensor(loss, (), "head.loss(h, x, y)")
    watch.expect_untouched()
    expect(math.isfinite(float(loss.detach())), f"head.loss(h, x, y) is {float(loss.detach())}.")
    (gradient,) = gradients(loss, h)
    reached = gradient is not None and bool(gradient.any())
    expect(reached, "no gradient reaches the features, so the block learns nothing: detach nothing in the head.")


def _expect_own_weights(head: nn.Module, place: Place) -> None:
    """Raise CheckFailed where the head holds, and so would train, a tensor of another block."""
    theirs = {t.data_ptr() for layer in place.rest for t in layer.parameters()}
    shared = any(p.data_ptr() in theirs for p in head.parameters())
    expect(not shared, "the head holds weights of the next block itself, and would train them: copy.deepcopy it.")
    h, x, y = batch(place)
    others = [p for layer in place.rest for p in layer.parameters()]
    got = gradients(ask(head.loss, h.requires_grad_(), x, y), *others)
    isolated = all(g is None for g in got)
    expect(isolated, "the local loss reaches the next block's weights: gradient isolation is broken; use a copy.")


def _expect_learning(head: nn.Module, place: Place) -> None:
    """Raise CheckFailed unless the loss of a block with this head falls, and after_step leaves the next block alone."""
    inputs, x, y = batch(place)
    block, behind = nn.Conv2d(place.shape[0], place.shape[0], 1), nn.Sequential(*place.rest)
    trained = [*block.parameters(), *(p for p in head.parameters() if p.requires_grad)]
    losses = []
    for _ in range(STEPS):
        loss = ask(head.loss, block(inputs).relu(), x, y)
        found = gradients(loss, *trained)
        with torch.no_grad():
            for p, g in zip(trained, found, strict=True):
                p.sub_(RATE * (torch.zeros_like(p) if g is None else g))
        with Watch(next_block=behind) as watch:
            run(head.after_step, behind)
        watch.expect_untouched()
        losses.append(float(loss.detach()))
    expect(math.isfinite(losses[-1]), f"after {STEPS} steps the loss is {losses[-1]}: is it a mean over the batch?")
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    expect(last < first, f"the loss went from {first:.3f} to {last:.3f} in {STEPS} steps: it should fall.")
