"""AugLocal: each head is a small network built like layers that are still to come.

Ma, Wu, Si, Tan: "Scaling Supervised Local Learning with Augmented Auxiliary Networks", ICLR 2024.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..errors import at_least, within
from ..heads import Head, Place, Share
from ..networks import init_weights, shortcut


def auglocal(place: Place, *, depth: int = 2, pyramid: Share = 0.5, norm: bool | None = None) -> Head:
    """AugLocal: cross-entropy behind up to `depth` units, built like later layers, with weights of their own.

    Published: one layer a block, and the last `depth + 1` of n in one, which is at=range(1, n - depth).

    Args:
        depth: d, the most units in a head; each costs as much as a layer of the network.
        pyramid: how far heads shrink towards the last block, 0 (all have d units) to 1 (down to one).
        norm: BatchNorm before the linear layer; None, as published for CIFAR, where a head should have one unit.
    """
    at_least("depth", depth, 1)
    within("pyramid", pyramid, 0, 1)
    d = head_depth(depth, pyramid * place.depth)
    ahead = [place.rest[i - place.layer - 1] for i in sampled_layers(place.layer, place.layers, d)]
    unit = Bottleneck if any(isinstance(layer, Bottleneck) for layer in ahead) else BasicBlock
    last_convs = [[m for m in layer.modules() if isinstance(m, nn.Conv2d)][-1] for layer in ahead]
    widths = [place.shape[0], *(conv.out_channels for conv in last_convs)]
    planes = [width // unit.expansion for width in widths]  # a bottleneck's inner width
    if place.layer == 0:
        planes[0] = widths[0]  # the stem has no bottleneck
    with torch.device("meta"):  # the constructors' own draws are skipped
        rows = zip(widths, widths[1:], planes[1:], strides(planes), strict=False)
        units = [unit(before, inner, stride, shortcut(before, width, stride)) for before, width, inner, stride in rows]
        end = [nn.BatchNorm1d(widths[-1])] if (d == 1 if norm is None else norm) else []
        end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *end, nn.Linear(widths[-1], place.classes)]
    return Head(init_weights(nn.Sequential(*units, *end), place.generator))


def head_depth(d: int, r: float) -> int:
    """How many units a head should have: d (1 - r) + r, rounded half to even. r: 0 (first block) to `pyramid`."""
    return max(1, round(d - (d - 1) * r))  # written like this, halves are exact


def sampled_layers(l: int, n: int, d: int) -> list[int]:  # noqa: E741 (the paper's letter)
    """Which of the layers l+1 .. n-1 a head behind layer l is built like: d of them, evenly spaced, n - 1 the last."""
    if d >= n - 1 - l:
        return list(range(l + 1, n))
    return [round(l + (n - 1 - l) * j / d) for j in range(1, d + 1)]  # half to even, of the layer's own number


def strides(widths: list[int]) -> list[int]:
    """The stride of each unit, from all widths before and behind them: a doubled width is a debt of one halving.

    A unit pays one at most. What a head skips is paid by its next unit, or never: 16 -> 64 has stride 2, not 4.
    """
    debt, paid = 0.0, []
    for before, width in pairwise(widths):
        debt += math.log2(width / before)
        paid.append(2 if debt >= 1 else 1)
        debt -= paid[-1] - 1
    return paid
