"""Checks of what reads a network's features, for lesson 02_dgl: a ridge probe, linear CKA."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import ask, close, exercise, expect, expect_tensor, normal, passed
from .watch import Watch


@exercise
def ridge_probe(function: Callable) -> None:
    """Check ridge_probe(h, y, classes, alpha) -> (W, b): the minimum of `|hW + b - onehot(y)|^2 + alpha |W|^2`."""
    h, y, alpha = 2 + normal(40, 5) * torch.tensor([1, 2, 0.5, 1, 3]), torch.arange(40) % 3, 7.0
    with Watch(h=h, y=y) as watch:
        answer = ask(function, h, y, 4, alpha)  # of the last class there is no image
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "return two things: (W, b).")
    narrow = isinstance(answer[0], Tensor) and answer[0].shape == (5, 3)
    expect(not narrow, "a class without an image has a column too: one_hot(y, classes), not one_hot(y).")
    W = expect_tensor(answer[0], (5, 4), "W for features (40, 5) and 4 classes").detach().double().requires_grad_()
    b = expect_tensor(answer[1], (4,), "b for 4 classes").detach().double().requires_grad_()
    watch.expect_untouched()

    def gradients(penalty: float) -> tuple[Tensor, ...]:
        error = h @ W + b - F.one_hot(y, 4)
        return torch.autograd.grad(error.square().sum() + penalty * W.square().sum(), (W, b))

    (of_W, of_b), zero_W = gradients(alpha), torch.zeros(5, 4)
    expect(
        close(of_b, torch.zeros(4)),
        "b isn't the best bias for your W: "
        "centre h and the one-hot labels before you solve, then b = mean of the one-hot labels - mean(h) @ W.",
    )
    expect(not close(gradients(0.0)[0], zero_W), "alpha is missing: add alpha times the identity to h.T @ h.")
    expect(
        not close(gradients(alpha * len(h))[0], zero_W),
        "the penalty is len(h) times too strong: use the SUM h.T @ h, not its mean.",
    )
    expect(close(of_W, zero_W), "W isn't the minimum: solve (h.T @ h + alpha I) W = h.T @ onehot, both centred.")
    passed("the gradient of the ridge loss is zero at your W and b.")


@exercise
def linear_cka(function: Callable) -> None:
    """Check linear_cka(a, b): 1 for equal features, blind to shift, scale and rotation, and Kornblith's number."""
    a, mixed = normal(30, 6), normal(30, 4, seed=1)
    b = mixed + a[:, :4]
    with Watch(a=a, b=b) as watch:
        value = torch.as_tensor(ask(function, a, b))
    expect(value.dim() == 0, f"return one number, but the answer has shape {tuple(value.shape)}.")
    watch.expect_untouched()
    same = float(ask(function, a, a))
    expect(close(same, 1), f"features compared with themselves give {same:.3f}, not 1: look at what you divide by.")
    expect(
        close(ask(function, a + torch.arange(6), b), value),
        "adding a constant to a feature changes your number: "
        "centre each feature, that is subtract its mean over the images (dim 0).",
    )
    expect(
        close(ask(function, 3 * a, b), value),
        "features three times as large change your number: divide by both norms, |a.T @ a| and |b.T @ b|.",
    )
    rotation, _ = torch.linalg.qr(normal(6, 6, seed=2))
    expect(
        close(ask(function, a @ rotation, b), value),
        "rotating the features changes your number: compare through a.T @ b, not feature by feature.",
    )
    ca, cb = a - a.mean(0), b - b.mean(0)
    grams = ca @ ca.T, cb @ cb.T  # the same number, from similarities between images
    right = (grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm())
    spectral = _spectral(ca.T @ cb) ** 2 / (_spectral(ca.T @ ca) * _spectral(cb.T @ cb))
    expect(
        not close(value, spectral), "that is the spectral norm, the largest singular value: take the Frobenius norm."
    )
    expect(
        close(value, right),
        f"invariant as it should be, but the value is {float(value):.4f} where {right:.4f} is "
        "right: square the norm above the line only.",
    )
    passed("1 for equal features, blind to shift, scale and rotation.")


def _spectral(matrix: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrix, ord=2)
