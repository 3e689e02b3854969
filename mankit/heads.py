"""What sits on a block: everything in which the learning rules differ.

A head turns a block's features into logits and a local loss. `heads[-1]` of a network is its own classifier;
all the others are auxiliary networks, which are thrown away after training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, int, int]  # (C, H, W)
Rest = Sequence[nn.Module]


class Head(nn.Module):
    """Cross-entropy on the logits of `body` (a module from features to logits).

    What a panel or a measure may ask of any head: `has_logits`, `average` and `decay`.
    """

    has_logits = True  # False where a loss needs no class scores (contrastive): then there is no own accuracy
    views = 1  # of each image in a training batch, one view of all images behind the other
    average: nn.Module | None = None  # a moving average of the next block's first layer, where there is one ...
    decay: float | None = None  # ... and its decay, which may be set between two steps

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, h: Tensor) -> Tensor:  # (B, C, H, W) -> (B, classes)
        return self.body(h)

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The local loss, a scalar. h: the block's features; x: the images in [0, 1]; y: labels."""
        return F.cross_entropy(self(h), y)

    def through(self, block: nn.Module, h: Tensor) -> Tensor:
        """The block's features of a training batch h, for this head's loss and for the next block."""
        return block(h)

    def after_step(self, next_block: nn.Module) -> None:
        """Called once a batch, when this block has its gradients; never for the last block."""


class NoHead(Head):
    """A place holder where a network is only measured: it has no logits and can't be trained."""

    has_logits = False

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        raise ValueError("this block has no head (recut() is for measuring): build the network with a rule")


@dataclass(frozen=True)
class Place:
    """Where a head will sit, and all that a rule may look at to build it.

    shape: (C, H, W) of the block's features. rest: the layers behind the block (MAN copies rest[0]).
    depth: 0 for the first and 1 for the last auxiliary block. classes: how many. layer: the index of the block's
    last layer, of `layers` in the network. generator: where a head's weights are drawn from (see `init_weights`).
    """

    shape: Shape
    rest: Rest
    depth: float
    classes: int
    layer: int
    layers: int
    generator: torch.Generator | None = None


Rule = Callable[[Place], Head]  # a rule's options are keyword-only parameters with defaults


class Between(NamedTuple):
    """In an option's annotation, `Annotated[float, Between(0, 1)]`: how far a control may go."""

    low: float
    high: float


Share = Annotated[float, Between(0, 1)]  # an option's type


def conv_head(channels: int, classes: int, spec: str = "1c2f", last_stage: bool = False) -> nn.Sequential:
    """A small head by its name: '0c1f' is pooling and one linear layer; '2c2f' two convolutions, two linear.

    The first convolution halves the size and doubles the width, except in the network's last stage;
    hidden linear layers have 128 outputs. Source: the code of InfoPro (ICLR 2021).
    """
    match = re.fullmatch(r"([0-2])c([1-3])f", spec)
    if not match:
        raise ValueError(
            f"head='{spec}': choose 'mlp', 'mlp512', 'linear', or 'NcMf', N 0..2 convolutions, M 1..3 linear"
        )
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


def mlp_sr_head(shape: Shape, classes: int) -> nn.Sequential:
    """DGL's MLP-SR-aux: pool to a quarter of the size, three 1x1 convolutions, pool to 2x2, three linear layers.

    shape: the features' (C, H, W). Source: Belilovsky et al., "Decoupled Greedy Learning of CNNs", ICML 2020.
    """
    channels, height, width = shape
    quarter = (-(-height // 4), -(-width // 4))  # rounded up
    return _conv_mlp(quarter, [channels] * 4, 2, [4 * channels] * 3, classes, bias=False)  # 4: 2x2 pixels


def wide_mlp_head(shape: Shape, classes: int) -> nn.Sequential:
    """MAN++'s head over DGL: pool to 8x8, three 1x1 convolutions to 128, pool, three linear layers to 512, one more.

    0.64 million weights, wherever it stands: more than all of ResNet-32. Source: the code of MAN++.
    """
    channels, height, width = shape
    return _conv_mlp((min(8, height), min(8, width)), [channels] + [128] * 3, 1, [128] + [512] * 3, classes)


def _conv_mlp(
    first: tuple, convs: list[int], second: int, linear: list[int], classes: int, bias: bool = True
) -> nn.Sequential:
    """Pool, 1x1 convolutions through some widths, pool again, linear layers through some widths, one to the classes."""
    layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(first)]
    for before, width in pairwise(convs):
        layers += [nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    layers += [nn.AdaptiveAvgPool2d(second), nn.Flatten()]
    for before, width in pairwise(linear):
        layers += [nn.Linear(before, width, bias=bias), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(linear[-1], classes))
