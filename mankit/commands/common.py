"""What several commands need: a folder that can be written, and one line out of an error."""

from __future__ import annotations

import os
from pathlib import Path


def first_line(error: object) -> str:
    """The first line of an error's text: all that a command prints of it."""
    return str(error).strip().partition("\n")[0]


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
