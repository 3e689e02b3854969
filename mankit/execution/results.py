"""How a notebook hands its numbers to a sweep: `result(accuracy=93.1)` shows them, and stores them for a program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress

from IPython.display import display
from nbformat import NotebookNode

MIME = "application/vnd.mankit.result+json"


def result(**values: object) -> None:
    """Show named results, one number, text or truth value each, as the output of a cell.

    A program finds them in the executed notebook under the MIME type above, see `read_results`. Tensors and NumPy
    numbers become plain ones; NaN and infinity become null, for JSON has no such numbers. A later call adds to an
    earlier one. Raises: ValueError without a value, or for one that isn't a number, a text or a truth value.
    """
    if not values:
        raise ValueError("result() has nothing to show: give names and values, as in result(accuracy=93.1)")
    plain = {name: _plain(name, value) for name, value in values.items()}
    words = ", ".join(f"{name} = {value}" for name, value in plain.items())
    display({MIME: plain, "text/plain": f"result: {words}"}, raw=True)


def read_results(nb: NotebookNode) -> dict[str, object]:
    """What an executed notebook handed over by `result`; empty if there is nothing."""
    found: dict[str, object] = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            values = output.get("data", {}).get(MIME, {})
            if isinstance(values, Mapping):
                found.update(values)
    return found


def _plain(name: str, value: object) -> float | int | str | bool | None:
    if hasattr(value, "item"):
        with suppress(ValueError, RuntimeError):  # of many elements: said below
            value = value.item()
    if not isinstance(value, float | int | str | bool):
        raise ValueError(f"result {name}={str(value)[:40]!r}: give one number, text or truth value")
    return None if isinstance(value, float) and not math.isfinite(value) else value
