"""Checks of lesson 05: parameters of the heads, paired differences, a bootstrap interval, a comparison, seeds.

That of the control of one's own stands in twin.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .base import ask, close, exercise, expect, expect_number, generator, more, of_salt, passed
from .twin import own_rule
from .watch import Watch

__all__ = ["auxiliary_parameters", "bootstrap_interval", "compare", "own_rule", "paired_difference", "seeds_needed"]


@exercise
def auxiliary_parameters(function: Callable) -> None:
    """Check auxiliary_parameters(net) -> int: what training uses and testing throws away."""
    for hidden, blocks in more(((3, 3), (5, 2)), lambda r: (r.randint(2, 9), r.randint(2, 6))):
        net = _small_net(hidden, blocks)
        heads = list(net.heads)[:-1]
        right = sum(p.numel() for head in heads for p in head.parameters() if p.requires_grad)
        frozen = sum(p.numel() for head in heads for p in head.parameters()) - right
        classifier, body = (sum(p.numel() for p in part.parameters()) for part in (net.heads[-1], net.blocks))
        with Watch(net=net) as watch:
            n = expect_number(ask(function, net), "the count")
        watch.expect_untouched()
        expect(
            not close(n, right + classifier),
            "you count the last head too: heads[-1] is the network's own "
            "classifier, not auxiliary; leave it out with net.heads[:-1].",
        )
        expect(
            not close(n, right + frozen),
            "you count frozen parameters too, such as an EMA's: keep those with p.requires_grad only.",
        )
        expect(n < right + body, "you count the blocks too: only heads are auxiliary.")
        expect(not close(n, 2 * len(heads)), "you count tensors, not numbers: a tensor p holds p.numel() of them.")
        expect(close(n, right), f"on a small net with {right} trainable auxiliary parameters you count {n:g}.")
    expect(ask(function, _small_net(3, 1)) == 0, "with K=1 there is no auxiliary head, so the count is 0.")
    passed("trainable, auxiliary, and nothing else.")


@exercise
def paired_difference(function: Callable) -> None:
    """Check paired_difference(a, b) -> (mean, standard error) of a - b over seeds."""
    g = generator(3)
    for n in (3, 8):
        easy = 10 * torch.randn(n, generator=g, dtype=torch.float64)  # what a seed adds to both arms
        a = 60 + easy + torch.randn(n, generator=g, dtype=torch.float64)
        b = 55 + easy + torch.randn(n, generator=g, dtype=torch.float64)
        d, unpaired = a - b, math.sqrt((a.var() + b.var()) / n)
        lists = {"a": a.tolist(), "b": b.tolist()}
        with Watch(**lists) as watch:
            answer = ask(function, *lists.values())
        mean, error = _pair(answer, "(mean, standard error)")
        watch.expect_untouched()
        expect(not close(mean, -d.mean()), "the sign is the other way round: the difference is a - b.")
        expect(close(mean, d.mean()), f"the mean difference should be {d.mean():.4f}, yours is {mean:.4f}.")
        expect(
            not close(error, unpaired),
            "your standard error treats a and b as unrelated: take the differences "
            "seed by seed first, then their spread.",
        )
        expect(
            not close(error, d.std()),
            "that is the standard deviation of ONE difference: divide it by sqrt(n), "
            f"here sqrt({n}), for the standard error of their mean.",
        )
        expect(
            not close(error, d.std(correction=0) / n**0.5),
            "you divide the squares by n: with a mean estimated from the same numbers it must be n - 1 (ddof=1).",
        )
        expect(close(error, d.std() / n**0.5), f"the standard error is d.std() / sqrt(n), yours is {error:.4f}.")
    passed("differences first, then their mean and its standard error.")


@exercise
def bootstrap_interval(function: Callable) -> None:
    """Check bootstrap_interval(values, generator, level, resamples) -> (low, high) of the mean."""
    values = np.random.default_rng(of_salt(5)).normal(4.0, 2.0, size=200)
    low, high = _interval(function, values, 1, 0.95, 4000)
    width = (high - low) / (values.std() / math.sqrt(len(values)))  # in standard errors
    expect(width > 0, "low and high are the same: draw WITH replacement, or every resample is the same set.")
    expect(width < 20, "your interval is that of the values: take the MEAN of each resample, then the percentiles.")
    expect(
        abs(width / (2 * 1.645) - 1) > 0.07,
        "your 95 % interval holds only 90 %: leave out HALF of the rest on each side (2.5 % and 97.5 %).",
    )
    expect(low < values.mean() < high, "the mean itself isn't inside your interval: give (low, high).")
    middle = _interval(function, np.array([1.0, 1.0, 10.0]), 3, 0.2, 4000)  # means of three draws: 1, 4, 7 or 10
    expect(not close(middle[1], 1.0), "this looks like the median of each resample: take its MEAN.")
    narrow = np.ptp(_interval(function, values, 1, 0.5, 4000)) / (high - low)
    expect(0.25 < narrow < 0.45, "level=0.5 should give an interval of about a third of that width: use `level`.")
    whole = close(middle[0], 4.0) and close(middle[1], 4.0)
    expect(whole, "a resample of n values has n draws, no more and no fewer: draw as many values as there are.")
    one = _interval(function, values[:12], 1, 0.95, 1)
    expect(close(*one), "with resamples=1 there is one mean, so low and high are equal: use `resamples`.")
    expect(
        abs(width / (2 * 1.96) - 1) < 0.08,
        f"the interval is {width:.2f} standard errors wide, about 3.92 was expected.",
    )
    _expect_given_generator(function, values[:12])
    passed("resamples with replacement, their means, and the middle part of these.")


def _expect_given_generator(function: Callable, values: np.ndarray) -> None:
    """Raise CheckFailed unless all randomness comes from the generator that was handed in."""
    first, second, other = (_interval(function, values, seed, 0.95, 40) for seed in (1, 1, 2))
    expect(
        first == second,
        "the same generator state gives another interval: draw from the `generator` you "
        "were given, not from np.random.",
    )
    expect(first != other, "another generator gives the same interval: draw from the one you were given.")


@exercise
def compare(function: Callable) -> None:
    """Check compare(low, high, margin) -> 'better', 'worse', 'equal' or 'undecided'."""
    traps = {
        (-5.0, 6.0): ("equal", "it holds 0, but it reaches beyond the margin: we don't know."),
        (0.2, 0.6): ("better", "it lies within the margin: the difference is too small to matter."),
        (0.5, 4.0): ("better", "the WHOLE interval must lie beyond the margin, not only its middle."),
        (-4.0, -2.0): ("better", "that is a loss: the sign counts, so don't take abs()."),
    }
    for (low, high), (wrong, reason) in traps.items():
        told = _word(function, low, high, 1.0)
        expect(told != wrong, f"the interval ({low}, {high}) with margin 1 isn't '{wrong}': {reason}")
    table = {
        (2.0, 4.0, 1.0): "better",
        (-4.0, -2.0, 1.0): "worse",
        (-0.4, 0.6, 1.0): "equal",
        (0.2, 0.6, 1.0): "equal",
        (-5.0, 6.0, 1.0): "undecided",
        (0.5, 4.0, 1.0): "undecided",
        (-4.0, -0.5, 1.0): "undecided",
        (2.0, 4.0, 3.0): "undecided",
    }
    for (low, high, margin), right in more(table.items(), _interval_and_word, 12):
        word = _word(function, low, high, margin)
        expect(word == right, f"({low}, {high}) with margin {margin} is '{right}', you say '{word}'.")
    missing = _word(function, math.nan, math.nan, 1.0)
    expect(missing == "undecided", f"one seed has no interval (NaN): 'undecided', but you say '{missing}'.")
    passed("four answers, and 'equal' is one that has to be earned.")


@exercise
def seeds_needed(function: Callable) -> None:
    """Check seeds_needed(d, s, z_level, z_power) -> int, by the normal approximation."""
    for d, s in more(((2.0, 6.0), (1.0, 4.0), (3.0, 4.0)), lambda r: (r.uniform(1, 2), r.uniform(4, 8))):
        exact = ((1.96 + 0.84) * s / d) ** 2
        n = expect_number(ask(function, d, s), "the number of seeds")
        expect(
            not close(n, math.ceil((1.96 * s / d) ** 2)),
            "z_power is missing: with z_level alone you find the difference in half of all studies only; add the two.",
        )
        expect(not close(n, math.ceil(2.8 * s / d)), "the square is missing: half of d needs four times the seeds.")
        turned = math.ceil((2.8 * d / s) ** 2)
        expect(n not in (turned, max(2, turned)), "d and s are the wrong way round: more s, more seeds.")
        expect(
            n == int(n) and n >= exact - 1e-9,
            f"{exact:.2f} seeds are needed for d={d:g}, s={s:g}, you say {n:g}: "
            "seeds are whole, so round UP (math.ceil).",
        )
        expect(n == math.ceil(exact), f"for d={d:g}, s={s:g} it should be {math.ceil(exact)}, you say {n:g}.")
    few, back = (expect_number(ask(function, d, s), "the number of seeds") for d, s in ((50.0, 1.0), (-2.0, 6.0)))
    expect(few == 2, f"d=50, s=1: 2 seeds is the least, since one has no spread; you say {few:g}.")
    expect(back == 71, f"a loss of 2 points (d=-2) needs as many seeds as a gain of 2, 71; you say {back:g}.")
    other = expect_number(ask(function, 2.0, 6.0, 1.28, 0.52), "the number of seeds")
    expect(other == 30, f"with z_level=1.28 and z_power=0.52 it is 30, you say {other:g}: use both arguments.")
    passed("half the difference, four times the seeds.")


def _interval_and_word(r: random.Random) -> tuple[tuple[float, float, float], str]:
    low, width, margin = r.uniform(-5, 4), r.uniform(0.1, 4), r.uniform(0.5, 3)
    inside = "equal" if -margin < low and low + width < margin else "undecided"
    word = "better" if low > margin else "worse" if low + width < -margin else inside
    return (low, low + width, margin), word


def _small_net(hidden: int, blocks: int) -> nn.Module:
    """Blocks and heads; each auxiliary head has a trainable and a frozen part, the last is the classifier."""

    def head() -> nn.Module:
        return nn.Sequential(nn.Linear(hidden, 7), nn.Linear(hidden, 4).requires_grad_(False))

    net = nn.Module()
    with torch.random.fork_rng(devices=[]):  # the reader's random numbers stay as they are
        net.blocks = nn.ModuleList(nn.Conv2d(3, hidden, 1) for _ in range(blocks))
        net.heads = nn.ModuleList([*(head() for _ in range(blocks - 1)), nn.Linear(hidden, 11)])
    return net


def _pair(value: Any, what: str) -> tuple[float, float]:
    expect(
        isinstance(value, tuple | list | np.ndarray | torch.Tensor) and len(value) == 2, f"return two numbers, {what}."
    )
    return expect_number(value[0], "the first number"), expect_number(value[1], "the second number")


def _interval(function: Callable, values: np.ndarray, seed: int, level: float, resamples: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    with Watch(values=values) as watch:
        answer = ask(function, values, generator, level=level, resamples=resamples)
    pair = _pair(answer, "(low, high)")
    watch.expect_untouched()
    return pair


def _word(function: Callable, low: float, high: float, margin: float) -> str:
    word, allowed = ask(function, low, high, margin), ("better", "worse", "equal", "undecided")
    expect(word in allowed, f"return one of {', '.join(allowed)}; ({low}, {high}) gave {word!r}.")
    return word
