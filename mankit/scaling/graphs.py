"""A whole training step as one CUDA graph: forwards, backwards, EMAs and optimizers are launched at once.

A small network's step is thousands of short kernels, and a GPU waits for Python to launch each of them. A graph is
recorded once and replayed: the same kernels on the same memory, so whatever changes must change in place.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..blocks import LocalNet
from ..errors import first_line
from ..heads import Head
from ..training import BatchStep, train_batch
from .compiling import compiled_step
from .parallel import Alone

WARM_UP = 3  # steps before the recording: they make momentum buffers and choose algorithms; real training steps


class GraphedStep:
    """A batch step like the one it is given, for `train`, which a GPU replays as one graph.

    Batches and learning rates are copied into fixed tensors. What a graph holds as a number (a head's, such as MAN's
    decay; an optimizer's, such as its momentum) or as an address (weights, momentum buffers) is compared before each
    step, and a change is recorded anew. A batch of another shape runs without the graph. Where nothing can be recorded
    a line on stderr says why, and training goes on without. One network and its optimizers for each GraphedStep.

    Args:
        batch_step: what is recorded, such as `training.train_batch` or `compiling.compiled_step()`.
        record: False runs the same on any device, without the graph.
    Source: "Getting Started with CUDA Graphs", docs of PyTorch's torch.cuda.graph.
    """

    def __init__(self, batch_step: BatchStep = train_batch, record: bool = True) -> None:
        self.batch_step, self.record = batch_step, record
        self.steps, self.recorded = 0, 0  # steps so far, and how often one was recorded
        self._lrs: list[Tensor] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._key: tuple = ()

    def __call__(self, net: LocalNet, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor) -> Tensor:
        """Train on a batch, on the net's device. Returns the K local losses (K,), detached."""
        self.steps += 1
        if self.steps <= WARM_UP or not self.record or (self._graph and x.shape != self._x.shape):
            return self._plain(net, optimizers, x, y)
        if not self._graph:
            self._x, self._y = torch.empty_like(x), torch.empty_like(y)
        self._x.copy_(x)
        self._y.copy_(y)
        self._set_lrs(optimizers)
        if self._key != (key := _fixed(net, optimizers)):
            try:
                self._record(net, optimizers)
            except RuntimeError as error:
                print(f"CUDA graph: {first_line(error)}; training goes on without", file=sys.stderr)
                self.record = False
                return self._plain(net, optimizers, x, y)
            self._key = key
        self._graph.replay()
        return self._losses.clone()

    def _plain(self, net: LocalNet, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor) -> Tensor:
        """Without the graph; on a GPU on another stream, as a recording asks for."""
        self._set_lrs(optimizers)
        with _FixedLrs(optimizers, self._lrs):
            if not x.is_cuda:
                return self.batch_step(net, optimizers, x, y)
            here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                losses = self.batch_step(net, optimizers, x, y)
            here.wait_stream(aside)
            return losses

    def _set_lrs(self, optimizers: Sequence[Optimizer]) -> None:
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        device = groups[0]["params"][0].device
        self._lrs = self._lrs or [torch.empty((), device=device) for _ in groups]
        for lr, group in zip(self._lrs, groups, strict=True):
            lr.fill_(group["lr"])

    def _record(self, net: LocalNet, optimizers: Sequence[Optimizer]) -> None:
        self._graph, graph = None, torch.cuda.CUDAGraph()  # the old one's memory is free for the new one
        # thread_local: another thread, which pins batches or draws a panel, may call CUDA meanwhile
        with _FixedLrs(optimizers, self._lrs), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._losses = self.batch_step(net, optimizers, self._x, self._y)
        self._graph = graph
        self.recorded += 1


class _FixedLrs:
    """Inside, the optimizers read their learning rates from tensors; outside they are the numbers that they were."""

    def __init__(self, optimizers: Sequence[Optimizer], lrs: Sequence[Tensor]) -> None:
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._lrs = lrs

    def __enter__(self) -> None:
        self._numbers = [group["lr"] for group in self._groups]
        for group, lr in zip(self._groups, self._lrs, strict=True):
            group["lr"] = lr

    def __exit__(self, *error: object) -> None:
        for group, lr in zip(self._groups, self._numbers, strict=True):
            group["lr"] = lr


def _fixed(net: LocalNet, optimizers: Sequence[Optimizer]) -> tuple:
    """What a recorded step can't see change: numbers of heads and optimizers, addresses of weights and their state."""
    heads = [m for head in net.heads for m in head.modules() if isinstance(m, Head)]
    numbers = [value for head in heads for value in head.__dict__.values() if isinstance(value, float)]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    numbers += [group[name] for group in groups for name in ("momentum", "weight_decay")]
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    tensors = [*net.parameters(), *(v for state in states for v in state.values() if isinstance(v, Tensor))]
    return (*numbers, *(t.data_ptr() for t in tensors))


class Fast(Alone):
    """One process, as fast as its device can: on a GPU one graph over compiled blocks, on a CPU compiled blocks.

    A line on stderr says which; where blocks can't be compiled, or a step can't be recorded, another one says why not,
    and what is left is done. The numbers are those of `train_batch`, up to rounding.
    """

    def __init__(self) -> None:
        self._step: BatchStep | None = None

    def batch_step(self, net: LocalNet, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, **how: object) -> Tensor:
        if self._step is None:
            compiled = compiled_step(**how)
            self._step = GraphedStep(compiled) if x.is_cuda else compiled
            words = "one CUDA graph over compiled blocks" if x.is_cuda else "compiled blocks; a CUDA graph needs a GPU"
            print(f"fast: {words}", file=sys.stderr)
        return self._step(net, optimizers, x, y)
