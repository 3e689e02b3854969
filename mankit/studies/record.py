"""What a run's folder says: recipe, log, environment, and the summary of a finished run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from pydantic import TypeAdapter, ValidationError

from .recipe import Recipe

CURE = "remove it and start the run again"


@dataclass(frozen=True)
class Summary:
    """What is left of a finished run; accuracies in percent, None where there were no validation images.

    The test images are read once, after training: with the weights of the last epoch (`test_last`), and with those
    of the epoch that was best on the validation images (`test_best_val`), never of the best test epoch.
    losses: of the blocks, means over the last epoch. seconds: of training and validation, over all starts.
    """

    epochs: int
    steps: int
    seconds: float
    device: str
    losses: tuple[float, ...]
    val_last: float | None
    test_last: float
    best_epoch: int | None
    val_best: float | None
    test_best_val: float | None


@dataclass(frozen=True)
class Record:
    """A run's folder, read: its recipe, the log's rows so far, and the summary if it is finished."""

    recipe: Recipe
    log: list[dict[str, object]]
    environment: dict[str, object]
    summary: Summary | None


def read_run(folder: str | Path) -> Record:
    """Read a run's folder. Raises: ValueError if there is no run in it, or a file of it is damaged."""
    folder = Path(folder)
    if not (folder / "recipe.json").is_file():
        raise ValueError(f"no run in {folder}: it has no recipe.json; look into runs/")
    environment = _read(folder / "environment.json", dict[str, object]) or {}
    return Record(
        Recipe.read(folder / "recipe.json"), _log(folder), environment, _read(folder / "summary.json", Summary)
    )


def _log(folder: Path) -> list[dict[str, object]]:
    file = folder / "log.jsonl"
    try:
        return [json.loads(line) for line in file.read_bytes().splitlines()] if file.is_file() else []
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}): the next start of the run mends it") from error


def _read(file: Path, kind: type) -> object:
    """What a JSON file holds, an object of this kind; None if it isn't there."""
    try:
        return TypeAdapter(kind).validate_json(file.read_bytes()) if file.is_file() else None
    except ValidationError as error:
        raise ValueError(f"{file} is damaged ({error.errors()[0]['msg']}): {CURE}") from error


def finished(folder: str | Path, recipe: Recipe) -> Summary | None:
    """The summary of this recipe's finished run in a folder, else None. Raises: ValueError for another recipe's."""
    folder = Path(folder)
    if not (folder / "recipe.json").is_file():
        return None
    there, here = Recipe.read(folder / "recipe.json").__dict__, recipe.__dict__
    if differ := [f"{name} {there[name]} there and {here[name]} here" for name in here if there[name] != here[name]]:
        raise ValueError(f"{folder} holds another run ({', '.join(differ)}): choose another folder")
    return _read(folder / "summary.json", Summary)


def environment(device: torch.device) -> dict[str, object]:
    """What a run's numbers may depend on besides its recipe: versions, device, threads, the git revision."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "git": _git_revision(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _git_revision() -> str | None:
    """The commit of this clone of mankit, with -dirty where files were changed; None for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
