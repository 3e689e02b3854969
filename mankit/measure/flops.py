"""Work of one training step in FLOPs (a multiply-add is 2), by torch's own counter.

The counter knows convolutions and matrix products; BatchNorm, ReLU and the optimizer are not in it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from .memory import check_one_block


def flops(net: nn.Module, x: Tensor, y: Tensor) -> int:
    """FLOPs of the forward and backward pass of every block and head, on the batch x (B, 3, H, W), y (B,).

    K=1 is back-propagation. Divide by B for an image. Runs on a copy: the network stays as it was.
    """
    net = copy.deepcopy(net).train()
    h = net.normalize(x)
    with FlopCounterMode(display=False) as counter:
        for block, head in zip(net.blocks, net.heads, strict=True):
            h = block(h.detach())
            _gradients(head.loss(h, x, y), block, head)
    return counter.get_total_flops()


def checkpointed_flops(net: nn.Module, x: Tensor, y: Tensor) -> int:
    """FLOPs of back-propagation with a checkpoint at every layer, really run: `flops` plus the recomputation.

    Classifier and loss are not run again. Raises ValueError unless the network has K=1 block.
    """
    check_one_block(net)
    net = copy.deepcopy(net).train()
    block, head = net.blocks[0], net.heads[0]
    h = net.normalize(x)
    with FlopCounterMode(display=False) as counter:
        for layer in block:
            h = checkpoint(layer, h, use_reentrant=False)
        _gradients(head.loss(h, x, y), block, head)
    return counter.get_total_flops()


def _gradients(loss: Tensor, *modules: nn.Module) -> None:
    """Run the backward pass; a parameter that the loss doesn't use (a decoder of weight 0, say) is fine."""
    trainable = [p for module in modules for p in module.parameters() if p.requires_grad]
    if trainable and loss.requires_grad:
        torch.autograd.grad(loss, trainable, allow_unused=True)
