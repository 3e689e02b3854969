"""Sweeps: one notebook, executed for every cell of a grid of parameters, gives one table and one plot.

A notebook hands over its numbers by `mankit.execution.result(accuracy=...)`.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import nbformat
import pandas as pd
import papermill
from jupyter_client import AsyncKernelManager
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets import Callable, Dict
from traitlets.config import Config

from ..charts import Chart, bars, curves
from ..errors import at_least, first_line
from ..scaling.engine import Seat, run_all, workers
from .execute import folder_of, tidy
from .results import read_results

Cell = dict[str, object]  # one cell of the grid: parameter names and values
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # jobs that share the cores slow each other down
NOT_RESULTS = ("duration_s", "error")  # the table's own columns


def grid(
    axes: Mapping[str, Sequence], seeds: int | None = None, fixed: Mapping[str, object] | None = None
) -> list[Cell]:
    """All combinations of the axes' values, with seed 0..seeds-1 as the last axis, each with the fixed values.

    Raises: ValueError for an axis without values, with one twice, or with a name that stands twice.
    """
    fixed = dict(fixed or {})
    if seeds is not None:
        at_least("seeds", seeds, 1)
        if "seed" in axes:
            raise ValueError(f"seeds={seeds}: give no axis named seed beside it")
        axes = {**axes, "seed": range(seeds)}
    for name, values in axes.items():
        texts = [json.dumps(value) for value in values]
        if not texts or len(set(texts)) < len(texts):
            raise ValueError(f"{name}={','.join(texts)}: give at least one value, and each once")
        if name in fixed:
            raise ValueError(f"{name} is both an axis of the grid and fixed to {fixed[name]}: give it once")
    return [{**fixed, **dict(zip(axes, values, strict=True))} for values in itertools.product(*axes.values())]


def sweep(
    notebook: Path, cells: Sequence[Cell], out: Path, jobs: int = 1, at: str | Path | None = None
) -> pd.DataFrame:
    """Execute a notebook for each cell of a grid, `jobs` at a time or `at` a cluster, into the folder `out`.

    A cell whose executed copy is in `out`, from the same code and parameters, isn't run again. Returns (and
    keeps in `out`/NOTEBOOK.csv after each cell) a row a cell, in the order of the grid: its parameters, its
    results, duration_s in seconds, and error, empty where all went well. After Ctrl-C the finished ones are kept.
    What the same code left in `out` for another grid stays in the file, marked in a column `grid`.
    All jobs are threads of this process: several processes would race for the ports of their kernels. On a cluster,
    where they can't be, kernels talk through files in place of ports. Raises: ValueError where there is no cluster.
    """
    notebook, out = notebook.resolve(), out.resolve()
    targets = [_target(notebook, cell, out) for cell in cells]
    if len(set(targets)) < len(targets):
        raise ValueError("two cells of the grid would have one file name: give values that differ in letters or digits")
    rows = [finished_row(notebook, target, cell) for target, cell in zip(targets, cells, strict=True)]
    earlier, file = other_grids(notebook, out, targets), out / f"{notebook.stem}.csv"
    todo = [i for i, row in enumerate(rows) if row is None]
    tasks = [(notebook, targets[i], cells[i], at is not None) for i in todo]

    def keep(i: int, outcome: object) -> None:
        rows[todo[i]] = {**cells[todo[i]], "error": _said(outcome)} if isinstance(outcome, Exception) else outcome
        write_table(rows, cells, file, earlier)
        bar.update()

    bar = tqdm(total=len(cells), initial=len(cells) - len(todo), unit="run", dynamic_ncols=True)
    with bar, workers(jobs, at, threads=True) as client:
        run_all(client, _run, tasks, keep)
    return write_table(rows, cells, file, earlier)


def write_table(
    rows: Sequence[Cell | None], cells: Sequence[Cell], file: Path, earlier: Sequence[Cell] = ()
) -> pd.DataFrame:
    """The finished rows as a table, written as a whole or not at all: parameters, results, duration_s, error.

    earlier: rows of other grids, which only the file shows, below.
    """
    done = [row for row in rows if row is not None]
    results = dict.fromkeys(name for row in done for name in row if name not in {*cells[0], *NOT_RESULTS})
    table = pd.DataFrame(done, columns=[*cells[0], *results, *NOT_RESULTS])
    part = file.with_suffix(".part")
    below = pd.DataFrame(earlier)
    shown = pd.concat([table.assign(grid="this"), below.assign(grid="earlier")]) if earlier else table
    shown.to_csv(part, index=False)
    os.replace(part, file)
    return table


def other_grids(notebook: Path, out: Path, targets: Sequence[Path]) -> list[Cell]:
    """The rows of executed copies of the same code that aren't among the targets."""
    rows = []
    for copy in sorted(set(out.glob(f"{notebook.stem}-*.ipynb")) - set(targets)):
        with suppress(Exception):  # damaged, or no copy of this notebook
            cell = dict(nbformat.read(copy, as_version=4).metadata.papermill.parameters)
            rows.append(finished_row(notebook, copy, cell))
    return [row for row in rows if row is not None]


def _target(notebook: Path, cell: Cell, out: Path) -> Path:
    """out/NOTEBOOK-K4-decay0.9-seed0.ipynb"""
    tail = "".join(f"-{name}{value}" for name, value in cell.items())
    return out / f"{notebook.stem}{re.sub(r'[^A-Za-z0-9_.,+=-]', '_', tail)}.ipynb"


