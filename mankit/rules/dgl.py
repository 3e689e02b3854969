"""Decoupled greedy learning (DGL): each block has a small network and a cross-entropy of its own.

Belilovsky, Eickenberg, Oyallon: "Decoupled Greedy Learning of CNNs", ICML 2020.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ..heads import Head, Place, conv_head, mlp_sr_head, wide_mlp_head
from ..networks import init_weights

MLPS = {"mlp": mlp_sr_head, "mlp512": wide_mlp_head}


def dgl(place: Place, *, head: str = "mlp", norm: bool = False) -> Head:
    """Decoupled greedy learning: cross-entropy on the logits of a small auxiliary network.

    Args:
        head: the auxiliary network, mlp (DGL's MLP-SR-aux), mlp512 (MAN++'s), linear (one layer on all pixels),
            or convolutions and linear layers: 0c1f ... 2c3f.
        norm: BatchNorm before the head's last linear layer (not published, and worth much).
    """
    return Head(small_head(place, head, place.classes, norm))


def greedy(place: Place, *, pool: bool = True, norm: bool = False) -> Head:
    """Greedy supervised learning: global average pool and one linear layer.

    Args:
        pool: off gives the linear layer every pixel, which is Mono-Forward (Gong et al. 2025).
        norm: BatchNorm before the linear layer.
    """
    return dgl(place, head="0c1f" if pool else "linear", norm=norm)


def small_head(place: Place, head: str, outputs: int, norm: bool = False) -> nn.Module:
    """A small auxiliary network by its name, its weights drawn anew. norm: BatchNorm before its last layer."""
    # the last stage is where no later layer shrinks the image any more
    convs = (m for layer in place.rest for m in layer.modules() if isinstance(m, nn.Conv2d))
    last_stage = not any(conv.stride not in (1, (1, 1)) for conv in convs)
    with torch.device("meta"):  # the constructors' own draws are skipped
        if head in MLPS:
            body = MLPS[head](place.shape, outputs)
        elif head == "linear":
            body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(place.shape), outputs))
        else:
            body = conv_head(place.shape[0], outputs, head, last_stage)
        if norm:
            body.insert(len(body) - 1, nn.BatchNorm1d(body[-1].in_features))
    return init_weights(body, place.generator)
