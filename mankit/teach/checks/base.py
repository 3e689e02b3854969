"""What all checks share: one sentence to the reader, shown without a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class CheckFailed(Exception):
    """The answer isn't right yet; the message says what is wrong and where to look."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"Not yet: {self}"]


def expect(condition: bool | Tensor, sentence: str) -> None:
    """Raise CheckFailed with the sentence unless the condition holds."""
    if not bool(condition):
        raise CheckFailed(sentence)


def passed(sentence: str) -> None:
    """Say what the answer got right."""
    print(f"Passed: {sentence}")


def ask(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call the reader's function. NotImplementedError goes through; any other error becomes one sentence."""
    if not callable(function):
        raise CheckFailed(f"give the function itself, not {type(function).__name__}: write its name without ().")
    try:
        return function(*args, **kwargs)
    except (NotImplementedError, CheckFailed):
        raise
    except Exception as error:
        raise CheckFailed(f"your function stopped with {type(error).__name__}: {error}") from error


def expect_tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """The value, if it is a tensor of this shape; the sentence names what was expected and what came."""
    expect(isinstance(value, Tensor), f"{what} should be a tensor, but it is {type(value).__name__}.")
    expect(tuple(value.shape) == shape, f"{what} should have shape {shape}, but it has shape {tuple(value.shape)}.")
    return value


def close(a: Tensor | float, b: Tensor | float, tolerance: float = 1e-5) -> bool:
    """Are two numbers or tensors of one shape equal to within a tolerance, relative and absolute?"""
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=tolerance, atol=tolerance))
