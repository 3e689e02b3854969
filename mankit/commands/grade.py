"""`mankit grade`: what students handed in, answer by answer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option


def grade(
    folder: Annotated[Path, Argument(metavar="DIR", help="A course's folder, made by `mankit course`.")],
    jobs: Annotated[int, Option(min=1, help="Answers at a time, each in a process of its own.")] = 2,
    as_user: Annotated[str | None, Option(help="For root: as whom answers run, such as nobody.")] = None,
) -> None:
    """Grade DIR/submitted: grades.csv, verdicts.csv, and feedback/STUDENT.html with points and the check's sentences.

    Example: mankit grade autumn

    Notebooks may lie there as STUDENT/LESSON/any.ipynb, STUDENT/any.ipynb, STUDENT_LESSON.ipynb or STUDENT.ipynb. An
    answer has its points where the lesson's check passes, and passes on numbers that the student has not seen. Each
    runs by itself with limits of time and memory: one endless loop costs its own points and no others. Ctrl-C keeps
    what is graded; the same command goes on, and grades again only what has changed.

    It runs what students wrote, as you. Grade strangers in a container: docs/teachers.md says how.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before torch is there: a process with threads can't be forked safely
    from ..teach.grading import grade as grade_all

    try:
        results = grade_all(folder, jobs, _with_bar, as_user)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; what is graded is in {folder}, and the same command goes on") from None
    counts = Counter(result["verdict"] for of_student in results.values() for result in of_student.values())
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    print(f"{len(results)} students, {counts.total()} answers: {said}")
    print(folder / "grades.csv")


def _with_bar(steps: Iterator[Any], total: int) -> Iterator[Any]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread beside the forks
    return iter(tqdm(steps, total=total, desc="grading", unit="answer", smoothing=0.05, disable=not total))
