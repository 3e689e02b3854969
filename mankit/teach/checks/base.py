"""What all checks share: one sentence to the reader, shown without a traceback."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import linecache
import math
import os
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .stub import is_stub, unanswered

Case = TypeVar("Case")

SALT: ContextVar[int | None] = ContextVar("SALT", default=None)  # None: a lesson's own numbers
TWICE = "backward through the graph a second time"  # PyTorch's words


class CheckFailed(Exception):
    """The answer isn't right yet; the message says what is wrong and where to look."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"Not yet: {self}"]


class NotAnswered(Exception):
    """The reader's function is still a stub, or calls one; the message is its name."""


def exercise(check: Callable[[Callable], None]) -> Callable[[Callable], None]:
    """A check that prints one line for an answer that isn't written yet, and lets the lesson go on."""

    @functools.wraps(check)
    def checked(function: Callable) -> None:
        try:
            if unanswered(function):
                raise NotAnswered(getattr(function, "__name__", type(function).__name__))
            check(function)
        except NotAnswered as missing:
            if os.environ.get("NBGRADER_EXECUTION"):  # it gives the points to a cell that shows no error
                raise CheckFailed(f"`{missing}` isn't answered.") from None
            print(f"Not answered yet: {missing}")

    return checked


def expect(condition: bool | Tensor, sentence: str) -> None:
    """Raise CheckFailed with the sentence unless the condition holds."""
    if not bool(condition):
        raise CheckFailed(sentence)


def passed(sentence: str) -> None:
    """Say what the answer got right."""
    print(f"Passed: {sentence}")


def ask(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """What the reader's function returns; where that is nothing, one sentence says so."""
    answer = run(function, *args, **kwargs)
    expect(answer is not None, "your function returned None: is its `return` missing?")
    return answer


def run(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call the reader's function, whatever it returns. An error becomes one sentence and the reader's own last line."""
    if not callable(function):
        raise CheckFailed(f"give the function itself, not {type(function).__name__}: write its name without ().")
    try:
        return function(*args, **kwargs)
    except CheckFailed:
        raise
    except Exception as error:
        own = _own_frames(function, error)
        if isinstance(error, NotImplementedError) and own and is_stub(own[-1][0].f_code):
            raise NotAnswered(own[-1][0].f_code.co_name) from error
        raise CheckFailed(_sentence(error) + _where(own)) from error


def _sentence(error: Exception) -> str:
    if TWICE in str(error):  # PyTorch's advice, retain_graph, would mislead here
        return "backward went through the same graph twice: call backward once, on one loss."
    return f"your function stopped with {type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _own_frames(function: Callable, error: Exception) -> list[tuple[FrameType, int]]:
    """Where the error passed through the reader's own code, with line numbers: not the library's, nor PyTorch's."""
    own = {"__main__", function.__module__ if inspect.isroutine(function) or inspect.isclass(function) else ""}
    return [(f, line) for f, line in traceback.walk_tb(error.__traceback__) if f.f_globals.get("__name__") in own]


def _where(own: list[tuple[FrameType, int]]) -> str:
    if not own:
        return ""
    code, line = own[-1][0].f_code, own[-1][1]
    return f"\n  in {code.co_name}, line {line}: {linecache.getline(code.co_filename, line).strip()}"


def expect_tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """The value, if it is a tensor of this shape; the sentence names what was expected and what came."""
    expect(isinstance(value, Tensor), f"{what} should be a tensor, but it is {type(value).__name__}.")
    expect(tuple(value.shape) == shape, f"{what} should have shape {shape}, but it has shape {tuple(value.shape)}.")
    return value


def expect_number(value: Any, what: str, finite: bool = True) -> float:
    """The value, if it is one number: of Python, of NumPy, or a tensor of one element."""
    if isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()
    kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    expect(isinstance(value, int | float | np.number), f"{what} should be a number, not {kind}.")
    expect(not finite or math.isfinite(value), f"{what} is {value}.")
    return float(value)


def gradients(value: Tensor, *inputs: Tensor, push: Tensor | None = None) -> list[Tensor | None]:
    """The gradients of an answer, None where none arrives; what PyTorch says against it becomes one sentence."""
    if not (inputs and value.requires_grad):
        return [None] * len(inputs)
    try:
        return list(torch.autograd.grad(value, inputs, push, allow_unused=True, retain_graph=True))
    except RuntimeError as error:
        if TWICE in str(error):
            raise CheckFailed("your function went backward already: return what is asked, no backward.") from error
        cure = "change no tensor in place that the graph still needs (+=, mul_, ...)"
        raise CheckFailed(f"PyTorch can't go backward through your answer: {cure}. {_first_line(error)}") from error


@contextlib.contextmanager
def salted(salt: int) -> Iterator[None]:
    """With it every check asks the same on other numbers: a hidden test. salt: 0 to 2 ** 62."""
    token = SALT.set(salt)
    try:
        yield
    finally:
        SALT.reset(token)


def of_salt(seed: int) -> int:
    """A check's seed, and under `salted` another one."""
    return seed + (SALT.get() or 0)


def more(cases: Iterable[Case], draw: Callable[[random.Random], Case], count: int = 5) -> list[Case]:
    """A check's cases, and under `salted` some more, each by draw(random numbers)."""
    if SALT.get() is None:
        return list(cases)
    numbers = random.Random(SALT.get())
    return [*cases, *(draw(numbers) for _ in range(count))]


def generator(seed: int) -> torch.Generator:
    """A generator of a check's own."""
    return torch.Generator().manual_seed(of_salt(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in float64, always the same, from a generator of their own."""
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def seeded(seed: int) -> contextlib.ExitStack:
    """With it: torch's own generator from a seed, and afterwards as it was, for the numbers are the reader's."""
    stack = contextlib.ExitStack()
    stack.enter_context(torch.random.fork_rng(devices=[]))
    torch.manual_seed(of_salt(seed))
    return stack


def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """A copy of a module with large weights, so that what it does shows whatever the weights were."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for i, p in enumerate(twin.parameters()):
            p.copy_(3 * normal(*p.shape, seed=10 * seed + i))
    return twin


def close(a: Tensor | float, b: Tensor | float, tolerance: float = 1e-5) -> bool:
    """Are two numbers or tensors of one shape equal to within a tolerance, relative and absolute?"""
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=tolerance, atol=tolerance))


def all_close(ours: Any, theirs: Any, tolerance: float = 1e-5) -> bool:
    """Are two rows of tensors equal, one by one? None, where a gradient is missing, equals nothing."""
    pairs = zip(ours, theirs, strict=True)
    return all(a is not None and close(a.detach(), b.detach(), tolerance) for a, b in pairs)
