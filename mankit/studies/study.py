"""A study of the papers, trained cell by cell and seed by seed in folders; `report` reads what is left there.

train_study("cifar10", "quick", seeds=3, jobs=2)   # the same call again: only what is missing
print(beside_published(read_study("cifar10", "quick", seeds=3)))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from ..errors import at_least, first_line
from .folder import write
from .kept import train_in
from .papers import Cell, cells
from .recipe import Recipe
from .record import Summary, finished
from .tune import SEEDS, chosen, factors, keep, rates

if TYPE_CHECKING:
    from ..scaling.engine import Seat

FAILED = "failed.json"  # in a run's folder: why it failed, until it succeeds
OUT = Path("runs/reproduce")
UNTUNED = "untuned"


@dataclass(frozen=True)
class Job:
    """One cell of a study with one seed, and where its run is kept. grid: the rates that its lr is chosen from."""

    cell: Cell
    recipe: Recipe
    folder: Path
    grid: tuple[float, ...] = ()

    @property
    def of_cell(self) -> Path:
        """Where all runs of a cell are whose lr is chosen."""
        return self.folder.parents[1]

    @property
    def untuned(self) -> bool:
        """Its lr isn't chosen yet: it can't be trained, and its folder holds only why."""
        return self.folder.parent.name == UNTUNED

    def status(self) -> tuple[str, Summary | None]:
        """'done', 'not run' or 'failed: ' and why; and the summary of a run that is done."""
        try:
            if summary := finished(self.folder, self.recipe):
                return "done", summary
        except ValueError as error:  # a damaged file, or another recipe's run
            return f"failed: {first_line(error)}", None
        file = self.folder / FAILED
        return (f"failed: {json.loads(file.read_text())['error']}", None) if file.is_file() else ("not run", None)


def jobs_of(
    study: str,
    profile: str = "quick",
    seeds: int = 1,
    out: str | Path = OUT,
    lr: float | None = None,
    tune_lr: bool | Sequence[float] = False,
) -> list[Job]:
    """The runs of a study: its cells with seeds 0..seeds-1, each in `out`/PROFILE/CELL/seedN.

    lr: the highest learning rate, in place of the profile's; such runs are kept in folders of their own.
    tune_lr: choose it for each cell on validation images, see `tune`; True, or factors of the profile's rate. These
        runs are in `out`/PROFILE-tuned/CELL/lrRATE/seedN.
    Raises: ValueError for an unknown study or profile, for seeds below 1, and for lr and tune_lr together.
    """
    at_least("seeds", seeds, 1)
    at_least("lr", lr, 0.0)
    if study == "memory":  # counted, not trained
        return []
    found, grid = cells(study, profile, lr), factors(tune_lr)
    if grid and lr is not None:
        raise ValueError(f"lr={lr:g} and tune_lr, which would choose it: leave out one of them")
    if grid:
        return [job for cell in found for job in _tuned_jobs(cell, _place(cell, profile, out), seeds, grid)]
    base = Path(out) / (profile if lr is None else f"{profile}-lr{lr:g}")
    return [_job(cell, base / cell.name, seed) for cell in found for seed in range(seeds)]


def _job(cell: Cell, folder: Path, seed: int, grid: Sequence[float] = (), **changes: object) -> Job:
    return Job(cell, cell.recipe.but(seed=seed, **changes), folder / f"seed{seed}", tuple(grid))


def _place(cell: Cell, profile: str, out: str | Path) -> Path:
    """The folder of a cell whose lr is chosen."""
    return Path(out) / f"{profile}-tuned" / cell.name


def _tuned_jobs(cell: Cell, folder: Path, seeds: int, factors: Sequence[float]) -> list[Job]:
    """The runs of a cell with the lr that its grid chose; where it hasn't yet, runs in a folder that nobody trains."""
    grid = rates(cell.recipe, factors)
    lr = chosen(folder, cell.recipe, grid)
    if lr is None:
        return [_job(cell, folder / UNTUNED, seed, grid) for seed in range(seeds)]
    return [_job(cell, folder / f"lr{lr:g}", seed, grid, lr=lr) for seed in range(seeds)]


