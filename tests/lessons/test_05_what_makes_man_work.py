"""Lesson 05: its checks fail on the stub and on classic wrong answers, and pass on the solution."""

import math

import numpy as np
import pytest
from exercises import Exercise, assert_check_is_right

from mankit.teach.checks import study

NOTEBOOK = "05_what_makes_man_work"


def count(modules, trained_only=True):
    return sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad or not trained_only)


def tensors(net):
    return sum(1 for head in net.heads[:-1] for p in head.parameters() if p.requires_grad)


AUXILIARY = Exercise(
    "auxiliary_parameters",
    study.auxiliary_parameters,
    [
        (lambda net: count(net.heads), "you count the last head too"),
        (lambda net: count(net.heads[:-1], trained_only=False), "you count frozen parameters too"),
        (lambda net: count([net]), "you count the blocks too"),
        (tensors, "you count tensors, not numbers"),
        (lambda net: max(1, count(net.heads[:-1])), "with K=1 there is no auxiliary head"),
        (lambda net: 7, "trainable auxiliary parameters you count 7"),
        (lambda net: None, "should be a number, not NoneType"),
    ],
)


def difference(a, b):
    return np.asarray(a) - np.asarray(b)


def pair(error):
    """A wrong standard error, as a function of the differences, a and b, beside the right mean."""
    return lambda a, b: (difference(a, b).mean(), error(difference(a, b), np.asarray(a), np.asarray(b)))


PAIRED = Exercise(
    "paired_difference",
    study.paired_difference,
    [
        (lambda a, b: (difference(b, a).mean(), 1.0), "the sign is the other way round"),
        (lambda a, b: (np.median(difference(a, b)), 1.0), "the mean difference should be"),
        (pair(lambda d, a, b: math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(d))), "treats a and b as unrelated"),
        (pair(lambda d, a, b: d.std(ddof=1)), "standard deviation of ONE difference"),
        (pair(lambda d, a, b: d.std() / math.sqrt(len(d))), "must be n - 1"),
        (pair(lambda d, a, b: d.std(ddof=1) / len(d)), r"the standard error is d.std\(\) / sqrt\(n\)"),
        (lambda a, b: difference(a, b).mean(), "return two numbers"),
    ],
)


def means(values, rows):
    return np.asarray(values)[rows].mean(axis=1)


def bootstrap(values, generator, level, resamples, low=None, high=None, size=None):
    rows = generator.integers(len(values), size=(resamples, size or len(values)))
    edges = (1 - level) / 2 if low is None else low, (1 + level) / 2 if high is None else high
    return tuple(np.quantile(means(values, rows), edges))


def without_replacement(values, generator, level, resamples):
    rows = np.array([generator.permutation(len(values)) for _ in range(resamples)])
    return tuple(np.quantile(means(values, rows).round(9), [(1 - level) / 2, (1 + level) / 2]))


def of_the_values(values, generator, level, resamples):
    drawn = generator.choice(values, size=(resamples, len(values)))
    return tuple(np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))


BOOTSTRAP = Exercise(
    "bootstrap_interval",
    study.bootstrap_interval,
    [
        (without_replacement, "draw WITH replacement"),
        (of_the_values, "take the MEAN of each resample"),
        (lambda v, g, level, resamples: bootstrap(v, g, level, resamples, 1 - level, level), "holds only 90 %"),
        (lambda v, g, level, resamples: bootstrap(v, g, level, resamples, size=50), "as many values as there are"),
        (lambda v, g, level, resamples: bootstrap(v, g, level, resamples)[::-1], "low and high|WITH replacement"),
        (lambda v, g, level, resamples: bootstrap(v - v.mean(), g, level, resamples), "mean itself isn't inside"),
        (
            lambda v, g, level, resamples: bootstrap(v, np.random.default_rng(), level, resamples),
            "the same generator state gives another",
        ),
        (
            lambda v, g, level, resamples: bootstrap(v, np.random.default_rng(0), level, resamples),
            "another generator gives the same interval",
        ),
        (lambda v, g, level, resamples: bootstrap(v, g, 0.95, resamples), "use `level`"),
    ],
)


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


COMPARE = Exercise(
    "compare",
    study.compare,
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
    ],
)


def seeds(formula):
    """An answer to seeds_needed from a formula of d, s and the sum of both z."""
    return lambda d, s, z_level=1.96, z_power=0.84: formula(d, s, z_level + z_power)


SEEDS = Exercise(
    "seeds_needed",
    study.seeds_needed,
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
    ],
)


@pytest.mark.parametrize("exercise", [AUXILIARY, PAIRED, BOOTSTRAP, COMPARE, SEEDS], ids=lambda e: e.name)
def test_check(exercise, capsys):
    assert_check_is_right(NOTEBOOK, exercise, capsys)
