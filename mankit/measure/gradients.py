"""Does a local loss push a block where back-propagation would?"""

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
    h = net.normalize(x)
    local = []
    for block, head in zip(net.blocks, net.heads, strict=True):
        h = block(h.detach())
        local.append(_flat_gradient(head.loss(h, x, y), _trainable(block)))
    return [_cosine(a, b) for a, b in zip(local, _bp_gradients(net, x, y), strict=True)]


def _bp_gradients(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """The gradient of the network's cross-entropy, one flat vector a block."""
    counts = [sum(p.numel() for p in _trainable(block)) for block in net.blocks]
    parameters = [p for block in net.blocks for p in _trainable(block)]
    return list(_flat_gradient(F.cross_entropy(net(x), y), parameters).split(counts))


def _trainable(block: nn.Module) -> list[nn.Parameter]:
    return [p for p in block.parameters() if p.requires_grad]


def _flat_gradient(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """The gradient as one float64 vector; zeros where the loss doesn't reach a parameter."""
    if not parameters or not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64, device=loss.device)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten().double() for g in gradients])


def _cosine(a: Tensor, b: Tensor) -> float:
    return (a @ b / (a.norm() * b.norm())).item()  # 0 / 0 is nan: a zero gradient has no direction
