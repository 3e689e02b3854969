"""What sits on a block: everything in which the learning rules differ.

A head turns a block's features into logits and a local loss. `heads[-1]` of a network is its own classifier;
all the others are auxiliary networks, which are thrown away after training.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .losses import supervised_contrastive


class Head(nn.Module):
    """Cross-entropy on the logits of `body` (a module from features to logits)."""

    has_logits = True  # False where a loss needs no class scores (contrastive): then there is no own accuracy

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, h: Tensor) -> Tensor:  # (B, C, H, W) -> (B, classes)
        return self.body(h)

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The local loss, a scalar. h: the block's features; x: the images in [0, 1]; y: labels."""
        return F.cross_entropy(self(h), y)

    def after_step(self, next_block: nn.Module) -> None:
        """Called once a batch, when this block has its gradients; never for the last block."""


class Decoder(nn.Module):
    """InfoPro's decoder: the image back from the features (as logits; their sigmoid is in [0, 1]).

    Bilinear upsampling to the image's size, 3x3 convolution to 12 channels, BatchNorm, ReLU, 3x3 to 3.
    Source: Wang et al., ICLR 2021, and its code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 3, 3, padding=1),
        )

    def forward(self, h: Tensor, size: tuple[int, int]) -> Tensor:  # (B, C, h, w) -> (B, 3, H, W)
        return self.body(F.interpolate(h, size=size, mode="bilinear", align_corners=True))


class InfoProHead(Head):
    """`lam_x * reconstruction + lam_y * (cross-entropy or supervised contrastive)`.

    The reconstruction keeps information about the image in the features; lam_x = 0 leaves the decoder out.
    Source: Wang et al., "Revisiting Locally Supervised Learning", ICLR 2021.
    """

    def __init__(self, body: nn.Module, decoder: Decoder, lam_x: float, lam_y: float, contrast: bool = False) -> None:
        super().__init__(body)
        self.decoder, self.lam_x, self.lam_y, self.contrast = decoder, lam_x, lam_y, contrast
        self.has_logits = not contrast

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        out = self(h)
        loss = self.lam_y * (supervised_contrastive(out, y) if self.contrast else F.cross_entropy(out, y))
        if self.lam_x != 0:
            image = self.decoder(h, x.shape[-2:])
            loss = loss + self.lam_x * F.binary_cross_entropy_with_logits(image, x)
        return loss


class MomentumHead(Head):
    """MAN: look ahead through two units built like the next block's first layer, then any other head (`base`).

    `y = learnable_bias(h) + ema(h)`; the base's loss is taken on y. Gradients flow through both branches into
    the block, but the EMA's weights follow the next block's first layer N instead of being trained:
    `ema <- decay * ema + (1 - decay) * N`. Only parameters are averaged: BatchNorm statistics stay the EMA's own.
    Source: Su et al., "Momentum Auxiliary Network for Supervised Local Learning", ECCV 2024.

    Args:
        learnable_bias, ema: modules built like N; either may be None (a control), not both.
        decay: in [0, 1]; may be changed between steps. 1: frozen, 0: a copy of N.
        twin: train the second branch too, instead of letting it follow (a control).
    """

    def __init__(
        self,
        base: Head,
        learnable_bias: nn.Module | None,
        ema: nn.Module | None,
        decay: float = 0.995,
        twin: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # no body of its own: the base has one
        if learnable_bias is None and ema is None:
            raise ValueError("learnable_bias and ema are both None: MAN needs at least one branch")
        self.base, self.learnable_bias, self.ema, self.twin = base, learnable_bias, ema, twin
        self.has_logits = base.has_logits
        self.decay = decay
        if self.follows:
            ema.requires_grad_(False)

    @property
    def decay(self) -> float:
        return self._decay

    @decay.setter
    def decay(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"decay={value}: choose a number from 0 (copy) to 1 (frozen); published: 0.995")
        self._decay = float(value)

    @property
    def follows(self) -> bool:
        """Is there an EMA that follows the next block (and not only trained branches)?"""
        return self.ema is not None and not self.twin

    def look_ahead(self, h: Tensor) -> Tensor:
        """Features after the next block's first layer, as this block foresees them."""
        branches = [branch for branch in (self.learnable_bias, self.ema) if branch is not None]
        return branches[0](h) if len(branches) == 1 else branches[0](h) + branches[1](h)

    def forward(self, h: Tensor) -> Tensor:
        return self.base(self.look_ahead(h))

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.base.loss(self.look_ahead(h), x, y)

    @torch.no_grad()
    def after_step(self, next_block: nn.Module) -> None:
        """Move the EMA towards the next block's first layer, in place, all tensors in one call."""
        if self.follows and self.decay < 1:
            torch._foreach_lerp_(list(self.ema.parameters()), list(next_block[0].parameters()), 1 - self.decay)


def conv_head(channels: int, classes: int, spec: str = "1c2f", last_stage: bool = False) -> nn.Sequential:
    """A small head by its name: '0c1f' is pooling and one linear layer; '2c2f' two convolutions, two linear.

    The first convolution halves the size and doubles the width, except in the network's last stage;
    hidden linear layers have 128 outputs. Source: the code of InfoPro (ICLR 2021).
    """
    match = re.fullmatch(r"([0-2])c([1-3])f", spec)
    if not match:
        raise ValueError(f"head='{spec}': choose 'mlp', or 'NcMf' with N 0..2 convolutions and M 1..3 linear")
    layers: list[nn.Module] = []
    for n in range(int(match[1])):
        grow = 2 if n == 0 and not last_stage else 1
        layers += [
            nn.Conv2d(channels, channels * grow, 3, stride=grow, padding=1, bias=False),
            nn.BatchNorm2d(channels * grow),
            nn.ReLU(inplace=True),
        ]
        channels *= grow
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for _ in range(int(match[2]) - 1):
        layers += [nn.Linear(channels, 128), nn.ReLU(inplace=True)]
        channels = 128
    return nn.Sequential(*layers, nn.Linear(channels, classes))


def mlp_sr_head(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """DGL's MLP-SR-aux: pool to a quarter of the size, three 1x1 convolutions, pool to 2x2, three linear layers.

    shape: the features' (C, H, W). Source: Belilovsky et al., "Decoupled Greedy Learning of CNNs", ICML 2020.
    """
    channels, height, width = shape
    quarter = (-(-height // 4), -(-width // 4))  # rounded up
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(quarter)]
    for _ in range(3):
        layers += [nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    hidden = 4 * channels  # what 2x2 pooling leaves
    for _ in range(2):
        layers += [nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))
