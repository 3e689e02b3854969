"""A compiled batch step for `train`: one graph for each block, or a line that says why there is none."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..blocks import LocalNet
from ..errors import first_line
from ..training import BatchStep, Forward, block_forward, train_batch

# torch keeps what it compiled with the function, and gives up after 8 versions of one. A new torch can give each
# compile call versions of its own; with an older one all blocks share them, and so need a higher limit.
OWN_GRAPHS = {"isolate_recompiles": True} if "isolate_recompiles" in inspect.signature(torch.compile).parameters else {}
MANY = 256  # torch's own limit for all versions together


def compiled_step(ema_update: str = "before", bf16: bool = False, mode: str | None = None) -> BatchStep:
    """A batch step like `training.train_batch`, compiled at its first batch: faster steps after a slow first one.

    Numbers differ in the last digits. Later batches need the shape and dtype of the first. Where something can't be
    compiled (no C++ compiler, code that torch can't trace), a line on stderr says why, and training goes on without.
    mode: torch.compile's.
    """
    forwards: list[Forward] = []

    def step(net: LocalNet, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor) -> Tensor:
        if not forwards:
            forwards.extend(_compiled(net, x, y, bf16, mode))
        return train_batch(net, optimizers, x, y, ema_update=ema_update, bf16=bf16, forwards=forwards)

    return step


def _compiled(net: LocalNet, x: Tensor, y: Tensor, bf16: bool, mode: str | None) -> list[Forward]:
    """`block_forward` with a graph for each block: small graphs compile fast, and the backward after each stays."""
    try:
        how = {"dynamic": False, "fullgraph": True, "mode": mode, **OWN_GRAPHS}
        forwards = [torch.compile(block_forward, **how) for _ in net.blocks]
        with torch._dynamo.config.patch(recompile_limit=MANY):
            _try(forwards, net, x, y, bf16)
    except Exception as error:  # what a compiler may raise is not ours to list
        reason = " ".join(str(error).strip().partition("\n\n")[0].split()) or first_line(error)  # in one line
        print(f"compile: {type(error).__name__}: {reason}; training goes on uncompiled", file=sys.stderr)
        return [block_forward] * net.K
    return forwards


def _try(forwards: list[Forward], net: LocalNet, x: Tensor, y: Tensor, bf16: bool) -> None:
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
