"""Checks of lesson 7: two views' cross-correlation, Barlow Twins' loss, a step of two views; LDA is in lda.py."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .base import (
    all_close,
    ask,
    close,
    exercise,
    expect,
    expect_number,
    expect_tensor,
    gradients,
    normal,
    passed,
    seeded,
)
from .lda import lda
from .watch import Watch

__all__ = ["barlow_loss", "cross_correlation", "lda", "two_view_step"]


def _standardised(z: Tensor, eps: float = 1e-5, correction: int = 0, dim: int = 0) -> Tensor:
    return (z - z.mean(dim, keepdim=True)) / (z.var(dim, correction=correction, keepdim=True) + eps).sqrt()


def _two_outputs() -> tuple[Tensor, Tensor]:
    """Outputs for two views (6, 4): one column with a small deviation, one that never changes."""
    shared = normal(6, 4, seed=1)
    spread = torch.tensor([1.0, 3.0, 0.01, 0.0], dtype=torch.float64)
    z1, z2 = (spread * (shared + 0.5 * normal(6, 4, seed=seed)) + 2 for seed in (2, 3))
    return z1.requires_grad_(), z2.requires_grad_()


@exercise
def cross_correlation(function: Callable) -> None:
    """Check C = z1^T z2 / B of two outputs (B, D), each column standardised over its own batch."""
    z1, z2 = _two_outputs()
    a, b = _standardised(z1), _standardised(z2)
    right = a.T @ b / 6
    with Watch(z1=z1, z2=z2) as watch:
        c = ask(function, z1, z2)
    images = isinstance(c, Tensor) and c.shape == (6, 6)
    expect(not images, "C is (B, B), image against image: it shall be (D, D), output against output, z1.T @ z2.")
    c = expect_tensor(c, (4, 4), "C of two outputs (6, 4)")
    watch.expect_untouched()
    expect(c.isfinite().all(), "an output that never changes gives nan: add 1e-5 to the variance, under the root.")
    wrong = {
        "you don't divide by the number of images: C_ij is a mean over the batch.": a.T @ b,
        "you divide by the number of outputs D, but C_ij is a mean over the B images.": a.T @ b / 4,
        "you divide by B - 1 once and by B once: the variance is over B here, var(0, correction=0).": (
            _standardised(z1, correction=1).T @ _standardised(z2, correction=1) / 6
        ),
        "C_ij is a mean over the B images and the variance is too: divide by B, not by B - 1.": a.T @ b / 5,
        "the columns keep their means: take the mean over the batch away first.": (
            (z1 / (z1.var(0, correction=0) + 1e-5).sqrt()).T @ (z2 / (z2.var(0, correction=0) + 1e-5).sqrt()) / 6
        ),
        "that is a covariance: divide each column by its standard deviation, too.": (
            (z1 - z1.mean(0)).T @ (z2 - z2.mean(0)) / 6
        ),
        "you standardise each image over its outputs: it is each output (a column) over the batch.": (
            _standardised(z1, dim=1).T @ _standardised(z2, dim=1) / 6
        ),
        "C is transposed: row i belongs to output i of the first view.": right.T,
        "that is the first view with itself: C_ij correlates output i of view 1 with output j of view 2.": a.T @ a / 6,
    }
    for sentence, value in wrong.items():
        expect(close(c, right) or not close(c, value), sentence)
    far = close(c[:2, :2], right[:2, :2], 1e-4)
    expect(
        close(c, right) or not far,
        "an output that hardly changes comes out wrong: 1e-5 is added to the variance, under the root.",
    )
    expect(close(c, right), "right shape, wrong values: standardise each column over the batch, then z1.T @ z2 / B.")
    _expect_gradients(c, right, z1, z2)
    passed("each output of one view against each of the other, over the batch; the gradient reaches both views.")


def _expect_gradients(c: Tensor, right: Tensor, z1: Tensor, z2: Tensor) -> None:
    """Raise CheckFailed unless the gradient reaches both views, through mean and deviation too."""
    push = normal(4, 4, seed=4)
    got, want = (gradients(value, z1, z2, push=push) for value in (c, right))
    for name, gradient in zip(("first", "second"), got, strict=True):
        expect(gradient is not None, f"no gradient reaches the {name} view: don't detach, the loss pulls at both.")
    expect(
        all_close(got, want), "right values, wrong gradients: mean and deviation are part of the graph, detach none."
    )


@exercise
def barlow_loss(function: Callable) -> None:
    """Check 0.024 * [sum_i (C_ii - 1)^2 + lam * sum_{i != j} C_ij^2]."""
    for lam, size in ((0.0051, 4), (0.5, 3), (0.0, 3)):
        c = (0.6 * torch.eye(size, dtype=torch.float64) + 0.3 * normal(size, size, seed=size)).requires_grad_()
        itself = c.diagonal()
        on, off = (itself - 1).square().sum(), c.square().sum() - itself.square().sum()
        right = 0.024 * (on + lam * off)
        with Watch(c=c) as watch:
            loss = ask(function, c, lam)
        watch.expect_untouched()
        value = expect_number(loss, "the loss")
        wrong = {
            "the factor 0.024 in front is missing: it sets the size of the step.": right / 0.024,
            "the diagonal shall become 1, not 0: (C_ii - 1)^2.": 0.024 * (itself.square().sum() + lam * off),
            "lam weighs the diagonal in your loss: it weighs what is beside it.": 0.024 * (lam * on + off),
            "what is beside the diagonal counts in full: multiply it by lam.": 0.024 * (on + off),
            "the diagonal is in the second sum as well: leave it out there, i != j.": right
            + 0.024 * lam * itself.square().sum(),
            "the second sum takes (C_ij - 1)^2 or C_ij, not C_ij^2.": 0.024 * (on + lam * (c.sum() - itself.sum())),
            "those are means: both parts are sums.": 0.024 * (on / size + lam * off / (size * (size - 1))),
            "each pair i != j counts once in your loss: C isn't symmetric, sum over C_ij and C_ji.": 0.024
            * (on + lam * c.triu(1).square().sum()),
            f"at lam={lam:g} you take another lam: use the argument.": 0.024 * (on + 0.0051 * off),
        }
        for sentence, other in wrong.items():
            expect(close(value, right.detach()) or not close(value, other.detach()), sentence)
        expect(
            close(value, right.detach()), f"wrong value at lam={lam:g}: write the two sums as they stand in the text."
        )
        arrived = isinstance(loss, Tensor) and gradients(loss, c)[0] is not None
        expect(arrived, "no gradient reaches C: return a tensor that hangs on it, no float and no detach.")
        expect(close(gradients(loss, c)[0], gradients(right, c)[0]), "right value, wrong gradient: detach nothing.")
    passed("1 on the diagonal, 0 beside it, with the weights of the paper's code.")


class _TwinHead(nn.Module):
    """A head whose loss wants both views, one behind the other, and tells them apart."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(4):
            self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).double()

    def forward(self, h: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 2)
        return self.body(h)

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        first, second = (self(view) for view in h.chunk(2))
        return (first - 2 * second).square().mean() + 0.1 * first.mean() * x.mean() + 0.1 * second[y[4:] > 1].mean()


