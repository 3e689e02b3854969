"""`mankit reproduce`: the papers' experiments, trained, and their notebooks executed by papermill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .inputs import first_line, writable

OPTION = typer.Option


def reproduce(
    study: Annotated[str, typer.Argument(help="cifar10, svhn_stl10, imagenet, memory, controls, or all.")],
    profile: Annotated[
        str, OPTION(help="quick (2 CPU cores, minutes), short (a GPU, minutes to hours) or paper (as published).")
    ] = "quick",
    seeds: Annotated[int, OPTION(min=1, help="Train each cell with seed 0, 1, ... SEEDS-1.")] = 1,
    jobs: Annotated[int, OPTION(min=1, help="Runs at a time, each on one CPU thread; 1 on a GPU.")] = 1,
    lr: Annotated[float | None, OPTION(help="Another highest learning rate, for every rule.")] = None,
    device: Annotated[str, OPTION(help="auto, cpu or cuda.")] = "auto",
    root: Annotated[Path | None, OPTION(help="Where the data lies (default: $MANKIT_DATA or data/).")] = None,
    out: Annotated[Path, OPTION("-o", "--out", help="Folder for runs, notebooks and report.")] = Path("runs/reproduce"),
) -> None:
    """Train a study's cells and execute its notebook: our table beside the published one, and a report as HTML.

    Example: mankit reproduce cifar10 --profile quick --seeds 3 --jobs 2

    The same command again trains only what is missing or failed. Exit code 1: a run or a notebook failed (the table
    says which, and why). 130: stopped by Ctrl-C; what was trained is saved, and the same command goes on there.
    """
    from ..published import STUDIES
    from ..recipes import pick_device
    from ..reproduce import failures, jobs_of, train_study

    names = STUDIES if study == "all" else (study,)
    for name in names:
        jobs_of(name, profile, seeds, out, lr)  # a wrong name is said before anything is trained
    pick_device(device)
    out = writable(out).resolve()
    root = root.resolve() if root else None
    broken, executed = 0, []
    values = {
        "profile": profile,
        "seeds": seeds,
        "jobs": jobs,
        "lr": lr,
        "device": device,
        "out": str(out),
        "root": str(root) if root else None,
        "train": False,
    }
    try:
        for name in names:
            print(f"{name}, profile {profile}:", file=sys.stderr)
            runs = train_study(name, profile, seeds, jobs=jobs, out=out, device=device, root=root, lr=lr)
            for _, row in runs[runs.status != "done"].iterrows():
                print(f"mankit: {row.cell}, seed {row.seed}: {row.status}", file=sys.stderr)
            broken += failures(runs)
            target, error = _execute(name, values, writable(out / f"{profile}-notebooks"))
            executed.append(target)
            broken += error
    except KeyboardInterrupt:
        print(f"mankit: stopped; what was trained is kept in {out}, and the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    print(_report(executed, out / f"report-{profile}-{study}.html"))
    raise typer.Exit(1 if broken else 0)


def _execute(name: str, values: dict[str, object], folder: Path) -> tuple[Path, bool]:
    """Execute a study's notebook into a folder; the copy, and whether a cell of it failed."""
    from papermill.exceptions import PapermillExecutionError

    from ..execution.execute import execute

    notebook = Path(__file__).parents[2] / "notebooks" / "reproduce" / f"{name}.ipynb"
    if not notebook.is_file():
        raise ValueError(f"no notebook {notebook}: mankit reproduce works in a clone of mankit's repository")
    target = folder / notebook.name
    try:
        execute(notebook, target, values)
    except PapermillExecutionError as error:
        print(f"mankit: {name}: {error.ename}: {first_line(error.evalue)}; see {target}", file=sys.stderr)
        return target, True
    return target, False


def _report(executed: list[Path], target: Path) -> Path:
    from ..execution.execute import report

    report(executed, target)
    return target
