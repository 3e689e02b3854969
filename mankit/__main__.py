"""The command `mankit`: lab, run, train. Thin: it reads options, calls the library and prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from .commands.bench import bench
from .commands.inputs import check_notebook, first_line, known_parameters, parameters, writable
from .commands.sweep import sweep

app = typer.Typer(
    help="A teaching kit for supervised local learning: back-propagation, DGL, InfoPro and MAN.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
OPTION = typer.Option


@app.command()
def lab(
    notebook: Annotated[Path | None, typer.Argument(help="What to open (default: the tour).")] = None,
    browser: Annotated[bool, OPTION(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab on the tour. Example: mankit lab"""
    path = notebook or Path(__file__).parents[1] / "notebooks" / "00_tour.ipynb"
    if not path.exists():
        raise ValueError(f"no notebook {path}: run this in mankit's folder, or name a notebook")
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is JupyterLab's business: it asks, then closes its kernels
    command = [sys.executable, "-m", "jupyterlab", str(path.resolve())]
    command += [] if browser else ["--no-browser"]
    if sys.platform != "win32" and os.geteuid() == 0:  # in a container one often is root, and JupyterLab would refuse
        command += ["--allow-root"]
    raise typer.Exit(subprocess.call(command))


@app.command()
def run(
    notebook: Annotated[Path, typer.Argument(help="The notebook to execute.")],
    parameter: Annotated[
        list[str] | None, OPTION("-p", "--parameter", metavar="NAME VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    out: Annotated[Path, OPTION("-o", "--out", help="Folder for the executed copy.")] = Path("runs"),
    save: Annotated[bool, OPTION("--save", help="For authors: keep the outputs in the notebook itself.")] = False,
) -> None:
    """Execute a notebook with other parameters. Example: mankit run notebooks/00_tour.ipynb -p K 4 -p decay 0.99

    The executed copy has its parameters in its name. Exit code 1: a cell failed (the copy shows which).
    """
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from . import notebooks

    values = parameters(parameter or [], known_parameters(notebook))
    tail = "".join(f"-{name}{value}" for name, value in values.items()).replace(os.sep, "_").replace(" ", "")
    target = writable(out) / f"{notebook.stem}{tail}.ipynb"
    if save and values:
        raise ValueError("--save and -p: a notebook is kept with the parameters that stand in it; leave out -p")
    try:
        notebooks.execute(notebook, target, values)
    except PapermillExecutionError as error:
        raise _failed(f"cell {error.exec_count} failed: {error.ename}: {error.evalue}", target) from None
    except DeadKernelError as error:
        raise _failed(f"{error} (out of memory?)", target) from None
    if save:
        notebooks.save(target, notebook)
    print(notebook if save else target)


@app.command()
def student(
    notebook: Annotated[Path, typer.Argument(help="The lesson, with its solutions.")],
    out: Annotated[Path, OPTION("-o", "--out", help="Folder for the student's version.")] = Path("runs/student"),
) -> None:
    """Write a lesson without solutions, outputs and teacher's notes. Example: mankit student notebooks/02_dgl.ipynb"""
    import nbformat

    from .notebooks import student_version

    check_notebook(notebook)
    target = writable(out) / notebook.name
    if target.resolve() == notebook.resolve():
        raise ValueError(f"{target} is the lesson itself: choose another folder with -o")
    nbformat.write(student_version(nbformat.read(notebook, as_version=4)), target)
    print(target)


def _failed(reason: str, copy: Path) -> typer.Exit:
    print(f"mankit: {first_line(reason)}; see {copy}", file=sys.stderr)
    return typer.Exit(1)


@app.command()
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
    device: Annotated[str, OPTION(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, OPTION(min=1, help="CPU threads; one is fastest for the lab's small network.")] = 1,
    out: Annotated[Path | None, OPTION("-o", "--out", help="Folder for the table, as blocks.csv.")] = None,
) -> None:
    """Train one network and print a row for each block.

    Example: mankit train --rule man --K 8 --decay 0.995 --data digits --epochs 5
    """
    import torch

    from .recipes import Recipe, pick_device
    from .rules import options_of
    from .runs import block_table

    torch.set_num_threads(threads)
    takes = options_of(rule, base)
    rule_options = {
        name: context.params[name]
        for name in ("head", "decay", "branches", "start", "base", "lam_x", "lam_y", "contrast")
        if name in takes or context.get_parameter_source(name).name == "COMMANDLINE"  # what was typed must fit
    }
    sizes = {name: context.params[name] for name in ("train_size", "size") if context.params[name] is not None}
    recipe = Recipe(
        rule, K, rule_options, network, None, data, sizes, epochs, batch, lr,
        seed=seed, per_step=per_step, augment=augment, bf16=bf16, per_block=per_block, ema_update=ema_update,
    )  # fmt: skip
    folder = writable(out) if out else None
    device = pick_device(device)
    prepared = recipe.prepare(recipe.load_data(root, device, download))
    begun = time.perf_counter()
    stopped = _train(prepared)
    seconds = time.perf_counter() - begun
    table = block_table(prepared)
    _print_table(recipe, table, seconds, device)
    if folder:
        table.to_csv(folder / "blocks.csv", index=False)
    raise typer.Exit(130 if stopped else 0)


def _train(prepared: object) -> bool:
    """Train to the end under a progress bar; Ctrl-C stops early. Says whether it was stopped."""
    from tqdm import tqdm

    bar = tqdm(prepared, unit="step", dynamic_ncols=True, delay=0.5)  # a run that fails at once shows no bar
    try:
        for step in bar:
            if step.index % 20 == 0:  # reading a loss waits for the device
                bar.set_postfix_str(f"lr {step.lr:.3f}, last block's loss {step.losses[-1].item():.3f}", refresh=False)
    except KeyboardInterrupt:
        print(f"stopped at step {bar.n} of {len(prepared)}; this is what it had learnt:", file=sys.stderr)
        return True
    return False


def _print_table(recipe: object, table: object, seconds: float, device: str) -> None:
    print(f"{recipe.rule} on {recipe.data}, {recipe.network}, K={recipe.K}, {recipe.epochs} epochs, "
          f"seed {recipe.seed}: {seconds:.1f} s on {device}")  # fmt: skip
    names = {"own_head": "own head (%)", "linear_probe": "linear probe (%)", "saved_mib": "saved (MiB)"}
    print(table.rename(columns=names).to_string(index=False, float_format="{:.2f}".format, na_rep="-"))


app.command()(bench)
app.command()(sweep)


def main() -> None:
    """Run the command; bad input gives one line and exit code 2."""
    try:
        sys.exit(app(_joined(sys.argv[1:]), standalone_mode=False))
    except TyperException as error:
        message = error.format_message()
    except (ValueError, OSError) as error:
        message = str(error)
    if message:  # there is none where the help was printed instead
        print(f"mankit: {first_line(message)}", file=sys.stderr)
    sys.exit(2)


def _joined(arguments: list[str]) -> list[str]:
    """`-p K 8` (as papermill writes it) becomes `-p K=8`, the one form that Typer can repeat; so does `-g K 2,4`."""
    joined, rest = [], iter(arguments)
    for word in rest:
        option = {"--parameter": "-p", "--grid": "-g"}.get(word, word)
        if option in ("-p", "-g"):
            word = next(rest, "")
            if "=" not in word:
                value = next(rest, "--none")
                if re.match("--?[A-Za-z]", value):  # the next option, and not a negative number
                    example = "K 8" if option == "-p" else "K 2,4,8"
                    raise ValueError(f"{option} {word}: give a name and a value, as in {option} {example}")
                word += f"={value}"
            word = option + word
        joined.append(word)
    return joined


if __name__ == "__main__":
    main()
