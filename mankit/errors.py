"""One sentence for an error: the value, what is allowed, the nearest name, the cure."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from pathlib import Path


def choose(name: str, value: object, allowed: Collection[str], cure: str = "") -> None:
    """Raise ValueError, with the nearest names, unless the value is one of those allowed.

    cure: what to do, in place of the list of all names (where that would be long).
    """
    if value not in list(allowed):  # a list: what is asked for may be a list itself
        near = difflib.get_close_matches(str(value), list(allowed), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(f"{name}={value!r}: {hint}{cure or 'choose from ' + (', '.join(allowed) or 'nothing')}")


def at_least(name: str, value: float | None, least: float, cure: str = "") -> None:
    """Raise ValueError for a number below `least`, and where `least` is an int for one that isn't whole.

    None, for a number that wasn't given, is fine. cure: what to do, in place of 'choose ... or more'.
    """
    if value is None:
        return
    is_number = isinstance(value, Real) and math.isfinite(value)
    fraction = is_number and isinstance(least, int) and value != int(value)
    if not is_number or fraction or value < least:
        whole = "a whole number, " if fraction else ""
        raise ValueError(f"{name}={value}: {cure or f'choose {whole}{least} or more'}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError for what is no number from low to high."""
    if not isinstance(value, Real) or not low <= value <= high:
        raise ValueError(f"{name}={value}: choose a number from {low} to {high}")


def allowed(errors: Iterable[Mapping]) -> str:
    """'choose a valid integer', 'choose 1 or more', from pydantic's 'Input should be ...'; of a union all of them."""
    words = " or ".join(dict.fromkeys(each["msg"] for each in errors))
    words = words.replace("or Input should be", "or").replace("Input should be", "choose")
    words = re.sub(r"greater than or equal to (\S+)", r"\1 or more", words)
    words = re.sub(r"less than or equal to (\S+)", r"\1 or less", words)
    return words.replace("greater than", "a number above").replace("less than", "a number below")


def first_line(error: object) -> str:
    """The first line of a message that may have many; the kind of an error that says nothing."""
    return str(error).strip().partition("\n")[0].rstrip() or type(error).__name__


def cannot_write(place: str | Path, error: OSError, cure: str = "choose another folder") -> ValueError:
    """What to raise where the disk says no: the place, the reason, the cure."""
    return ValueError(f"can't write {place} ({error.strerror or error}): {cure}")
