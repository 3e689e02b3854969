"""Check of the core of lesson 1: the backward pass of a whole small network, on a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import CheckFailed, ask, close, exercise, expect, expect_tensor, normal, passed
from .watch import Watch

NAMES = ("d_W1", "d_b1", "d_W2", "d_b2")


@exercise
def net_backward(function: Callable) -> None:
    """Check net_backward(x, y, W1, b1, W2, b2) -> (d_W1, d_b1, d_W2, d_b2) against autograd, on a batch.

    The network: a = x @ W1.T + b1, h = max(a, 0), s = h @ W2.T + b2; the loss: cross-entropy of s and the labels y,
    the mean over the batch.
    """
    x, y = normal(5, 2), torch.tensor([0, 2, 1, 2, 0])
    weights = [normal(*shape, seed=i) for i, shape in enumerate(((4, 2), (4,), (3, 4), (3,)), start=1)]
    right, wrong = _gradients(x, y, weights), _mistakes(x, y, *weights)
    with Watch(x=x, y=y, **dict(zip(("W1", "b1", "W2", "b2"), weights, strict=True))) as watch:
        answer = ask(function, x, y, *weights)
    four = isinstance(answer, tuple | list) and len(answer) == 4
    expect(four, f"return four tensors: {', '.join(NAMES)}, in this order.")
    watch.expect_untouched()
    for name, value, true in reversed(list(zip(NAMES, answer, right, strict=True))):  # as backward goes: last first
        turned = isinstance(value, Tensor) and value.dim() == 2 and value.shape == true.T.shape != true.shape
        expect(not turned, f"{name} has the shape of its weight's transpose: swap the two factors of your product.")
        if close(expect_tensor(value, tuple(true.shape), name), true):
            continue
        expect(not close(value, len(x) * true), f"{name} is B times too large: the loss is a mean over the batch.")
        expect(not close(value, true / len(x)), f"{name} is B times too small: the 1/B of the mean counts once.")
        for sentence, gradients in wrong.items():
            expect(not close(value, gradients[NAMES.index(name)]), f"{name}: {sentence}.")
        raise CheckFailed(f"{name} has the right shape but not autograd's values: check its line.")
    ready = {"backward", "grad"} & watch.called
    expect(not ready, "right, but by autograd: write the backward pass out, line by line.")
    passed("all four gradients are autograd's, and you didn't need it.")


def _gradients(x: Tensor, y: Tensor, weights: list[Tensor]) -> tuple[Tensor, ...]:
    W1, b1, W2, b2 = leaves = [w.clone().requires_grad_() for w in weights]
    return torch.autograd.grad(F.cross_entropy((x @ W1.T + b1).relu() @ W2.T + b2, y), leaves)


def _mistakes(x: Tensor, y: Tensor, W1: Tensor, b1: Tensor, W2: Tensor, b2: Tensor) -> dict[str, list[Tensor]]:
    """The gradients that a known mistake gives, by the sentence about it."""
    a = x @ W1.T + b1
    h = a.relu()
    p = (h @ W2.T + b2).softmax(1)
    labels = F.one_hot(y, 3)

    def rest(d_s: Tensor, mask: Tensor, h: Tensor = h) -> list[Tensor]:
        d_a = d_s @ W2 * mask
        return [d_a.T @ x, d_a.sum(0), d_s.T @ h, d_s.sum(0)]

    right, on = (p - labels) / len(x), (a > 0).double()
    return {
        "1 is missing at the label: the gradient of the scores is softmax(s) - onehot(y), over B": rest(p / 5, on),
        "the sign is wrong: the gradient of the scores is softmax(s) - onehot(y), over B": rest(-right, on),
        "ReLU's mask is missing: where a <= 0 no gradient passes": rest(right, torch.ones_like(on)),
        "the input of the second layer is h, behind the ReLU, not a": rest(right, on, a),
    }
