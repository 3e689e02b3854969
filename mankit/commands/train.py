"""`mankit train`: one network, in memory or in a folder where the same command goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from .recipes import recipe_of
from .show import print_blocks

if TYPE_CHECKING:  # imported in earnest below, for it takes torch
    from ..studies import Recipe


def train(
    context: Context,
    recipe: Annotated[str | None, Option(metavar="NAME|FILE", help="Start from it (see mankit recipes).")] = None,
    profile: Annotated[str, Option(help="Of the recipe: paper (as it is), short or quick.")] = "paper",
    root: Annotated[Path | None, Option(help="Where the data lies (default: $MANKIT_DATA or data/).")] = None,
    download: Annotated[bool, Option(help="Fetch the data set if it isn't there.")] = False,
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, Option(min=1, max=256, help="CPU threads; one is fastest for the lab's networks.")] = 1,
    out: Annotated[Path | None, Option("-o", "--out", help="Keep the run in this folder, and go on there.")] = None,
    parallel: Annotated[str | None, Option(metavar="data|blocks", help="On torchrun's processes, with -o.")] = None,
    fast: Annotated[bool, Option("--fast", help="Compile, and one CUDA graph, where that works.")] = False,
    **settings: object,
) -> None:
    """Train one network and print a row for each block.

    Example: mankit train --rule man --K 8 --decay 0.995 --data digits --epochs 5

    Example: mankit train --recipe cifar10/resnet32/dgl-man/K16 --profile quick -o runs/man

    Example: mankit train --rule my_rules.py:scaled --K 4

    Example: torchrun --nproc-per-node 2 -m mankit train --K 8 -o runs/two --parallel blocks

    Exit code 130: stopped by Ctrl-C; with -o the run is saved, and the same command goes on where it stopped.
    """
    import torch

    from ..studies import pick_device

    torch.set_num_threads(threads)
    typed = {n: value for n, value in settings.items() if context.get_parameter_source(n).name == "COMMANDLINE"}
    chosen = recipe_of(recipe, profile, typed)
    there = {"root": root, "download": download, "device": pick_device(device)}
    if parallel and out is None:
        raise ValueError(f"--parallel {parallel} goes with -o FOLDER: the first process keeps the run there")
    _train_in(out, chosen, there, parallel, fast) if out is not None else _train_once(chosen, there, fast)


def _train_in(folder: Path, recipe: Recipe, there: dict[str, object], parallel: str | None, fast: bool) -> None:
    """Train in a folder, or go on there, or only print what a finished run left."""
    import pandas as pd

    from ..studies.kept import TABLE
    from ..studies.steps import progress_bar
    from ..studies.together import train_together

    summary = train_together(folder, recipe, parallel, **there, progress=progress_bar, table=True, fast=fast)
    if summary is None:
        return  # the first process has it
    print_blocks(recipe, pd.read_csv(folder / TABLE), summary.seconds, summary.device)
    best = f", {summary.test_best_val:.2f} % from epoch {summary.best_epoch}, the best on validation images"
    print(f"test: {summary.test_last:.2f} % from the last epoch{best if summary.best_epoch else ''}")


def _train_once(recipe: Recipe, there: dict[str, object], fast: bool) -> None:
    """Train in memory and print the table, of what was learnt until a Ctrl-C too."""
    from ..scaling.graphs import Fast
    from ..studies.run import Run, block_table, load_data
    from ..studies.steps import progress_bar

    run = Run(recipe, load_data(recipe, **there), team=Fast() if fast else None)
    begun, stop = time.perf_counter(), None
    try:
        for _ in progress_bar(run):
            pass
    except KeyboardInterrupt:
        stop = KeyboardInterrupt(f"stopped at step {run.done} of {len(run)}; the table says what it had learnt")
    print_blocks(recipe, block_table(run), time.perf_counter() - begun, there["device"])
    if stop:
        raise stop
