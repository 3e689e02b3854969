"""A run in a folder, trained by several processes that torchrun has started: the first keeps it, the others follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import choose
from ..scaling.graphs import Fast
from ..scaling.torchrun import joined
from ..training import Step
from .kept import train_in
from .recipe import Recipe
from .record import Summary
from .run import Run, load_data
from .steps import ctrl_c_waits


def train_together(
    folder: str | Path,
    recipe: Recipe,
    how: str | None,
    device: str = "cpu",
    *,
    root: str | Path | None = None,
    download: bool = False,
    progress: Callable[[Run], Iterable[Step]] = iter,
    table: bool = False,
    fast: bool = False,
) -> Summary | None:
    """`train_in`, called in each of several processes; None in all but the first, which alone writes.

    how: 'data' (each trains on a part of every batch), 'blocks' (each trains some blocks), None (one process; fast:
    see `Fast`). The folder is the same as one process's, and a run may go on with more processes, or fewer.
    Raises: ValueError as `joined` and `train_in`.
    """
    if how is None:
        there = {"device": device, "root": root, "download": download}
        return train_in(folder, recipe, **there, progress=progress, table=table, team=Fast() if fast else None)
    if fast:
        raise ValueError(f"fast with parallel={how}: leave one out")
    choose("parallel", how, ("data", "blocks"))
    with joined(how, device, recipe.__dict__) as team:
        there = {"device": device, "root": root}
        if team.rank == 0:
            return train_in(folder, recipe, **there, download=download, progress=progress, table=table, team=team)
        state = team.share(None)
        if state is not None:
            _follow(Run(recipe, load_data(recipe, **there), team=team), state, progress)
        return None


def _follow(run: Run, state: dict, progress: Callable[[Run], Iterable[Step]]) -> None:
    """What the others do while the first process iterates over a KeptRun: every message has its other end here."""
    if state:
        run.restore(state)
    with ctrl_c_waits():  # for the first process to say when
        for _ in progress(run):
            epoch_ends = run.done % run.steps_per_epoch == 0
            if epoch_ends or run.team.agree(False):
                run.gather()
            if epoch_ends:
                run.losses.take()
            if run.team.agree(False):
                run.gather()
                return
