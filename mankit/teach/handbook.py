"""The teacher's page of a course: minutes, goals, a rubric, and what the lessons' teacher's notes say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nbformat import NotebookNode

from .copies import graded_copy, title_of
from .exercises import Exercise, tagged
from .mistakes import MISTAKES
from .trusted import Trusted, trusted_of

HEAD = """\
# Term {term}: for the teacher

| lesson | exercises | minutes of exercises | points |
|---|---|---|---|
{rows}

An answer has all its points or none: all where the check passes on the lesson's numbers *and* on numbers that nobody
has seen. Each rubric shows one classic wrong answer to an exercise, and the check's words to it. Points are set in
`course.toml`; the solutions are in `source/`.
"""

LESSON = """
## {title}

{length}

{goals}

### Rubric

| exercise | function | difficulty (1 to 3) | minutes | points | in place of | a wrong answer has | and the check says |
|---|---|---|---|---|---|---|---|
{rows}

### From the lesson's teacher's notes

{notes}
"""


def handbook(term: str, notebooks: Mapping[str, NotebookNode], exercises: Mapping[str, list[Exercise]]) -> str:
    """The page as Markdown, from lessons with their solutions and the exercises of each."""
    rows = [
        [f"{int(name[:2])}. {title_of(nb)}", len(exercises[name]), *_sums(exercises[name])]
        for name, nb in notebooks.items()
    ]
    rows.append(["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])])
    lessons = [_lesson(name, nb, term) for name, nb in notebooks.items()]
    return HEAD.format(term=term, rows="\n".join(map(_row, rows))) + "".join(lessons)


def _sums(exercises: list[Exercise]) -> tuple[int, int]:
    return sum(exercise.minutes for exercise in exercises), sum(exercise.points for exercise in exercises)


def _lesson(name: str, nb: NotebookNode, term: str) -> str:
    rows = [_rubric(trusted) for trusted in trusted_of(name, graded_copy(name, nb, term), {})]
    notes = "\n\n".join(re.sub("^#+ .*\n", "", cell.source).strip() for cell in nb.cells if tagged(cell, "instructor"))
    return LESSON.format(
        title=f"{int(name[:2])}. {title_of(nb)}",
        length=_part("How long", nb).partition("\n\n")[0],
        goals=_part("Goals", nb),
        rows="\n".join(rows),
        notes=notes,
    )


def _part(name: str, nb: NotebookNode) -> str:
    """A part of the lesson's first cell, from its bold name to the next one."""
    found = re.search(rf"^\*\*{name}\.\*\*.*?(?=\n\n\*\*|\Z)", nb.cells[0].source, re.DOTALL | re.MULTILINE)
    return found[0] if found else ""


def _rubric(trusted: Trusted) -> str:
    exercise, (right, wrong) = trusted.exercise, MISTAKES[trusted.exercise.name]
    number, _, title = exercise.title.partition(": ")
    shown = [f"`{' '.join(code.split())}`" if code.strip() else "(nothing)" for code in (right, wrong)]
    rating = [exercise.difficulty, exercise.minutes, exercise.points]
    return _row(
        [f"{number.removeprefix('Exercise ')}. {title}", f"`{exercise.name}`", *rating, *shown, trusted.refusal()]
    )


def _row(cells: list[object]) -> str:
    words = [" ".join(str(cell).split()).replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(words)} |"
