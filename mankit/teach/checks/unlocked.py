"""Checks of lesson 9: a stage's step, who waits in a timeline, a pipeline's speed-up, and when each step begins."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from .base import ask, close, exercise, expect, expect_number, more, passed
from .unlocked_stage import stage_step

__all__ = ["begins", "speed_up", "stage_step", "waiting"]


def _numbers(answer: object, wanted: str) -> np.ndarray:
    """A list, dict, Series, array or tensor as an array of numbers; one sentence for anything else."""
    if isinstance(answer, Mapping):
        answer = [answer[key] for key in sorted(answer)]
    if isinstance(answer, Tensor):
        answer = answer.detach()
    try:
        return np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        expect(False, f"return {wanted}, not {type(answer).__name__} of something else.")


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12)


ROWS = [  # three processes; the second one waits inside a computation; the third one never does
    (0, 4, "compute", 0, 3.0, 5.0),
    (0, 4, "send", pd.NA, 5.0, 5.5),
    (0, 4, "wait", pd.NA, 5.5, 6.25),
    (0, 5, "compute", 0, 6.5, 8.0),
    (0, 5, "wait", pd.NA, 8.0, 8.25),  # how long it and the next wait take is a case of the check
    (1, 4, "wait", pd.NA, 3.5, 5.5),
    (1, 4, "compute", 1, 5.5, 8.0),
    (1, 4, "wait", pd.NA, 6.0, 7.0),
    (2, 4, "compute", 2, 4.0, 11.0),
]


def _rows(first: float, second: float) -> pd.DataFrame:
    rows = pd.DataFrame(ROWS, columns=["process", "step", "what", "block", "begin", "end"])
    rows.loc[[4, 7], "end"] = [8 + first, 6 + second]
    return rows


def _seconds(r: random.Random) -> list[float]:
    return [r.randint(1, 20) / 4 for _ in range(r.randint(2, 5))]


@exercise
def waiting(function: Callable) -> None:
    """Check each process's waits, added up, over the time of the whole timeline."""
    waits = more([(0.25, 1.0)], lambda r: (r.uniform(0.5, 2), r.uniform(1.1, 1.9)), 1)[-1]
    rows, given = _rows(*waits), _rows(*waits)
    span, right = 8.0, np.array([0.75 + waits[0], 2 + waits[1], 0.0]) / 8
    answer = _numbers(ask(function, given), "one number for each process")
    expect(given.equals(rows), "your function changed the table itself: work on a copy, or on what you pick from it.")
    several = answer.ndim == 1
    expect(several, f"return one share for each process, in a row; yours has shape {answer.shape}.")
    expect(len(answer) == 3, f"{len(answer)} shares for 3 processes: one that never waits has a share too, 0.")
    said = f"{np.round(right, 3).tolist()} expected, {np.round(answer, 3).tolist()} found"
    length = rows["end"] - rows["begin"]
    sums = {what: length[rows["what"] == what].groupby(rows["process"]).sum() for what in ("wait", "compute", "send")}
    wait, compute, send = (part.reindex(range(3), fill_value=0.0).to_numpy() for part in sums.values())
    own = (rows.groupby("process")["end"].max() - rows.groupby("process")["begin"].min()).to_numpy()
    mean = length[rows["what"] == "wait"].groupby(rows["process"]).mean().reindex(range(3), fill_value=0.0).to_numpy()
    whole = "the timeline's: from its first begin to its last end"
    wrong = {
        "these are seconds: divide by the time of the timeline": wait,
        "a share is between 0 and 1": 100 * right,
        "the timeline needn't begin at 0: its time is from the first begin to the last end": wait / 11,
        "this is the share that each computes": compute / span,
        "what isn't computing needn't be waiting, and a computation may hold a wait: add up the waits": 1
        - compute / span,
        "a message that is sent is no wait": (wait + send) / span,
        f"all are measured by one time, {whole}": wait / own,
        "rows lie within one another, so their sum isn't the time that passed": wait / (wait + compute + send),
        "add up all waits of a process, and not their mean": mean / span,
    }
    for sentence, value in wrong.items():
        expect(not _equal(answer, value), f"{said}: {sentence}.")
    expect(_equal(answer, right), f"{said}: the waits' end - begin, added up, over the time that passed, {whole}.")
    passed("all waits of a process, over the time from the first begin to the last end.")


