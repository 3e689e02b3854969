"""Checks of lesson 03, InfoPro: the reconstruction loss, the weights, local losses, isolation, the contrastive loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

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
    passed,
)
from .infopro_head import infopro_loss as infopro_loss
from .watch import Watch

bce = F.binary_cross_entropy_with_logits


@exercise
def reconstruction_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`function(logits, x)`: binary cross-entropy of images (B, 3, H, W) against logits; mean, stable."""
    gen = generator(0)
    s, x = torch.randn(4, 3, 5, 5, generator=gen), torch.rand(4, 3, 5, 5, generator=gen)
    right = bce(s, x)
    with Watch(logits=s, x=x) as watch:
        loss = ask(function, s, x)
    loss = expect_tensor(loss, (), "the loss (a mean over images, channels and pixels)")
    watch.expect_untouched()
    expect(not close(loss, right * s.numel(), 1e-3), "the loss is a sum: take the mean over images, channels, pixels.")
    expect(not close(loss, -right), "the sign is wrong: a loss falls as the picture gets better.")
    expect(not close(loss, bce(x, s)), "logits and image are swapped: the decoder's logits come first.")
    expect(
        close(loss, right),
        f"the loss is {float(loss):.4f}, but it should be {float(right):.4f}: "
        "is it log(1 + e^s) - x s, with s the logits, averaged?",
    )
    far = torch.full((1, 3, 2, 2), 300.0)
    loud = "is not finite for logits of 300: never take log(sigmoid(s)); use softplus, or max(s, 0) and log1p."
    for logits, image, true in ((far, 0 * far, 300.0), (-far, 0 * far + 1, 300.0), (far, 0 * far + 1, 0.0)):
        value = ask(function, logits, image)
        expect(math.isfinite(float(value)), f"the loss {loud}")
        expect(
            close(value, true, 1e-3),
            f"for confident logits the loss is {float(value):.1f}, not {true:.1f}: "
            "don't clip probabilities; work with the logits.",
        )
    s = torch.cat([s.flatten(), torch.tensor([300.0, -300.0])]).requires_grad_()
    x = torch.cat([x.flatten(), torch.tensor([0.3, 0.3])])
    loss = ask(function, s.view(1, 1, 1, -1), x.view(1, 1, 1, -1))
    expect(loss.requires_grad, "the loss has no gradient: don't use .item(), .detach() or no_grad.")
    (gradient,) = gradients(loss, s)
    expect(bool(gradient.isfinite().all()), f"the gradient {loud}")
    expect(close(gradient * len(s), s.sigmoid() - x), "the gradient should be (sigmoid(s) - x) / number of pixels.")
    ready = sorted(name for name in watch.called if "cross_entropy" in name or name == "soft_margin_loss")
    expect(not ready, f"right, but by PyTorch's {' and '.join(ready)}: write the formula out, with softplus or log1p.")
    passed("the formula, its gradient, and no overflow at logits of +-300.")


@exercise
def block_weight(function: Callable[[int, int, float, float], float]) -> None:
    """`function(i, K, first, last)`: linear in the block index i = 1..K-1, from first to last."""
    try:
        alone = expect_number(ask(function, 1, 2, 5.0, 0.5), "the weight")
    except CheckFailed as error:
        division = isinstance(error.__cause__, ZeroDivisionError)
        expect(not division, "K = 2 divides by zero: with one auxiliary block there is no ramp; give it `first`.")
        raise
    expect(close(alone, 5.0), f"K = 2 has one auxiliary block, and its weight is `first` = 5, not {alone:g}.")
    for K in more((3, 4, 8, 16), lambda r: r.randint(5, 40)):
        weights = [expect_number(ask(function, i, K, 5.0, 0.5), "the weight") for i in range(1, K)]
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


@exercise
def constant_image_error(function: Callable[[Tensor], Tensor]) -> None:
    """`function(x)`: mean squared error of the one constant image that is best for x (N, 3, H, W)."""
    x = torch.rand(7, 3, 4, 4, generator=generator(1)) * torch.linspace(0.1, 1, 16).view(1, 1, 4, 4)
    best, colours = x.var(dim=0, correction=0).mean(), x.var(dim=(0, 2, 3), correction=0).mean()
    with Watch(x=x) as watch:
        error = ask(function, x)
    error = torch.tensor(error) if isinstance(error, float) else expect_tensor(error, (), "the error")
    watch.expect_untouched()
    expect(not close(error, x.var(correction=0)), "you used one grey for all: take the mean of each pixel, dim 0.")
    expect(not close(error, colours), "you used one colour for all pixels: take the mean over images only, dim 0.")
    expect(not close(error, (x - 0.5).square().mean()), "a grey of 0.5 isn't the best image: take the mean over dim 0.")
    expect(not close(error, x.var(dim=0).mean()), "divide by N, not N - 1: this is an error, not an estimate.")
    expect(close(error, best), f"the error is {float(error):.4f}, but the best constant image's is {float(best):.4f}.")
    passed("no constant image comes closer to these images.")


