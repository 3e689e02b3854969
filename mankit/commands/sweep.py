"""`mankit sweep`: a notebook for every cell of a grid of parameters."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from ..errors import choose
from .inputs import At, Parameters, found, json_or_text, known_parameters, parameters, writable


def sweep(
    notebook: Annotated[Path, Argument(help="The notebook; its last cell calls mankit.execution.result().")],
    grid: Annotated[
        list[str] | None, Option("-g", "--grid", metavar="NAME VALUES", help="An axis: K 1,2,4,8. May be repeated.")
    ] = None,
    seeds: Annotated[int | None, Option(min=1, help="Also run each cell with seed 0, 1, ... SEEDS-1.")] = None,
    parameter: Parameters = None,
    jobs: Annotated[int, Option(min=1, help="Notebooks at a time, each on one CPU thread.")] = 1,
    at: At = None,
    y: Annotated[str | None, Option(metavar="NAME", help="The result to plot (default: accuracy).")] = None,
    out: Annotated[Path, Option("-o", "--out", help="Folder for copies, table and plot.")] = Path("runs/sweep"),
) -> None:
    """Execute a notebook for every cell of a grid; write one table (CSV) and one plot (PNG) of it.

    Example: mankit sweep notebooks/reproduce/sweep.ipynb -g K 2,4,8 -g decay 0,0.9,1 --seeds 3 --jobs 2

    The first axis of numbers is the plot's x axis, the others its lines. The same command again runs only what
    is missing or failed. Exit code 1: a run failed (the table says which and why). 130: stopped by Ctrl-C.
    """
    from ..execution import sweep as library

    notebook = found(notebook)
    known = known_parameters(notebook)
    if not grid:
        raise ValueError("no grid: give at least one axis, as in -g K 1,2,4,8")
    axes = parameters(grid, known, _values)
    if seeds:
        choose("parameter", "seed", known)
    cells = library.grid(axes, seeds, parameters(parameter, known))
    table_file = writable(out) / f"{notebook.stem}.csv"
    try:
        table = library.sweep(notebook, cells, out, jobs, at)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; finished runs are kept in {out}, and the same command goes on") from None
    print(table_file)
    if shown := y or library.main_result(table, cells):
        from ..charts import png

        figure = library.plot(table, list(axes), shown, f"{notebook.stem}: {shown} by {' and '.join(axes)}")
        table_file.with_suffix(".png").write_bytes(png(figure, scale=2))
        print(table_file.with_suffix(".png"))
    failed = table[table["error"] != ""]
    for _, row in failed.iterrows():
        which = ", ".join(f"{name}={row[name]}" for name in cells[0])
        print(f"mankit: failed: {which}: {row['error']}", file=sys.stderr)
    raise Exit(1 if len(failed) else 0)


def _values(text: str) -> list:
    """'1,2' -> [1, 2]; 'dgl,man' -> ['dgl', 'man']; '[8,16],[16,32]' -> two lists."""
    try:
        return json.loads(f"[{text}]")
    except json.JSONDecodeError:
        words = [word.strip() for word in text.split(",")]
    if "" in words:
        raise ValueError(f"{text}: a value is missing between commas; give them as in 1,2,4")
    return [json_or_text(word) for word in words]
