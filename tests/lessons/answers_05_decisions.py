"""Lesson 5: the checks of the four answers and of the number of seeds."""

import math

import numpy as np
from exercises import Exercise

from mankit.teach.checks import study as check


def comparison(better, worse, equal):
    """A function that tries these three in turn."""

    def answer(low, high, margin):
        for word, test in (("better", better), ("worse", worse), ("equal", equal)):
            if test(low, high, margin):
                return word
        return "undecided"

    return answer


def above(low, high, margin):
    return low > margin


def below(low, high, margin):
    return high < -margin


def within(low, high, margin):
    return -margin < low and high < margin


def in_one_line(low, high, margin):
    words = {"better": low > margin, "worse": high < -margin, "equal": max(abs(low), abs(high)) < margin}
    return next((word for word, true in words.items() if true), "undecided")


COMPARE = Exercise(
    "compare",
    check.compare,
    [
        (comparison(above, below, lambda low, high, margin: low < 0 < high), "we don't know"),
        (comparison(lambda low, high, margin: low > 0, below, within), "too small to matter"),
        (comparison(lambda low, high, margin: (low + high) / 2 > margin, below, within), "the WHOLE interval"),
        (
            comparison(lambda low, high, margin: min(abs(low), abs(high)) > margin and low * high > 0, below, within),
            "don't take abs",
        ),
        (comparison(above, lambda low, high, margin: high < 0, within), r"\(-4.0, -0.5\) .* is 'undecided'"),
        (comparison(above, below, lambda low, high, margin: not (low <= -margin or high >= margin)), "no interval"),
        (lambda low, high, margin: low > margin, "return one of better"),
        (lambda low, high, margin: None, "returned None"),
    ],
    right=[in_one_line],
)


def seeds(formula):
    """An answer to seeds_needed from a formula of d, s and the sum of both z."""
    return lambda d, s, z_level=1.96, z_power=0.84: formula(d, s, z_level + z_power)


def rounded_up(d, s, z_level=1.96, z_power=0.84):
    return max(np.ceil(((z_level + z_power) * s / d) ** 2), 2)


SEEDS = Exercise(
    "seeds_needed",
    check.seeds_needed,
    [
        (seeds(lambda d, s, z: max(2, math.ceil((1.96 * s / d) ** 2))), "z_power is missing"),
        (seeds(lambda d, s, z: max(2, math.ceil(z * s / d))), "the square is missing"),
        (seeds(lambda d, s, z: max(2, math.ceil((z * d / s) ** 2))), "the wrong way round"),
        (seeds(lambda d, s, z: math.ceil((z * d / s) ** 2)), "the wrong way round"),
        (seeds(lambda d, s, z: max(2, int((z * s / d) ** 2))), "round UP"),
        (seeds(lambda d, s, z: (z * s / d) ** 2), "round UP"),
        (seeds(lambda d, s, z: math.ceil((z * s / d) ** 2)), "2 seeds is the least"),
        (seeds(lambda d, s, z: max(2, math.ceil(z * s / d * abs(z * s / d)))), "a loss of 2 points"),
        (seeds(lambda d, s, z: math.ceil((z * s / d) ** 2) + 1), "it should be"),
        (lambda d, s, z_level=1.96, z_power=0.84: max(2, math.ceil((2.8 * s / d) ** 2)), "use both arguments"),
        (lambda d, s, z_level=1.96, z_power=0.84: max(2, math.ceil(((z_level + 0.84) * s / d) ** 2)), "use both"),
        (lambda d, s, *z: None, "returned None"),
    ],
    right=[rounded_up],
)


EXERCISES = [COMPARE, SEEDS]
