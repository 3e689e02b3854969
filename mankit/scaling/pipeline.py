"""Each process trains some blocks of a network, all at the same time: update unlocked.

Back-propagation can't do this: a block waits for its gradient until all blocks behind it are through. A block with a
loss of its own waits for nobody: its process sends the features on, goes backward at once, and takes the next batch.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from ..blocks import LocalNet, cut
from ..heads import Head
from ..training import BatchStep, block_forward, local_step, train_batch
from .parallel import PATIENCE, Team, put_state, send_on, state_of

Row = tuple[str, int | None, float, float]  # what (wait, compute, send), block or None, begin, end in seconds


class Stage(LocalNet):
    """Some blocks in a row with their heads, in one of several processes. `train_batch` runs on it as on any network.

    Its `normalize(x)` gives the first block's input: the normalised images, or what the process before has sent.
    """

    def __init__(self, net: LocalNet, own: range, wire: Blocks) -> None:
        super().__init__(
            net.blocks[own.start : own.stop], net.heads[own.start : own.stop], _Received(wire), net.classes
        )
        self._wire = wire

    def send(self, h: Tensor) -> None:
        """Send the last block's features to the next process, if there is one, without waiting until they are there."""
        self._wire.send(h)


class _Received(nn.Module):
    def __init__(self, wire: Blocks) -> None:
        super().__init__()
        self._wire = wire

    def forward(self, x: Tensor) -> Tensor:
        return self._wire.receive(x)


