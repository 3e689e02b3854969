"""A course from lessons: its settings, graded copies with and without solutions, a page for the teacher."""

from __future__ import annotations

import re
import secrets
import tomllib
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import nbformat

from ..errors import cannot_write, first_line
from .copies import graded_copy
from .exercises import Exercise, chosen, exercises_of, lessons
from .forking import Limits
from .handbook import handbook
from .student import student_version

SETTINGS = """\
# A course of mankit's lessons. `mankit grade` reads this file each time; change it as you like.
term = "{term}"
lessons = [{lessons}]

# Hidden tests draw their numbers from it. Show it to nobody, and keep it for the whole term.
salt = "{salt}"

# What one answer may use: seconds by the clock and of the CPU, GiB of memory, MiB of a file.
[limits]
{limits}

# What comes later is marked in grades.csv; no points are taken off.
[due]
{due}
{points}"""

NBGRADER = '''\
"""nbgrader's settings for this course. In this folder: nbgrader generate_assignment {first} --force"""

c = get_config()  # noqa: F821 (nbgrader hands it in)
c.CourseDirectory.course_id = "mankit-{term}"
c.ClearSolutions.code_stub = {{"python": 'raise NotImplementedError("your answer goes here")'}}
c.ExecutePreprocessor.timeout = 900  # seconds a cell may take on a busy machine
c.ExecutePreprocessor.iopub_timeout = 120  # nbgrader's 4 s leave right answers without a grade
'''


@dataclass(frozen=True)
class Course:
    """What course.toml says. points: {lesson: {exercise: points}}; due: {lesson: when}, where that is set."""

    folder: Path
    term: str
    salt: str
    lessons: list[str]
    points: dict[str, dict[str, float]]
    due: dict[str, datetime] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def source(self, lesson: str) -> Path:
        """The notebook with solutions."""
        return self.folder / "source" / lesson / f"{lesson}.ipynb"


def make_course(folder: Path, words: str, term: str, first_due: date | None = None) -> list[Path]:
    """Write a course of lessons ('01-05'), due week by week from a first day on; the files that are new.

    A file that is there stays as it is, so that a second call adds what is missing. ValueError: a lesson that isn't.
    """
    names, settings = chosen(words), folder / "course.toml"
    if not re.fullmatch(r"[\w.-]{1,40}", term):
        raise ValueError(f"term={term!r}: choose letters, digits, - and _, as in 2027S")
    notebooks = {name: nbformat.read(lessons()[name], as_version=4) for name in names}
    exercises = {name: list(exercises_of(name, nb)) for name, nb in notebooks.items()}
    if settings.exists():
        _expect_the_same(read_course(folder), names, term)
    files: dict[Path, str] = {settings: _settings(exercises, term, first_due)}
    files[folder / "nbgrader_config.py"] = NBGRADER.format(term=term, first=names[0])
    files[folder / "teacher.md"] = handbook(term, notebooks, exercises)
    for name, nb in notebooks.items():
        source = graded_copy(name, nb, term)
        files[folder / "source" / name / f"{name}.ipynb"] = nbformat.writes(source) + "\n"
        files[folder / "release" / name / f"{name}.ipynb"] = nbformat.writes(student_version(source)) + "\n"
    return [path for path, text in files.items() if _written(path, text)]


def read_course(folder: Path) -> Course:
    """What stands in a course's folder. ValueError: there is no course, or its course.toml says what can't be."""
    path = folder / "course.toml"
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no course.toml in {folder}: make a course with `mankit course {folder}`") from None
    except ValueError as error:
        raise ValueError(f"{path}: {first_line(error)}") from None
    try:
        due = {name: _moment(value) for name, value in said.get("due", {}).items()}
        limits = Limits(**said.get("limits", {}))
        course = Course(folder, str(said["term"]), str(said["salt"]), said["lessons"], said["points"], due, limits)
    except (KeyError, TypeError, ValueError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise ValueError(f"{path}: {why}") from None
    gone = [course.source(name) for name in course.lessons if not course.source(name).is_file()]
    if gone:
        raise ValueError(f"no {gone[0]}: put it back, or take the lesson out of {path}")
    return course


def _expect_the_same(course: Course, names: list[str], term: str) -> None:
    if (course.term, course.lessons) != (term, names):
        raise ValueError(
            f"{course.folder} holds term {course.term} with lessons {', '.join(course.lessons)}: "
            "say the same again to add what is missing, or choose another folder"
        )


def _settings(exercises: dict[str, list[Exercise]], term: str, first_due: date | None) -> str:
    weeks = {name: (first_due or date.today()) + timedelta(weeks=i) for i, name in enumerate(exercises)}
    due = [f"{'' if first_due else '# '}{name} = {day}T23:59:00" for name, day in weeks.items()]
    points = ""
    for name, row in exercises.items():
        points += f"\n[points.{name}]\n" + "".join(f"{exercise.name} = {exercise.points}\n" for exercise in row)
    return SETTINGS.format(
        term=term,
        lessons=", ".join(f'"{name}"' for name in exercises),
        salt=secrets.token_hex(16),
        limits="\n".join(f"{name} = {value}" for name, value in asdict(Limits()).items()),
        due="\n".join(due),
        points=points,
    )


def _moment(value: Any) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(23, 59))
    if not isinstance(value, datetime):
        raise ValueError(f"due {value!r}: write a date, as in 2027-04-30T23:59:00, without quotation marks")
    return value.astimezone()  # a time without a zone is this machine's


def _written(path: Path, text: str) -> bool:
    """Write a file that isn't there yet. ValueError: the disk says no."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise cannot_write(path, error) from error
    return True
