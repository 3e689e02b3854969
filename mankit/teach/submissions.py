"""What was handed in: notebooks in folders, by student and lesson."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass
class Submission:
    """A student's notebooks for one lesson, and when they came, as far as that is known."""

    files: list[Path] = field(default_factory=list)
    came: datetime | None = None


def submissions(folder: Path, lessons: Collection[str]) -> dict[str, dict[str, Submission]]:
    """{student: {lesson: what was handed in}} of a folder, in one of these forms, mixed as you like.

    STUDENT/LESSON/any.ipynb (nbgrader's), STUDENT/any.ipynb, STUDENT_LESSON.ipynb, STUDENT.ipynb. A notebook whose path
    names no lesson counts for each lesson of which the student has no other one: answers are found by their names.

    Raises: ValueError for a folder without notebooks, or a notebook without a student.
    """
    found: dict[str, dict[str, Submission]] = {}
    for path in sorted(folder.rglob("*.ipynb")):
        parts = path.relative_to(folder).parts
        if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in parts):
            continue  # .ipynb_checkpoints; what isn't a plain file might never end
        lesson = next((lesson for lesson in lessons if any(lesson in part for part in parts)), "")
        student = _student(parts, lesson)
        if not student or student in lessons:
            raise ValueError(f"whose is {path}? Put it into a folder with its student's name")
        _add(found.setdefault(student, {}).setdefault(lesson, Submission()), path)
    if not found:
        raise ValueError(f"no notebooks in {folder}: put what was handed in there, as STUDENT/LESSON/NAME.ipynb")
    for of_student in found.values():
        rest = of_student.pop("", Submission())
        of_student |= {lesson: rest for lesson in lessons if lesson not in of_student and rest.files}
    return found


def _student(parts: Sequence[str], lesson: str) -> str:
    """The folder's name, or what a file's name has beside the lesson's; ? for what is no text in it."""
    stem = Path(parts[0]).stem
    of_file = stem.replace(lesson, "").strip(" _-") if lesson else stem
    return (parts[0] if len(parts) > 1 else of_file).encode(errors="replace").decode()


def _add(submission: Submission, path: Path) -> None:
    submission.files.append(path)
    stamp = path.parent / "timestamp.txt"  # nbgrader's, as in 2027-04-12 13:37:00.000000 UTC
    came = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    if stamp.is_file():
        text = stamp.read_text(encoding="utf-8", errors="replace").strip().replace(" UTC", "+00:00")
        try:
            came = datetime.fromisoformat(text).astimezone()
        except ValueError:
            pass  # another tool's: the file's own time counts
    submission.came = max(came, submission.came or came)
