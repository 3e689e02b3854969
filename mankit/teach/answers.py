"""The reader's own function where it is answered, the library's where it isn't yet."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable
from typing import TypeVar

from .checks.base import CheckFailed
from .checks.stub import unanswered

Answer = TypeVar("Answer")


def own(mine: Answer, library: Answer, check: Callable[[Answer], None] | None = None) -> Answer:
    """The reader's function or class; while it is still a stub the library's, and one line says so.

    Example: `step = own(isolated_step, local_step, check.isolated_step)`.

    check: the exercise's. With it a wrong answer gives way too, so that later sections run to their end. Without it
    nothing is called (a stub is known by its code), and what is answered is used as it is, right or wrong.
    """
    state = "answered" if unanswered(mine) else "right" if check and not _passes(mine, check) else ""
    if not state:
        return mine
    print(f"`{_name(mine)}` isn't {state} yet: {_whose(library)} {_name(library)} is used.")
    return library


def _passes(mine: Answer, check: Callable[[Answer], None]) -> bool:
    with contextlib.redirect_stdout(io.StringIO()) as words:  # they stand under the exercise already
        try:
            check(mine)
        except CheckFailed:
            return False
    return not words.getvalue().startswith("Not answered")  # it calls a stub


def _whose(answer: object) -> str:
    root = str(getattr(answer, "__module__", "")).partition(".")[0]
    return {"__main__": "the lesson's", "torch": "PyTorch's"}.get(root, "the library's")


def _name(answer: object) -> str:
    answer = answer.func if isinstance(answer, functools.partial) else answer
    name = getattr(answer, "__qualname__", "<none>").rpartition("<locals>.")[2]
    return "own" if name.startswith("<") else name  # a lambda has none
