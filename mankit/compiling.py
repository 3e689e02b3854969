"""`compile=True` in training: one compiled function for each block, or a line that says why there is none."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn

Forward = Callable[[nn.Module, nn.Module, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def compiled(forward: Forward, net: nn.Module, x: Tensor, y: Tensor, bf16: bool = False) -> list[Forward]:
    """`forward` compiled once for each block of a LocalNet, tried on the batch x (B, 3, H, W), y (B,).

    forward: (block, head, h, x, y) -> (features, loss). Each block gets a graph of its own: small graphs compile
    fast, and the backward right after each block stays. Compiling takes seconds a block; later batches need the
    shape and dtype of this one. Where something can't be compiled (no C++ compiler, code that torch can't trace),
    a line on stderr says why, and `forward` itself comes back for all blocks.
    """
    try:
        forwards = [torch.compile(_copy(forward), dynamic=False, fullgraph=True) for _ in net.blocks]
        _try(forwards, net, x, y, bf16)
    except Exception as error:  # what a compiler may raise is not ours to list
        reason = " ".join(str(error).strip().partition("\n\n")[0].split())  # in one line
        print(f"compile: {type(error).__name__}: {reason}; training goes on uncompiled", file=sys.stderr)
        return [forward] * len(net.blocks)
    return forwards


def _copy(function: Forward) -> Forward:
    """The same function with a code object of its own: torch keeps what it compiled by code object, and gives up
    when one of them, here shared by all blocks, needs more than 8 versions."""
    return types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__)


def _try(forwards: list[Forward], net: nn.Module, x: Tensor, y: Tensor, bf16: bool) -> None:
    """One forward and backward pass, which is when torch compiles; the net is left as it was."""
    before = [buffer.clone() for buffer in net.buffers()]  # BatchNorm's statistics move in each forward pass
    try:
        h = net.normalize(x)
        for forward, block, head in zip(forwards, net.blocks, net.heads, strict=True):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                h, loss = forward(block, head, h.detach(), x, y)
            trained = [p for module in (block, head) for p in module.parameters() if p.requires_grad]
            torch.autograd.grad(loss, trained, allow_unused=True)
    finally:
        for buffer, value in zip(net.buffers(), before, strict=True):
            buffer.copy_(value)
