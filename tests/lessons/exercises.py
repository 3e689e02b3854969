"""For the tests of the lessons' checks: take an exercise's solution and its stub out of a notebook."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mankit.teach.checks.base import CheckFailed
from mankit.teach.student import student_version

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@dataclass
class Exercise:
    """name: the reader's function; check: takes it; wrong: classic wrong answers and what the check must say."""

    name: str
    check: Callable
    wrong: list[tuple[Callable, str]] = field(default_factory=list)


def answer(notebook: str, name: str, solved: bool) -> Callable:
    """The function `name` as an exercise cell of the notebook defines it, solved or as a stub.

    An exercise cell may use torch, nn, F, np, copy, math and mankit's public names, and nothing else.
    """
    nb = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4)
    nb = nb if solved else student_version(nb)
    cells = [c.source for c in nb.cells if "exercise" in c.metadata.get("tags", []) and f"{name}" in c.source]
    assert len(cells) == 1, f"{len(cells)} exercise cells define {name}"
    space = {"torch": torch, "nn": nn, "F": F, "np": np, "copy": copy, "math": math, "Tensor": torch.Tensor}
    exec("from mankit import *", space)  # the names are loaded when they are asked for
    exec(compile(cells[0], f"{notebook}:{name}", "exec"), space)  # a test runs what a reader would run
    return space[name]


def assert_check_is_right(notebook: str, exercise: Exercise, capsys: pytest.CaptureFixture) -> None:
    """The check fails on the stub and on at least three wrong answers, and passes on the solution, quickly."""
    with pytest.raises(NotImplementedError):
        exercise.check(answer(notebook, exercise.name, solved=False))
    assert len(exercise.wrong) >= 3
    for wrong, sentence in exercise.wrong:
        with pytest.raises(CheckFailed, match=sentence):
            exercise.check(wrong)
    capsys.readouterr()
    started = time.process_time()
    exercise.check(answer(notebook, exercise.name, solved=True))
    assert time.process_time() - started < 2
    assert capsys.readouterr().out.startswith("Passed: ")


def assert_each_check_has_its_exercise(check: ModuleType, exercises: list[Exercise]) -> None:
    """The checks of a lesson's module are those that its exercises name: none is left untested."""
    own = {f.__name__ for f in vars(check).values() if isfunction(f) and f.__module__ == check.__name__}
    assert {exercise.name for exercise in exercises} == {name for name in own if not name.startswith("_")}
