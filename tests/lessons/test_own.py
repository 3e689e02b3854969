"""own(mine, library): the reader's function, or the library's with one line while the reader's isn't right yet."""

import functools
from importlib.metadata import version

import pytest
from exercises import LESSONS, stubs
from torch import nn
from torch.nn.functional import binary_cross_entropy

from mankit.blocks import LocalNet
from mankit.teach import executed_with, own
from mankit.teach.checks.base import CheckFailed
from mankit.teach.checks.man import look_ahead
from mankit.teach.checks.stub import unanswered
from mankit.training import local_step


def stub(block, head):
    """A docstring stays."""
    raise NotImplementedError("your answer goes here")


def bare(x):
    raise NotImplementedError


def half(x):
    if x > 0:
        return x
    raise NotImplementedError("your answer goes here")


def inside(x):
    def helper():
        raise NotImplementedError("your answer goes here")

    return helper()


def above_the_stub(x):
    return 2 * x
    raise NotImplementedError("your answer goes here")


def answered(x):
    """Instead of `raise NotImplementedError("your answer goes here")`."""
    return 2 * x


class HalfHead(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, h):
        raise NotImplementedError("your answer goes here")


class PropertyStub:
    @property
    def rate(self):
        raise NotImplementedError


class StaticStub:
    @staticmethod
    def rate(x):
        raise NotImplementedError


class FullHead(nn.Module):
    def forward(self, h):
        return h


class NoForward(nn.Module):
    """nn.Module's own forward raises a NotImplementedError: that is not the reader's stub."""


def repr_of(answer):
    return getattr(answer, "__qualname__", type(answer).__name__)


STUBS = [
    stub,
    bare,
    half,
    inside,
    HalfHead,
    HalfHead().forward,
    PropertyStub,
    StaticStub,
    functools.partial(stub, 1),
    functools.lru_cache(stub),
]


@pytest.mark.parametrize("mine", STUBS, ids=repr_of)
def test_a_stub_gives_way_to_the_library_and_says_so_in_one_line(mine, capsys):
    assert own(mine, local_step) is local_step
    out = capsys.readouterr().out
    assert out.endswith("isn't answered yet: the library's local_step is used.\n") and out.count("\n") == 1


@pytest.mark.parametrize("mine", [answered, above_the_stub, FullHead, NoForward, nn.Linear, len, print], ids=repr_of)
def test_what_is_answered_is_used_without_a_word(mine, capsys):
    assert own(mine, local_step) is mine
    assert capsys.readouterr().out == ""


def test_the_line_names_both(capsys):
    own(stub, local_step)
    own(functools.partial(bare, 1), lambda block, head: None)
    own(stub, LocalNet.recut)
    own(stub, binary_cross_entropy)
    assert capsys.readouterr().out.splitlines() == [
        "`stub` isn't answered yet: the library's local_step is used.",
        "`bare` isn't answered yet: the library's own is used.",
        "`stub` isn't answered yet: the library's LocalNet.recut is used.",
        "`stub` isn't answered yet: PyTorch's binary_cross_entropy is used.",
    ]


def passes(answer):
    print("Passed: words that stand under the exercise already")


def fails(answer):
    raise CheckFailed("not yet")


def test_with_its_check_a_wrong_answer_gives_way_too(capsys):
    assert own(answered, local_step, fails) is local_step
    assert capsys.readouterr().out == "`answered` isn't right yet: the library's local_step is used.\n"
    assert own(answered, local_step, passes) is answered
    assert capsys.readouterr().out == ""
    assert own(stub, local_step, fails) is local_step
    assert "isn't answered yet" in capsys.readouterr().out


def test_an_answer_that_calls_a_stub_gives_way(capsys):
    def calls_it(learnable_bias, ema, h):
        return stub(learnable_bias, ema) + h

    assert own(calls_it, local_step, look_ahead) is local_step
    assert "`calls_it` isn't right yet" in capsys.readouterr().out


def test_versions_are_told_and_others_warned_of(capsys):
    here = {name: version(name).partition("+")[0] for name in ("mankit", "torch")}
    executed_with(**here)
    assert capsys.readouterr().out == f"mankit {here['mankit']}, torch {here['torch']}\n"
    executed_with(mankit=here["mankit"], torch="1.0.0")
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"mankit {here['mankit']}, torch {here['torch']}" and "made with torch 1.0.0:" in second


def test_nothing_is_called():
    def loud(x):
        raise AssertionError("called")

    assert own(loud, local_step) is loud


@pytest.mark.parametrize("lesson, name, check, answer", stubs())
def test_each_stub_of_a_students_version_is_unanswered_and_its_check_goes_on(lesson, name, check, answer, capsys):
    assert unanswered(answer)
    assert own(answer, local_step) is local_step
    assert capsys.readouterr().out == f"`{name}` isn't answered yet: the library's local_step is used.\n"
    check(answer)
    assert capsys.readouterr().out == f"Not answered yet: {name}\n"


def test_nbgrader_gives_no_points_for_what_is_not_answered(monkeypatch):
    """It grades by errors, and says in the environment that it executes."""
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(CheckFailed, match="`stub` isn't answered"):
        look_ahead(stub)


def test_every_lesson_is_looked_at():
    assert len(LESSONS) >= 5 and {lesson for lesson, *_ in (case.values for case in stubs())} == set(LESSONS)
