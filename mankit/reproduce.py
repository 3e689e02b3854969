"""A study of the papers, trained cell by cell and seed by seed in folders, and its table beside the published one.

runs = train_study("cifar10", "quick", seeds=3, jobs=2)   # the same call again: only what is missing
print(beside_published(runs))
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from .checkpoints import write
from .published import Cell, cells
from .recipes import Recipe
from .records import finished
from .runs import open_run

FAILED = "failed.json"  # in a run's folder: why it failed, until it succeeds
OUT = Path("runs/reproduce")
ERRORS = ("test error", "top-1 error")


@dataclass(frozen=True)
class Job:
    """One cell of a study with one seed, and where its run is kept."""

    cell: Cell
    recipe: Recipe
    folder: Path


def jobs_of(
    study: str, profile: str = "quick", seeds: int = 1, out: str | Path = OUT, lr: float | None = None
) -> list[Job]:
    """The runs of a study: its cells with seeds 0..seeds-1, each in `out`/PROFILE/CELL/seedN.

    lr: the highest learning rate, in place of the profile's; such runs are kept in folders of their own.
    Raises: ValueError for an unknown study or profile, and for seeds below 1.
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: choose 1 or more")
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
) -> pd.DataFrame:
    """Train what isn't trained yet, `jobs` runs at a time in processes of their own; returns `read_study`.

    A run that fails says why in its row, and the others go on; the next call tries it again. A Ctrl-C saves what is
    running and raises KeyboardInterrupt: the same call goes on there. root: where the data lies.
    Raises: ValueError as `jobs_of`.
    """
    planned = jobs_of(study, profile, seeds, out, lr)
    todo = [job for job in planned if not _is_finished(job)]
    spawn = multiprocessing.get_context("spawn")  # a forked process can't use CUDA
    with ProcessPoolExecutor(jobs, spawn, initializer=_quiet) as pool:
        running: dict[Future, Job] = {}
        try:
            for _ in _ticks(planned):
                _collect(running)
                while todo and len(running) < jobs:  # no more than can run: what waits in the pool can't be stopped
                    job = todo.pop(0)
                    running[_submit(pool, job, device, root)] = job
                if not running:
                    break
        except KeyboardInterrupt:
            _stop(running)
            raise
    return read_study(study, profile, seeds, out, lr)


def read_study(
    study: str, profile: str = "quick", seeds: int = 1, out: str | Path = OUT, lr: float | None = None
) -> pd.DataFrame:
    """A row for each run: cell, method, data, network, K, blocks (really built), seed, error_last, error_best_val
    (percent of test images, with the last weights and with the best on validation), seconds, status.

    status: 'done', 'not run', or 'failed: ' and why. K is the published number.
    """
    rows = []
    for job in jobs_of(study, profile, seeds, out, lr):
        status, summary = _status(job)
        cell = job.cell
        row = {
            "cell": cell.name,
            "method": cell.method,
            "data": cell.data,
            "network": cell.network,
            "K": cell.K,
            "blocks": job.recipe.K,
            "seed": job.recipe.seed,
            "status": status,
        }
        if summary:
            best = None if summary.test_best_val is None else 100 - summary.test_best_val
            row |= {"error_last": 100 - summary.test_last, "error_best_val": best, "seconds": summary.seconds}
        rows.append(row)
    columns = [
        "cell",
        "method",
        "data",
        "network",
        "K",
        "blocks",
        "seed",
        "error_last",
        "error_best_val",
        "seconds",
        "status",
    ]
    return pd.DataFrame(rows, columns=columns).astype({"error_last": float, "error_best_val": float, "seconds": float})


