"""`mankit course`: a folder with all that a teacher hands out, keeps and grades by."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def course(
    folder: Annotated[Path, Argument(metavar="DIR", help="The course's folder; it may be there already.")],
    lessons: Annotated[str, Option(help="Which lessons, as in 01-05, 02 or 01,03-05.")] = "01-05",
    term: Annotated[str, Option(help="The term's name, as in 2027S.")] = ...,
    first_due: Annotated[
        datetime | None, Option(formats=["%Y-%m-%d"], help="The first lesson is due on this day, the others weekly.")
    ] = None,
) -> None:
    """Make a course of lessons: notebooks to hand out, solutions, settings, a page for the teacher, nbgrader's files.

    Example: mankit course autumn --lessons 01-05 --term 2027S

    release/ is for students, everything else for you: course.toml (points, dates, the secret salt), source/ (with
    solutions), teacher.md (minutes, goals, mistakes, questions, rubric), nbgrader_config.py. A file that is there is
    never overwritten. What comes in goes to submitted/STUDENT/LESSON/; then: mankit grade DIR
    """
    from ..teach.course import make_course

    files = make_course(folder, lessons, term, first_due and first_due.date())
    for file in files:
        print(file)
    there = sum(path.is_file() for path in folder.rglob("*")) - len(files)
    if there:
        print(f"{there} files were in {folder} already and stay as they are.")
