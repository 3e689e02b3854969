"""The lessons and reproductions that come with mankit, copied into a folder of the reader's own."""

from __future__ import annotations

from pathlib import Path

import nbformat

from ..errors import cannot_write
from ..shipped import TOUR, shipped
from .student import student_version


def notebooks() -> dict[str, Path]:
    """Every notebook that comes with mankit by its place in a copy: '01_backprop.ipynb', 'reproduce/memory.ipynb'."""
    folder = shipped("notebooks", TOUR).parent
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.ipynb"))}
    return {name: path for name, path in found.items() if ".ipynb_checkpoints" not in path.parts}


def copy_lessons(folder: Path, student: bool = False) -> tuple[list[str], list[str]]:
    """Copy what comes with mankit into a folder, made if need be; what is there already stays as it is.

    student: lessons without solutions, outputs and teacher's notes. Returns the names that were copied, and those
    that were kept. Raises: ValueError where the folder can't be written.
    """
    copied, kept = [], []
    for name, source in notebooks().items():
        text = source.read_text(encoding="utf-8")
        if student and not name.startswith("reproduce/"):
            text = nbformat.writes(student_version(nbformat.reads(text, as_version=4))) + "\n"
        target = folder / name
        if target.exists():
            kept.append(name)
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise cannot_write(target, error) from error
        copied.append(name)
    return copied, kept
