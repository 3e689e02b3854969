"""The command that trains one network: train."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from .inputs import writable

OPTION = typer.Option
FIELDS = (
    "rule",
    "K",
    "network",
    "data",
    "epochs",
    "batch",
    "lr",
    "seed",
    "per_step",
    "augment",
    "bf16",
    "per_block",
    "ema_update",
    "compile",
)
OF_RULE = ("head", "decay", "branches", "start", "base", "lam_x", "lam_y", "contrast")
OF_DATA = ("train_size", "size")


def train(
    context: typer.Context,
    rule: Annotated[str, OPTION(help="bp, greedy, dgl, infopro or man.")] = "man",
    K: Annotated[int, OPTION("--K", "-K", help="Number of blocks.")] = 8,
    data: Annotated[str, OPTION(help="glyphs, digits, cifar10, svhn, stl10 or folder:PATH.")] = "glyphs",
    network: Annotated[str, OPTION(help="lab, lab16, cifar_resnet32, resnet101, ...")] = "lab",
    epochs: Annotated[int, OPTION(help="Passes over the training images.")] = 6,
    batch: Annotated[int, OPTION(help="Images in a batch.")] = 100,
    lr: Annotated[float, OPTION(help="Highest learning rate.")] = 0.1,
    seed: Annotated[int, OPTION(help="Of the weights, the data and their order.")] = 0,
    base: Annotated[str, OPTION(help="man: the rule below it, greedy, dgl or infopro.")] = "dgl",
    decay: Annotated[float, OPTION(help="man: of the EMA, 0 (copy) to 1 (frozen).")] = 0.995,
    branches: Annotated[str, OPTION(help="man: both, or a control: bias, ema, twin.")] = "both",
    start: Annotated[str, OPTION(help="man: the EMA starts at random, or as a copy.")] = "random",
    head: Annotated[str, OPTION(help="mlp, or convolutions and linear layers: 0c1f ... 2c3f.")] = "0c1f",
    lam_x: Annotated[float, OPTION(help="infopro: weight of the reconstruction.")] = 1.0,
    lam_y: Annotated[float, OPTION(help="infopro: weight of the classification.")] = 1.0,
    contrast: Annotated[bool, OPTION(help="infopro: supervised contrastive loss.")] = False,
    per_step: Annotated[bool, OPTION(help="Move the learning rate at every step, not every epoch.")] = False,
    augment: Annotated[bool, OPTION(help="The data set's usual random crop and flip.")] = False,
    train_size: Annotated[int | None, OPTION(help="Use only so many training images.")] = None,
    size: Annotated[int | None, OPTION(help="Resize the images to SIZE x SIZE.")] = None,
    root: Annotated[Path | None, OPTION(help="Where the data lies (default: $MANKIT_DATA or data/).")] = None,
    download: Annotated[bool, OPTION(help="Fetch the data set if it isn't there.")] = False,
    bf16: Annotated[bool, OPTION(help="Autocast to bfloat16.")] = False,
    per_block: Annotated[bool, OPTION(help="An optimizer for each block, which steps at once.")] = False,
    ema_update: Annotated[str, OPTION(help="man: before or after the optimizer's step.")] = "before",
    compile: Annotated[bool, OPTION(help="Compile each block; where that fails it says why, and goes on.")] = False,
    device: Annotated[str, OPTION(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, OPTION(min=1, help="CPU threads; one is fastest for the lab's small network.")] = 1,
    recipe: Annotated[
        str | None, OPTION(metavar="NAME|FILE", help="Start from a recipe (see mankit recipes); typed options win.")
    ] = None,
    profile: Annotated[str, OPTION(help="Of the recipe: paper (as it is), short or quick.")] = "paper",
    out: Annotated[
        Path | None, OPTION("-o", "--out", help="Keep the run in this folder: the same command again goes on there.")
    ] = None,
) -> None:
    """Train one network and print a row for each block.

    Example: mankit train --rule man --K 8 --decay 0.995 --data digits --epochs 5

    Example: mankit train --recipe cifar10/resnet32/dgl-man/K16 --profile quick -o runs/man

    Exit code 130: stopped by Ctrl-C; with -o the run is saved, and the same command goes on where it stopped.
    """
    import torch

    from ..studies import pick_device

    torch.set_num_threads(threads)
    chosen = _recipe(context, recipe, profile)
    there = {"root": root, "download": download, "device": pick_device(device)}
    raise typer.Exit(_train_kept(chosen, writable(out), there) if out else _train_once(chosen, there))


def _train_once(recipe: object, there: dict[str, object]) -> int:
    """Train in memory and print the table, of what was learnt until a Ctrl-C too. Returns the exit code."""
    from ..studies import Run, block_table, load_data

    run = Run(recipe, load_data(recipe, **there))
    begun, code = time.perf_counter(), 0
    try:
        for _ in _bar(run):
            pass
    except KeyboardInterrupt:
        print(f"stopped at step {run.done} of {len(run)}; this is what it had learnt:", file=sys.stderr)
        code = 130
    _print_table(recipe, block_table(run), time.perf_counter() - begun, there["device"])
    return code


def _train_kept(recipe: object, folder: Path, there: dict[str, object]) -> int:
    """Train in a folder, or go on there, or only print what a finished run left. Returns the exit code."""
    import pandas as pd

    from ..studies import train_in

    try:
        summary = train_in(folder, recipe, **there, progress=_bar, table=True)
    except KeyboardInterrupt as stop:
        print(f"mankit: {stop or 'stopped'}", file=sys.stderr)
        return 130
    _print_table(recipe, pd.read_csv(folder / "blocks.csv"), summary.seconds, summary.device)
    best = f", {summary.test_best_val:.2f} % from epoch {summary.best_epoch}, the best on validation images"
    print(f"test: {summary.test_last:.2f} % from the last epoch{best if summary.best_epoch else ''}")
    return 0


def _recipe(context: typer.Context, start: str | None, profile: str) -> object:
    """The recipe of a name or file, changed by the options that were typed; or all of it from the options."""
    from ..rules import options_of
    from ..studies import Recipe
    from ..studies.papers import with_profile

    typed = {n: v for n, v in context.params.items() if context.get_parameter_source(n).name == "COMMANDLINE"}
    if start is None and "profile" in typed:
        raise ValueError(f"--profile {profile} goes with --recipe: name one, `mankit recipes` lists them")
    given = typed if start else context.params
    recipe = with_profile(_found(start), profile) if start else Recipe()
    changes = {name: given[name] for name in FIELDS if name in given}
    base = given.get("base") or recipe.options.get("base", "dgl")
    takes = options_of(changes.get("rule", recipe.rule), base)
    # what was typed must fit the rule; what the recipe or a default says is left out where it doesn't
    options = {name: value for name, value in recipe.options.items() if name in takes}
    options |= {name: given[name] for name in OF_RULE if name in typed or name in given and name in takes}
    sizes = {name: given[name] for name in OF_DATA if given.get(name) is not None}
    if {"K", "network"} & typed.keys():  # published places to cut are those of one network and K
        changes["at"] = None
    return recipe.but(**changes, options=options, data_options={**recipe.data_options, **sizes})


def _found(name: str) -> object:
    """A recipe from a JSON file, or by its name."""
    from ..studies import Recipe
    from ..studies.papers import cell

    file = Path(name)
    if file.suffix != ".json":
        return cell(name).recipe
    if not file.is_file():
        raise ValueError(f"no file {file}: `mankit recipes NAME --json` prints a recipe to save there")
    try:
        return Recipe.from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _bar(run: object) -> object:
    """A run's steps under a progress bar."""
    from tqdm import tqdm

    # a run that fails at once shows no bar
    bar = tqdm(run, initial=run.done, total=len(run), unit="step", dynamic_ncols=True, delay=0.5)
    for step in bar:
        if step.index % 20 == 0:  # reading a loss waits for the device
            bar.set_postfix_str(f"lr {step.lr:.3f}, last block's loss {step.losses[-1].item():.3f}", refresh=False)
        yield step


def _print_table(recipe: object, table: object, seconds: float, device: str) -> None:
    print(
        f"{recipe.rule} on {recipe.data}, {recipe.network}, K={recipe.K}, {recipe.epochs} epochs, "
        f"seed {recipe.seed}: {seconds:.1f} s on {device}"
    )
    names = {"own_head": "own head (%)", "linear_probe": "linear probe (%)", "saved_mib": "saved (MiB)"}
    print(table.rename(columns=names).to_string(index=False, float_format="{:.2f}".format, na_rep="-"))
