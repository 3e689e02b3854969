"""Check of the core of lesson 5: a control of one's own, the twin. As MAN, but the second branch is trained."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import all_close, ask, close, exercise, expect, gradients, passed, run, seeded
from .rule import Place, batch, expect_rule
from .watch import Watch

NAMES = ("learnable_bias", "ema")


@exercise
def own_rule(function: Callable) -> None:
    """Check `own_rule(place, *, base)` -> Head: a rule, and two trained branches under the head and loss of base."""
    expect_rule(function)
    expect(
        "base" in inspect.signature(function).parameters,
        "the option `base` is missing: def own_rule(place, *, base=...), so that every arm has the same small head.",
    )
    for last in (False, True):
        with seeded(0):
            place = _place(last)
            head, base = _made(function, place)
            _expect_branches(head, place)
            _expect_draws(function, head, last)
            _expect_loss(head, base, place)
            _expect_trained(head, base, place)
            _expect_still(head, place)
    passed("two branches, both trained; nothing follows, and nothing else differs from MAN.")


class _Base(nn.Module):
    """A small head, whose loss is more than the cross-entropy of its logits, as InfoPro's is."""

    has_logits, average, decay = True, None, None

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(place.shape[0], place.classes))

    def forward(self, z: Tensor) -> Tensor:  # (B, C, H, W) -> (B, classes)
        return self.body(z)

    def loss(self, z: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(z), y) + 0.1 * z.square().mean()

    def after_step(self, next_block: nn.Module) -> None:
        """Nothing follows."""


