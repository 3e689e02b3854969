"""The exercises of a lesson, read from its notebook: what a graded copy, a teacher's page and grading are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from ..errors import choose
from .lessons import notebooks


@dataclass(frozen=True)
class Exercise:
    """name: of the function that is asked for; difficulty: 1 to 3; solution: the code of its cell."""

    lesson: str
    name: str
    title: str
    difficulty: int
    minutes: int
    points: int
    solution: str


def tagged(cell: NotebookNode, tag: str) -> bool:
    """Has the cell this tag?"""
    return tag in cell.metadata.get("tags", [])


def exercises_of(lesson: str, nb: NotebookNode) -> Iterator[Exercise]:
    """The exercises of a lesson with its solutions, in their order."""
    for text, cell, _ in exercise_cells(nb):
        title = re.search(r"^### (Exercise .*)$", text.source, re.MULTILINE)[1]
        rating = cell.metadata.mankit
        name = cell.metadata.nbgrader.grade_id
        yield Exercise(lesson, name, title, rating.difficulty, rating.minutes, rating.points, cell.source)


def exercise_cells(nb: NotebookNode) -> Iterator[tuple[NotebookNode, NotebookNode, NotebookNode]]:
    """(text, exercise, check) of each exercise: three cells that follow one another."""
    for text, cell, check in zip(nb.cells, nb.cells[1:], nb.cells[2:], strict=False):
        if tagged(cell, "exercise"):
            yield text, cell, check


def lessons() -> dict[str, Path]:
    """The lessons' notebooks by name, those with exercises."""
    return {path.stem: path for name, path in notebooks().items() if re.match("0[1-9]_", name)}


def chosen(words: str) -> list[str]:
    """The lessons that '01-05', '2' or '01,03-05' mean, in their order. ValueError: there is no such lesson."""
    numbers = {name[:2]: name for name in lessons()}
    found = set()
    for part in words.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        ends = [f"{end:0>2}" for end in (first, last or first)]
        for end in ends:
            choose("lesson", end, numbers)
        found |= {name for number, name in numbers.items() if ends[0] <= number <= ends[1]}
        if ends[0] > ends[1]:
            raise ValueError(f"lessons {part}: the first comes before the last, as in 01-05")
    return sorted(found)
