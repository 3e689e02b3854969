"""LLS, local learning rule: fixed waves, one frequency a class, stand where other rules train a head.

Apolinario, A. Roy, K. Roy: "LLS: Local Learning Rule for Deep Neural Networks Inspired by Neural Activity
Synchronization", WACV 2025.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import at_least, choose, within
from ..heads import Head, Place, Share

Learned = Literal["none", "vector", "matrix"]


def lls(
    place: Place,
    *,
    side: int = 4,
    tau: float = 1.0,
    square: bool = False,
    learned: Learned = "none",
    smooth: Share = 0.0,
) -> Head:
    """LLS: cross-entropy on how well a block's features match each class's fixed wave; nothing to train.

    Args:
        side: p, features are pooled to p x p (4 for up to 128 channels, 2 for wider ones).
        tau: the temperature, above 0.
        square: the sign of the sine in its place.
        learned: weights of the logits: none, a vector (the paper's M) or a matrix (M x M) over the classes.
        smooth: label smoothing, from 0 to 1.
    """
    at_least("side", side, 1)
    choose("learned", learned, get_args(Learned))
    within("smooth", smooth, 0, 1)
    if not 0 < tau < float("inf"):
        raise ValueError(f"tau={tau}: choose a number above 0 (published: 1)")
    weights = {"none": None, "vector": torch.ones(place.classes), "matrix": torch.eye(place.classes)}[learned]
    return WaveHead(basis(place.classes, place.shape[0] * side**2, square), side, tau, smooth, weights)


def basis(classes: int, length: int, square: bool = False) -> Tensor:
    """One wave a class: Q[c, t] = sin(f_c t), t = 0 .. length - 1, (classes, length) in float64.

    f t reaches 10^6, where 32 bits come in steps of 0.06: the published runs used such a rounded basis.
    """
    f = torch.linspace(50, 512, classes, dtype=torch.float64)
    waves = torch.outer(f, torch.arange(length, dtype=torch.float64)).sin()
    return waves.sign() if square else waves


class WaveHead(Head):
    """`cross-entropy(a Q^T / tau, y)`: a are the pooled features as one vector of length 1, Q fixed waves.

    weights: of the logits, (classes,) or (classes, classes), the only ones that are trained; or None.
    """

    def __init__(self, waves: Tensor, side: int, tau: float, smooth: float, weights: Tensor | None) -> None:
        nn.Module.__init__(self)  # no body
        # no parameter, no buffer: not trained, not saved, and exact whatever dtype the network has
        self.waves, self.side, self.tau, self.smooth = waves, side, tau, smooth
        self.weights = None if weights is None else nn.Parameter(weights)

    def forward(self, h: Tensor) -> Tensor:  # (B, C, H, W) -> (B, classes)
        a = F.adaptive_avg_pool2d(h, self.side).flatten(1)  # (B, C, p, p) -> (B, D)
        logits = F.normalize(a, dim=1) @ self.waves.to(a).T / self.tau  # (B, D) (D, classes)
        if self.weights is None:
            return logits
        return logits * self.weights if self.weights.dim() == 1 else logits @ self.weights

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(h), y, label_smoothing=self.smooth)