def finished_row(notebook: Path, target: Path, cell: Cell) -> Cell | None:
    """The row of an executed copy; None if there is none, or one of other code or parameters."""
    try:
        nb = nbformat.read(target, as_version=4)
        if _code(nb) != _code(nbformat.read(notebook, as_version=4)) or nb.metadata.papermill.parameters != cell:
            return None
        return _row(nb, cell)
    except Exception:  # missing, damaged, or without results: run it (again)
        return None


def _code(nb: NotebookNode) -> list[str]:
    """The code that stands in a notebook, without the parameters that papermill put into a copy."""
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def _row(nb: NotebookNode, cell: Cell) -> Cell:
    results = read_results(nb)
    if not results:
        raise ValueError("the notebook has no result: call mankit.execution.result(accuracy=...) in its last cell")
    if both := sorted(set(results) & {*cell, *NOT_RESULTS}):
        raise ValueError(f"result {both[0]} has the name of a parameter or of the table's own column: rename it")
    return {**cell, **results, "duration_s": nb.metadata.papermill.duration, "error": ""}


def _run(notebook: Path, target: Path, cell: Cell, by_files: bool, seat: Seat) -> Cell:
    """Execute one cell of the grid; its row. A complete copy gets its name. by_files: talk to the kernel so."""
    part = target.with_suffix(".unfinished.ipynb")
    # not papermill's own `cwd`, which changes the folder of the whole process, back and forth in each thread
    options = {"cwd": str(folder_of(notebook)), "env": {**ONE_THREAD, **os.environ, **seat.env}}
    manager = {"options": options, "started": lambda kernel: _end_at(seat.stop, kernel)}
    how = {"kernel_name": "python3", "language": "python", "kernel_manager_class": GridManager}
    how |= {"extra_arguments": ["--log-level=ERROR"], "progress_bar": False}
    try:
        with tempfile.TemporaryDirectory() as folder:
            manager |= {"transport": "ipc", "ip": f"{folder}/kernel"} if by_files else {}
            config = Config(GridManager=manager)
            run = functools.partial(papermill.execute_notebook, config=config, **how)
            # in a context of its own: Jupyter keeps its event loop in one, and this thread's is a copy of its parent's
            nb = contextvars.Context().run(run, str(notebook), str(part), cell)
        row = _row(nb, cell)
        tidy(part)
        os.replace(part, target)
        return row
    except Exception as error:  # a cell that failed, a kernel that died, no results, a full disk: the others go on
        return {**cell, "error": _said(error)}


def _said(error: Exception) -> str:
    if isinstance(error, PapermillExecutionError):
        return f"cell {error.exec_count}: {error.ename}: {first_line(error.evalue or 'no message')}"
    return f"{type(error).__name__}: {first_line(error)}"


class GridManager(AsyncKernelManager):
    """Starts a kernel with `options` of a process (its folder and environment), and calls `started` with it."""

    options = Dict().tag(config=True)
    started = Callable().tag(config=True)

    async def start_kernel(self, **options: object) -> None:
        """As AsyncKernelManager does, which names the options."""
        await super().start_kernel(**{**options, **self.options})
        self.started(self.provisioner.process)


def _end_at(stop: threading.Event, kernel: subprocess.Popen) -> None:
    """End a kernel when `stop` is set: the thread that waits for its answer can't be interrupted."""

    def watch() -> None:
        while kernel.poll() is None:
            if stop.wait(0.2):
                kernel.kill()

    threading.Thread(target=watch, daemon=True).start()


def main_result(table: pd.DataFrame, cells: Sequence[Cell]) -> str | None:
    """What to plot if nobody says: accuracy, or else the first result that is a number; None without one."""
    results = table.drop(columns=[*cells[0], *NOT_RESULTS]).dropna(axis=1, how="all")
    numbers = results.select_dtypes(["number", "bool"])
    return "accuracy" if "accuracy" in numbers else next(iter(numbers), None)


def plot(table: pd.DataFrame, axes: Sequence[str], y: str, title: str = "") -> Chart:
    """A result (the column y) against the first axis that has numbers, a line for each value of the other axes.

    Seeds show as mean, minimum and maximum; a point where one of them failed is a gap. Without an axis of
    numbers: bars. Raises: ValueError for a y that isn't a column of numbers.
    """
    if y not in table or not pd.api.types.is_numeric_dtype(table[y]):
        raise ValueError(f"y={y}: the results are {', '.join(map(str, table.columns))}; choose one with numbers")
    numeric = [name for name in axes if pd.api.types.is_any_real_numeric_dtype(table[name])]
    x = max(numeric, key=lambda name: table[name].nunique() > 1, default=None)  # the first that varies
    others = [name for name in axes if name != x]
    names = [_name(row, others) or y for _, row in table.iterrows()]
    groups = table.assign(_line=names, _seed=table.get("seed", 0)).groupby("_line", sort=False)
    if x is None:
        return bars({name: part[y].to_list() for name, part in groups}, y, title)
    xs = sorted(table[x].unique())
    by_seed = {name: part.pivot(index="_seed", columns=x, values=y).reindex(columns=xs) for name, part in groups}
    return curves({name: (xs, seeds.to_numpy()) for name, seeds in by_seed.items()}, x, y, title)


def _name(row: pd.Series, axes: Sequence[str]) -> str:
    """'decay 0.9, rule man'"""
    values = {name: f"{row[name]:g}" if isinstance(row[name], float) else row[name] for name in axes}
    return ", ".join(f"{name} {value}" for name, value in values.items())
