"""Checks for lesson 02_dgl: cutting, an auxiliary head, the isolated step, a ridge probe, linear CKA."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import ask, close, expect, expect_tensor, passed


def _random(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64, always the same, from a generator of their own."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def block_sizes(function: Callable) -> None:
    """Check block_sizes(n, K): n layers in K blocks, as even as can be, the larger blocks first."""
    for n, K in ((23, 5), (9, 1), (9, 8), (16, 8), (16, 3), (7, 7)):
        sizes, case = ask(function, n, K), f"for {n} layers and K={K} you give"
        expect(isinstance(sizes, list | tuple), f"{case} a {type(sizes).__name__}: return a list of K sizes.")
        case = f"{case} {list(sizes)}"
        expect(len(sizes) == K, f"{case}: that is {len(sizes)} blocks; return one size for each of the K blocks.")
        expect(all(s == int(s) for s in sizes), f"{case}: a size is a whole number; divide with //, not /.")
        expect(sum(sizes) == n, f"{case}, which add up to {sum(sizes)}: hand out every layer once; see n % K.")
        expect(max(sizes) - min(sizes) <= 1, f"{case}: sizes may differ by 1 at most; spread the n % K extra layers.")
        expect(all(a >= b for a, b in pairwise(sizes)), f"{case}: earlier blocks get the extra layers, not later ones.")
    passed("K even blocks, every layer once, extra layers to the earlier blocks.")


def small_head(function: Callable) -> None:
    """Check small_head(channels, classes): 1x1 convolution, ReLU, global average pooling, linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = ask(function, 6, 4)
    expect(isinstance(head, nn.Module), f"return a module, such as nn.Sequential(...), not {type(head).__name__}.")
    head.double()
    h = _random(5, 6, 8, 8).requires_grad_()
    logits = expect_tensor(ask(head, h), (5, 4), "for features (5, 6, 8, 8) and 4 classes the output of the head")
    for shape in ((5, 6, 3, 7), (5, 6, 1, 1)):
        fits = False
        with contextlib.suppress(RuntimeError):
            fits = head(_random(*shape)).shape == (5, 4)
        expect(fits, "the head should take features of any height and width: pool globally before the linear layer.")
    expect(
        not any(close(total, torch.ones(5)) for total in (logits.sum(1), logits.exp().sum(1))),
        "the outputs are probabilities: leave the softmax out, F.cross_entropy has one inside.",
    )
    (gradient,) = torch.autograd.grad(logits.square().sum() + 0 * h.sum(), h)  # 0 * h: h is always in the graph
    expect(
        gradient.any(),
        "no gradient reaches the features: the block learns through its head, "
        "so the detach belongs at the block's INPUT, not in the head.",
    )
    expect(
        (gradient.abs().sum((0, 1)) > 0).all(),
        "some places of the feature map don't matter to your head: average over the whole height and width.",
    )
    with torch.no_grad():
        expect(not close(head(h) + head(-h), 2 * head(0 * h)), "the head is linear: put a ReLU behind the convolution.")
        pooled = h.mean((2, 3), keepdim=True).expand_as(h)
        expect(
            not close(head(pooled), head(h)),
            "the head only sees each channel's mean: apply convolution and ReLU first, then pool.",
        )
    passed("a head for features of any size; the block learns through it.")


class _TinyHead(nn.Linear):
    """A head whose loss is more than cross-entropy: it looks at the image too."""

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.mean((2, 3)))

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(h), y) + (h.mean((1, 2, 3)) - x.mean((1, 2, 3))).square().mean()


