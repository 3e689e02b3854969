"""Files that survive a kill, a crash and a full disk: they are the old ones or the new ones, never a part."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from warnings import warn

import torch

NAME, BEFORE = "checkpoint.pt", "checkpoint.before.pt"


def write(file: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file whole, then put it in its place in one move. keep: where the old one goes.

    Raises: ValueError (a full disk, a folder that can't be written); the old file is then still there.
    """
    fresh = file.with_name(f".{file.name}.new")
    try:
        with fresh.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())  # on the disk before it gets its name
        if keep is not None and file.exists():
            os.replace(file, keep)
        os.replace(fresh, file)
        _sync_folder(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise ValueError(
            f"can't write {file} ({error.strerror or error}): make room, or choose another folder; "
            "what was saved before is still there"
        ) from error


def _sync_folder(folder: Path) -> None:
    """The new name is in the folder, and the folder must be on the disk too; Windows has no such call."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def save(folder: Path, state: dict[str, object]) -> None:
    """Save a checkpoint and keep the one before. Raises: ValueError where it can't be written."""
    buffer = io.BytesIO()  # torch would hide what the disk says
    torch.save(state, buffer)
    write(folder / NAME, buffer.getvalue(), keep=folder / BEFORE)


def load(folder: Path) -> dict[str, object] | None:
    """The last good checkpoint, on the CPU; None if there is none yet.

    A damaged one is replaced by the one before, with a warning. Raises: ValueError if that is no better.
    """
    newest, before = folder / NAME, folder / BEFORE
    problem = None
    for file in (newest, before):
        if file.exists():
            try:
                state = _read(file)
            except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError, ValueError) as error:
                problem = problem or error
                continue
            if problem:
                warn(f"{newest} is damaged: going on from the one before it", stacklevel=3)
                os.replace(before, newest)
            return state
    if problem:
        raise ValueError(
            f"{newest} is damaged ({str(problem).splitlines()[0]}): remove {folder} to begin this run anew"
        ) from problem
    return None


def _read(file: Path) -> dict[str, object]:
    with zipfile.ZipFile(file) as parts:  # torch doesn't compare the checksums that it writes
        if damaged := parts.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    return torch.load(file, map_location="cpu", weights_only=True)
