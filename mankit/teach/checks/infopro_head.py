"""Checks of the core of lesson 3 with the library's own signatures: InfoPro's decoder and its local loss."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import all_close, ask, close, exercise, expect, expect_tensor, gradients, normal, passed, redrawn, seeded
from .watch import Watch

bce = F.binary_cross_entropy_with_logits


class _Head(nn.Module):
    """What an InfoPro head has: logits by calling it, `decoder(h, size)`, `lam_x` and `lam_y`."""

    def __init__(self, lam_x: float, lam_y: float) -> None:
        super().__init__()
        with seeded(0):
            self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
            self.decoder = _Decoder(4, 3, 1)
        self.lam_x, self.lam_y, self.contrast = lam_x, lam_y, False
        self.double()

    def forward(self, h: Tensor) -> Tensor:
        return self.body(h)


class _Decoder(nn.Conv2d):
    def forward(self, h: Tensor, size: tuple[int, int]) -> Tensor:
        return super().forward(F.interpolate(h, size=tuple(size), mode="bilinear", align_corners=True))


@exercise
def infopro_loss(function: Callable) -> None:
    """Check infopro_loss(head, h, x, y): lam_x * reconstruction + lam_y * cross-entropy, through both to h."""
    h, x, y = normal(6, 4, 4, 4), normal(6, 3, 8, 8, seed=1).sigmoid(), torch.arange(6) % 3
    for lam_x, lam_y in ((2.0, 0.5), (0.0, 1.5)):
        head, h = _Head(lam_x, lam_y), h.detach().clone().requires_grad_()
        twin = copy.deepcopy(head)
        picture, label = bce(twin.decoder(h, (8, 8)), x), F.cross_entropy(twin(h), y)
        right = lam_x * picture + lam_y * label
        wanted = torch.autograd.grad(right, h, retain_graph=True)
        with Watch(head=head, h=h, x=x, y=y) as watch:
            loss = ask(function, head, h, x, y)
        loss = expect_tensor(loss, (), "the loss")
        watch.expect_untouched()
        _name_the_mistake(loss, twin, picture, label)
        expect(close(loss, right), f"the loss is {loss.item():.4f}, not {right.item():.4f}: see the formula.")
        expect(loss.requires_grad, "the loss has no gradient: detach nothing, and no .item().")
        got = gradients(loss, h)
        expect(all_close(got, wanted), "a part of the gradient doesn't reach h: give decoder and head h as it is.")
        watch.expect_one_pass("head")
        gone = any(p.grad is not None for p in head.parameters())
        expect(not gone, "your function called backward: return the loss, and leave backward to the step.")
    passed("both losses with their weights, and both reach the block.")


def _name_the_mistake(loss: Tensor, head: _Head, picture: Tensor, label: Tensor) -> None:
    """Raise CheckFailed for a loss that a known mistake gives."""
    wrong = {
        "lam_x and lam_y are swapped: lam_x weighs the picture, lam_y the label": head.lam_y * picture
        + head.lam_x * label,
        "the weights are missing: lam_x * reconstruction + lam_y * cross-entropy": picture + label,
        "the reconstruction is missing": head.lam_y * label,
        "the cross-entropy is missing": head.lam_x * picture,
        "a reconstruction is an error too: add it, don't subtract it": head.lam_y * label - head.lam_x * picture,
    }
    if head.lam_x:
        for sentence, value in wrong.items():
            expect(not close(loss, value), f"{sentence}.")


@exercise
def decoder(function: Callable) -> None:
    """Check decoder(channels): a module whose call (h, size) gives the picture's logits (B, 3, H, W)."""
    with seeded(0):
        module = ask(function, 5)
    expect(isinstance(module, nn.Module), f"return a module, not {type(module).__name__}.")
    module.double()
    h = normal(4, 5, 4, 4).requires_grad_()
    for size in ((8, 8), (4, 4), (10, 6)):
        image = expect_tensor(ask(module, h, size), (4, 3, *size), f"for an image of {size} the decoder's output")
    (gradient,) = gradients(image.square().sum() + 0 * h.sum(), h)
    expect(gradient.any(), "no gradient reaches the features: the block learns to keep the picture through it.")
    expect((gradient.abs().sum((0, 1)) > 0).all(), "some places of the features don't matter: upsample, don't pool.")
    with torch.no_grad():
        far = torch.stack([redrawn(module, seed)(h, (8, 8)) for seed in range(5)])
    inside = bool(((far >= 0) & (far <= 1)).all())
    expect(not inside, "the output lies between 0 and 1: give logits, the loss has the sigmoid inside.")
    expect(bool((far < 0).any()), "no logit is negative, so no pixel is dark: leave the last ReLU out.")
    passed("a picture of any size, as logits; the block learns through it.")
