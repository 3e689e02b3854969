"""One answer, judged: in a process of its own, since it runs what a student wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import first_line
from .checks.base import CheckFailed, NotAnswered, salted
from .checks.stub import unanswered
from .finding import answer_in, cells_of
from .trusted import Trusted, run_code, said_to

VERDICTS = ("passed", "wrong", "missing", "error", "time-out", "killed", "tampered")
PASSED, WRONG, MISSING, ERROR, TIME_OUT, KILLED, TAMPERED = VERDICTS
NOT_HANDED_IN = "no notebook of this lesson was handed in."
LONG, LONG_CODE = 1000, 20_000  # characters of a sentence and of code that are kept


@dataclass(frozen=True)
class Verdict:
    """verdict: one of the seven words above; sentence: why; look_at: names for a person to look at; code: what ran."""

    verdict: str
    sentence: str = ""
    look_at: Sequence[str] = ()
    code: str = ""


def judged(trusted: Trusted, notebooks: Sequence[bytes], salt: str) -> Iterator[Verdict]:
    """The verdict on an exercise's answer in a student's notebooks. Whatever the answer does, it does here.

    First comes the verdict "killed", which stands if the answer ends this process or never ends, then the true one.

    salt: of the term. The answer has to pass the check, the same check on numbers of the salt, and the teacher's own
    test; then the check must still refuse a known wrong answer.
    """
    name = trusted.exercise.name
    try:
        cells = [cell for notebook in notebooks for cell in cells_of(notebook)]
        found = answer_in(cells, name)
    except SyntaxError as error:
        yield Verdict(ERROR, f"line {error.lineno} of the cell isn't Python: {error.msg}")
        return
    except ValueError as error:
        yield Verdict(ERROR, first_line(error))
        return
    if found is None:
        yield Verdict(MISSING, f"no cell defines `{name}`." if notebooks else NOT_HANDED_IN)
        return
    code = found.code[:LONG_CODE]
    yield Verdict(KILLED, "", found.look_at, code)
    try:
        verdict, sentence = _tried(trusted, run_code(found.code, trusted.names)[name], salt)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: what a student's code raises is its own
        verdict, sentence = ERROR, f"{type(error).__name__}: {first_line(error)}"
    yield Verdict(verdict, sentence[:LONG], found.look_at, code)


def _tried(trusted: Trusted, answer: Callable, salt: str) -> tuple[str, str]:
    if unanswered(answer):
        return MISSING, f"`{trusted.exercise.name}` isn't answered."
    other_numbers = int(hashlib.sha256(f"{salt}/{trusted.exercise.name}".encode()).hexdigest()[:15], 16)
    try:
        if said := said_to(answer, trusted.check):
            return WRONG, said
        with salted(other_numbers):
            if said := said_to(answer, trusted.check):
                return WRONG, f"right on the lesson's numbers, but not on others: {said}"
        if trusted.own and (said := said_to(answer, _own(trusted.own))):
            return WRONG, said
    except NotAnswered as stub:
        return MISSING, f"it calls `{stub}`, which isn't answered."
    if not _refuses(trusted):
        return TAMPERED, "after your answer had run, the check let a wrong answer pass: the answer changes the check."
    return PASSED, "right, on the lesson's numbers and on others."


def _own(test: Callable[[Callable], None]) -> Callable[[Callable], None]:
    """The teacher's own test as a check: it may say what is wrong by an AssertionError, too."""

    def check(answer: Callable) -> None:
        try:
            test(answer)
        except AssertionError as failed:
            raise CheckFailed(first_line(failed)) from failed

    return check


def _refuses(trusted: Trusted) -> bool:
    try:
        return bool(trusted.refusal())
    except Exception:  # it doesn't even run any more
        return False


def verdict_in(said: object) -> Verdict | None:
    """The verdict that a student's process wrote down as plain numbers and text; None for anything else."""
    fields = {"verdict": str, "sentence": str, "look_at": list, "code": str}
    fits = isinstance(said, dict) and {name: type(value) for name, value in said.items()} == fields
    fits = fits and said["verdict"] in VERDICTS and all(isinstance(name, str) for name in said["look_at"])
    return Verdict(**said) if fits else None
