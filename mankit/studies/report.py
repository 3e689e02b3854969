"""What a study's runs left, as tables and curves: ours beside the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from . import tune
from .papers import MARK, SECONDARY, cells, trained
from .study import OUT, jobs_of

ERRORS = ("test error", "top-1 error")
COLUMNS = "cell method data network K blocks seed error_last error_best_val seconds status lr grid".split()


def read_study(
    study: str,
    profile: str = "quick",
    seeds: int = 1,
    out: str | Path = OUT,
    lr: float | None = None,
    tune_lr: bool | Sequence[float] = False,
) -> pd.DataFrame:
    """A row for each run: cell, method, data, network, K, blocks (really built), seed, error_last, error_best_val
    (percent of test images, with the last weights and with the best on validation), seconds, status, lr, grid.

    data and network: what was trained, not what it stands for. status: 'done', 'not run', or 'failed: ' and why. K is
    the published number. grid: the rates that lr was chosen from, '' where it was given.
    """
    rows = []
    for job in jobs_of(study, profile, seeds, out, lr, tune_lr):
        cell, (status, summary) = job.cell, job.status()
        last, best, seconds = None, None, None
        if summary:
            last, seconds = 100 - summary.test_last, summary.seconds
            best = None if summary.test_best_val is None else 100 - summary.test_best_val
        row = (cell.name, cell.method, *trained(job.recipe), cell.K, job.recipe.K, job.recipe.seed)
        rate = None if job.untuned else job.recipe.lr
        rows.append((*row, last, best, seconds, status, rate, ", ".join(map("{:g}".format, job.grid))))
    numbers = dict.fromkeys(("error_last", "error_best_val", "seconds", "lr"), float)
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers)


def tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Title -> table, a row for each cell: our mean test error and its range over seeds, and what the papers report.

    One table where the papers' own data and network were trained. Otherwise what was published stands in a table of its
    own, since the two can't be compared in size.
    """
    rows, papers, key = {}, _published(runs), ["trained", "method", "K"]
    for name, part in runs.groupby("cell", sort=False):
        done, failed = part[part.status == "done"], part[part.status.str.startswith("failed")]
        row = {"trained": trained_on(part), "method": part.method.iloc[0], "K": part.K.iloc[0]}
        row |= {"last epoch": _spread(done.error_last), "best on validation": _spread(done.error_best_val)}
        if part.grid.any():
            row["lr"] = part.lr.iloc[0]
        row["runs"] = f"{len(done)} of {len(part)}" + (f", {failed.status.iloc[0]}" if len(failed) else "")
        rows[name] = row
    ours = pd.DataFrame.from_dict(rows, orient="index")
    theirs = papers.pivot(index="cell", columns="paper", values="shown").add_prefix("published (").add_suffix(")")
    how = "test error (%), mean and (lowest to highest) over seeds"
    if set(papers.trained) <= set(runs.data + ", " + runs.network):
        return {f"Ours beside the published: {how}": ours.join(theirs).fillna("-").set_index(key)}
    of = papers.drop_duplicates("cell").set_index("cell")[key]
    separate = "Published: test error (%) of other data and networks than ours, not to be compared in size"
    return {f"Ours: {how}": ours.set_index(key), separate: of.join(theirs).fillna("-").set_index(key)}


def notes(runs: pd.DataFrame) -> list[str]:
    """Lines to stand under the tables: where our order of two methods isn't that of a paper, how lr was chosen, and
    what a mark means.

    Compared are methods of one paper with as many blocks, and each with BP.
    """
    papers = _published(runs)
    by_cell = runs[runs.status == "done"].groupby("cell").error_last
    what = (runs.data + ", " + runs.network).groupby(runs.cell).first().rename("on")
    ours = by_cell.agg(mean="mean", low="min", high="max", here=_spread).join(what)
    both = papers.join(ours, on="cell", how="inner")
    pairs = both.merge(both, on=["trained", "paper"], suffixes=("", "_2"))
    alike = (pairs.K == pairs.K_2) | (pairs.K == 1) | (pairs.K_2 == 1)
    pairs = pairs[alike & (pairs.value < pairs.value_2)]
    turned = pairs[pairs["mean"] > pairs["mean_2"]]
    seeds, apart = by_cell.count().min(), (turned.low > turned.high_2).sum()
    sure = f"in {apart} of them the ranges over {seeds} seeds are apart" if seeds > 1 else "one seed may be chance"
    lines = [f"In {len(turned)} of {len(pairs)} pairs of methods our order is not that of the paper; {sure}."]
    for row in turned.itertuples():
        order = f"{row.method} below {row.method_2} in {row.paper}'s paper ({row.shown} and {row.shown_2})"
        lines.append(
            f"- {row.trained}, K={max(row.K, row.K_2)}: {order}, here, on {row.on}: {row.here} and {row.here_2}"
        )
    secondary = [SECONDARY] if papers.shown.str.endswith(MARK).any() else []
    return (lines if len(pairs) else []) + tune.note(runs) + secondary


def trained_on(part: pd.DataFrame) -> str:
    """'glyphs, lab16, 3 seeds'"""
    seeds = part.seed.nunique()
    return f"{part.data.iloc[0]}, {part.network.iloc[0]}, {seeds} seed" + "s" * (seeds > 1)


def error_by_K(part: pd.DataFrame) -> dict[str, tuple[list[int], list[list[float]]]]:
    """For `charts.curves`, of runs with one network on one data set: method -> (all K but 1, a list of test errors for
    each seed). What is missing is nan."""
    part, series = part[part.K > 1], {}
    for method, rows in part.groupby("method", sort=False):
        table = rows.pivot(index="seed", columns="K", values="error_last").reindex(columns=sorted(part.K.unique()))
        series[method] = (list(table.columns), table.to_numpy().tolist())
    return series


def published_by_K(part: pd.DataFrame) -> dict[str, dict[str, tuple[list[int], list[list[float]]]]]:
    """The same of the papers' numbers for the cells of these runs, by a title that says paper, data and network."""
    papers = _published(part[part.K > 1]).rename(columns={"value": "error_last"}).assign(seed=0)
    papers["paper"] += papers.shown.str.endswith(MARK).map({True: ", secondary summary", False: ""})
    groups = papers.groupby(["trained", "paper"], sort=False)
    return {f"Published ({paper}): {trained}": error_by_K(rows) for (trained, paper), rows in groups}


def _published(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each error that a paper reports for the cells of these runs."""
    wanted = [cell for cell in cells() if cell.name in set(runs.cell)]
    errors = [(cell, p) for cell in wanted for p in cell.published if p.metric in ERRORS]
    rows = [(c.name, f"{c.data}, {c.network}", c.method, c.K, p.source.split()[0], p.value, p.shown) for c, p in errors]
    return pd.DataFrame(rows, columns="cell trained method K paper value shown".split())


def failures(runs: pd.DataFrame) -> int:
    """How many runs failed or weren't run."""
    return int((runs.status != "done").sum())


def _spread(values: pd.Series) -> str:
    """'8.4 (8.1 to 8.9)', of one value '8.4', of none '-'"""
    values = values.dropna()
    if values.empty:
        return "-"
    return f"{values.mean():.1f}" + (f" ({values.min():.1f} to {values.max():.1f})" if len(values) > 1 else "")
