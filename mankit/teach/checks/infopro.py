"""Checks of lesson 03, InfoPro: the reconstruction loss, its weights, the contrastive loss, isolation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import CheckFailed, ask, close, expect, expect_tensor, passed

bce = F.binary_cross_entropy_with_logits


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reconstruction_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`function(logits, x)`: binary cross-entropy of images (B, 3, H, W) against logits; mean, stable."""
    gen = _generator(0)
    z, x = torch.randn(4, 3, 5, 5, generator=gen), torch.rand(4, 3, 5, 5, generator=gen)
    loss = expect_tensor(ask(function, z, x), (), "the loss (a mean over images, channels and pixels)")
    right = bce(z, x)
    expect(not close(loss, right * z.numel(), 1e-3), "the loss is a sum: take the mean over images, channels, pixels.")
    expect(not close(loss, -right), "the sign is wrong: a loss falls as the picture gets better.")
    expect(not close(loss, bce(x, z)), "logits and image are swapped: the decoder's logits come first.")
    expect(
        close(loss, right),
        f"the loss is {float(loss):.4f}, but it should be {float(right):.4f}: "
        "is it log(1 + e^z) - x z, with z the logits, averaged?",
    )
    far = torch.full((1, 3, 2, 2), 300.0)
    loud = "is not finite for logits of 300: never take log(sigmoid(z)); use softplus, or max(z, 0) and log1p."
    for logits, image, true in ((far, 0 * far, 300.0), (-far, 0 * far + 1, 300.0), (far, 0 * far + 1, 0.0)):
        value = ask(function, logits, image)
        expect(math.isfinite(float(value)), f"the loss {loud}")
        expect(
            close(value, true, 1e-3),
            f"for confident logits the loss is {float(value):.1f}, not {true:.1f}: "
            "don't clip probabilities; work with the logits.",
        )
    z = torch.cat([z.flatten(), torch.tensor([300.0, -300.0])]).requires_grad_()
    x = torch.cat([x.flatten(), torch.tensor([0.3, 0.3])])
    loss = ask(function, z.view(1, 1, 1, -1), x.view(1, 1, 1, -1))
    expect(loss.requires_grad, "the loss has no gradient: don't use .item(), .detach() or no_grad.")
    (gradient,) = torch.autograd.grad(loss, z)
    expect(bool(gradient.isfinite().all()), f"the gradient {loud}")
    expect(close(gradient * len(z), z.sigmoid() - x), "the gradient should be (sigmoid(z) - x) / number of pixels.")
    passed("the formula, its gradient, and no overflow at logits of +-300.")


def block_weight(function: Callable[[int, int, float, float], float]) -> None:
    """`function(i, K, first, last)`: linear in the block index i = 1..K-1, from first to last."""
    try:
        alone = ask(function, 1, 2, 5.0, 0.5)
    except CheckFailed as error:
        division = isinstance(error.__cause__, ZeroDivisionError)
        expect(not division, "K = 2 divides by zero: with one auxiliary block there is no ramp; give it `first`.")
        raise
    expect(close(alone, 5.0), f"K = 2 has one auxiliary block, and its weight is `first` = 5, not {float(alone):g}.")
    for K in (3, 4, 8, 16):
        weights = [float(ask(function, i, K, 5.0, 0.5)) for i in range(1, K)]
        shown = ", ".join(f"{w:.3g}" for w in weights)
        swapped = close(weights[0], 0.5) and close(weights[-1], 5.0)
        expect(not swapped, f"K = {K} gives {shown}: it runs from `last` to `first`, the wrong way.")
        expect(close(weights[0], 5.0), f"K = {K} gives {shown}: block 1 should get `first` = 5 (count from 0: i - 1).")
        expect(
            close(weights[-1], 0.5),
            f"K = {K} gives {shown}: block K-1 should get `last` = 0.5; "
            "the ramp has K - 2 steps between its K - 1 blocks.",
        )
        steps = torch.tensor(weights).diff()
        expect(close(steps, steps[0].expand_as(steps), 1e-4), f"K = {K} gives {shown}: the steps should be equal.")
    passed("linear in the block index, right at both ends, and K = 2 works.")


def constant_image_error(function: Callable[[Tensor], Tensor]) -> None:
    """`function(x)`: mean squared error of the one constant image that is best for x (N, 3, H, W)."""
    x = torch.rand(7, 3, 4, 4, generator=_generator(1)) * torch.linspace(0.1, 1, 16).view(1, 1, 4, 4)
    error = expect_tensor(ask(function, x), (), "the error")
    best, colours = x.var(dim=0, correction=0).mean(), x.var(dim=(0, 2, 3), correction=0).mean()
    expect(not close(error, x.var(correction=0)), "you used one grey for all: take the mean of each pixel, dim 0.")
    expect(not close(error, colours), "you used one colour for all pixels: take the mean over images only, dim 0.")
    expect(not close(error, (x - 0.5).square().mean()), "a grey of 0.5 isn't the best image: take the mean over dim 0.")
    expect(not close(error, x.var(dim=0).mean()), "divide by N, not N - 1: this is an error, not an estimate.")
    expect(close(error, best), f"the error is {float(error):.4f}, but the best constant image's is {float(best):.4f}.")
    passed("no constant image comes closer to these images.")