def _grid_jobs(cell: Cell, folder: Path, factors: Sequence[float]) -> dict[float, list[Job]]:
    """For each rate of a cell's grid, a run with each seed."""
    grid = rates(cell.recipe, factors)
    return {lr: [_job(cell, folder / f"lr{lr:g}", seed, lr=lr) for seed in SEEDS] for lr in grid}


def train_study(
    study: str,
    profile: str = "quick",
    seeds: int = 1,
    *,
    jobs: int = 1,
    at: str | Path | None = None,
    out: str | Path = OUT,
    device: str = "auto",
    root: str | Path | None = None,
    lr: float | None = None,
    tune_lr: bool | Sequence[float] = False,
) -> None:
    """Train what isn't trained yet, `jobs` runs at a time in processes of their own, or `at` a cluster: see `engine`.

    A run that fails says why (see `read_study`), and the others go on; the next call tries it again. One whose process
    is killed goes on in another one, once. A Ctrl-C saves what is running and raises KeyboardInterrupt: the same call
    goes on there. root: where the data lies. tune_lr: first train the grid of each cell that has none yet.
    Raises: ValueError as `jobs_of`, or for a cluster that isn't there.
    """
    at_least("jobs", jobs, 1)
    planned = jobs_of(study, profile, seeds, out, lr, tune_lr)
    if grid := factors(tune_lr):
        _tune([job for job in planned if job.untuned], grid, (jobs, at), (device, root))
        planned = [job for job in jobs_of(study, profile, seeds, out, lr, tune_lr) if not job.untuned]
    _train_all(planned, (jobs, at), (device, root))


def _tune(untuned: list[Job], factors: Sequence[float], crew: tuple, where: tuple) -> None:
    """Train the grids of some cells, and keep in each cell's folder the rate that is best on validation images."""
    grids = {job.of_cell: _grid_jobs(job.cell, job.of_cell, factors) for job in untuned}
    _train_all([job for grid in grids.values() for of_rate in grid.values() for job in of_rate], crew, where)
    for job in untuned:
        said = {lr: [each.status() for each in of_rate] for lr, of_rate in grids[job.of_cell].items()}
        val = {lr: [summary and summary.val_last for _, summary in seeds] for lr, seeds in said.items()}
        try:
            keep(job.of_cell, job.cell.recipe, val)
        except ValueError as error:
            first, _ = next(iter(said.values()))[0]
            _note(job.folder, ValueError(f"{error}; its first run: {first}"))


def _train_all(planned: list[Job], crew: tuple, where: tuple) -> None:
    todo = [job for job in planned if job.status()[0] != "done"]
    begun, total = sum(map(_epochs, planned)), sum(job.recipe.epochs for job in planned)
    with tqdm(total=total, initial=begun, unit="epoch", smoothing=0.1, leave=False) as bar:
        _work_off(todo, crew, where, lambda: bar.update(sum(map(_epochs, planned)) - bar.n))


def _work_off(todo: list[Job], crew: tuple, where: tuple, tick: Callable[[], None]) -> None:
    """Train what is to do, and note what fails."""
    if not todo:
        return
    from ..scaling import engine

    (jobs, at), tasks = crew, [(job.folder.resolve(), job.recipe.to_json(), *where) for job in todo]
    with engine.workers(min(jobs, len(todo)), at) as client:
        engine.run_all(client, _train, tasks, lambda i, error: _note(todo[i].folder, error), tick)


def _note(folder: Path, error: object) -> None:
    if isinstance(error, BaseException):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / FAILED, json.dumps({"error": first_line(error), "type": type(error).__name__}))


def _train(folder: Path, recipe: str, device: str, root: str | Path | None, seat: Seat) -> None:
    """One run, in a worker."""
    torch.set_num_threads(1)
    train_in(folder, Recipe.from_json(recipe), device=device, root=root, stop=seat.stop)
    (folder / FAILED).unlink(missing_ok=True)


def _epochs(job: Job) -> int:
    log = job.folder / "log.jsonl"
    return len(log.read_bytes().splitlines()) if log.is_file() else 0
