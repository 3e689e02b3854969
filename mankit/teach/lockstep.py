"""A reader's run beside the library's, in lock-step: equal bit for bit, or where and when the two part.

print(beside(mine, Run(recipe), steps=20))
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..blocks import LocalNet
from ..training import BatchStep, Forward, Step

HINTS = {
    "start": "the two start from different weights: draw yours in the library's order, from the place's generator",
    "loss": "nothing has been updated yet: look at your forward pass",
    "loss, later": "the weights were equal before this step: look at what your forward pass reads besides them",
    "gradient": "the losses agree: look at detach, at backward, and at whether it ran twice",
    "BatchNorm statistic": "the block ran in another mode, or more than once in a step",
    "EMA's statistic": "the EMA ran in another mode or more than once, or buffers were averaged: only parameters are",
    "EMA": "the gradients agree: look at the decay, and at the order (before or after the optimizer's step)",
    "parameter": "the gradients agree: look at what else changes the weights",
}


class Trained(Protocol):
    """What is compared: iterating trains, a step at a time (a `Run`, say)."""

    net: LocalNet
    optimizer: Optimizer | list[Optimizer]
    batch_step: BatchStep

    def __iter__(self) -> Iterator[Step]: ...


@dataclass(frozen=True)
class Parting:
    """The first difference: in which step (from 1; 0: before any), block (from 1), what, which tensor, by how much.

    amount: the largest difference, nan where shapes differ; scale: the largest number in the library's tensor.
    """

    step: int
    block: int
    what: str
    tensor: str
    amount: float
    scale: float = 0.0

    @property
    def hint(self) -> str:
        """Where to look."""
        if self.amount < 1e-5 * self.scale:
            return "as small as rounding: perhaps the same sum in another order, which is right too"
        return HINTS["loss, later" if self.what == "loss" and self.step > 1 else self.what]

    def __str__(self) -> str:
        where = f"step {self.step}, block {self.block}" if self.step else f"before the first step, block {self.block}"
        name = f" {self.tensor}" if self.tensor else ""
        by = f"differs by {self.amount:.2g}" if self.amount == self.amount else "isn't there in one of the two"
        return f"They part at {where}: the {self.what}{name} {by}. Hint: {self.hint}."


class Beside:
    """Two runs, a step of each at a time, compared bit for bit after each step until they part.

    Iterating yields both steps. Attributes: mine, library; steps so far; tensors compared after each;
    parting: the first difference, None as long as there is none.
    """

    def __init__(self, mine: Trained, library: Trained) -> None:
        self.mine, self.library, self.steps = mine, library, 0
        self.tensors, self._names = len(library.net.state_dict()), _names(mine.net, library.net)
        self.parting = self._first(0, "start", self._renamed(mine.net.state_dict()), dict(library.net.state_dict()))

    def __iter__(self) -> Iterator[tuple[Step, Step]]:
        with ExitStack() as hooks:
            gradients = [_Gradients(run, hooks) for run in (self.mine, self.library)]
            for mine, its in zip(self.mine, self.library, strict=False):
                self.steps += 1
                self.parting = self.parting or self._compare(mine, its, *gradients)
                yield mine, its

    def __str__(self) -> str:
        if self.parting:
            return f"\u2718 {self.parting}"
        return f"\u2714 Equal bit for bit so far ({self.steps} steps, {self.tensors} tensors)."

    def _compare(self, mine: Step, its: Step, my_gradients: _Gradients, its_gradients: _Gradients) -> Parting | None:
        """In the order in which things happen: a forward pass, its gradients, the averages, the update."""
        states = [self._renamed(self.mine.net.state_dict()), dict(self.library.net.state_dict())]
        kinds = {name: _kind(name, self.library.net) for name in states[1]}

        def only(what: str) -> list[dict[str, Tensor]]:
            return [{name: value for name, value in state.items() if kinds.get(name) == what} for state in states]

        losses = [{f"blocks.{k}": loss for k, loss in enumerate(step.losses)} for step in (mine, its)]
        found = (
            self._first(self.steps, "loss", *losses),
            self._first(self.steps, "BatchNorm statistic", *only("BatchNorm statistic")),
            self._first(self.steps, "EMA's statistic", *only("EMA's statistic")),
            self._first(self.steps, "gradient", self._renamed(my_gradients.now), its_gradients.now),
            self._first(self.steps, "EMA", *only("EMA")),
            self._first(self.steps, "parameter", *only("parameter")),
        )
        # the first block that parts, and there what happens first
        return min((each for each in found if each), key=lambda parting: parting.block, default=None)

    def _renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {self._names.get(name, name): tensor for name, tensor in tensors.items()}

    @staticmethod
    def _first(step: int, what: str, mine: dict[str, Tensor], its: dict[str, Tensor]) -> Parting | None:
        """The first of the named tensors that isn't the same in both."""
        for name in sorted(dict.fromkeys([*its, *mine]), key=_block_of):
            a, b = mine.get(name), its.get(name)
            if a is None or b is None or a.shape != b.shape:
                return Parting(step, _block_of(name), what, name, float("nan"))
            if not torch.equal(a, b):
                tensor = "" if what == "loss" else name
                amount, scale = (x.abs().max().item() for x in (a.double() - b.double(), b))
                return Parting(step, _block_of(name), what, tensor, amount, scale)
        return None


