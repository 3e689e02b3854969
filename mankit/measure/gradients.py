"""Does a local loss push a block where back-propagation would?"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient_cosine(net: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """Per block, the cosine between its local gradient and back-propagation's, over the block's parameters.

    Back-propagation's is the gradient of the final cross-entropy through all blocks, on the same batch
    x (B, 3, H, W), y (B,). 1: the same direction (always so for the last block), 0: unrelated, nan: a
    gradient is zero or the block has no trainable parameters. Runs on a copy in training mode.
    """
    net = copy.deepcopy(net).train()
    parameters = [[p for p in block.parameters() if p.requires_grad] for block in net.blocks]
    h, local = net.normalize(x), []
    for block, head, own in zip(net.blocks, net.heads, parameters, strict=True):
        h = block(h.detach())
        local.append(_flat_gradient(head.loss(h, x, y), own))
    bp = _flat_gradient(F.cross_entropy(net(x), y), [p for own in parameters for p in own])
    pairs = zip(local, bp.split([len(gradient) for gradient in local]), strict=True)
    return [(a @ b / (a.norm() * b.norm())).item() for a, b in pairs]  # 0 / 0 is nan: no direction


def _flat_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """The gradient as one float64 vector; zeros where the loss doesn't reach a parameter."""
    if not parameters or not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64, device=loss.device)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten().double() for g in gradients])
