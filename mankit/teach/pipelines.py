"""A cut network over several processes: what lesson 9 has its reader write, by the library's own parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.optim import Optimizer

from ..blocks import cut
from ..scaling.pipeline import Stage
from ..training import train_batch

if TYPE_CHECKING:
    import pandas as pd


def stage_step(stage: Stage, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor) -> Tensor:
    """One step of a process's blocks on a batch: `train_batch`, and then the features go on. Returns their losses."""
    features = []
    hook = stage.blocks[-1].register_forward_hook(lambda _block, _given, h: features.append(h))
    losses = train_batch(stage, optimizers, x, y)
    hook.remove()
    stage.send(features[0])
    return losses


def waiting(rows: pd.DataFrame) -> list[float]:
    """The share (0 to 1) of a timeline that each process waits, of the time from its first row's begin to its end."""
    waits = rows[rows["what"] == "wait"]
    seconds = (waits["end"] - waits["begin"]).groupby(waits["process"]).sum()
    processes = range(rows["process"].max() + 1)
    return list(seconds.reindex(processes, fill_value=0.0) / (rows["end"].max() - rows["begin"].min()))


def speed_up(seconds: Sequence[float], batches: float) -> float:
    """How much faster a pipeline is than one process, for the seconds of each process's step: filling counts.

    Some batches take it the time of all processes for the first one, and then the slowest's for each that follows.
    """
    whole, slowest = sum(seconds), max(seconds)
    return whole / (slowest + (whole - slowest) / batches)


def begins(seconds: Sequence[float], batches: int, message: float = 0.0) -> list[list[float]]:
    """When each process begins each of its steps: as soon as it is free, and its input is there.

    A permutation flow shop: begin = max(own last end, arrival).

    Args:
        seconds: of each process's step. message: seconds from the end of one's step to the arrival at the next.
    Returns: for each process the begins of its steps.
    """
    rows: list[list[float]] = []
    arrivals = [0.0] * batches
    for of_step in seconds:
        row, free = [], 0.0
        for arrival in arrivals:
            row.append(max(free, arrival))
            free = row[-1] + of_step
        rows.append(row)
        arrivals = [begin + of_step + message for begin in row]
    return rows


def shared_out(seconds: Sequence[float], processes: int) -> list[float]:
    """The seconds of each process's step, where blocks in a row are shared out so that the slowest has least."""
    parts = cut([nn.Identity() for _ in seconds], processes, costs=seconds)
    left = iter(seconds)
    return [sum(next(left) for _ in part) for part in parts]
