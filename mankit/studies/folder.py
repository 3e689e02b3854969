"""What writes a run's folder: files that survive a kill, a crash and a full disk, and a lock.

A file is the old one or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from warnings import warn

import torch
from torch import Tensor

from ..errors import cannot_write, first_line

NAME, BEFORE = "checkpoint.pt", "checkpoint.before.pt"
STATE = {  # what a checkpoint holds
    "of": tuple,  # the recipe, and checksums of the training images and labels
    "done": int,  # steps
    "net": dict,
    "optimizers": list,
    "log": list,
    "best": dict,
    "losses": Tensor | None,  # sums of this epoch's steps
    "rng": Tensor,
    "seconds": float,
}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for one process at a time; a process that is killed lets go of it.

    Raises: ValueError where it is in use, or can't be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise ValueError(f"{folder} is in use by another process: wait for it, or choose another folder") from error
    except OSError as error:
        raise cannot_write(f"to {folder}", error) from error
    try:
        yield
    finally:
        lock.release()


def write(file: Path, content: str | bytes, keep: Path | None = None) -> None:
    """Write a file whole, then put it in its place in one move. keep: where the old one goes.

    Raises: ValueError (a full disk, a folder that can't be written); the old file is then still there.
    """
    fresh = file.with_name(f".{file.name}.new")
    try:
        with fresh.open("wb") as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            opened.flush()
            os.fsync(opened.fileno())  # on the disk before it gets its name
        if keep is not None and file.exists():
            os.replace(file, keep)
        os.replace(fresh, file)
        _sync_folder(file.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        cure = "make room, or choose another folder; what was saved before is still there"
        raise cannot_write(file, error, cure) from error


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
    newest, problem = folder / NAME, None
    for file in (newest, folder / BEFORE):
        if file.exists():
            try:
                state = _read(file)
            except Exception as error:  # what is damaged may raise anything
                problem = problem or error
                continue
            if problem:
                warn(f"{newest} is damaged: going on from the one before it", stacklevel=3)
                os.replace(file, newest)
            return state
    if problem:
        why = f"{newest} is damaged ({first_line(problem)}): remove {folder} to begin this run anew"
        raise ValueError(why) from problem
    return None


def _read(file: Path) -> dict[str, object]:
    with zipfile.ZipFile(file) as parts:  # torch doesn't compare the checksums that it writes
        if damaged := parts.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    state = torch.load(file, map_location="cpu", weights_only=True)
    for name, kind in STATE.items():
        if not isinstance(state[name], kind):
            raise TypeError(f"{name} is a {type(state[name]).__name__}")
    return state
