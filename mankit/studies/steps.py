"""What goes along with the steps of a run: the sum of their losses, a progress bar."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator

from torch import Tensor

from ..training import Step


class LossSum:
    """The sum of the blocks' losses over some steps, on their device; reading it waits for the device."""

    def __init__(self) -> None:
        self.total: Tensor | None = None  # (K,)
        self.steps = 0

    def add(self, step: Step) -> None:
        """Take in a step's losses."""
        self.total = step.losses + (0 if self.total is None else self.total)
        self.steps += 1

    def are_finite(self) -> bool:
        """Are they numbers so far?"""
        return bool(self.total.isfinite().all())

    def take(self) -> list[float]:
        """The means since the last call, a number a block (none before the first step); the sum starts anew."""
        means = [] if self.total is None else (self.total / self.steps).tolist()
        self.total, self.steps = None, 0
        return means


def progress_bar(run: Iterable[Step]) -> Iterator[Step]:
    """The steps of a run (or a kept one), under a bar that says learning rate and the last block's loss."""
    from tqdm import tqdm

    # a run that fails at once shows no bar; of several processes the last shows it, which has the last block
    how = {"unit": "step", "dynamic_ncols": True, "delay": 0.5, "disable": run.team.rank + 1 < run.team.size}
    bar = tqdm(run, initial=run.done, total=len(run), **how)
    for step in bar:
        if step.index % 20 == 0:  # reading a loss waits for the device
            bar.set_postfix_str(f"lr {step.lr:.3f}, last block's loss {step.losses[-1].item():.3f}", refresh=False)
        yield step


@contextlib.contextmanager
def ctrl_c_waits() -> Iterator[list[int]]:
    """Ctrl-C appends to a list instead of stopping in the middle of a step; the second one stops at once."""
    asked: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, _: (asked.append(number), signal.signal(number, before)))
    except ValueError:  # not the main thread, which alone gets a Ctrl-C
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
