"""A learning rate for each method: what a grid of runs says on validation images, kept beside those runs.

One rate for all methods favours some of them. The grid is trained with seeds 0 and 1, which are reported too; the test
images have no say in the choice. Two seeds: with one, a rate was chosen that collapses with the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import at_least
from .folder import write
from .recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

GRID = (0.5, 1.0, 2.0, 4.0)  # times the profile's learning rate
SEEDS = (0, 1)  # of the grid's runs
TUNED = "tuned.json"  # in a cell's folder: what the grid said, and the rate that it chose
Grid = Mapping[float, Sequence[float | None]]  # rate -> validation accuracy with each seed; None for a run that failed


def factors(tune_lr: bool | Sequence[float]) -> tuple[float, ...]:
    """By what a profile's lr is multiplied: nothing (False), GRID (True), or the numbers given, from the lowest.

    Raises: ValueError for a factor that isn't a positive number.
    """
    if isinstance(tune_lr, bool):
        return GRID if tune_lr else ()
    for factor in tune_lr:
        at_least("a factor of tune_lr", factor, 0.001)
    return tuple(sorted(set(tune_lr)))


def rates(recipe: Recipe, factors: Sequence[float]) -> list[float]:
    """The learning rates of a recipe's grid."""
    return [float(f"{recipe.lr * factor:g}") for factor in factors]  # 3 * 0.1 is 0.3, not 0.30000000000000004


def keep(folder: Path, recipe: Recipe, grid: Grid) -> None:
    """Write what a grid said and the rate with the best mean, the lower one of two that are equal, in one move.

    Raises: ValueError where the file can't be written, or no rate has an accuracy with every seed.
    """
    done = {rate: val for rate, val in grid.items() if None not in val}
    if not done:
        raise ValueError("no rate of its grid could be trained with every seed, or no images are held out (val_size)")
    lr = min(done, key=lambda rate: (-sum(done[rate]), rate))
    said = {"lr": lr, "seeds": SEEDS, "val_accuracy": {f"{rate:g}": val for rate, val in grid.items()}}
    write(folder / TUNED, json.dumps(said | {"recipe": json.loads(recipe.to_json())}, indent=2) + "\n")


def chosen(folder: Path, recipe: Recipe, grid: Sequence[float]) -> float | None:
    """The rate that this grid chose for this recipe; None where that isn't known yet, or the file is damaged."""
    try:
        said = json.loads((folder / TUNED).read_text(encoding="utf-8"))
        same = list(said["val_accuracy"]) == [f"{rate:g}" for rate in grid] and said["seeds"] == list(SEEDS)
        return said["lr"] if same and said["recipe"] == json.loads(recipe.to_json()) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # the grid's runs are still there: it is written again from them


def note(runs: pd.DataFrame) -> list[str]:
    """A line to stand under the tables of runs whose rates were chosen: from what, and which are at an end of that."""
    tuned = runs[(runs.grid != "") & (runs.status == "done")].drop_duplicates("cell")
    if tuned.empty:
        return []
    ends = [f"{run.cell} ({run.lr:g})" for run in tuned.itertuples() if f"{run.lr:g}" in _ends(run.grid)]
    wider = f"; at an end of it, so that a wider grid may find better: {', '.join(ends)}" if ends else ""
    seeds, grids = " and ".join(map(str, SEEDS)), " or ".join(tuned.grid.unique())
    return [f"lr was chosen for each row on validation images, with seeds {seeds}, from {grids}{wider}."]


def _ends(grid: str) -> tuple[str, str]:
    return grid.split(", ")[0], grid.split(", ")[-1]