@exercise
def contrastive_loss(function: Callable[..., Tensor]) -> None:
    """`function(z, y, temperature)`: supervised contrastive loss of embeddings (B, D), labels (B,)."""
    z, t = torch.randn(7, 5, generator=generator(2)), 0.5
    y = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    with Watch(z=z, y=y) as watch:
        loss = ask(function, z, y, t)
    loss = expect_tensor(loss, (), "the loss")
    watch.expect_untouched()

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
    leaf = z.clone().requires_grad_()
    ours = ask(function, leaf, y, t)
    expect(ours.requires_grad, "the loss has no gradient: don't use .item(), .detach() or no_grad.")
    slopes = [gradients(value, leaf)[0] for value in (ours, reference(leaf))]
    expect(close(*slopes, 1e-4), "the value is right, but not its gradient: detach nothing on the way.")
    passed("it agrees with the definition, also for images alone in their class.")


@exercise
def local_losses(function: Callable[..., list[Tensor]]) -> None:
    """`function(blocks, heads, decoders, h, x, y, lam_x, lam_y)`: one InfoPro loss a block, isolated."""
    blocks, heads, decoders = parts = _three_of_each(gen := generator(3))
    x, y = torch.rand(5, 3, 4, 4, generator=gen), torch.arange(5) % 4
    h, lam_x, lam_y = (x - 0.5) / 0.3, [3.0, 2.0, 1.0], [0.5, 1.5, 2.5]
    right, wrong, wanted = _right_losses(*copy.deepcopy(parts), h, x, y, lam_x, lam_y)
    rows = {name: nn.ModuleList(part) for name, part in zip(("blocks", "heads", "decoders"), parts, strict=True)}
    with Watch(**rows, h=h, x=x, y=y, lam_x=lam_x, lam_y=lam_y) as watch:
        losses = ask(function, blocks, heads, decoders, h, x, y, lam_x, lam_y)
    three = isinstance(losses, list | tuple) and len(losses) == 3
    expect(three, "return a list with one loss for each block.")
    watch.expect_untouched()
    for i, block in enumerate(blocks):
        loss = expect_tensor(losses[i], (), name := f"block {i + 1}'s loss")
        expect(loss.requires_grad, f"{name} has no gradient at all: detach only the INPUT of a block.")
        earlier = [p for b in blocks[:i] for p in b.parameters()]
        reached = gradients(loss, *earlier)
        expect(
            all(g is None for g in reached),
            f"{name} changed block {i}'s gradients: detach the INPUT of the block, not its output.",
        )
        expect(not close(loss, wrong[i]), f"{name} rebuilds the block's input: its target is the IMAGE x.")
        expect(
            close(loss, right[i]),
            f"{name} is {loss.item():.4f}, not {right[i].item():.4f}: "
            "is it lam_x[i] * reconstruction + lam_y[i] * cross-entropy?",
        )
        ours = gradients(loss, *block.parameters())
        expect(all(g is not None for g in ours), f"{name} gives block {i + 1} no gradient: its output was detached.")
        expect(
            all_close(ours, wanted[i]),
            f"{name} has the right value, but "
            f"block {i + 1} misses a part of its gradient: give decoder and head the block's output as it is.",
        )
    ran = any(p.grad is not None for row in rows.values() for p in row.parameters())
    expect(not ran, "your function called backward: return the losses, and leave backward to the caller.")
    watch.expect_one_pass("blocks", "heads", "decoders")
    passed("the values are right, and each loss reaches its own block and no other.")


def _three_of_each(gen: torch.Generator) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
    """Blocks, heads and decoders with weights of their own."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # the reader's random numbers stay as they are
        blocks = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()) for _ in range(3)]
        heads = [nn.Sequential(nn.Flatten(), nn.Linear(48, 4)) for _ in blocks]
        decoders = [nn.Conv2d(3, 3, 1) for _ in blocks]
        for p in (p for m in (*blocks, *heads, *decoders) for p in m.parameters()):
            p.copy_(0.5 * torch.randn(p.shape, generator=gen))
    return blocks, heads, decoders


def _right_losses(blocks: list, heads: list, decoders: list, h: Tensor, x: Tensor, y: Tensor, *lam: list) -> tuple:
    """For each block its loss, the loss with a wrong target (the block's input), and its gradients."""
    right, wrong, wanted = [], [], []
    for i, (block, head, decoder) in enumerate(zip(blocks, heads, decoders, strict=True)):
        out = block(h)
        label = lam[1][i] * F.cross_entropy(head(out), y)
        for losses, target in ((right, x), (wrong, h)):
            losses.append(lam[0][i] * bce(decoder(out), target) + label)
        wanted.append(torch.autograd.grad(right[i], list(block.parameters())))
        h = out.detach()
    return right, wrong, wanted