class Blocks(Team):
    """Every process has some blocks of the network: features go on to the next process, and nothing waits for a loss.

    Bit for bit the numbers of one process, if the rule draws no random numbers. What `after_step` looks at of the next
    block comes back from the next process after each step, and is used as late as it may be: the last head's EMA moves
    just before its next loss (so a decay that is changed between two steps holds there for the step before, too).

    Args:
        step: a batch step of your own in place of `train_batch`: step(stage, optimizers, x, y) -> losses of its blocks.
            It gets its input by stage.normalize(x), and calls stage.send(h) once.
        rows: a list that gets a Row for each wait, computation and message.
    """

    def __init__(
        self, patience: timedelta = PATIENCE, step: BatchStep | None = None, rows: list[Row] | None = None
    ) -> None:
        super().__init__(patience)
        self._onward, self._back = dist.new_group(timeout=patience), dist.new_group(timeout=patience)
        self._sent, self._returned = deque(), deque()  # messages under way to the next process, and to the one before
        self._own_step, self._rows, self.stage = step, rows, None
        self._arriving = self._leaving = None  # shape, strides and dtype of features, which are told once
        self._steps = self._known = 0  # done here; after how many the next process was when it last told its layer
        self._late: str | None = None  # the EMA that has still to follow, and when it reads

    def check(self, net: LocalNet, batch: int) -> None:
        if net.K < self.size:
            raise ValueError(
                f"parallel=blocks: {self.size} processes for {net.K} trained blocks; give each one or more"
            )

    def batch_step(
        self,
        net: LocalNet,
        optimizers: Sequence[Optimizer],
        x: Tensor,
        y: Tensor,
        *,
        ema_update: str = "before",
        bf16: bool = False,
    ) -> Tensor:
        """`train_batch` on this process's blocks. Returns the losses (K,), 0 for blocks of other processes."""
        if self.stage is None:
            self._share_out(net, x, y, bf16)
        held = optimizers[self.own.start : self.own.stop] if len(optimizers) > 1 else optimizers
        if self._own_step:
            self._follow()
            with self._timed("compute"):
                losses = self._own_step(self.stage, held, x, y)
        else:
            losses = self._train_batch(held, x, y, ema_update, bf16)
        self._steps += 1
        self._late = ema_update if self._behind else None
        if self._ahead:
            parts = [t.detach().contiguous().flatten().view(torch.uint8) for t in self._ahead.state_dict().values()]
            send_on(torch.cat(parts), self.rank - 1, self._back, self._returned)
        every = x.new_zeros(net.K)
        every[self.own.start : self.own.stop] = torch.as_tensor(losses)
        return every

    def _train_batch(
        self, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, ema_update: str, bf16: bool
    ) -> Tensor:
        blocks = iter(self.own)

        def sending(*args: object) -> tuple[Tensor, Tensor]:
            h, loss = block_forward(*args)
            self.send(h.detach())  # before the loss goes backward
            return h, loss

        def step(block: nn.Module, head: Head, h: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            i = next(blocks)
            last = i == self.own[-1]
            if last:
                self._follow()
            with self._timed("compute", i):
                return local_step(block, head, h, x, y, bf16, sending if last else block_forward)

        return train_batch(self.stage, optimizers, x, y, ema_update=ema_update, step=step)

    def _share_out(self, net: LocalNet, x: Tensor, y: Tensor, bf16: bool) -> None:
        """Choose this process's blocks: process 0 times all, and the slowest process shall have as little as may be."""
        self.check(net, len(x))
        self.seconds = self.share(self._time_blocks(net, x, y, bf16) if self.rank == 0 else None)
        ends = [0]
        for part in cut(net.blocks, self.size, costs=self.seconds):
            ends.append(ends[-1] + len(part))
        a, b = ends[self.rank : self.rank + 2]
        self.own, self._normalize = range(a, b), net.normalize
        self.stage, self._head = Stage(net, self.own, self), net.heads[b - 1]
        self._ahead = looked_at(net.heads[a - 1], net.blocks[a]) if a else None
        self._behind = looked_at(self._head, net.blocks[b]) if b < net.K else None

    def _time_blocks(self, net: LocalNet, x: Tensor, y: Tensor, bf16: bool) -> list[float]:
        return seconds_per_block(net, x, y, bf16)

    def receive(self, x: Tensor) -> Tensor:
        """The first block's input for the images x, from the process before."""
        if self.rank == 0:
            return self._normalize(x)
        with self._timed("wait"):
            if self._arriving is None:
                told: list = [None]
                dist.recv_object_list(told, self.rank - 1, group=self._talk)
                self._arriving = told[0]
            shape, strides, dtype = self._arriving
            h = torch.empty_strided(shape, strides, dtype=dtype, device=x.device)
            dist.recv(_flat(h), self.rank - 1, group=self._onward)
        return h

    def send(self, h: Tensor) -> None:
        """Send features to the next process, if there is one."""
        if self.rank == self.size - 1:
            return
        h = h.detach()
        h = h if h.dim() == 4 and h.is_contiguous(memory_format=torch.channels_last) else h.contiguous()
        layout = tuple(h.shape), h.stride(), h.dtype
        with self._timed("send"):
            if self._leaving is None:
                dist.send_object_list([layout], self.rank + 1, group=self._talk)
                self._leaving = layout
            if layout != self._leaving:
                raise ValueError(f"features {layout[0]} after {self._leaving[0]}: give every batch as many images")
            send_on(_flat(h), self.rank + 1, self._onward, self._sent)

    def _follow(self) -> None:
        """Let the last head's EMA follow, if it has still to: it reads the next layer before or after the last step."""
        if self._late:
            self._hear(self._steps - (self._late == "before"))
            self._head.after_step(self._behind)
            self._late = None

    def _hear(self, steps: int) -> None:
        """Take in what comes back from the next process, until our copy of its layer is that after so many steps."""
        while self._behind and self._known < steps:
            state = self._behind.state_dict()
            sizes = [t.numel() * t.element_size() for t in state.values()]
            message = torch.empty(sum(sizes), dtype=torch.uint8, device=next(iter(state.values())).device)
            with self._timed("wait"):
                dist.recv(message, self.rank + 1, group=self._back)
            for tensor, part in zip(state.values(), message.split(sizes), strict=True):
                tensor.copy_(part.clone().view(tensor.dtype).view(tensor.shape))  # a clone starts where the dtype may
            self._known += 1

    def gather(self, net: LocalNet, optimizers: Sequence[Optimizer], losses: Tensor | None) -> None:
        if self.stage is None:  # nothing has been trained here yet
            return
        self._follow()
        self._hear(self._steps)
        held = {i: state_of(net, optimizers, i) for i in self.own} if self.rank else {}
        sent = [None] * self.size if self.rank == 0 else None
        own_losses = None if losses is None else losses[self.own.start : self.own.stop].cpu()
        dist.gather_object((self.own, held, own_losses), sent, 0, group=self._talk)
        for own, of_blocks, of_losses in sent[1:] if sent else ():
            if losses is not None:
                losses[own.start : own.stop] = of_losses.to(losses.device)
            for i, state in of_blocks.items():
                put_state(net, optimizers, i, state)

    @contextmanager
    def _timed(self, what: str, block: int | None = None) -> Iterator[None]:
        begin = time.monotonic()  # one clock for all processes of a machine
        yield
        if self._rows is not None:
            self._rows.append((what, block, begin, time.monotonic()))


def looked_at(head: Head, next_block: nn.Sequential) -> nn.Sequential | None:
    """What `head.after_step` looks at of the next block: the first layer for a moving average, else all; or nothing."""
    if type(head).after_step is Head.after_step:
        return None
    return next_block[:1] if head.average is not None else next_block


def seconds_per_block(net: LocalNet, x: Tensor, y: Tensor, bf16: bool = False, rounds: int = 3) -> list[float]:
    """The least time of each block's local step among some rounds, on a copy: the network stays as it is."""
    net, least = copy.deepcopy(net), [float("inf")] * net.K
    with torch.random.fork_rng():  # a rule may draw
        for _ in range(rounds):
            h = net.normalize(x)
            for i, pair in enumerate(zip(net.blocks, net.heads, strict=True)):
                begin = time.perf_counter()
                h, loss = local_step(*pair, h, x, y, bf16)
                loss.item()  # waits for the device
                least[i] = min(least[i], time.perf_counter() - begin)
    return least


def _flat(h: Tensor) -> Tensor:
    """All numbers in a row, as they lie in memory: the strides, told once, say which is which."""
    return h.as_strided((h.numel(),), (1,))
