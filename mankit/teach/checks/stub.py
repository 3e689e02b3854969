"""Is an answer still the stub that the lesson handed out? Decided by its code, without calling it."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Iterator
from types import CodeType


def unanswered(answer: object) -> bool:
    """Does the answer still have the stub's `raise NotImplementedError`? A class is looked through by its methods.

    Python leaves out code that is never reached, so a stub's line below one's own `return` doesn't count.
    """
    return any(is_stub(code) for code in _codes(answer))


def is_stub(code: CodeType) -> bool:
    """Can this piece of code, or one defined in it, reach the name NotImplementedError?"""
    named = (i.opname == "LOAD_GLOBAL" and i.argval == "NotImplementedError" for i in dis.get_instructions(code))
    return any(named) or any(is_stub(inner) for inner in code.co_consts if isinstance(inner, CodeType))


def _codes(answer: object) -> Iterator[CodeType]:
    """The code of a function or method, behind decorators and `partial`, or of a class's own methods."""
    answer = inspect.unwrap(answer)
    if isinstance(answer, functools.partial):
        yield from _codes(answer.func)
    elif isinstance(answer, property):
        yield from _codes(answer.fget)
    elif inspect.isfunction(answer) or inspect.ismethod(answer):
        yield answer.__code__
    elif inspect.isclass(answer):
        for member in answer.__dict__.values():  # not what it inherits: nn.Module has a stub of its own
            if inspect.isroutine(member) or isinstance(member, property):
                yield from _codes(member)
