"""The commands that hand out the lessons and open them: lessons, lab."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from ..shipped import TOUR, shipped


def lessons(
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to: a new folder, or one that has some of them.")],
    student: Annotated[bool, Option("--student", help="Without solutions, outputs and teacher's notes.")] = False,
) -> None:
    """Copy the lessons and reproductions into a folder; what is there stays. Example: mankit lessons notebooks"""
    from ..teach.lessons import copy_lessons

    copied, kept = copy_lessons(folder, student)
    what = "notebooks, lessons as students get them," if student else "notebooks"
    print(f"{len(copied)} {what} copied to {folder}")
    if kept:
        print(f"{len(kept)} were there and stay as they are: {', '.join(kept)}")
    print(f"open them: mankit lab {folder}")


def lab(
    notebook: Annotated[Path | None, Argument(help="A notebook, or a folder of lessons (default: the tour).")] = None,
    browser: Annotated[bool, Option(help="Open a browser window.")] = True,
) -> None:
    """Open JupyterLab on the tour. Example: mankit lab"""
    path = notebook / TOUR if notebook and (notebook / TOUR).is_file() else notebook or _tour()
    if not path.exists():
        raise ValueError(f"no notebook {path}: name one, or a folder that `mankit lessons DIR` has filled")
    if not find_spec("jupyterlab"):
        raise ModuleNotFoundError(name="jupyterlab")
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is JupyterLab's business: it asks, then closes its kernels
    command = [sys.executable, "-m", "jupyterlab", str(path.resolve())]
    command += [] if browser else ["--no-browser"]
    if sys.platform != "win32" and os.geteuid() == 0:  # in a container one often is root, and JupyterLab would refuse
        command += ["--allow-root"]
    raise Exit(subprocess.call(command))


def _tour() -> Path:
    """The tour in this folder, below it, or in mankit's clone; a package's own is never opened: it can't be saved."""
    near = [*Path().glob(TOUR), *sorted(Path().glob(f"*/{TOUR}"))]
    if near or (source := shipped("notebooks", TOUR)).parent.name == "notebooks":
        return near[0] if near else source
    if not _agreed("No lessons here. Copy them to ./notebooks?"):
        raise ValueError("no lessons in this folder: `mankit lessons notebooks` copies them, then `mankit lab`")
    lessons(Path("notebooks"))
    return Path("notebooks", TOUR)


def _agreed(question: str) -> bool:
    """Somebody at a terminal says yes, or presses Enter."""
    try:
        return sys.stdin.isatty() and input(f"{question} [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:  # Ctrl-D
        return False
