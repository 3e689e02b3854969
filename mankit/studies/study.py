"""A study of the papers, trained cell by cell and seed by seed in folders; `report` reads what is left there.

train_study("cifar10", "quick", seeds=3, jobs=2)   # the same call again: only what is missing
print(beside_published(read_study("cifar10", "quick", seeds=3)))
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ..errors import at_least, first_line
from .folder import write
from .kept import train_in
from .papers import Cell, cells
from .recipe import Recipe
from .record import Summary, finished

FAILED = "failed.json"  # in a run's folder: why it failed, until it succeeds
OUT = Path("runs/reproduce")


@dataclass(frozen=True)
class Job:
    """One cell of a study with one seed, and where its run is kept."""

    cell: Cell
    recipe: Recipe
    folder: Path

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
    study: str, profile: str = "quick", seeds: int = 1, out: str | Path = OUT, lr: float | None = None
) -> list[Job]:
    """The runs of a study: its cells with seeds 0..seeds-1, each in `out`/PROFILE/CELL/seedN.

    lr: the highest learning rate, in place of the profile's; such runs are kept in folders of their own.
    Raises: ValueError for an unknown study or profile, and for seeds below 1.
    """
    at_least("seeds", seeds, 1)
    at_least("lr", lr, 0.0)
    base = Path(out) / (profile if lr is None else f"{profile}-lr{lr:g}")
    if study == "memory":  # counted, not trained
        return []
    return [
        Job(cell, cell.recipe.but(seed=seed), base / cell.name / f"seed{seed}")
        for cell in cells(study, profile, lr)
        for seed in range(seeds)
    ]


def train_study(
    study: str,
    profile: str = "quick",
    seeds: int = 1,
    *,
    jobs: int = 1,
    out: str | Path = OUT,
    device: str = "auto",
    root: str | Path | None = None,
    lr: float | None = None,
) -> None:
    """Train what isn't trained yet, `jobs` runs at a time in processes of their own.

    A run that fails says why (see `read_study`), and the others go on; the next call tries it again. A Ctrl-C saves
    what is running and raises KeyboardInterrupt: the same call goes on there. root: where the data lies.
    Raises: ValueError as `jobs_of`.
    """
    at_least("jobs", jobs, 1)
    planned = jobs_of(study, profile, seeds, out, lr)
    todo = [job for job in planned if job.status()[0] != "done"]
    with tqdm(total=sum(job.recipe.epochs for job in planned), unit="epoch", smoothing=0.1, leave=False) as bar:
        _work_off(todo, jobs, (device, root), lambda: bar.update(sum(map(_epochs, planned)) - bar.n))


def _work_off(todo: list[Job], jobs: int, where: tuple, tick: Callable[[], None]) -> None:
    """Train what is to do and note what fails. Each process has a pool of its own: if it is killed, only its run waits
    for another one, once."""
    idle = [_one_worker() for _ in range(min(jobs, len(todo)))]
    running: dict[Future, tuple[ProcessPoolExecutor, Job]] = {}
    killed: list[Job] = []
    try:
        while todo or running:
            while todo and idle:
                job = todo.pop(0)
                pool, future = _submit(idle.pop(), _train, job.folder, job.recipe.to_json(), *where)
                running[future] = pool, job
            for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                pool, job = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenExecutor):
                    error = BrokenExecutor("killed by the system (out of memory?)")
                    (todo if job not in killed else []).append(job)
                    killed.append(job)
                _note(job.folder, error)
                idle.append(pool)
            tick()
    except KeyboardInterrupt:
        _stop(running)
        raise
    finally:
        for pool in (*idle, *(pool for pool, _ in running.values())):
            pool.shutdown()


def _submit(pool: ProcessPoolExecutor, *call: object) -> tuple[ProcessPoolExecutor, Future]:
    """The call in the pool, or in another one where the pool's process was killed."""
    try:
        return pool, pool.submit(*call)
    except BrokenExecutor:
        pool = _one_worker()
        return pool, pool.submit(*call)


def _one_worker() -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")  # a forked process can't use CUDA
    return ProcessPoolExecutor(1, spawn, initializer=_begin)


def _note(folder: Path, error: BaseException | None) -> None:
    if error:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / FAILED, json.dumps({"error": first_line(error), "type": type(error).__name__}))


def _train(folder: Path, recipe: str, device: str, root: str | Path | None) -> None:
    """One run, in a process of its own."""
    torch.set_num_threads(1)
    train_in(folder, Recipe.from_json(recipe), device=device, root=root)
    (folder / FAILED).unlink(missing_ok=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a worker that waits; one that trains saves first, see `kept`
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """However the parent dies: what is saved stays, and the next call goes on there."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _epochs(job: Job) -> int:
    log = job.folder / "log.jsonl"
    return len(log.read_bytes().splitlines()) if log.is_file() else 0


def _stop(running: Iterable[Future]) -> None:
    """Have the workers save and end: again and again, since one that still loads its data doesn't listen yet."""
    while not all(future.done() for future in running):
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGINT)
        time.sleep(0.5)
