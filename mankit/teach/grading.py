"""A course's submissions, graded: each answer by itself, once; what is done is kept and not done again."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock, Timeout

from ..errors import cannot_write, choose, first_line
from .course import Course, read_course
from .feedback import write_feedback, write_tables
from .forking import DONE, TIME_OUT, Ended, become, forked, user_id
from .submissions import Submission, submissions
from .trusted import Trusted, trusted_of
from .verdicts import KILLED, PASSED, Verdict, judged, verdict_in

SENTENCES = {
    TIME_OUT: "it took more than {cpu} s of computing or {wall:g} s by the clock: is there an endless loop?",
    KILLED: "its process ended before the check was done: out of memory, or by os._exit?",
}


@dataclass(frozen=True)
class Answer:
    """A student's answer to an exercise: where it may stand, and a digest of all that its verdict depends on."""

    student: str
    trusted: Trusted
    files: tuple[Path, ...]
    digest: str

    @property
    def key(self) -> str:
        """The exercise's place in a student's results."""
        return f"{self.trusted.exercise.lesson}/{self.trusted.exercise.name}"


Results = dict[str, dict[str, Any]]
Progress = Callable[[Iterator[Any], int], Iterator[Any]]


def grade(
    folder: Path, jobs: int, progress: Progress = lambda steps, total: steps, as_user: str | None = None
) -> dict[str, Results]:
    """Grade what is in a course's folder submitted/ into grades.csv, verdicts.csv and feedback/; {student: results}.

    progress: wraps the answers that are to be graded and their number, for instance a bar.
    as_user: for root, as whom answers run, so that they can't read what only root can.

    Raises: ValueError for what isn't a course, one whose own solutions don't pass, a folder that is being graded.
    """
    course = read_course(folder)
    user = user_id(as_user) if as_user else None
    lock = FileLock(folder / ".grading", timeout=0)
    try:
        with lock:
            return _graded(course, jobs, progress, user)
    except Timeout:
        raise ValueError(f"{folder} is being graded by another process: wait for it, or stop it") from None
    except OSError as error:
        raise cannot_write(folder, error, "look whether it may be written") from error


def _graded(course: Course, jobs: int, progress: Progress, user: int | None) -> dict[str, Results]:
    handed_in = submissions(course.folder / "submitted", course.lessons)
    table = _trusted(course)
    results = {student: _kept(course, student) for student in handed_in}
    answers = [
        answer
        for student, by_lesson in handed_in.items()
        for trusted in table
        if (answer := _answer(course, student, trusted, by_lesson.get(trusted.exercise.lesson, Submission())))
        and results[student].get(answer.key, {}).get("digest") != answer.digest
    ]
    try:
        if answers:
            _expect_solutions_pass(course, table, jobs)
        steps = forked(answers, lambda answer: _said(answer, course.salt, user), course.limits, jobs)
        for ended in progress(steps, len(answers)):
            answer = ended.task
            said = {"digest": answer.digest, **asdict(_verdict(ended, course)), "seconds": round(ended.seconds, 2)}
            results[answer.student][answer.key] = said
            _write(_place(course, answer.student), json.dumps(results[answer.student], indent=1))
    finally:  # stopped in the middle too: what is graded is there
        exercises = [trusted.exercise for trusted in table]
        write_tables(course, exercises, results, handed_in, _write)
        write_feedback(course, exercises, results, _write)
    return results


def _trusted(course: Course) -> list[Trusted]:
    sources = {name: nbformat.read(course.source(name), as_version=4) for name in course.lessons}
    own = _own_tests(course.folder / "hidden.py")
    table = [trusted for name, source in sources.items() for trusted in trusted_of(name, source, own)]
    for trusted in table:
        exercise = trusted.exercise
        choose("exercise", exercise.name, course.points.get(exercise.lesson, {}), "give it points in course.toml")
    for name in own:
        choose("hidden.py: test", name, [trusted.exercise.name for trusted in table])
    return table


def _own_tests(file: Path) -> Mapping[str, Callable]:
    """The functions of the teacher's hidden.py by name, if there is one; a name with _ in front is a helper's."""
    if not file.is_file():
        return {}
    try:
        names = runpy.run_path(str(file), run_name="hidden")
    except Exception as error:  # the teacher's own code
        raise ValueError(f"{file}: {type(error).__name__}: {first_line(error)}") from error
    tests = {name: value for name, value in names.items() if inspect.isfunction(value) and name[0] != "_"}
    return {name: test for name, test in tests.items() if test.__module__ == "hidden"}


def _answer(course: Course, student: str, trusted: Trusted, submission: Submission) -> Answer:
    """The answer with its digest: of the notebooks, and of the course as far as it matters."""
    own = trusted.own and inspect.getsource(trusted.own)
    of_course = [course.salt, version("mankit"), asdict(course.limits), trusted.exercise.solution, own]
    digest = hashlib.sha256(json.dumps(of_course).encode())
    for file in submission.files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return Answer(student, trusted, tuple(file.resolve() for file in submission.files), digest.hexdigest())


def _said(answer: Answer, salt: str, user: int | None) -> Iterator[dict[str, Any]]:
    notebooks = [file.read_bytes() for file in answer.files]
    if user is not None:
        become(user)
    return map(asdict, judged(answer.trusted, notebooks, salt))


def _verdict(ended: Ended, course: Course) -> Verdict:
    """What an answer's process said last; of one that was ended, or ended itself, what it had said before it ran."""
    found = [verdict for said in ended.said if (verdict := verdict_in(said))] or [Verdict(KILLED)]
    first, last = found[0], found[-1]
    if ended.how == DONE and last.verdict != KILLED:
        return replace(last, look_at=first.look_at, code=first.code)
    how = TIME_OUT if ended.how == TIME_OUT else KILLED
    return replace(first, verdict=how, sentence=SENTENCES[how].format(**asdict(course.limits)))


def _expect_solutions_pass(course: Course, table: list[Trusted], jobs: int) -> None:
    """Raise ValueError unless the course's own solutions pass: else nobody's answer would be judged as it should."""
    answers = [Answer("", trusted, (course.source(trusted.exercise.lesson).resolve(),), "") for trusted in table]
    for ended in forked(answers, lambda answer: _said(answer, course.salt, None), course.limits, jobs):
        verdict = _verdict(ended, course)
        if verdict.verdict != PASSED:
            where = f"{course.source(ended.task.trusted.exercise.lesson)}, {ended.task.trusted.exercise.name}"
            raise ValueError(
                f"{where}: the course's own solution is '{verdict.verdict}': {first_line(verdict.sentence)} "
                "(mend it, or take another salt in course.toml)"
            )


def _place(course: Course, student: str) -> Path:
    return course.folder / "graded" / f"{student}.json"


def _kept(course: Course, student: str) -> Results:
    """What is graded of a student already; nothing where the file is missing or broken."""
    try:
        kept = json.loads(_place(course, student).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="replace")  # a student's words may be no text at all
    os.replace(part, path)