class _Gradients:
    """The gradients of a run's network as they are when its optimizer steps."""

    def __init__(self, run: Trained, hooks: ExitStack) -> None:
        self.now: dict[str, Tensor] = {}
        self._net = run.net
        for optimizer in run.optimizer if isinstance(run.optimizer, list) else [run.optimizer]:
            hooks.callback(optimizer.register_step_pre_hook(self._read).remove)

    def _read(self, optimizer: Optimizer, *_: object) -> None:
        steps_now = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, p in self._net.named_parameters():
            if id(p) in steps_now:
                self.now.pop(name, None)
                if p.grad is not None:
                    self.now[name] = p.grad.clone()


def _names(mine: LocalNet, library: LocalNet) -> dict[str, str]:
    """The library's name of each of my tensors, where both nets have the same shapes in the same order: a head
    written as a class calls its layers otherwise.
    """
    mine, library = mine.state_dict(), library.state_dict()
    same = [value.shape for value in mine.values()] == [value.shape for value in library.values()]
    return dict(zip(mine, library, strict=True)) if same else {}


def _block_of(name: str) -> int:
    """The number of the block, from 1, that a tensor of a network belongs to."""
    found = re.match(r"(?:blocks|heads)\.(\d+)", name)
    return int(found[1]) + 1 if found else 0


def _kind(name: str, net: LocalNet) -> str:
    """What a tensor of a network is, as a reader calls it."""
    statistic = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    average = net.heads[_block_of(name) - 1].average if name.startswith("heads.") else None
    path, _, last = name.rpartition(".")
    if average is not None and net.get_submodule(path) in average.modules():
        return "EMA's statistic" if statistic else "EMA"
    return "BatchNorm statistic" if statistic else "parameter"


@dataclass(frozen=True)
class Own:
    """A reader's code that is to be compared. step: in place of `local_step`, or None. beside: the library's rule by
    its name, where the reader's run has a rule of its own.
    """

    step: Forward | None = None
    beside: str | None = None

    def trains(self, run: Trained) -> Trained:
        """The run, with the reader's step where there is one."""
        if self.step:
            run.batch_step = functools.partial(run.batch_step, step=self.step)
        return run


def beside(mine: Trained, library: Trained, steps: int = 20) -> Beside:
    """Train both for some steps from where they are, and compare; print what comes back.

    mine, library: two runs of one seed and K, such as `Run(recipe, rule=my_rule)` and `Run(recipe)`.
    Raises: what the reader's own code raises.
    """
    both = Beside(mine, library)
    for _ in itertools.islice(both, steps):
        pass
    return both
