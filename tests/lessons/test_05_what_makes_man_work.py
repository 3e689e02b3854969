"""Lesson 05: its checks fail on the stub and on classic wrong answers, and pass on the solution."""

import math
import statistics

import numpy as np
import torch
from answers_05_decisions import EXERCISES as MORE
from answers_05_twin import EXERCISES as TWIN
from exercises import Exercise, assert_each_check_has_its_exercise

from mankit.teach.checks import study as check


def count(modules, trained_only=True):
    return sum(p.numel() for m in modules for p in m.parameters() if p.requires_grad or not trained_only)


def tensors(net):
    return sum(1 for head in net.heads[:-1] for p in head.parameters() if p.requires_grad)


def freezes(net):
    return count(net.heads[:-1].requires_grad_(False), trained_only=False)


def thrown_away(net):
    return count(net.eval().heads[:-1])


def by_loop(net):
    total = torch.zeros((), dtype=torch.long)
    for number, head in enumerate(net.heads):
        if number < len(net.heads) - 1:
            total += sum(p.nelement() for p in head.parameters() if p.requires_grad)
    return total


AUXILIARY = Exercise(
    "auxiliary_parameters",
    check.auxiliary_parameters,
    [
        (lambda net: count(net.heads), "you count the last head too"),
        (lambda net: count(net.heads[:-1], trained_only=False), "you count frozen parameters too"),
        (lambda net: count([net]), "you count the blocks too"),
        (tensors, "you count tensors, not numbers"),
        (lambda net: max(1, count(net.heads[:-1])), "with K=1 there is no auxiliary head"),
        (lambda net: 7, "trainable auxiliary parameters you count 7"),
        (lambda net: None, "returned None: is its `return` missing"),
        (freezes, "switched requires_grad of net|frozen"),
        (thrown_away, "changed|new tensors|mode"),
    ],
    right=[by_loop],
)


def difference(a, b):
    return np.asarray(a) - np.asarray(b)


def pair(error):
    """A wrong standard error, as a function of the differences, a and b, beside the right mean."""
    return lambda a, b: (difference(a, b).mean(), error(difference(a, b), np.asarray(a), np.asarray(b)))


def sorts_in_place(a, b):
    mean, error = by_statistics(a, b)
    a.sort()
    return mean, error


def by_statistics(a, b):
    d = [x - y for x, y in zip(a, b, strict=True)]
    return statistics.mean(d), statistics.stdev(d) / len(d) ** 0.5


def by_torch(a, b):
    d = torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)
    return torch.stack([d.mean(), d.std() / d.numel() ** 0.5])


PAIRED = Exercise(
    "paired_difference",
    check.paired_difference,
    [
        (lambda a, b: (difference(b, a).mean(), 1.0), "the sign is the other way round"),
        (lambda a, b: (np.median(difference(a, b)), 1.0), "the mean difference should be"),
        (pair(lambda d, a, b: math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(d))), "treats a and b as unrelated"),
        (pair(lambda d, a, b: d.std(ddof=1)), "standard deviation of ONE difference"),
        (pair(lambda d, a, b: d.std() / math.sqrt(len(d))), "must be n - 1"),
        (pair(lambda d, a, b: d.std(ddof=1) / len(d)), r"the standard error is d.std\(\) / sqrt\(n\)"),
        (lambda a, b: difference(a, b).mean(), "return two numbers"),
        (lambda a, b: sorts_in_place(a, b), "changed a itself"),
        (lambda a, b: None, "returned None"),
    ],
    right=[by_statistics, by_torch],
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


def medians(values, generator, level, resamples):
    rows = generator.integers(len(values), size=(resamples, len(values)))
    return tuple(np.quantile(np.median(values[rows], axis=1), [(1 - level) / 2, (1 + level) / 2]))


def by_choice(values, generator, level=0.95, resamples=2000):
    found = sorted(generator.choice(values, len(values)).mean() for _ in range(resamples))
    return [np.quantile(found, (1 - level) / 2), np.quantile(found, 1 - (1 - level) / 2)]


def by_percentiles(values, generator, level=0.95, resamples=2000):
    found = generator.choice(values, size=(len(values), resamples), replace=True).mean(axis=0)
    return np.percentile(found, [50 - 50 * level, 50 + 50 * level])


BOOTSTRAP = Exercise(
    "bootstrap_interval",
    check.bootstrap_interval,
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
        (lambda v, g, level, resamples: bootstrap(v, g, level, resamples, size=len(v) - 1), "no more and no fewer"),
        (lambda v, g, level, resamples: bootstrap(v, g, level, resamples, size=len(v) + 1), "no more and no fewer"),
        (lambda v, g, level, resamples: bootstrap(v, g, level, 2000), "use `resamples`"),
        (medians, "the median of each resample: take its MEAN"),
        (lambda v, g, level, resamples: bootstrap(v.sort() or v, g, level, resamples), "changed values itself"),
    ],
    right=[by_choice, by_percentiles],
)


EXERCISES = [AUXILIARY, PAIRED, BOOTSTRAP]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + MORE + TWIN)
