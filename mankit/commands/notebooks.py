"""The commands that execute a notebook and make its student's version: run, student."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from ..errors import first_line
from .inputs import Parameters, found, known_parameters, parameters, writable


def run(
    notebook: Annotated[Path, Argument(help="The notebook to execute.")],
    parameter: Parameters = None,
    out: Annotated[Path, Option("-o", "--out", help="Folder for the executed copy.")] = Path("runs"),
    save: Annotated[bool, Option("--save", help="For authors: keep the outputs in the notebook itself.")] = False,
) -> None:
    """Execute a notebook with other parameters. Example: mankit run notebooks/00_tour.ipynb -p K 4 -p decay 0.99

    The executed copy has its parameters in its name. Exit code 1: a cell failed (the copy shows which).
    """
    notebook = found(notebook)
    values = parameters(parameter, known_parameters(notebook))
    tail = "".join(f"-{name}{value}" for name, value in values.items()).replace(os.sep, "_").replace(" ", "")
    target = writable(out) / f"{notebook.stem}{tail}.ipynb"
    if save and values:
        raise ValueError("--save and -p: a notebook is kept with the parameters that stand in it; leave out -p")
    if not executed(notebook, target, values):
        raise Exit(1)
    if save:
        from ..execution.execute import save as keep

        keep(target, notebook)
    print(notebook if save else target)


def student(
    notebook: Annotated[Path, Argument(help="The lesson, with its solutions.")],
    out: Annotated[Path, Option("-o", "--out", help="Folder for the student's version.")] = Path("runs/student"),
) -> None:
    """Write a lesson without solutions, outputs and teacher's notes. Example: mankit student notebooks/02_dgl.ipynb"""
    import nbformat

    from ..execution.read import read_notebook
    from ..teach.student import student_version

    notebook = found(notebook)
    target = writable(out) / notebook.name
    if target.resolve() == notebook.resolve():
        raise ValueError(f"{target} is the lesson itself: choose another folder with -o")
    nbformat.write(student_version(read_notebook(notebook)), target)
    print(target)


def executed(notebook: Path, target: Path, values: dict[str, object]) -> bool:
    """Execute a notebook into a copy; False, with a line that says why, where a cell failed or the kernel died."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from ..execution.execute import execute

    try:
        execute(notebook, target, values)
        return True
    except PapermillExecutionError as error:
        why = f"cell {error.exec_count} failed: {error.ename}: {error.evalue}"
    except DeadKernelError as error:
        why = f"{error} (out of memory?)"
    print(f"mankit: {first_line(why)}; see {target}", file=sys.stderr)
    return False
