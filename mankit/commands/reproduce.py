"""`mankit reproduce`: the papers' experiments, trained, and their notebooks executed by papermill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from ..shipped import shipped
from .inputs import At, writable
from .notebooks import executed


def reproduce(
    study: Annotated[
        str, Argument(help="cifar10, svhn_stl10, imagenet, memory, controls, family, heads, or all (the papers').")
    ],
    profile: Annotated[str, Option(help="quick (CPU, minutes), short (GPU) or paper (as published).")] = "quick",
    seeds: Annotated[int, Option(min=1, help="Train each cell with seed 0, 1, ... SEEDS-1.")] = 1,
    jobs: Annotated[int, Option(min=1, help="Runs at a time, each on one CPU thread or a GPU of its own.")] = 1,
    at: At = None,
    lr: Annotated[float | None, Option(help="Another highest learning rate, for every rule.")] = None,
    tune_lr: Annotated[bool, Option("--tune-lr", help="Choose lr for each cell on validation images.")] = False,
    lr_grid: Annotated[str, Option(help="What --tune-lr tries, times the profile's lr.")] = "0.5,1,2,4",
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto",
    root: Annotated[Path | None, Option(help="Where the data lies (default: $MANKIT_DATA or data/).")] = None,
    out: Annotated[Path, Option("-o", "--out", help="Folder for runs, notebooks and report.")] = Path("runs/reproduce"),
) -> None:
    """Train a study's cells and execute its notebook: our numbers and the published ones, and a report as HTML.

    Example: mankit reproduce cifar10 --profile quick --seeds 3 --jobs 2

    The same command again trains only what is missing or failed. Exit code 1: a run or a notebook failed (the table
    says which, and why). 130: stopped by Ctrl-C; what was trained is saved, and the same command goes on there.
    """
    from ..execution.page import report
    from ..studies import pick_device
    from ..studies.papers import STUDIES
    from ..studies.report import failures, read_study
    from ..studies.study import jobs_of, train_study

    names = STUDIES if study == "all" else (study,)
    tuned = _factors(lr_grid) if tune_lr else False
    for name in names:
        jobs_of(name, profile, seeds, out, lr, tuned)  # a wrong name is said before anything is trained
    pick_device(device)
    out, broken, copies = writable(out).resolve(), 0, []
    how = {
        "jobs": jobs,
        "lr": lr,
        "tune_lr": tuned,
        "device": device,
        "out": str(out),
        "root": str(root.resolve()) if root else None,
    }
    try:
        for name in names:
            print(f"{name}, profile {profile}:", file=sys.stderr)
            train_study(name, profile, seeds, at=at, **how)
            runs = read_study(name, profile, seeds, out, lr, tuned)
            for _, row in runs[runs.status != "done"].iterrows():
                print(f"mankit: {row.cell}, seed {row.seed}: {row.status}", file=sys.stderr)
            copies.append(writable(out / f"{profile}-notebooks") / f"{name}.ipynb")
            notebook = shipped("notebooks", f"reproduce/{name}.ipynb")
            done = executed(notebook, copies[-1], {"profile": profile, "seeds": seeds, **how, "train": False})
            broken += failures(runs) + (not done)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; what was trained is kept in {out}, and the same command goes on") from None
    page = out / f"report-{profile}-{study}.html"
    report(copies, page)
    print(page)
    raise Exit(1 if broken else 0)


def _factors(grid: str) -> list[float]:
    try:
        return [float(factor) for factor in grid.split(",")]
    except ValueError:
        raise ValueError(f"--lr-grid {grid}: give factors of lr with commas between, such as 0.5,1,2,4") from None
