"""Blockwise Barlow Twins: no labels. Two views of an image shall look alike to a block, and its outputs differ.

Siddiqui, Krueger, LeCun, Deny: "Blockwise Self-Supervised Learning at Scale", TMLR 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import at_least
from ..heads import Head, Place
from ..networks import init_weights


def barlow(
    place: Place, *, expand: int = 128, project: int = 256, kernel: int = 1, lam: float = 0.0051, noise: float = 0.0
) -> Head:
    """Blockwise Barlow Twins: redundancy reduction between two views at every block; the classifier is a probe.

    Args:
        expand: channels of the convolution before pooling (published: 2048).
        project: outputs of the three linear layers behind it (published: 8192).
        kernel: of that convolution, 1 (published at its best) or 3 (the code's default).
        lam: weight of the correlations that shall be 0.
        noise: added behind each block in training, in standard deviations of its features (0.25 at its best).
    """
    for name, value, least in (("expand", expand, 1), ("project", project, 1), ("kernel", kernel, 1)):
        at_least(name, value, least)
    at_least("lam", lam, 0.0)
    at_least("noise", noise, 0.0)
    with torch.device("meta"):  # the constructors' own draws are skipped
        conv = nn.Conv2d(place.shape[0], expand, kernel, padding=kernel // 2, bias=False)
        layers = [conv, nn.BatchNorm2d(expand), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        for inputs in (expand, project):
            layers += [nn.Linear(inputs, project, bias=False), nn.BatchNorm1d(project), nn.ReLU()]
        body = nn.Sequential(*layers, nn.Linear(project, project, bias=False))
    return TwinHead(init_weights(body, place.generator), lam, noise)


class TwinHead(Head):
    """`0.024 * [sum_i (C_ii - 1)^2 + lam * sum_{i != j} C_ij^2]`: C correlates the outputs for two views of a batch."""

    views, has_logits = 2, False

    def __init__(self, body: nn.Module, lam: float, noise: float) -> None:
        super().__init__(body)
        self.lam, self.noise = lam, noise

    def through(self, block: nn.Module, h: Tensor) -> Tensor:  # (2 B, C, H, W), one view of all behind the other
        views = [block(view) for view in h.chunk(2)]  # apart, so that BatchNorm sees each alone
        if self.noise:
            views = [view + self.noise * view.detach().std() * torch.randn_like(view) for view in views]
        return torch.cat(views)

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        z1, z2 = (standardised(self(view)) for view in h.chunk(2))  # (B, D) each; BatchNorm sees each view alone
        c = z1.T @ z2 / len(z1)  # (D, D)
        itself = c.diagonal()
        others = c.square().sum() - itself.square().sum()
        return 0.024 * ((itself - 1).square().sum() + self.lam * others)


def standardised(z: Tensor) -> Tensor:
    """Each column of z (B, D) minus its mean, divided by its standard deviation over the batch."""
    return F.batch_norm(z, None, None, training=True)


class ProbedHead(Head):
    """The last block's: another head, which trains the block, and the classifier on features that it can't change."""

    def __init__(self, head: Head, classifier: nn.Module) -> None:
        super().__init__(classifier)
        self.head, self.views = head, head.views

    def through(self, block: nn.Module, h: Tensor) -> Tensor:
        return self.head.through(block, h)

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.head.loss(h, x, y) + F.cross_entropy(self(h.detach()), y)