def contrastive_loss(function: Callable[..., Tensor]) -> None:
    """`function(z, y, temperature)`: supervised contrastive loss of embeddings (B, D), labels (B,)."""
    z, t = torch.randn(7, 5, generator=_generator(2)), 0.5
    y = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    loss = expect_tensor(ask(function, z, y, t), (), "the loss")

    def reference(z: Tensor, others_only: bool = True, without_self: bool = True, divide: bool = True) -> Tensor:
        u, total = F.normalize(z, dim=1), z.new_zeros(())
        for i in range(len(u)):
            s = u @ u[i] / t
            others = [a for a in range(7) if a != i or not others_only]
            positives = [p for p in range(7) if y[p] == y[i] and (p != i or not without_self)]
            terms = [s[others].logsumexp(0) - s[p] for p in positives]
            total = total + sum(terms) / ((len(positives) or 1) if divide else 1)
        return total / len(u)

    expect(not close(loss, -reference(z)), "the sign is wrong: minus the mean of log p.")
    expect(not close(loss, reference(z) * len(z)), "the loss is a sum over the images: take the mean.")
    expect(not close(loss, reference(z, others_only=False)), "the denominator counts image i itself: leave a = i out.")
    both = (reference(z, without_self=False), reference(z, False, False))
    expect(not any(close(loss, b) for b in both), "an image is its own positive: leave p = i out of P(i).")
    expect(not close(loss, reference(z, divide=False)), "divide each image's sum by |P(i)|, its number of positives.")
    scaled = ask(function, z * torch.arange(1.0, 8.0)[:, None], y, t)
    expect(close(loss, scaled, 1e-4), "the loss depends on the length of z: normalise each row to length 1 first.")
    expect(
        close(loss, reference(z), 1e-4),
        f"the loss is {float(loss):.4f}, not {float(reference(z)):.4f}: "
        "is the sum over positives outside the logarithm, and everything divided by the temperature?",
    )
    y = torch.tensor([0, 0, 0, 1, 1, 2, 3])  # two images alone in their class
    alone = ask(function, z, y, t)
    expect(math.isfinite(float(alone)), "an image alone in its class gives nan: it has no positives; let it add 0.")
    expect(close(alone, reference(z), 1e-4), "images alone in their class add 0, but still count in the mean over B.")
    passed("it agrees with the definition, also for images alone in their class.")


def local_losses(function: Callable[..., list[Tensor]]) -> None:
    """`function(blocks, heads, decoders, h, x, y, lam_x, lam_y)`: one InfoPro loss a block, isolated."""
    gen = _generator(3)
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # the reader's random numbers stay as they are
        blocks = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()) for _ in range(3)]
        heads = [nn.Sequential(nn.Flatten(), nn.Linear(48, 4)) for _ in blocks]
        decoders = [nn.Conv2d(3, 3, 1) for _ in blocks]
        for p in (p for m in (*blocks, *heads, *decoders) for p in m.parameters()):
            p.copy_(0.5 * torch.randn(p.shape, generator=gen))
    x, y = torch.rand(5, 3, 4, 4, generator=gen), torch.arange(5) % 4
    h, lam_x, lam_y = (x - 0.5) / 0.3, [3.0, 2.0, 1.0], [0.5, 1.5, 2.5]
    losses = ask(function, blocks, heads, decoders, h, x, y, lam_x, lam_y)
    expect(isinstance(losses, list) and len(losses) == 3, "return a list with one loss for each block.")
    for i, (block, head, decoder) in enumerate(zip(blocks, heads, decoders, strict=True)):
        loss = expect_tensor(losses[i], (), name := f"block {i + 1}'s loss")
        expect(loss.requires_grad, f"{name} has no gradient at all: detach only the INPUT of a block.")
        earlier = [p for b in blocks[:i] for p in b.parameters()]
        reached = torch.autograd.grad(loss, earlier, retain_graph=True, allow_unused=True) if i else []
        expect(
            all(g is None for g in reached),
            f"{name} changed block {i}'s gradients: detach the INPUT of the block, not its output.",
        )
        out = block(h)
        label = lam_y[i] * F.cross_entropy(head(out), y)
        right, wrong = (lam_x[i] * bce(decoder(out), target) + label for target in (x, h))
        expect(not close(loss, wrong), f"{name} rebuilds the block's input: its target is the IMAGE x.")
        expect(
            close(loss, right),
            f"{name} is {loss.item():.4f}, not {right.item():.4f}: "
            "is it lam_x[i] * reconstruction + lam_y[i] * cross-entropy?",
        )
        weights = list(block.parameters())
        ours = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        expect(all(g is not None for g in ours), f"{name} gives block {i + 1} no gradient: its output was detached.")
        theirs = torch.autograd.grad(right, weights)
        expect(
            all(close(a, b) for a, b in zip(ours, theirs, strict=True)),
            f"{name} has the right value, but "
            f"block {i + 1} misses a part of its gradient: give decoder and head the block's output as it is.",
        )
        h = out.detach()
    passed("the values are right, and each loss reaches its own block and no other.")
