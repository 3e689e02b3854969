"""A lesson as it is graded: set-up, exercises and checks, and nothing that trains."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator

import nbformat
from nbformat import NotebookNode

from .exercises import exercise_cells, exercises_of
from .finding import names_read

SET_UP = """import copy
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

{imports}
torch.set_num_threads(1)"""

INTRO = """# Exercises {number}: {title}

Term {term}, {points} points. What you need to know stands in the lesson, `{lesson}.ipynb`.

- Write each function in its cell, in place of `raise NotImplementedError`. Keep its name and what it takes.
- The cell below says at once whether it is right, or what to look at. Your teacher runs the same check again, and then
  one like it on other numbers.
- Imports and helpers of your own may stand in any cell. Hand in this file.

## Exercises"""


def graded_copy(lesson: str, nb: NotebookNode, term: str) -> NotebookNode:
    """A lesson's exercises with their texts, solutions and checks, as nbgrader's source of an assignment."""
    out = nbformat.v4.new_notebook(metadata={key: nb.metadata[key] for key in ("kernelspec", "language_info")})
    points = sum(exercise.points for exercise in exercises_of(lesson, nb))
    intro = INTRO.format(number=int(lesson[:2]), title=title_of(nb), term=term, points=points, lesson=lesson)
    out.cells = [nbformat.v4.new_markdown_cell(intro, id="intro"), _set_up(nb)]
    for cells in exercise_cells(nb):
        out.cells += map(_clean, cells)
    return out


def title_of(nb: NotebookNode) -> str:
    """A lesson's title, without its number."""
    return re.match(r"# (?:Lesson \d+: |\d+\. )?(.*)", nb.cells[0].source)[1]


def _set_up(nb: NotebookNode) -> NotebookNode:
    (checks,) = {
        m for c in nb.cells for m in re.findall(r"^from mankit.teach.checks import \w+ as check$", c.source, re.M)
    }
    read = {name for _, cell, _ in exercise_cells(nb) for name in names_read(cell.source)}
    froms = [node for cell in nb.cells if cell.cell_type == "code" for node in _nodes(cell) if _of_mankit(node)]
    origin = {alias.name: node.module for node in froms for alias in node.names if alias.name in read}
    imports = [f"from {origin[name]} import {name}" for name in sorted(origin)]
    cell = nbformat.v4.new_code_cell(SET_UP.format(imports="\n".join([*imports, checks, ""])), id="set-up")
    cell.metadata.nbgrader = {
        "grade": False,
        "grade_id": "set-up",
        "locked": True,
        "schema_version": 3,
        "solution": False,
        "task": False,
    }
    return cell


def _nodes(cell: NotebookNode) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(cell.source))


def _of_mankit(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "mankit"


def _clean(cell: NotebookNode) -> NotebookNode:
    """A copy without output, and not folded."""
    cell = copy.deepcopy(cell)
    cell.metadata.pop("jupyter", None)
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    return cell