def beside_published(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell: our mean test error and its range over seeds, and what the papers report. In percent."""
    papers = {cell.name: cell.published for cell in cells()}
    rows = []
    for name, part in runs.groupby("cell", sort=False):
        first, done = part.iloc[0], part[part.status == "done"]
        row = {
            "data": first.data,
            "network": first.network,
            "method": first.method,
            "K": first.K,
            "last epoch": _spread(done.error_last),
            "best on validation": _spread(done.error_best_val),
        }
        for each in papers[name]:
            if each.metric in ERRORS:
                row[f"published ({each.source.split()[0]})"] = f"{each.value:g}"
        failed = part[part.status.str.startswith("failed")]
        row["runs"] = f"{len(done)} of {len(part)}" + (f", {failed.status.iloc[0]}" if len(failed) else "")
        rows.append(row)
    table = pd.DataFrame(rows)
    papers_first = [column for column in table if column != "runs"]
    return table[[*papers_first, "runs"]].fillna("-").set_index(["data", "network", "method", "K"])


def error_by_K(runs: pd.DataFrame, data: str) -> dict[str, tuple[list[int], list[list[float]]]]:
    """For `charts.curves`: method -> (all K but 1, a list of test errors for each seed). What is missing is nan."""
    part = runs[(runs.data == data) & (runs.K > 1)]
    series = {}
    for method, rows in part.groupby("method", sort=False):
        table = rows.pivot(index="seed", columns="K", values="error_last").reindex(columns=sorted(part.K.unique()))
        series[method] = (list(table.columns), table.to_numpy().tolist())
    return series


def published_by_K(runs: pd.DataFrame, data: str, source: str) -> dict[str, tuple[list[int], list[float]]]:
    """The same of the numbers of one paper ('InfoPro' or 'MAN'), for the cells of these runs; methods without any
    are left out."""
    wanted = runs[(runs.data == data) & (runs.K > 1)]
    numbers, values = sorted(wanted.K.unique()), {}
    for cell in cells():
        for each in cell.published:
            if cell.name in set(wanted.cell) and each.metric in ERRORS and each.source.startswith(source):
                values.setdefault(cell.method, {})[cell.K] = each.value
    return {method: (numbers, [of.get(K, float("nan")) for K in numbers]) for method, of in values.items()}


def failures(runs: pd.DataFrame) -> int:
    """How many runs failed or weren't run."""
    return int((runs.status != "done").sum())


def _train(folder: str, recipe: str, device: str, root: str | Path | None) -> None:
    """One run, in a process of its own."""
    torch.set_num_threads(1)
    with open_run(folder, Recipe.from_json(recipe), device=device, root=root) as kept:
        for _ in kept:
            pass
        kept.finish()
    (Path(folder) / FAILED).unlink(missing_ok=True)


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a worker that waits; one that trains saves first, see `runs`


def _submit(pool: ProcessPoolExecutor, job: Job, device: str, root: str | Path | None) -> Future:
    try:
        return pool.submit(_train, str(job.folder), job.recipe.to_json(), device, root)
    except BrokenExecutor as error:  # a worker was killed, and with it the pool
        failed: Future = Future()
        failed.set_exception(error)
        return failed


def _collect(running: dict[Future, Job]) -> None:
    """Take out what has ended, and note why it failed."""
    for future in [future for future in running if future.done()]:
        job = running.pop(future)
        if error := future.exception():
            _note_failure(job.folder, error)


def _ticks(planned: Sequence[Job]) -> Iterator[None]:
    """Twice a second, with a bar of the epochs that are done."""
    with tqdm(total=sum(job.recipe.epochs for job in planned), unit="epoch", smoothing=0.1, leave=False) as bar:
        while True:
            bar.update(sum(_epochs(job) for job in planned) - bar.n)
            yield
            time.sleep(0.5)


def _stop(running: dict[Future, Job]) -> None:
    """Have the workers save and end: again and again, since one that still loads its data doesn't listen yet."""
    while not all(future.done() for future in running):
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGINT)
        time.sleep(0.5)


def _epochs(job: Job) -> int:
    log = job.folder / "log.jsonl"
    return len(log.read_bytes().splitlines()) if log.is_file() else 0


def _is_finished(job: Job) -> bool:
    return _status(job)[0] == "done"


def _status(job: Job) -> tuple[str, object]:
    try:
        if summary := finished(job.folder, job.recipe):
            return "done", summary
    except ValueError as error:  # a damaged file, or another recipe's run
        return f"failed: {str(error).splitlines()[0]}", None
    file = job.folder / FAILED
    return (f"failed: {json.loads(file.read_text())['error']}", None) if file.is_file() else ("not run", None)


def _note_failure(folder: Path, error: BaseException) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    write(folder / FAILED, json.dumps({"error": words, "type": type(error).__name__}).encode())


def _spread(values: pd.Series) -> str:
    """'8.4 (8.1 to 8.9)', of one value '8.4', of none '-'"""
    values = values.dropna()
    if values.empty:
        return "-"
    return f"{values.mean():.1f}" + (f" ({values.min():.1f} to {values.max():.1f})" if len(values) > 1 else "")
