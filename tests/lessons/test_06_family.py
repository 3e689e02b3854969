"""Lesson 6: each check passes its solution, and names the mistake of each classic wrong answer."""

import math
from fractions import Fraction

import numpy as np
import torch
from answers_06_front import EXERCISES as FRONT
from answers_06_lls import EXERCISES as LLS
from exercises import Exercise, assert_each_check_has_its_exercise, then

from mankit.rules import auglocal as library
from mankit.teach.checks import family as check


def layers(l, n, d, rounded=round, first=1):  # noqa: E741 (the paper's letter)
    if d >= n - 1 - l:
        return list(range(l + 1, n))
    return [rounded(l + (n - 1 - l) * j / d) for j in range(first, d + first)]


def half_up(x):
    return math.floor(x + 0.5)


def by_offset(l, n, d):  # noqa: E741
    if d >= n - 1 - l:
        return list(range(l + 1, n))
    return [l + round((n - 1 - l) * j / d) for j in range(1, d + 1)]


def by_linspace(l, n, d):  # noqa: E741
    places = np.linspace(l, n - 1, min(d, n - 1 - l) + 1)[1:]
    return np.rint(places).astype(int)  # half to even, too


def by_fractions(l, n, d):  # noqa: E741
    d = min(d, n - 1 - l)
    return tuple(round(l + Fraction((n - 1 - l) * j, d)) for j in range(1, d + 1))


def pays(widths, most=2, first="add", debt_falls=True):
    debt, paid = 0.0, []
    for before, width in zip(widths, widths[1:], strict=False):
        debt += math.log2(width / before) if first == "add" else 0
        paid.append(most if debt >= 1 else 1)
        debt -= (paid[-1] > 1) * debt_falls
        debt += math.log2(width / before) if first == "pay" else 0
    return paid


def at_once(widths):
    return [2 if b > a else 1 for a, b in zip(widths, widths[1:], strict=False)]


def whole_factor(widths):
    return [b // a for a, b in zip(widths, widths[1:], strict=False)]


def by_counting(widths):
    """Units that were paid so far against doublings so far."""
    paid = [1] * (len(widths) - 1)
    for i, width in enumerate(widths[1:]):
        paid[i] += math.log2(width / widths[0]) - sum(p - 1 for p in paid) >= 1
    return torch.tensor(paid, dtype=torch.int64)


EXERCISES = [
    Exercise(
        "head_depth",
        check.head_depth,
        wrong=[
            (lambda d, r: d - (d - 1) * r, "take a whole number"),
            (lambda d, r: half_up(d - (d - 1) * r), "round half to even, as Python's round does"),
            (lambda d, r: int(d - (d - 1) * r), "neither up nor down"),
            (lambda d, r: math.ceil(d - (d - 1) * r), "r = 0.25 gives 3.25 .* neither up nor down"),
            (lambda d, r: max(1, round(d * r + 1 - r)), "r = 0 is the first block"),
            (lambda d, r: round(d * (1 - r)), "r = 1 leaves one unit"),
            (lambda d, r: d if r < 1 else 1, "in a line from d units"),
            (lambda d, r: [d], "should be a number, not list"),
            (lambda d, r: None, "returned None"),
        ],
        right=[lambda d, r: max(1, round(d * (1 - r) + r)), lambda d, r: torch.tensor(d - (d - 1) * r).round()],
    ),
    Exercise(
        "sampled_layers",
        check.sampled_layers,
        wrong=[
            (by_offset, "Round the layer's own number, and not its distance from l"),
            (lambda l, n, d: layers(l, n, d, half_up), "not up"),  # noqa: E741
            (lambda l, n, d: layers(l, n, d, math.floor), "not down"),  # noqa: E741
            (lambda l, n, d: layers(l, n, d, first=0), "j starts at 1"),  # noqa: E741
            (lambda l, n, d: layers(l, n + 1, d), "The layers to come are"),  # noqa: E741
            (lambda l, n, d: layers(l, n, d)[:-1] or [n - 2], "always layer 15"),  # noqa: E741
            (lambda l, n, d: [round(l + (n - 1 - l) * j / d) for j in range(1, d + 1)], "take each of them once"),  # noqa: E741
            (lambda l, n, d: layers(l, n, d, float), "should be a whole number"),  # noqa: E741
            (lambda l, n, d: list(range(n - d, n)), "Evenly spaced they are"),  # noqa: E741
            (lambda l, n, d: n - 1, "should be a list, not int"),  # noqa: E741
        ],
        right=[by_linspace, by_fractions, library.sampled_layers],
    ),
    Exercise(
        "strides",
        check.strides,
        wrong=[
            (at_once, "is paid by the next one, even where the width stays"),
            (whole_factor, "it pays one halving at most"),
            (lambda widths: pays(widths, debt_falls=False), "take one off the debt"),
            (lambda widths: pays(widths, first="pay"), "first, then pay"),
            (lambda widths: [*pays(widths), 1], "widths are before and behind"),
            (then(pays, lambda widths: widths.pop()), "changed widths itself"),
            (lambda widths: [float(s) for s in pays(widths)], "should be a whole number"),
            (lambda widths: {s: 1 for s in pays(widths)}, "should be a list, not dict"),
        ],
        right=[by_counting, library.strides],
    ),
    *FRONT,
]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + LLS)
