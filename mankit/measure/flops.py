"""Work of one training step in FLOPs (a multiply-add is 2), by torch's own counter.

The counter knows convolutions and matrix products; BatchNorm, ReLU and the optimizer are not in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from .memory import check_one_block


def flops(net: nn.Module, x: Tensor, y: Tensor) -> int:
    """FLOPs of the forward and backward pass of every block and head, on the batch x (B, 3, H, W), y (B,).

    K=1 is back-propagation. Divide by B for an image. Runs on a copy: the network stays as it was.
    """
    return _count(net, x, y, lambda block, h: block(h))


def checkpointed_flops(net: nn.Module, x: Tensor, y: Tensor) -> int:
    """FLOPs of back-propagation with a checkpoint at every layer, really run: `flops` plus the recomputation.

    Classifier and loss are not run again. Raises ValueError unless the network has K=1 block.
    """

    def forward(block: nn.Module, h: Tensor) -> Tensor:
        for layer in block:
            h = checkpoint(layer, h, use_reentrant=False)
        return h

    check_one_block(net)
    return _count(net, x, y, forward)


def _count(net: nn.Module, x: Tensor, y: Tensor, forward: Callable[[nn.Module, Tensor], Tensor]) -> int:
    net = copy.deepcopy(net).train()
    h = net.normalize(x)
    with FlopCounterMode(display=False) as counter:
        for block, head in zip(net.blocks, net.heads, strict=True):
            h = forward(block, h.detach())
            loss = head.loss(h, x, y)
            trainable = [p for module in (block, head) for p in module.parameters() if p.requires_grad]
            if trainable and loss.requires_grad:
                torch.autograd.grad(loss, trainable, allow_unused=True)  # a decoder of weight 0, say, is unused
    return counter.get_total_flops()