@exercise
def speed_up(function: Callable) -> None:
    """Check the time of one process over the pipeline's, with its filling, and without end."""
    cases = ([2.0, 3.0, 1.5], 4), ([1.0, 1.0], 10), ([5.0], 7), ([0.5, 0.25, 4.0, 1.0], 1)
    for seconds, batches in more(cases, lambda r: (_seconds(r), r.randint(2, 9))):
        given = list(seconds)
        value = expect_number(ask(function, given, batches), "the speed-up")
        expect(given == seconds, "your function changed the list of seconds: leave it as it is.")
        _expect_speed_up(value, seconds, batches)
    for seconds, right in (([2.0, 3.0, 1.0], 2.0), ([1.0] * 8, 8.0)):
        value = expect_number(ask(function, list(seconds), math.inf), "the speed-up", finite=False)
        what = "for math.inf batches the filling is nothing, and the speed-up all over the slowest"
        expect(close(value, right), f"{what}: {right:g} expected, {value:g} found. (inf / inf isn't a number.)")
    passed("M batches take sum + (M - 1) max seconds; without end the speed-up is sum / max.")


def _expect_speed_up(value: float, seconds: Sequence[float], batches: int) -> None:
    whole, slowest, count = sum(seconds), max(seconds), len(seconds)
    right = batches * whole / (whole + (batches - 1) * slowest)
    said = f"seconds {seconds}, {batches} batches: {right:.4g} expected, {value:.4g} found"
    wrong = {
        "that is the number of processes: the slowest one decides": float(count),
        "that is the bound without end: the first batch has to pass all processes before the last one works": whole
        / slowest,
        "upside down: the time of one process comes on top": 1 / right,
        "filling takes what the first batch takes through all processes, not the slowest's time for each": batches
        * whole
        / ((batches + count - 1) * slowest),
        "after the first batch there are batches - 1 more": batches * whole / (whole + batches * slowest),
        "one process takes all batches, too: times batches": whole / (whole + (batches - 1) * slowest),
        "after the first batch each one takes as long as the slowest process, not as the mean": batches
        * whole
        / (whole + (batches - 1) * whole / count),
    }
    for sentence, number in wrong.items():
        expect(close(value, right) or not close(value, number), f"{said}. {sentence}.")
    expect(close(value, right), f"{said}. One process: batches * sum. The pipeline: sum + (batches - 1) * max.")


def _begins(
    seconds: Sequence[float],
    batches: int,
    message: float = 0.0,
    *,
    back: float = 0.0,
    join: Callable = max,
    part: float = 1,
) -> np.ndarray:
    """The recurrence, with one thing changed: join (free, arrival) -> begin; part: of a step until it sends."""
    table = np.zeros((len(seconds), batches))
    for b in range(batches):
        for p, s in enumerate(seconds):
            arrival = table[p - 1, b] + part * seconds[p - 1] + message if p else 0.0
            free = table[p, b - 1] + s + back if b else 0.0
            table[p, b] = join(free, arrival)
    return table


@exercise
def begins(function: Callable) -> None:
    """Check begin = max(own last end, arrival), for processes of different speed and messages that take time."""
    cases = ([2.0, 3.0, 1.0], 4, 0.5), ([1.0, 1.0], 3, 0.0), ([4.0, 1.0, 2.0, 2.0, 0.5], 6, 3.0)
    for seconds, batches, message in more(cases, lambda r: (_seconds(r), r.randint(2, 6), r.randint(1, 8) / 4)):
        given = list(seconds)
        answer = ask(function, given, batches, message)
        expect(given == seconds, "your function changed the list of seconds: leave it as it is.")
        table, shape = _numbers(answer, "the begins, a row for each process"), (len(seconds), batches)
        swapped = table.shape == shape[::-1] != shape
        expect(not swapped, "rows and columns are swapped: a row for each process, a column for each batch.")
        expect(
            table.shape == shape, f"the answer should have shape {shape}, processes x batches, but has {table.shape}."
        )
        right = _begins(seconds, batches, message)
        said = f"seconds {seconds}, message {message:g}"
        length = np.array(seconds)[:, None]
        fine = _equal(table, right)
        both = seconds, batches
        wrong = {
            "these are the ends: return the begins": right + length,
            "a process begins a batch before it is done with the one before": _begins(
                *both, message, join=lambda free, arrival: arrival
            ),
            "a process begins before its input is there": _begins(*both, message, join=lambda free, arrival: free),
            "a message takes time: input is there `message` seconds after the step before it has ended": _begins(*both),
            "a process is free again at its own last end: no message between": _begins(*both, message, back=message),
            "nothing is sent to the first process: all its batches are there at 0": right + message,
            "free and arrival pass at the same time: the later one counts, not their sum": _begins(
                *both, message, join=lambda free, arrival: free + arrival
            ),
            "features leave when the step before has ENDED: its begin + its seconds": _begins(*both, message, part=0),
        }
        for sentence, value in wrong.items():
            expect(fine or not _equal(table, value), f"{said}: {sentence}.")
        expect(fine, f"{said}: wrong begins; begin = max(own last end, arrival), 0 for what has nothing before it.")
    passed("each step begins when its process is free and its input is there.")
