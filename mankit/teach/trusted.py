"""What grading trusts of a course: an exercise's check, the names of its set-up, and a known wrong answer."""

from __future__ import annotations

import contextlib
import io
import linecache
import runpy
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from .checks.base import CheckFailed, NotAnswered
from .exercises import Exercise, exercises_of
from .mistakes import mistaken


@dataclass(frozen=True)
class Trusted:
    """names: of the lesson's set-up. own: the teacher's own test of this exercise, if there is one."""

    exercise: Exercise
    names: Mapping[str, Any]
    check: Callable[[Callable], None]
    mistake: Callable
    own: Callable[[Callable], None] | None = None

    def refusal(self) -> str | None:
        """What the check says to the known wrong answer; None where it lets it pass."""
        return said_to(self.mistake, self.check)


def said_to(answer: Callable, check: Callable[[Callable], None]) -> str | None:
    """The check's sentence against an answer, None for a right one. NotAnswered: it calls a stub."""
    with contextlib.redirect_stdout(io.StringIO()) as words:
        try:
            check(answer)
        except CheckFailed as failed:
            return str(failed)
    name = words.getvalue().removeprefix("Not answered yet: ")
    if name != words.getvalue():
        raise NotAnswered(name.strip())
    return None


def trusted_of(lesson: str, source: NotebookNode, own: Mapping[str, Callable]) -> Iterator[Trusted]:
    """Everything trusted of a lesson's graded copy with solutions. own: the teacher's tests by exercise.

    Raises: ValueError where a solution doesn't hold any more what its known mistake changes.
    """
    graded = [cell.metadata.get("nbgrader", {}) for cell in source.cells]
    rest = [c for c, g in zip(source.cells, graded, strict=True) if not (g.get("solution") or g.get("grade"))]
    names = run_code("\n".join(cell.source for cell in rest if cell.cell_type == "code"))
    for exercise in exercises_of(lesson, source):
        check = names["check"].__dict__[exercise.name]
        mistake = run_code(mistaken(exercise.name, exercise.solution), names)[exercise.name]
        yield Trusted(exercise, names, check, mistake, own.get(exercise.name))


def run_code(code: str, names: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The names that code leaves, on top of the given ones; it runs from a file, so that errors can show its lines."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "answer.py")
        file.write_text(code, encoding="utf-8")
        linecache.getlines(str(file))  # what checks show of it, when the file is gone
        return runpy.run_path(str(file), init_globals=dict(names or {}), run_name="answer")