def _place(last: bool, seed: int = 2) -> Place:
    """A block's place, always the same but for the generator: before a layer that halves the image, or the last."""
    with seeded(1):
        layers = [
            nn.Sequential(nn.Conv2d(i, o, 3, stride=s, padding=1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o, s in ((6, 8, 2), (8, 8, 1))
        ]
    generator = torch.Generator().manual_seed(seed)
    if last:
        return Place((8, 4, 4), layers[1:], 1.0, 4, 1, 3, generator)
    return Place((6, 8, 8), layers, 0.0, 4, 0, 3, generator)


def _made(function: Callable, place: Place) -> tuple[nn.Module, _Base]:
    """The reader's head, and the head of `base` in it."""
    made: list[_Base] = []

    def base(place: Place) -> _Base:
        made.append(_Base(place))
        return made[-1]

    head = ask(function, place, base=base)
    expect(made, "`base` is never called: what sees z is the head that base(...) gives.")
    held = [module for module in head.modules() if module in made]
    expect(held, "the head doesn't hold what `base` gave: keep it whole, for its loss may be more than cross-entropy.")
    ahead = (8, 4, 4)  # behind the next layer, in both places
    got = tuple(held[-1].place.shape)
    expect(got == ahead, f"`base` was called for features of shape {got}: it sees z, which has {ahead}.")
    return head, held[-1]


def _expect_branches(head: nn.Module, place: Place) -> None:
    """Raise CheckFailed unless there are two branches by MAN's names, both built like the next block's first layer."""
    parts = dict(head.named_modules(remove_duplicate=False))
    for name in NAMES:
        expect(
            name in parts,
            f"the head has no part `{name}`: keep MAN's names for the branches, learnable_bias and ema, "
            "so that section 3 can test them and each tensor can be compared with the library's.",
        )
        like, mine = (
            {key: tuple(value.shape) for key, value in module.state_dict().items()}
            for module in (place.rest[0], parts[name])
        )
        expect(mine == like, f"`{name}` should be built like place.rest[0], the next block's first layer.")
        expect(all(m.training for m in parts[name].modules()), f"`{name}` is in eval mode: leave it in train mode.")
    one, other = (_pointers(parts[name]) for name in NAMES)
    expect(not one & other, "both branches are one module: its weights count twice, and there is no second branch.")


def _expect_draws(function: Callable, head: nn.Module, last: bool) -> None:
    """Raise CheckFailed unless each branch starts from weights of its own, which the place's generator rules."""
    first, second = (_weights(head)[name] for name in NAMES)
    expect(
        not all_close(first, second),
        "both branches start with the same weights, so they get the same gradients, stay the same and act as one: "
        "draw each anew.",
    )
    following = _matrices(_place(last).rest[0])
    copied = next((name for name in NAMES if all_close(_weights(head)[name], following)), "")
    expect(
        not copied,
        f"`{copied}` starts as a copy of the next layer, where MAN's is drawn anew: a control changes one thing only.",
    )
    with seeded(3):
        again, other = (_weights(_made(function, _place(last, seed))[0]) for seed in (2, 4))
    same = all(all_close(again[name], _weights(head)[name]) for name in NAMES)
    expect(same, "the same seed gives other weights: draw them from place.generator, not from torch's own.")
    fixed = any(all_close(other[name], _weights(head)[name]) for name in NAMES)
    expect(not fixed, "another seed gives the same weights: draw them from place.generator.")


def _expect_loss(head: nn.Module, base: _Base, place: Place) -> None:
    """Raise CheckFailed unless the loss and the logits are those of `base` on the sum of both branches."""
    h, x, y = batch(place)
    mine, base = copy.deepcopy((head, base))
    one, other = (branch(h) for branch in _branches(mine))
    z = one + other
    with Watch(**dict(zip(NAMES, _branches(head), strict=True))) as watch:
        loss = ask(head.loss, h, x, y)
    wrong = {
        "the loss sees one branch only: z = learnable_bias(h) + ema(h).": (one, other),
        "you take the mean of the two branches: MAN takes their sum, and z's size would be one more change.": (z / 2,),
        "you take the difference of the two branches: MAN takes their sum.": (one - other, other - one),
        "you multiply the two branches: MAN takes their sum.": (one * other,),
    }
    for sentence, seen in wrong.items():
        expect(not any(close(loss, base.loss(each, x, y)) for each in seen), sentence)
    plain = F.cross_entropy(base(z), y)
    expect(not close(loss, plain), "the loss is a cross-entropy of your own: return base's, self.base.loss(z, x, y).")
    expect(close(loss, base.loss(z, x, y)), "the loss isn't that of `base` on z = learnable_bias(h) + ema(h).")
    watch.expect_one_pass(*NAMES)
    expect(close(ask(head, h), base(z)), "head(h) isn't base(z): forward and loss have to see the same z.")


def _expect_trained(head: nn.Module, base: _Base, place: Place) -> None:
    """Raise CheckFailed unless the local loss trains both branches, and reaches the block through both."""
    for name, branch in zip(NAMES, _branches(head), strict=True):
        trained = all(p.requires_grad for p in branch.parameters())
        expect(trained, f"`{name}` isn't trained: its weights have requires_grad=False; the twin trains both branches.")
    h, x, y = batch(place)
    mine, copied = copy.deepcopy((head, base))
    h.requires_grad_()
    weights = {name: list(branch.parameters()) for name, branch in zip(NAMES, _branches(mine), strict=True)}
    loss = ask(mine.loss, h, x, y)
    for name, of_branch in weights.items():
        arrived = any(g is not None for g in gradients(loss, *of_branch))
        expect(arrived, f"no gradient arrives at `{name}`, so it never learns: no detach and no no_grad around it.")
    one, other = _branches(mine)
    all_of_them = [h, *one.parameters(), *other.parameters()]
    want = gradients(copied.loss(one(h) + other(h), x, y), *all_of_them)
    sentence = "the gradients aren't those of both branches: detach neither h nor what a branch gives."
    expect(all_close(gradients(loss, *all_of_them), want), sentence)


def _expect_still(head: nn.Module, place: Place) -> None:
    """Raise CheckFailed where something follows the next block, or the head says that something does."""
    before = copy.deepcopy(head.state_dict())
    for _ in range(2):
        run(head.after_step, nn.Sequential(*place.rest))
    moved = [key.partition(".")[0] for key, value in head.state_dict().items() if not torch.equal(value, before[key])]
    expect(
        not moved,
        f"after_step moves `{''.join(moved[:1])}`: the twin's branches learn from gradients, and follow nothing.",
    )
    expect(
        head.average is None and head.decay is None,
        "the head still says that it has a moving average (`average`, `decay`): whoever asks it would take the twin "
        "for MAN.",
    )


def _branches(head: nn.Module) -> list[nn.Module]:
    parts = dict(head.named_modules(remove_duplicate=False))
    return [parts[name] for name in NAMES]


def _matrices(module: nn.Module) -> list[Tensor]:
    """The weights that are drawn: BatchNorm's start from 1 and 0."""
    return [p.detach().clone() for p in module.parameters() if p.dim() > 1]


def _weights(head: nn.Module) -> dict[str, list[Tensor]]:
    return {name: _matrices(branch) for name, branch in zip(NAMES, _branches(head), strict=True)}


def _pointers(module: nn.Module) -> set[int]:
    return {p.data_ptr() for p in module.parameters()}