def _before_and_block() -> tuple[nn.Module, nn.Module]:
    """The layer before the block, and the block, with BatchNorm in it."""
    with seeded(5):
        block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
        return nn.Conv2d(3, 3, 1).double(), block.double()


@exercise
def two_view_step(function: Callable) -> None:
    """Check a local step of two views, each through the block alone: what it returns, and who gets which gradient."""
    (before, block), head = _before_and_block(), _TwinHead()
    views = torch.cat([normal(4, 3, 4, 4, seed=6), 2 * normal(4, 3, 4, 4, seed=7) + 1])  # not alike: BatchNorm sees it
    given, x, y = before(views), views.sigmoid(), (torch.arange(4) % 3).repeat(2)
    (twin, twin_head), (joint, joint_head) = (copy.deepcopy((block, head)) for _ in range(2))
    out = torch.cat([twin(view) for view in given.detach().chunk(2)])
    loss = twin_head.loss(out, x, y)
    want = torch.autograd.grad(loss, [*twin.parameters(), *twin_head.parameters()])
    together = joint(given.detach())
    mixed = joint_head.loss(together, x, y).detach()
    with Watch(block=block, head=head, h=given, x=x, y=y) as watch:
        answer = ask(function, block, head, given, x, y)
    pair = isinstance(answer, tuple | list) and len(answer) == 2
    expect(pair, "return two things: the features of both views for the next block, and the loss.")
    got = [p.grad for module in (block, head) for p in module.parameters()]
    watch.expect_gradients(got, want, "block", "head")
    expect(any(g is not None for g in got), "nothing has a gradient: call backward on the local loss.")
    leaked = any(p.grad is not None for p in before.parameters())
    expect(not leaked, "the loss changed the gradients of the block before: detach the INPUT of the block.")
    watch.expect_untouched("block buffers", "head buffers")
    _expect_features(answer[0], out, together)
    value = expect_number(answer[1].detach() if isinstance(answer[1], Tensor) else answer[1], "the loss")
    expect(not close(value, mixed), "the loss is that of one joint pass: run the block on each view alone.")
    right = close(value, loss.detach())
    expect(right, "the loss isn't head.loss(h, x, y) of both views' features, one behind the other.")
    expect(
        all_close(got, want), "the loss is right, but not the gradients: it must reach the block through both views."
    )
    most = max((n for (module, _), n in watch.passes.items() if module == "block"), default=0)
    expect(most == 2, f"the block ran {most} times: once for each view.")
    seen = all_close(block.buffers(), twin.buffers())
    expect(seen, "BatchNorm didn't see the first view and then the second, each alone, in training mode.")
    attached = isinstance(answer[1], Tensor) and answer[1].requires_grad
    expect(not attached, "the returned loss still holds the block's graph: return loss.detach().")
    passed("each view meets BatchNorm alone, one loss for both, and no gradient reaches the block before.")


def _expect_features(out: object, right: Tensor, together: Tensor) -> None:
    """Raise CheckFailed unless these are both views' features, one behind the other, off the graph."""
    half = isinstance(out, Tensor) and out.shape == (4, 3, 4, 4)
    expect(not half, "you return the features of one view: the next block needs both, torch.cat([first, second]).")
    out = expect_tensor(out, (8, 3, 4, 4), "the features for the next block")
    now = out.detach()
    mixed = close(now, together.detach())
    expect(not mixed, "both views went through the block in one pass, so BatchNorm mixed them: run it on each alone.")
    swapped = torch.cat([*right.detach().chunk(2)][::-1])
    expect(not close(now, swapped), "the views come out in the other order: the first half is the first view.")
    expect(
        close(now, right.detach()), "the returned features aren't the block's of the two halves of h: see h.chunk(2)."
    )
    expect(not out.requires_grad, "the returned features still hold the block's graph: return h.detach().")
