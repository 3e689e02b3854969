"""For the tests of the lessons' checks: take an exercise's solution and its stub out of a notebook."""

import copy
import importlib
import math
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
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
LESSONS = sorted(path.stem for path in NOTEBOOKS.glob("0[1-9]_*.ipynb"))


@dataclass
class Exercise:
    """name: the reader's function; check: takes it; wrong: classic wrong answers and what the check must say.

    right: right answers in another style than the solution's.
    """

    name: str
    check: Callable
    wrong: list[tuple[Callable, str]] = field(default_factory=list)
    right: list[Callable] = field(default_factory=list)


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


def stubs() -> list:
    """Every exercise of every student version: (lesson, name, its check, the stub)."""
    found = []
    for lesson in LESSONS:
        nb = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4)
        code = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")
        (module,) = re.findall(r"^from mankit.teach.checks import (\w+) as check$", code, re.MULTILINE)
        checks = importlib.import_module(f"mankit.teach.checks.{module}")
        for name in re.findall(r"^check\.(\w+)\(\1\)$", code, re.MULTILINE):
            case = lesson, name, getattr(checks, name), answer(lesson, name, solved=False)
            found.append(pytest.param(*case, id=f"{lesson}-{name}"))
    return found


def wrong_answers(exercises: list[Exercise]) -> pytest.MarkDecorator:
    """Each wrong answer is a test: (exercise, wrong, sentence)."""
    cases = [(e, wrong, sentence) for e in exercises for wrong, sentence in e.wrong]
    names = [f"{e.name}-{sentence}" for e, _, sentence in cases]
    return pytest.mark.parametrize("exercise, wrong, sentence", cases, ids=names)


def right_answers(exercises: list[Exercise]) -> pytest.MarkDecorator:
    """Each right answer in another style is a test: (exercise, right)."""
    cases = [(e, right) for e in exercises for right in e.right]
    return pytest.mark.parametrize("exercise, right", cases, ids=[f"{e.name}-{i}" for i, (e, _) in enumerate(cases)])


def then(function, change):
    """A function's answer, and then a change of what it was given."""

    def answer(*given):
        result = function(*given)
        change(*given)
        return result

    return answer


def assert_is_rejected(exercise: Exercise, wrong: Callable, sentence: str) -> None:
    """The check names the mistake, and draws nothing from the global generator."""
    before = torch.get_rng_state()
    with pytest.raises(CheckFailed, match=sentence):
        exercise.check(wrong)
    assert torch.equal(torch.get_rng_state(), before)


def assert_passes(exercise: Exercise, right: Callable, capsys: pytest.CaptureFixture) -> None:
    """The check passes, quickly, without a warning, and draws nothing from the global generator."""
    before, started = torch.get_rng_state(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exercise.check(right)
    assert time.process_time() - started < 2
    assert torch.equal(torch.get_rng_state(), before)
    assert re.fullmatch("Passed: .*\n", capsys.readouterr().out)


def assert_fits_its_lesson(notebook: str, exercise: Exercise, capsys: pytest.CaptureFixture) -> None:
    """The check passes on the lesson's solution, with the words stored there, and asks for an answer on the stub."""
    assert_passes(exercise, answer(notebook, exercise.name, solved=True), capsys)
    exercise.check(answer(notebook, exercise.name, solved=True))
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    (stored,) = [cell.outputs[0].text for cell in cells if cell.source == f"check.{exercise.name}({exercise.name})"]
    assert capsys.readouterr().out == stored
    exercise.check(answer(notebook, exercise.name, solved=False))
    assert capsys.readouterr().out == f"Not answered yet: {exercise.name}\n"


def assert_each_check_has_its_exercise(check: ModuleType, exercises: list[Exercise]) -> None:
    """The checks of a lesson's module are those that its exercises name, tried on many answers: wrong and right."""
    checks = {name for name, f in vars(check).items() if hasattr(f, "__wrapped__")}  # what @exercise made
    assert {exercise.name for exercise in exercises} == checks
    assert all(len(exercise.wrong) >= 3 for exercise in exercises)
    assert len({sentence for exercise in exercises for _, sentence in exercise.wrong}) >= 15
    assert sum(len(exercise.right) for exercise in exercises) >= 5
