"""Check of lesson 8's core: truncated back-propagation through time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import CheckFailed, all_close, ask, close, exercise, expect, expect_number, normal, passed, redrawn, seeded
from .watch import Watch

TWICE = "same graph twice"  # in the sentence of base.py
NONE = -100  # the target of a step at which nothing is asked


class _Glance(nn.Module):
    """What sees frames in the check: it counts them, and notes whether a gradient had come before."""

    def __init__(self, classifier: nn.Linear) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(2), nn.Linear(12, 6), nn.Tanh())
        self.frames, self.fresh, self.watched = [], [], [classifier]

    def forward(self, x: Tensor) -> Tensor:
        """x (B, k, 3, 2, 2) -> features (B, k, 6)."""
        self.frames.append(x.shape[1])
        self.fresh.append(self.watched[0].weight.grad is None)
        return self.net(x)


def _film_net() -> tuple[_Glance, nn.LSTM, nn.Linear, Tensor, Tensor]:
    """Modules in float64, frames (3, 7, 3, 2, 2), and targets (3, 7): two questions a film."""
    with seeded(0):
        recurrent, classifier = nn.LSTM(6, 5, batch_first=True).double(), nn.Linear(5, 4).double()
        see = _Glance(classifier).double()
    targets = torch.full((3, 7), NONE)
    targets[[0, 1, 2, 0, 1, 2], [1, 0, 2, 4, 3, 6]] = torch.tensor([0, 1, 2, 3, 1, 0])
    return see, redrawn(recurrent, 2), classifier, normal(3, 7, 3, 2, 2, seed=6), targets


def _truncated(net: tuple, k: int, cut: Callable, last: bool = False) -> tuple[float, list[Tensor]]:
    """Loss and gradients, with `cut(state)` between the windows of k frames; last: of the last window alone."""
    see, recurrent, classifier, x, targets = copy.deepcopy(net)
    state, losses = None, []
    for a in range(0, x.shape[1], k):
        out, state = recurrent(see.net(x[:, a : a + k]), state)
        s, y = classifier(out).flatten(0, 1), targets[:, a : a + k].flatten()
        losses.append(F.cross_entropy(s, y, ignore_index=NONE, reduction="sum") / len(x))
        state = cut(state)
    loss = losses[-1] if last else sum(losses)
    weights = [p for m in (see, recurrent, classifier) for p in m.parameters()]
    return loss.item(), list(torch.autograd.grad(loss, weights))


MISSED = {  # what to say, and what of the state (h, c) the answer lets through
    "the gradient crosses the cut in c: the state is h AND c, detach both.": lambda s: (s[0].detach(), s[1]),
    "the gradient crosses the cut in h: the state is h AND c, detach both.": lambda s: (s[0], s[1].detach()),
    "nothing is cut: detach h and c after each window of k frames.": lambda s: s,
}
LOST = "the cut is for the gradient: the numbers h and c go on, detached, into the next window"


@exercise
def truncated_step(function: Callable) -> None:
    """Check the loss and the gradients of truncated back-propagation through time, window by window."""
    for k in (3, 2, 7, 10):
        net = _film_net()
        see, recurrent, classifier, x, targets = net
        loss, wanted = _truncated(net, k, lambda s: [t.detach() for t in s])
        with Watch(see=see, recurrent=recurrent, classifier=classifier, x=x, targets=targets) as watch:
            try:
                answer = ask(function, see, recurrent, classifier, x, targets, k)
            except CheckFailed as error:
                expect(
                    TWICE not in str(error),
                    "backward ran into the window before: detach h AND c after each window, "
                    "and hand `see` one window's frames at a time.",
                )
                raise
        watch.expect_untouched()
        expect(sum(see.frames) == 7, f"`see` got {sum(see.frames)} frames of 7: the last window may be a short one.")
        expect(max(see.frames) <= k, f"`see` got {max(see.frames)} frames at once: hand it the window's {k}.")
        got = [p.grad for m in (see, recurrent, classifier) for p in m.parameters()]
        watch.expect_gradients(got, wanted, "see", "recurrent", "classifier")
        _expect_truncated(answer, got, net, k, loss, wanted)
        kept = not any(see.fresh[1:]) if k < 7 else True
        expect(
            kept,
            "right gradients, but backward waits for the last window: all graphs are kept until then. "
            "Call it inside the loop.",
        )
    passed("each window goes backward by itself, the state goes on; k >= T is the whole gradient.")


def _expect_truncated(answer: object, got: list, net: tuple, k: int, loss: float, wanted: list[Tensor]) -> None:
    """Raise CheckFailed unless loss and gradients are right; the sentence is that of the mistake they look like."""
    value = expect_number(answer.detach() if isinstance(answer, Tensor) else answer, "the loss")
    expect(
        any(g is not None and g.any() for g in got), "no weight has a gradient: call backward on each window's loss."
    )
    if k < 7:
        reset, _ = _truncated(net, k, lambda s: None)
        forgot = [
            _truncated(net, k, lambda s, i=i: tuple(t.detach() * (j == i) for j, t in enumerate(s)))[0] for i in (0, 1)
        ]
        fine = close(value, loss)  # on some numbers a mistake changes next to nothing
        expect(fine or not close(value, reset), f"each window starts from nothing: {LOST}.")
        expect(fine or not any(close(value, f) for f in forgot), f"one of h and c starts from zeros: {LOST}.")
        part, last = _truncated(net, k, lambda s: [t.detach() for t in s], last=True)
        expect(not all_close(got, last), "only the last window's loss went backward: call backward inside the loop.")
        expect(fine or not close(value, part), "you return the last window's loss: add up those of all windows.")
    expect(
        close(value, loss),
        "the loss is the sum of the cross-entropies of all steps at which something is asked "
        f"(a target that isn't {NONE}), over the number of films.",
    )
    right = all_close(got, wanted)
    for sentence, cut in MISSED.items():
        expect(right or k >= 7 or not all_close(got, _truncated(net, k, cut)[1]), sentence)
    expect(right, "the loss is right, but not the gradients: they are of that loss, window by window.")
    attached = isinstance(answer, Tensor) and answer.requires_grad
    expect(not attached, "the returned loss holds the graphs of all windows: return a number, or loss.detach().")
