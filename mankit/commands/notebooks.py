"""The commands that open, execute and hand out notebooks: lab, run, student."""

from __future__ import annotations

import difflib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import first_line, writable

OPTION = typer.Option


def lab(
    notebook: Annotated[Path | None, typer.Argument(help="What to open (default: the tour).")] = None,
    browser: Annotated[bool, OPTION(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab on the tour. Example: mankit lab"""
    path = notebook or Path(__file__).parents[2] / "notebooks" / "00_tour.ipynb"
    if not path.exists():
        raise ValueError(f"no notebook {path}: run this in mankit's folder, or name a notebook")
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is JupyterLab's business: it asks, then closes its kernels
    command = [sys.executable, "-m", "jupyterlab", str(path.resolve())]
    command += [] if browser else ["--no-browser"]
    if sys.platform != "win32" and os.geteuid() == 0:  # in a container one often is root, and JupyterLab would refuse
        command += ["--allow-root"]
    raise typer.Exit(subprocess.call(command))


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
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from .. import notebooks

    _check_notebook(notebook)
    try:
        known = papermill.inspect_notebook(str(notebook))
    except Exception as error:  # there are many ways not to be a notebook
        raise ValueError(f"{notebook} isn't a notebook that can be read: {first_line(error)}") from error
    values = _parameters(parameter or [], known)
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


def student(
    notebook: Annotated[Path, typer.Argument(help="The lesson, with its solutions.")],
    out: Annotated[Path, OPTION("-o", "--out", help="Folder for the student's version.")] = Path("runs/student"),
) -> None:
    """Write a lesson without solutions, outputs and teacher's notes. Example: mankit student notebooks/02_dgl.ipynb"""
    import nbformat

    from ..notebooks import student_version

    _check_notebook(notebook)
    target = writable(out) / notebook.name
    if target.resolve() == notebook.resolve():
        raise ValueError(f"{target} is the lesson itself: choose another folder with -o")
    nbformat.write(student_version(nbformat.read(notebook, as_version=4)), target)
    print(target)


def _check_notebook(path: Path) -> None:
    if path.suffix != ".ipynb" or not path.is_file():
        raise ValueError(f"no notebook {path}: look into notebooks/")


def _failed(reason: str, copy: Path) -> typer.Exit:
    print(f"mankit: {first_line(reason)}; see {copy}", file=sys.stderr)
    return typer.Exit(1)


def _parameters(texts: list[str], known: dict[str, object]) -> dict[str, object]:
    """['K=8'] -> {'K': 8}; numbers, lists, true and null as in JSON, anything else is text."""
    values = {}
    for name, _, value in (text.partition("=") for text in texts):
        if name not in known:
            hint = "".join(f"did you mean {near}? " for near in difflib.get_close_matches(name, known, n=1))
            raise ValueError(f"no parameter {name} in this notebook: {hint}choose from {', '.join(known) or 'none'}")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values
