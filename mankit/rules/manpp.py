"""MAN++: MAN's look-ahead with one learnable number for each block, which weighs its two branches.

Su et al.: "MAN++: Scaling Momentum Auxiliary Network for Supervised Local Learning in Vision Tasks", TPAMI 2026.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from ..errors import within
from ..heads import Between, Head, Place, Rule, Share
from .dgl import dgl
from .man import Branches, MomentumHead, Start, parts


def manpp(
    place: Place,
    *,
    base: Rule = dgl,
    decay: Share = 0.995,
    branches: Branches = "both",
    start: Start = "random",
    s: Annotated[float, Between(0, 2)] = 1.0,
    train_s: bool = True,
) -> Head:
    """MAN++ over another rule, dgl (with head='mlp512', as published) or infopro; the stem is a block of its own.

    Args:
        s: weight of the learnable bias at the start (2 - s: the EMA's), 0 to 2; 1 is MAN. Others as in man.
        train_s: train s like any weight (weight decay pulls it towards 0, the EMA alone); off is a control.
    """
    within("s", s, 0, 2)
    head = ScaledMomentumHead(*parts(place, base, branches, start), decay, branches)
    head.scale = nn.Parameter(torch.tensor(float(s)), requires_grad=train_s)
    return head


class ScaledMomentumHead(MomentumHead):
    """MAN's head with one number s, its `scale`: `z = s * learnable_bias(h) + (2 - s) * ema(h)`."""

    def look_ahead(self, h: Tensor) -> Tensor:  # (B, C, H, W) -> z, of the next layer's shape
        weighted = ((self.scale, self.learnable_bias), (2 - self.scale, self.ema))
        return sum(weight * branch(h) for weight, branch in weighted if branch is not None)