def isolated_step(function: Callable) -> None:
    """Check isolated_step(block, head, h, x, y) -> (features, loss): isolation, backward at once, no graph left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, block, head = nn.Conv2d(3, 4, 3).double(), nn.Conv2d(4, 5, 3).double(), _TinyHead(5, 3).double()
    parameters = [*block.parameters(), *head.parameters()]
    before = [p.detach().clone() for p in parameters]
    x, y = _random(6, 3, 8, 8), torch.arange(6) % 3
    h = first(x)  # block 1's features, with block 1's graph behind them
    answer = ask(function, block, head, h, x, y)
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "return two things: (features, loss).")
    features = expect_tensor(answer[0], (6, 5, 4, 4), "the features (what the block makes of h)")
    loss = expect_tensor(answer[1], (), "the loss")
    expect(
        all(close(p.detach(), old) for p, old in zip(parameters, before, strict=True)),
        "the step changed the weights: leave that to the optimizer.",
    )
    out = block(h.detach())
    expect(close(features.detach(), out.detach()), "the features aren't block(h): return the block's output.")
    right = head.loss(out, x, y)
    expect(close(loss.detach(), right.detach()), "the loss isn't head.loss(features, x, y): a head knows its own loss.")
    expect(
        first.weight.grad is None,
        "block 2's loss changed block 1's gradients: detach the INPUT of the block, not its output.",
    )
    expect(
        any(p.grad is not None for p in head.parameters()),
        "no gradient was left in .grad: call loss.backward() inside the step, at once.",
    )
    expect(
        block.weight.grad is not None,
        "the head got a gradient, its block none: the features were detached before "
        "the loss; detach the INPUT of the block, not its output.",
    )
    wanted = torch.autograd.grad(right, parameters)
    expect(
        all(close(p.grad, g) for p, g in zip(parameters, wanted, strict=True)),
        "the gradients in .grad aren't those of this loss: call backward once, on the loss itself.",
    )
    expect(
        not features.requires_grad,
        "the returned features still hang on the block's graph, which keeps its memory: return features.detach().",
    )
    expect(not loss.requires_grad, "the returned loss still hangs on the block's graph: return loss.detach().")
    passed("isolated, backward at once, nothing of the graph left.")


def ridge_probe(function: Callable) -> None:
    """Check ridge_probe(h, y, classes, alpha) -> (W, b): the minimum of |hW + b - onehot(y)|^2 + alpha |W|^2."""
    h, y, alpha = 2 + _random(40, 5) * torch.tensor([1, 2, 0.5, 1, 3]), torch.arange(40) % 3, 7.0
    answer = ask(function, h, y, 3, alpha)
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "return two things: (W, b).")
    W = expect_tensor(answer[0], (5, 3), "W for features (40, 5) and 3 classes").detach().double().requires_grad_()
    b = expect_tensor(answer[1], (3,), "b for 3 classes").detach().double().requires_grad_()

    def gradients(penalty: float) -> tuple[Tensor, ...]:
        error = h @ W + b - F.one_hot(y, 3)
        return torch.autograd.grad(error.square().sum() + penalty * W.square().sum(), (W, b))

    (of_W, of_b), zero_W = gradients(alpha), torch.zeros(5, 3)
    expect(
        close(of_b, torch.zeros(3)),
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


def linear_cka(function: Callable) -> None:
    """Check linear_cka(a, b): 1 for equal features, blind to shift, scale and rotation, and Kornblith's number."""
    a, mixed = _random(30, 6), _random(30, 4, seed=1)
    b = mixed + a[:, :4]
    value = torch.as_tensor(ask(function, a, b))
    expect(value.dim() == 0, f"return one number, but the answer has shape {tuple(value.shape)}.")
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
    rotation, _ = torch.linalg.qr(_random(6, 6, seed=2))
    expect(
        close(ask(function, a @ rotation, b), value),
        "rotating the features changes your number: compare through a.T @ b, not feature by feature.",
    )
    ca, cb = a - a.mean(0), b - b.mean(0)
    grams = ca @ ca.T, cb @ cb.T  # the same number, from similarities between images
    right = (grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm())
    expect(
        close(value, right),
        f"invariant as it should be, but the value is {float(value):.4f} where {right:.4f} is "
        "right: square the norm above the line only.",
    )
    passed("1 for equal features, blind to shift, scale and rotation.")
