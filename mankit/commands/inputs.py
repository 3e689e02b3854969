"""What several commands ask of their input. Each raises a ValueError that says what is wrong, and the cure."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Collection
from pathlib import Path


def first_line(error: object) -> str:
    """The first line of a message that may have many."""
    return str(error).strip().partition("\n")[0]


def check_notebook(path: Path) -> None:
    """Raise ValueError unless the path is a notebook."""
    if path.suffix != ".ipynb" or not path.is_file():
        raise ValueError(f"no notebook {path}: look into notebooks/")


def known_parameters(notebook: Path) -> dict[str, object]:
    """The parameters of a notebook, by name. ValueError where there is no notebook, or none that can be read."""
    import papermill

    check_notebook(notebook)
    try:
        return papermill.inspect_notebook(str(notebook))
    except Exception as error:  # there are many ways not to be a notebook
        raise ValueError(f"{notebook} isn't a notebook that can be read: {first_line(error)}") from error


def check_parameter(name: str, known: Collection[str]) -> None:
    """Raise ValueError, with the nearest name, for a parameter that a notebook doesn't have."""
    if name not in known:
        hint = "".join(f"did you mean {near}? " for near in difflib.get_close_matches(name, known, n=1))
        raise ValueError(f"no parameter {name} in this notebook: {hint}choose from {', '.join(known) or 'none'}")


def parameters(texts: list[str], known: Collection[str]) -> dict[str, object]:
    """['K=8'] -> {'K': 8}; numbers, lists, true and null as in JSON, anything else is text."""
    values = {}
    for name, _, value in (text.partition("=") for text in texts):
        check_parameter(name, known)
        values[name] = json_or_text(value)
    return values


def json_or_text(text: str) -> object:
    """'8' -> 8, 'man' -> 'man'."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def writable(folder: Path) -> Path:
    """The folder, made if need be. Raises ValueError where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"can't write to {folder} ({error.strerror}): choose another folder with -o") from error
    return folder
