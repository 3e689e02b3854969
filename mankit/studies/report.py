"""What a study's runs left, as tables and curves: ours beside the published numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .papers import cells
from .study import OUT, jobs_of

ERRORS = ("test error", "top-1 error")
COLUMNS = "cell method data network K blocks seed error_last error_best_val seconds status".split()


def read_study(
    study: str, profile: str = "quick", seeds: int = 1, out: str | Path = OUT, lr: float | None = None
) -> pd.DataFrame:
    """A row for each run: cell, method, data, network, K, blocks (really built), seed, error_last, error_best_val
    (percent of test images, with the last weights and with the best on validation), seconds, status.

    status: 'done', 'not run', or 'failed: ' and why. K is the published number.
    """
    rows = []
    for job in jobs_of(study, profile, seeds, out, lr):
        cell, (status, summary) = job.cell, job.status()
        last, best, seconds = None, None, None
        if summary:
            last, seconds = 100 - summary.test_last, summary.seconds
            best = None if summary.test_best_val is None else 100 - summary.test_best_val
        row = (cell.name, cell.method, cell.data, cell.network, cell.K, job.recipe.K, job.recipe.seed)
        rows.append((*row, last, best, seconds, status))
    numbers = {"error_last": float, "error_best_val": float, "seconds": float}
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers)


def beside_published(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell: our mean test error and its range over seeds, and what the papers report. In percent."""
    papers = {cell.name: cell.published for cell in cells()}
    rows = []
    for name, part in runs.groupby("cell", sort=False):
        done, failed = part[part.status == "done"], part[part.status.str.startswith("failed")]
        row = part.iloc[0][["data", "network", "method", "K"]].to_dict()
        row |= {"last epoch": _spread(done.error_last), "best on validation": _spread(done.error_best_val)}
        row |= {f"published ({p.source.split()[0]})": f"{p.value:g}" for p in papers[name] if p.metric in ERRORS}
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


def _spread(values: pd.Series) -> str:
    """'8.4 (8.1 to 8.9)', of one value '8.4', of none '-'"""
    values = values.dropna()
    if values.empty:
        return "-"
    return f"{values.mean():.1f}" + (f" ({values.min():.1f} to {values.max():.1f})" if len(values) > 1 else "")
