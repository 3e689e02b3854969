"""Decoupled greedy learning (DGL): each block has a small network and a cross-entropy of its own.

Belilovsky, Eickenberg, Oyallon: "Decoupled Greedy Learning of CNNs", ICML 2020.
"""

from __future__ import annotations

import torch
from torch import nn

from ..heads import Head, Place, conv_head, mlp_sr_head
from ..networks import init_weights


def dgl(place: Place, *, head: str = "mlp") -> Head:
    """Decoupled greedy learning: cross-entropy on the logits of a small auxiliary network.

    Args:
        head: the auxiliary network, mlp (DGL's MLP-SR-aux) or convolutions and linear layers: 0c1f ... 2c3f.
    """
    return Head(small_head(place, head, place.classes))


def greedy(place: Place) -> Head:
    """Greedy supervised learning: global average pool and one linear layer."""
    return dgl(place, head="0c1f")


def small_head(place: Place, head: str, outputs: int) -> nn.Module:
    """A small auxiliary network by its name, its weights drawn anew."""
    # the last stage is where no later layer shrinks the image any more
    convs = (m for layer in place.rest for m in layer.modules() if isinstance(m, nn.Conv2d))
    last_stage = not any(conv.stride not in (1, (1, 1)) for conv in convs)
    with torch.device("meta"):  # the constructors' own draws are skipped
        if head == "mlp":
            body = mlp_sr_head(place.shape, outputs)
        else:
            body = conv_head(place.shape[0], outputs, head, last_stage)
    return init_weights(body, place.generator)
