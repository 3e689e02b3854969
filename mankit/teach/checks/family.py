"""Checks of lesson 6: AugLocal's depth, layers and strides, and which heads no other head beats."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from .base import ask, exercise, expect, expect_number, more, passed
from .family_lls import basis as basis
from .family_lls import lls_loss as lls_loss
from .watch import Watch

DEPTHS = {(2, 0.0): 2, (5, 1.0): 1, (6, 0.25): 5, (4, 0.25): 3, (4, 0.5): 2, (6, 0.5): 4, (3, 0.25): 2, (1, 0.5): 1}
"""Hand-worked, (d, r): 4 - 1.5 = 2.5 is 2, 6 - 2.5 = 3.5 is 4, 6 - 1.25 = 4.75 is 5. All are exact in binary."""

LAYERS = {
    (0, 16, 3): [5, 10, 15],
    (2, 9, 1): [8],
    (5, 16, 4): [8, 10, 12, 15],  # 7.5, 10, 12.5, 15
    (1, 7, 2): [4, 6],  # 3.5
    (3, 7, 2): [4, 6],  # 4.5
    (0, 9, 3): [3, 5, 8],
    (6, 9, 2): [7, 8],
    (7, 9, 3): [8],
}
"""Hand-worked, (l, n, d): halves go to the even number."""

STRIDES = {
    (8,): [],
    (16, 16): [1],
    (8, 8, 16, 32): [1, 2, 2],
    (8, 32, 32): [2, 2],
    (8, 32, 64, 64, 64): [2, 2, 2, 1],
    (16, 64): [2],
}

FRONTS = [  # memory, work, accuracy
    {"A": (1.0, 1.0, 90.0), "B": (0.3, 0.9, 80.0), "C": (0.7, 2.3, 85.0), "D": (0.3, 1.3, 70.0), "E": (0.2, 3.0, 92.0)},
    {"A": (1.0, 1.0, 90.0), "B": (1.0, 1.0, 95.0), "C": (0.5, 2.0, 90.0), "D": (0.6, 2.0, 90.0)},  # one number decides
    {"A": (0.5, 1.0, 90.0), "B": (0.5, 1.0, 90.0), "C": (0.5, 1.1, 90.0)},  # two equal points
    {"A": (0.5, 1.0, 90.0)},
]


@exercise
def head_depth(function: Callable[[int, float], int]) -> None:
    """Check d - (d - 1) r, rounded half to even: hand-worked cases."""
    for (d, r), right in more(DEPTHS.items(), _depth):
        value, exact = expect_number(ask(function, d, r), "the depth"), d - (d - 1) * r
        where = f"d = {d}, r = {r:g} gives {exact:g} before rounding, so {right} units; yours are {value:g}"
        half = exact % 1 == 0.5
        others = {
            "take a whole number: a head can't have a part of a unit": value != round(value),
            "round half to even, as Python's round does": half and abs(value - exact) == 0.5,
            "round to the nearest, neither up nor down": not half and value in (math.floor(exact), math.ceil(exact)),
            "r = 0 is the first block, with all d units": r == 0 and value == 1,
            "r = 1 leaves one unit: d - (d - 1) r": r == 1,
            "it goes in a line from d units (r = 0) to one (r = 1)": True,
        }
        expect(value == right, f"{where}: {next(cure for cure, fits in others.items() if fits)}.")
    passed("heads shrink from d units towards one, and halves go to the even number.")


@exercise
def sampled_layers(function: Callable[[int, int, int], list[int]]) -> None:
    """Check round(l + (n - 1 - l) j / d) for j = 1..d, or all later layers: a table of hand-worked cases."""
    for (l, n, d), right in more(LAYERS.items(), _layers):  # noqa: E741 (the paper's letter)
        found = _integers(ask(function, l, n, d), "a layer's number")
        where = f"behind layer {l} of {n} (0 to {n - 1}), d = {d}: {right} should come, but {found} came"
        expect(max(found, default=0) < n, f"{where}. The layers to come are {l + 1} to {n - 1}.")
        few = d >= n - 1 - l
        expect(not few or found == right, f"{where}. Where d or fewer are left, take each of them once.")
        expect(l not in found, f"{where}. Layer {l} is the block's own: j starts at 1.")
        expect(found[-1:] == [n - 1], f"{where}. The last one is always layer {n - 1}: j goes up to d.")
        exact = [l + (n - 1 - l) * j / d for j in range(1, d + 1)]
        offset = found == [l + round(x - l) for x in exact]
        expect(found == right or not offset, f"{where}. Round the layer's own number, and not its distance from l.")
        down = found == [math.floor(x) for x in exact]
        expect(found == right or not down, f"{where}. Round to the nearest, halves to even: not down.")
        up = found in ([math.ceil(x) for x in exact], [math.floor(x + 0.5) for x in exact])
        expect(found == right or not up, f"{where}. Round halves to even, as Python's round does: not up.")
        even = ", ".join(f"{x:.3g}" for x in exact)
        expect(found == right, f"{where}. Evenly spaced they are {even} before rounding.")
    passed("d layers, evenly spaced over those to come, and the last one is among them.")


@exercise
def strides(function: Callable[[list[int]], list[int]]) -> None:
    """Check that each doubling of the width is paid by one stride of 2, at once or by the next unit."""
    for widths, right in more(STRIDES.items(), _widths):
        given = list(widths)
        with Watch(widths=given) as watch:
            found = _integers(ask(function, given), "a stride")
        watch.expect_untouched()
        where = f"widths {list(widths)} need strides {right}, but {found} came"
        units = len(widths) - 1
        expect(len(found) == units, f"{where}: {len(widths)} widths are before and behind {units} units.")
        expect(set(found) <= {1, 2}, f"{where}: a unit's stride is 1 or 2, it pays one halving at most.")
        doubled = [2 if b > a else 1 for a, b in zip(widths, widths[1:], strict=False)]
        cure = "a doubling that a unit couldn't pay is paid by the next one, even where the width stays"
        expect(found == right or found != doubled, f"{where}: {cure}.")
        expect(sum(found) <= sum(right), f"{where}: a stride of 2 pays: take one off the debt.")
        expect(found == right, f"{where}: add log2(width behind / width before) to the debt first, then pay.")
    passed("each doubling is paid once, at once or by the next unit.")


@exercise
def pareto_front(function: Callable[[dict[str, tuple[float, float, float]]], Iterable[str]]) -> None:
    """Check which points (memory, work, accuracy) no other point beats, on hand-made tables."""
    for points in more(FRONTS, _points):
        given = dict(points)
        with Watch(points=given) as watch:
            names = _names(ask(function, given), points)
        watch.expect_untouched()
        right = {name for name in points if not any(_beats(b, points[name]) for b in points.values())}
        for name in sorted(names - right):
            by, better = next((other, b) for other, b in points.items() if _beats(b, points[name]))
            cure = "no number of it is worse, and one is better: that is enough"
            expect(False, f"{name} {points[name]} is beaten by {by} {better}: {cure}.")
        for name in sorted(right - names):
            _say_why_it_stays(name, points)
    passed("what is left is beaten by none in memory, work and accuracy at once.")


def _depth(r: random.Random) -> tuple[tuple[int, float], int]:
    d, share = r.randint(2, 12), r.randint(0, 8) / 8  # eighths are exact in binary
    return (d, share), round(d - (d - 1) * share)


def _layers(r: random.Random) -> tuple[tuple[int, int, int], list[int]]:
    n, d = r.randint(6, 30), r.randint(1, 5)
    at = r.randint(0, n - 2)
    to_come = range(at + 1, n)
    right = [round(at + len(to_come) * j / d) for j in range(1, d + 1)]
    return (at, n, d), list(to_come) if d >= len(to_come) else right


def _widths(r: random.Random) -> tuple[tuple[int, ...], list[int]]:
    widths, right, debt = [8], [], 0
    for doublings in r.choices((0, 0, 1, 2), k=r.randint(3, 7)):
        widths.append(widths[-1] << doublings)
        debt += doublings
        right.append(2 if debt else 1)
        debt = max(0, debt - 1)
    return tuple(widths), right


def _points(r: random.Random) -> dict[str, tuple[float, float, float]]:
    """Five points on a coarse grid, so that some numbers are equal."""
    return {name: (r.randint(1, 3) / 2, r.randint(1, 3) / 2, r.randint(7, 9) * 10.0) for name in "ABCDE"}


def _beats(b: tuple[float, ...], a: tuple[float, ...]) -> bool:
    """Is b nowhere worse than a, and better somewhere? (memory, work, accuracy): the first two are to be small."""
    return b != a and b[0] <= a[0] and b[1] <= a[1] and b[2] >= a[2]


def _say_why_it_stays(name: str, points: Mapping[str, tuple[float, ...]]) -> None:
    """Raise CheckFailed for a point that was left out of the front and belongs there."""
    me, others = points[name], {other: b for other, b in points.items() if other != name}
    twin = [other for other, b in others.items() if b == me]
    expect(not twin, f"{name} and {''.join(twin)} are the same point: neither is better, so both stay.")
    expect(len(others) > 0, f"{name} {me} is alone, and beaten by nobody: it stays.")
    words = ("needs more memory", "needs more work", "is less accurate")
    worse = {other: (b[0] > me[0], b[1] > me[1], b[2] < me[2]) for other, b in others.items()}
    reasons = [f"{other} {words[which.index(True)]}" for other, which in worse.items() if sum(which) == 1]
    why = ", ".join(reasons) or "no other point is as good in all three"
    expect(False, f"{name} {me} stays: {why}. All three numbers count.")


def _names(answer: Any, points: Mapping[str, Any]) -> set[str]:
    """The names that came, in whatever kind of row."""
    row = isinstance(answer, Iterable) and not isinstance(answer, str)
    expect(row, f"the answer should be a list of names, not {type(answer).__name__}.")
    names = list(answer)
    wrong = [name for name in names if not isinstance(name, str) or name not in points]
    expect(not wrong, f"the answer has {str(wrong[:1])[1:-1]}, which is no name of a point: give the names.")
    return set(names)


def _integers(answer: Any, what: str) -> list[int]:
    """The row of whole numbers that came: a list, a tuple, an array or a tensor of ints."""
    row = isinstance(answer, list | tuple | range | np.ndarray | torch.Tensor)
    expect(row, f"the answer should be a list, not {type(answer).__name__}.")
    values = answer.tolist() if isinstance(answer, np.ndarray | torch.Tensor) else list(answer)
    numbers = [expect_number(value, what) for value in values]
    whole = all(isinstance(value, int | np.integer) for value in values)
    expect(whole, f"{what} should be a whole number (an int), but {values} came.")
    return [int(number) for number in numbers]
