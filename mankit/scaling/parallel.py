"""One run on several processes, started by torchrun: each trains on a part of every batch, or some blocks.

Here are what both ways share (`Team`) and the first, `Data`; the second, `Blocks`, is in pipeline.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ..blocks import LocalNet
from ..heads import Head
from ..training import Forward, block_forward, train_batch

PATIENCE = timedelta(minutes=30)  # process 0 may evaluate that long; a process that is gone is noticed at once
UNDER_WAY = 2  # messages of a kind that may be on their way before the sender waits


class Alone:
    """What a run asks of its team, where it has one process: nothing needs to be sent."""

    rank, size = 0, 1

    def batch_step(self, net: LocalNet, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, **how: object) -> Tensor:
        """How a step is executed. how: ema_update, bf16, see `train_batch`."""
        return train_batch(net, optimizers, x, y, **how)

    def check(self, net: LocalNet, batch: int) -> None:
        """Raise ValueError for a network or a batch that can't be shared out."""

    def agree(self, number: int) -> int:
        """What process 0 says. It doesn't wait for the others."""
        return number

    def share(self, state: object) -> object:
        """What process 0 hands in, at all of them."""
        return state

    def gather(self, net: LocalNet, optimizers: Sequence[Optimizer], losses: Tensor | None) -> None:
        """Bring all weights, statistics, optimizer states and losses (K,) to process 0, into what it hands in."""


class Team(Alone):
    """A process among others, in torch's process group. patience: the longest wait for a message, then RuntimeError."""

    def __init__(self, patience: timedelta = PATIENCE) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # over the CPU: what is said here never waits for a GPU
        self._talk = dist.new_group(backend="gloo", timeout=patience)
        self._said: deque[tuple[dist.Work, Tensor]] = deque()

    def agree(self, number: int) -> int:
        said = torch.tensor([number])
        if self.rank:
            dist.recv(said, 0, group=self._talk)
        for other in range(1, self.size) if self.rank == 0 else ():
            send_on(said, other, self._talk, self._said, 8 * UNDER_WAY * self.size)
        return int(said)

    def share(self, state: object) -> object:
        box = [state]
        dist.broadcast_object_list(box, 0, group=self._talk)
        return box[0]

    def compare(self, same: dict[str, str]) -> None:
        """Raise ValueError, at every process, unless all have handed in the same."""
        every: list[dict[str, str]] = [{}] * self.size
        dist.all_gather_object(every, same, group=self._talk)
        for rank, other in enumerate(every):
            for name in (name for name in other if other[name] != every[0].get(name)):
                what = f"process {rank} has {name} {other[name]}, process 0 has {every[0].get(name)}"
                raise ValueError(f"{what}: start all with the same mankit, torch and words")


def send_on(
    tensor: Tensor, to: int, group: dist.ProcessGroup, under_way: deque[tuple[dist.Work, Tensor]], most: int = UNDER_WAY
) -> None:
    """Send without waiting, unless too many are under way. A tensor is held until it has left."""
    under_way.append((dist.isend(tensor, to, group=group), tensor))
    while len(under_way) > most:
        under_way.popleft()[0].wait()


class Data(Team):
    """Every process has the whole network and a part of each batch; gradients are averaged, block by block.

    BatchNorm normalises each part by itself, and process 0's statistics are kept; a loss that compares images compares
    those of its part. One network for each Data.
    """

    def __init__(self, patience: timedelta = PATIENCE) -> None:
        super().__init__(patience)
        self._forwards: list[Forward] = []

    def check(self, net: LocalNet, batch: int) -> None:
        if net.heads[0].views > 1:
            raise ValueError("parallel=data: this rule compares two views over the whole batch; choose blocks")
        if batch % self.size or batch < 2 * self.size:
            raise ValueError(f"batch={batch}: choose a multiple of {self.size} processes, 2 images or more for each")

    def batch_step(self, net: LocalNet, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, **how: object) -> Tensor:
        """`train_batch` on this process's part of a batch. Returns the mean losses of all parts (K,)."""
        self.check(net, len(x))
        self._forwards = self._forwards or [_averaged(*pair) for pair in zip(net.blocks, net.heads, strict=True)]
        part = (t.chunk(self.size)[self.rank] for t in (x, y))
        losses = train_batch(net, optimizers, *part, forwards=self._forwards, **how)
        dist.all_reduce(losses)
        return losses / self.size


def _averaged(block: nn.Module, head: Head) -> Forward:
    """`block_forward` of a block, whose backward averages the gradients over all processes."""
    pair = DistributedDataParallel(_Pair(block, head), static_graph=True)
    return lambda _block, _head, h, x, y: pair(h, x, y)


class _Pair(nn.Module):
    def __init__(self, block: nn.Module, head: Head) -> None:
        super().__init__()
        self.block, self.head = block, head

    def forward(self, h: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return block_forward(self.block, self.head, h, x, y)
