"""MAN, the Momentum Auxiliary Network: a look ahead through a moving average of the next block's first layer.

Su, Cai, Zhu, He, Xu, Guan, Si: "Momentum Auxiliary Network for Supervised Local Learning", ECCV 2024.
"""

from __future__ import annotations

import copy
import functools
import inspect
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..blocks import shapes_behind
from ..errors import choose
from ..heads import Head, Place, Rule, Share
from ..networks import init_weights
from .dgl import dgl

Branches = Literal["both", "bias", "ema", "twin", "pulled"]
Start = Literal["random", "copy"]
Branch = nn.Module | None  # built like the next block's first layer


def man(
    place: Place, *, base: Rule = dgl, decay: Share = 0.995, branches: Branches = "both", start: Start = "random"
) -> Head:
    """MAN over another rule, whose head and loss see the look-ahead in place of the features.

    Args:
        base: the rule below it, whose options may be given too.
        decay: of the EMA, 0 (a copy of the next layer at each step) to 1 (frozen).
        branches: both (learnable bias and EMA); the controls bias or ema alone, twin (two trained), and pulled: the
            EMA's weights are trained by the local loss AND averaged, as the paper seems to say (its code doesn't).
        start: of the EMA, random (as published) or a copy of the next block's first layer.
    """
    return MomentumHead(*parts(place, base, branches, start), decay, branches)


def parts(place: Place, base: Rule, branches: Branches, start: Start) -> tuple[Head, Branch, Branch]:
    """The base's head one layer on, and the two branches (one may be None): what a MomentumHead is made of."""
    choose("branches", branches, get_args(Branches))
    choose("start", start, get_args(Start))
    if "base" in inspect.signature(base).parameters:  # nobody would move that one's EMA
        name = (base.func if isinstance(base, functools.partial) else base).__name__
        raise ValueError(f"base='{name}': it looks ahead itself; choose one that doesn't, such as dgl or infopro")
    next_layer = place.rest[0]
    learnable_bias = None if branches == "ema" else init_weights(copy.deepcopy(next_layer), place.generator)
    ema = None if branches == "bias" else copy.deepcopy(next_layer)
    if ema is not None and (start == "random" or branches == "twin"):
        init_weights(ema, place.generator)
    (ahead,) = shapes_behind([next_layer], place.shape)
    return base(replace(place, shape=ahead, rest=place.rest[1:], layer=place.layer + 1)), learnable_bias, ema


def look_ahead(learnable_bias: nn.Module, ema: nn.Module, h: Tensor) -> Tensor:
    """z = B(h) + E(h): the features h (B, C, H, W) as they will be behind the next block's first layer."""
    return learnable_bias(h) + ema(h)


@torch.no_grad()
def ema_update(ema: nn.Module, layer: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * layer, in place, parameters only, all tensors in one call."""
    get_ema_multi_avg_fn(decay)(list(ema.parameters()), list(layer.parameters()), None)


class MomentumHead(Head):
    """Two units built like the next block's first layer, then any other head (`base`).

    `z = learnable_bias(h) + ema(h)`; the base's loss is taken on z. Gradients flow through both branches into
    the block, but the EMA's weights follow the next block's first layer N instead of being trained:
    `ema <- decay * ema + (1 - decay) * N`. Only parameters are averaged: BatchNorm statistics stay the EMA's own.

    Args:
        learnable_bias, ema: modules built like N; either may be None (a control), not both.
        decay: in [0, 1]; may be changed between steps. 1: frozen, 0: a copy of N.
        branches: "twin" trains the second branch instead of letting it follow, "pulled" does both (controls).
    """

    def __init__(
        self, base: Head, learnable_bias: Branch, ema: Branch, decay: float = 0.995, branches: Branches = "both"
    ) -> None:
        nn.Module.__init__(self)  # no body of its own: the base has one
        if learnable_bias is None and ema is None:
            raise ValueError("learnable_bias and ema are both None: MAN needs at least one branch")
        self.base, self.learnable_bias, self.ema, self.twin = base, learnable_bias, ema, branches == "twin"
        self.has_logits, self.decay = base.has_logits, decay
        if ema is not None:
            ema.requires_grad_(branches in ("twin", "pulled"))

    @property
    def average(self) -> nn.Module | None:
        """The EMA, where it follows the next block (and isn't a second trained branch)."""
        return None if self.twin else self.ema

    @property
    def decay(self) -> float | None:
        """Of the EMA; None where there is none that follows."""
        return None if self.average is None else self._decay

    @decay.setter
    def decay(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"decay={value}: choose a number from 0 (copy) to 1 (frozen); published: 0.995")
        self._decay = float(value)

    def look_ahead(self, h: Tensor) -> Tensor:
        """Features after the next block's first layer, as this block foresees them."""
        branches = [branch for branch in (self.learnable_bias, self.ema) if branch is not None]
        return branches[0](h) if len(branches) == 1 else look_ahead(*branches, h)

    def forward(self, h: Tensor) -> Tensor:  # (B, C, H, W) -> (B, classes)
        return self.base(self.look_ahead(h))

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.base.loss(self.look_ahead(h), x, y)

    def after_step(self, next_block: nn.Module) -> None:
        """Move the EMA towards the next block's first layer."""
        if self.average is not None and self._decay < 1:  # at 1 nothing moves
            ema_update(self.average, next_block[0], self._decay)
