"""What several commands ask of their input. Each raises a ValueError that says what is wrong, and the cure."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

from typer import Option

from ..errors import cannot_write, choose
from ..shipped import shipped

Parameters = Annotated[
    list[str] | None, Option("-p", "--parameter", metavar="NAME VALUE", help="Set a parameter; may be repeated.")
]
At = Annotated[
    Path | None, Option(metavar="FILE", help="Use the workers of a cluster: its dask scheduler's file. Not --jobs.")
]
PAIRS = {"-p": "K 8", "--parameter": "K 8", "-g": "K 2,4,8", "--grid": "K 2,4,8"}


def joined(words: list[str]) -> list[str]:
    """`-p K 8` (as papermill writes it) becomes `-p K=8`, the one form that Typer can repeat; so does `-g K 2,4`."""
    out, rest = [], iter(words)
    for word in rest:
        out.append(word)
        if word in PAIRS:
            pair = next(rest, "")
            if "=" not in pair:
                value = next(rest, "--none")
                if re.match("--?[A-Za-z]", value):  # the next option, and not a negative number
                    raise ValueError(f"{word} {pair}: give a name and a value, as in {word} {PAIRS[word]}")
                pair += f"={value}"
            out.append(pair)
    return out


def found(notebook: Path) -> Path:
    """A notebook as it was named; where nothing has that name, the package's own of that name, if it has one."""
    with contextlib.suppress(ValueError):
        return notebook if notebook.exists() else shipped("notebooks", notebook.as_posix().removeprefix("notebooks/"))
    return notebook


def known_parameters(notebook: Path) -> dict[str, object]:
    """The parameters of a notebook by name, and where `rule` is one, every rule's options. ValueError: unreadable."""
    from ..execution.read import parameters_of, read_notebook

    known = parameters_of(read_notebook(notebook))
    if "rule" in known:
        from ..rules import RULES, options_of

        known |= {name: option for rule in RULES for name, option in options_of(rule).items() if name not in known}
    return known


def json_or_text(text: str) -> object:
    """'8' -> 8, 'man' -> 'man': numbers, lists, true and null as in JSON, anything else is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def parameters(
    texts: list[str] | None, known: Collection[str], read: Callable[[str], object] = json_or_text
) -> dict[str, object]:
    """['K=8'] -> {'K': 8}. Raises ValueError, with the nearest name, for a parameter that a notebook doesn't have."""
    values = {}
    for name, _, value in (text.partition("=") for text in texts or []):
        choose("parameter", name, known)
        if name in values:
            raise ValueError(f"parameter {name!r} is given twice: give it once")
        values[name] = read(value)
    return values


def writable(folder: Path) -> Path:
    """The folder, made if need be. Raises ValueError where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise cannot_write(folder, error, "choose another folder with -o") from error
    return folder
