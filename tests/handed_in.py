"""For the tests of grading: submissions of lesson 2's graded copy, made of its solutions and of other answers."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import nbformat

LESSON = "02_dgl"
EXERCISES = ("block_sizes", "pooled_head", "small_head", "isolated_step", "ridge_probe", "linear_cka")


def exercise_of(cell):
    """The name of the exercise whose answer stands in the cell; '' for other cells."""
    nbgrader = cell.metadata.get("nbgrader", {})
    return nbgrader.get("grade_id", "") if nbgrader.get("solution") else ""


class Copies:
    """A course's graded copy, with and without solutions."""

    def __init__(self, course: Path) -> None:
        self.solved = self._read(course / "source")
        self.stub = self._read(course / "release")
        self.solutions = {name: cell.source for cell in self.solved.cells if (name := exercise_of(cell))}
        self.stubs = {name: cell.source for cell in self.stub.cells if (name := exercise_of(cell))}

    @staticmethod
    def _read(folder):
        return nbformat.read(folder / LESSON / f"{LESSON}.ipynb", as_version=4)

    def with_answers(self, **answers: str):
        """The solved copy, with other answers: code by the exercise's name."""
        nb = copy.deepcopy(self.solved)
        for cell in nb.cells:
            cell.source = answers.get(exercise_of(cell), cell.source)
        return nb

    def with_cell(self, source: str, at: int = 2, solved: bool = True):
        """A copy with one more cell, behind the set-up if no place is given."""
        nb = copy.deepcopy(self.solved if solved else self.stub)
        nb.cells.insert(at, nbformat.v4.new_code_cell(source))
        return nb


def hand_in(course: Path, student: str, notebook, place: str = "{student}/02_dgl/02_dgl.ipynb") -> Path:
    """Put a notebook, or the bytes of a file that should be one, where grading looks for it."""
    path = course / "submitted" / place.format(student=student)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode())
    return path
