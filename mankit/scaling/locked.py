"""Back-propagation over the same processes, update locked, to compare with: each waits for the one behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from ..blocks import LocalNet
from ..training import block_forward, local_step, train_batch
from .parallel import send_on
from .pipeline import Blocks


class Locked(Blocks):
    """One batch goes forward through all processes, then its gradient backward through all (one microbatch).

    To a process this is a local step too: its loss is what the gradient from behind says of its features. Auxiliary
    heads aren't trained. Give it one optimizer.
    """

    def _share_out(self, net: LocalNet, x: Tensor, y: Tensor, bf16: bool) -> None:
        super()._share_out(net, x, y, bf16)
        self._ahead = self._behind = None  # no EMA
        head = self._head if self.rank == self.size - 1 else _Given(self.gradient_of)
        self._whole = LocalNet([nn.Sequential(*self.stage.blocks)], [head], self.stage.normalize)

    def _heads(self, net: LocalNet) -> Sequence[nn.Module]:
        return [*(_Given(torch.ones_like) for _ in net.blocks[1:]), net.heads[-1]]

    def _step(self, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, bf16: bool = False, **how: object) -> Tensor:
        given = []

        def keeping(block: nn.Module, head: nn.Module, h: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            given.append(h.requires_grad_(self.rank > 0))  # so that it gets a gradient
            return block_forward(block, head, h, x, y)

        def step(block: nn.Module, head: nn.Module, h: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            with self._timed("compute"):
                result = local_step(block, head, h, x, y, bf16, keeping)
            if self.rank:
                send_on(given[0].grad.contiguous(), self.rank - 1, self._back, self._returned)
            return result

        (loss,) = train_batch(self._whole, optimizers, x, y, step=step)
        losses = loss.new_zeros(len(self.own))
        losses[-1] = loss if self.rank == self.size - 1 else 0.0
        return losses

    def gradient_of(self, h: Tensor) -> Tensor:
        """Send features on, and wait for the gradient that they get, (B, C, H, W) both."""
        self.send(h)
        gradient = torch.empty(h.shape, dtype=h.dtype, device=h.device)
        with self._timed("wait"):
            dist.recv(gradient, self.rank + 1, group=self._back)
        return gradient


class _Given(nn.Module):
    """A loss with a given gradient: d/dh sum(h g) = g."""

    def __init__(self, gradient_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._gradient_of = gradient_of

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (h * self._gradient_of(h.detach())).sum()
