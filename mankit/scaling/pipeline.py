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
from .parallel import PATIENCE, Team, send_on

Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]  # of features: shape, strides, dtype
Row = tuple[str, int | None, float, float]  # what (wait, compute, send), block or None, begin, end in seconds


class Stage(LocalNet):
    """Some blocks in a row with their heads, in one of several processes. `train_batch` runs on it as on any network.

    Its `normalize(x)` gives the first block's input: the normalised images, or what the process before has sent.
    """

    def __init__(self, net: LocalNet, own: range, wire: Blocks) -> None:
        a, b = own.start, own.stop
        super().__init__(net.blocks[a:b], net.heads[a:b], wire.receive, net.classes)
        self._wire = wire

    def send(self, h: Tensor) -> None:
        """Send the last block's features to the next process, if there is one, without waiting until they are there."""
        self._wire.send(h)


class Blocks(Team):
    """Every process has some blocks of the network: features go on to the next process, and nothing waits for a loss.

    Bit for bit the numbers of one process, if the rule draws no random numbers. What `after_step` looks at of the next
    block comes back from the next process after each step, and are used as late as may be: the last head's
    EMA moves just before its next loss (so a decay that is changed between two steps holds for the step before, too).

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
        self._steps = self._known = 0  # done here; after how many the next process was when it last told its layer
        self._late: str | None = None  # the EMA that has still to follow, and when it reads

    def check(self, net: LocalNet, batch: int) -> None:
        if net.K < self.size:
            what = f"{self.size} processes for {net.K} trained blocks"
            raise ValueError(f"parallel=blocks: {what}; give each one or more")

    def batch_step(self, net: LocalNet, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, **how: object) -> Tensor:
        """`train_batch` on this process's blocks. Returns the losses (K,), 0 for blocks of other processes."""
        if self.stage is None:
            self._share_out(net, x, y, how.get("bf16", False))
        a, b = self.own.start, self.own.stop
        losses = self._step(optimizers[a:b] if len(optimizers) > 1 else optimizers, x, y, **how)
        self._steps += 1
        self._late = how.get("ema_update", "before") if self._behind else None
        if self._ahead:
            layer = torch.cat([t.flatten().double() for t in self._ahead.state_dict().values()])  # exact, counters too
            send_on(layer, self.rank - 1, self._back, self._returned)
        every = x.new_zeros(net.K)
        every[a:b] = torch.as_tensor(losses)
        return every

    def _step(self, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, bf16: bool = False, **how: object) -> Tensor:
        if self._own_step:
            self._follow()
            with self._timed("compute"):
                return self._own_step(self.stage, optimizers, x, y)
        blocks = iter(self.own)

        def sending(*args: object) -> tuple[Tensor, Tensor]:
            h, loss = block_forward(*args)
            self.send(h)  # before the loss goes backward
            return h, loss

        def step(block: nn.Module, head: Head, h: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            i = next(blocks)
            last = i == self.own[-1]
            if last:
                self._follow()
            with self._timed("compute", i):
                return local_step(block, head, h, x, y, bf16, sending if last else block_forward)

        return train_batch(self.stage, optimizers, x, y, step=step, **how)

    def _share_out(self, net: LocalNet, x: Tensor, y: Tensor, bf16: bool) -> None:
        """Choose this process's blocks: process 0 times all, and the slowest process shall have as little as may be."""
        self.check(net, len(x))
        measured = measure_blocks(net, self._heads(net), x, y, bf16) if self.rank == 0 else None
        self.seconds, self._layouts = self.share(measured)
        ends = [0]
        for part in cut(net.blocks, self.size, costs=self.seconds):
            ends.append(ends[-1] + len(part))
        a, b = ends[self.rank : self.rank + 2]
        self.own, self._normalize = range(a, b), net.normalize
        self.stage, self._head = Stage(net, self.own, self), net.heads[b - 1]
        self._ahead = looked_at(net.heads[a - 1], net.blocks[a]) if a else None
        self._behind = looked_at(self._head, net.blocks[b]) if b < net.K else None

    def _heads(self, net: LocalNet) -> Sequence[nn.Module]:
        """What the blocks are timed with."""
        return net.heads

    def receive(self, x: Tensor) -> Tensor:
        """The first block's input for the images x, from the process before."""
        if self.rank == 0:
            return self._normalize(x)
        h = _empty(self._layouts[self.own.start - 1], x.device)
        with self._timed("wait"):
            dist.recv(_flat(h), self.rank - 1, group=self._onward)
        return h

    def send(self, h: Tensor) -> None:
        """Send features to the next process, if there is one."""
        if self.rank == self.size - 1:
            return
        with self._timed("send"):
            leaving = _empty(self._layouts[self.own[-1]], h.device)
            if h.shape != leaving.shape:
                raise ValueError(f"features {h.shape} after {leaving.shape}: give every batch as many images")
            send_on(_flat(leaving.copy_(h.detach())), self.rank + 1, self._onward, self._sent)

    def _follow(self) -> None:
        """Let the last head's EMA follow, if it has still to: it reads the next layer before or after the last step."""
        if self._late:
            self._hear(self._steps - (self._late == "before"))
            self._head.after_step(self._behind)
            self._late = None

    def _hear(self, steps: int) -> None:
        """Take in what comes back from the next process, until our copy of its layer is that after so many steps."""
        while self._behind and self._known < steps:
            tensors = self._behind.state_dict().values()
            sizes = [t.numel() for t in tensors]
            layer = torch.empty(sum(sizes), dtype=torch.float64, device=next(iter(tensors)).device)
            with self._timed("wait"):
                dist.recv(layer, self.rank + 1, group=self._back)
            for tensor, part in zip(tensors, layer.split(sizes), strict=True):
                tensor.copy_(part.view(tensor.shape))
            self._known += 1

    def gather(self, net: LocalNet, optimizers: Sequence[Optimizer], losses: Tensor | None) -> None:
        if self.stage is None:  # nothing has been trained here yet
            return
        self._follow()
        self._hear(self._steps)
        held = {i: state_of(net, optimizers, i) for i in self.own} if self.rank else {}
        sent = [None] * self.size if self.rank == 0 else None
        own_losses = None if losses is None else losses.cpu()
        dist.gather_object((held, own_losses), sent, 0, group=self._talk)
        for of_blocks, of_losses in sent[1:] if sent else ():
            for i, state in of_blocks.items():
                put_state(net, optimizers, i, *state)
                if losses is not None:
                    losses[i] = of_losses[i]

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


def measure_blocks(
    net: LocalNet, heads: Sequence[nn.Module], x: Tensor, y: Tensor, bf16: bool = False, rounds: int = 3
) -> tuple[list[float], list[Layout]]:
    """Each block's least seconds for a local step among some rounds, and how its features lie in memory.

    It works on a copy: the network stays as it is.
    """
    net, heads = copy.deepcopy((net, list(heads)))
    seconds, layouts = [float("inf")] * net.K, []
    with torch.random.fork_rng():  # a rule may draw
        for _ in range(rounds):
            h, layouts = net.normalize(x), []
            for i, pair in enumerate(zip(net.blocks, heads, strict=True)):
                begin = time.perf_counter()
                h, loss = local_step(*pair, h, x, y, bf16)
                loss.item()  # waits for the device
                seconds[i] = min(seconds[i], time.perf_counter() - begin)
                layouts.append((h.shape, h.stride(), h.dtype))
    return seconds, layouts


def _empty(layout: Layout, device: torch.device) -> Tensor:
    shape, strides, dtype = layout
    return torch.empty_strided(shape, strides, dtype=dtype, device=device)


def _flat(h: Tensor) -> Tensor:
    """All numbers in a row, as they lie in memory."""
    return h.as_strided((h.numel(),), (1,))


def state_of(net: LocalNet, optimizers: Sequence[Optimizer], i: int) -> tuple[dict, list[dict]]:
    """Weights and statistics of block i with its head, and the optimizer's state of each parameter; on the CPU."""
    pair, states = _pair(net, optimizers, i)
    return _to("cpu", pair.state_dict()), [_to("cpu", states.get(p, {})) for p in pair.parameters()]


def put_state(net: LocalNet, optimizers: Sequence[Optimizer], i: int, weights: dict, of_optimizer: list[dict]) -> None:
    """Put what `state_of` gave in its place."""
    pair, states = _pair(net, optimizers, i)
    pair.load_state_dict(weights)
    states |= {p: _to(p.device, of_p) for p, of_p in zip(pair.parameters(), of_optimizer, strict=True) if of_p}


def _pair(net: LocalNet, optimizers: Sequence[Optimizer], i: int) -> tuple[nn.ModuleList, dict]:
    return nn.ModuleList([net.blocks[i], net.heads[i]]), optimizers[i if len(optimizers) > 1 else 0].state


def _to(device: str | torch.device, values: dict) -> dict:
    return {name: v.to(device) if isinstance(v, Tensor) else v for name, v in values.items()}
