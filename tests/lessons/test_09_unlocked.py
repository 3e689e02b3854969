"""Lesson 9: each check passes its solution, and names the mistake of each classic wrong answer."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from answers_09_stage import EXERCISES as STAGE
from exercises import Exercise, assert_each_check_has_its_exercise, assert_passes, then

from mankit.teach import pipelines
from mankit.teach.checks import unlocked as check


def span(rows):
    return rows["end"].max() - rows["begin"].min()


def share(rows, what="wait", over=span, add="sum"):
    """The shares of a timeline, with one thing changed."""
    part = rows[rows["what"].isin([what] if isinstance(what, str) else what)]
    seconds = (part["end"] - part["begin"]).groupby(part["process"]).agg(add)
    return (seconds.reindex(sorted(rows["process"].unique()), fill_value=0.0) / over(rows)).to_numpy()


def of_own(rows):
    times = rows.groupby("process").agg({"begin": "min", "end": "max"})
    return (times["end"] - times["begin"]).to_numpy()


def by_loop(rows):
    """Another style: row by row, into a dict."""
    sums = dict.fromkeys(rows["process"].tolist(), 0.0)
    for row in rows.itertuples():
        if row.what == "wait":
            sums[row.process] += (row.end - row.begin) / (rows["end"].max() - rows["begin"].min())
    return sums


def by_table(rows):
    """Another style: a pivot table, a Series."""
    lengths = rows.assign(length=rows["end"] - rows["begin"])
    table = lengths.pivot_table(index="process", columns="what", values="length", aggfunc="sum")
    return table["wait"].fillna(0) / (rows["end"].max() - rows["begin"].min())


def adds_a_column(rows):
    found = share(rows)
    rows["length"] = rows["end"] - rows["begin"]
    return found


WAITING = Exercise(
    "waiting",
    check.waiting,
    wrong=[
        (lambda rows: share(rows) * span(rows), "these are seconds"),
        (lambda rows: 100 * share(rows), "a share is between 0 and 1"),
        (lambda rows: share(rows, over=lambda rows: rows["end"].max()), "needn't begin at 0"),
        (lambda rows: share(rows, "compute"), "the share that each computes"),
        (lambda rows: 1 - share(rows, "compute"), "a computation may hold a wait"),
        (lambda rows: share(rows, ["wait", "send"]), "a message that is sent is no wait"),
        (lambda rows: share(rows, over=of_own), "all are measured by one time"),
        (lambda rows: share(rows, add="mean"), "and not their mean"),
        (lambda rows: share(rows)[:2], "2 shares for 3 processes"),
        (lambda rows: share(rows).sum(), r"in a row; yours has shape \(\)"),
        (adds_a_column, "changed the table itself"),
        (lambda rows: "wait", "one number for each process, not str"),
        (lambda rows: rows["waits"], "stopped with KeyError"),
        (lambda rows: share(rows) ** 2, "the waits' end - begin, added up"),
    ],
    right=[by_loop, by_table, share],
)


def makespan(seconds, batches):
    """Another style: the end of the simulated pipeline."""
    if batches == math.inf:
        return torch.tensor(seconds).sum() / max(seconds)
    last = np.array(pipelines.begins(seconds, batches))[-1, -1] + seconds[-1]
    return batches * sum(seconds) / last


def sorts(seconds, batches):
    seconds.sort()
    return pipelines.speed_up(seconds, batches)


SPEED_UP = Exercise(
    "speed_up",
    check.speed_up,
    wrong=[
        (lambda seconds, batches: len(seconds), "the slowest one decides"),
        (lambda seconds, batches: sum(seconds) / max(seconds), "the bound without end"),
        (lambda seconds, batches: 1 / pipelines.speed_up(seconds, batches), "upside down"),
        (
            lambda seconds, batches: batches * sum(seconds) / ((batches + len(seconds) - 1) * max(seconds)),
            "filling takes what the first batch takes",
        ),
        (lambda s, batches: batches * sum(s) / (sum(s) + batches * max(s)), "there are batches - 1 more"),
        (lambda s, batches: sum(s) / (sum(s) + (batches - 1) * max(s)), "one process takes all batches, too"),
        (
            lambda s, batches: batches * sum(s) / (sum(s) + (batches - 1) * sum(s) / len(s)),
            "as long as the slowest process, not as the mean",
        ),
        (lambda s, batches: batches * sum(s) / (sum(s) + (batches - 1) * max(s)), "inf / inf isn't a number"),
        (lambda s, batches: batches * sum(s) / (sum(s) + (batches - 1) * min(s)), r"The pipeline: sum \+"),
        (sorts, "changed the list of seconds"),
        (lambda s, batches: [sum(s) / max(s)], "should be a number"),
    ],
    right=[makespan],
)


def table(seconds, batches, message=0.0, *, join=max, part=1, back=0.0, only=None):
    """The recurrence, with one thing changed."""
    rows = np.zeros((len(seconds), batches))
    for p, b in itertools.product(range(len(seconds)), range(batches)):
        free = rows[p, b - 1] + seconds[p] + back if b else 0.0
        arrival = rows[p - 1, b] + part * seconds[p - 1] + message if p else 0.0
        rows[p, b] = {"free": free, "arrival": arrival, None: join(free, arrival)}[only]
    return rows


def locked(seconds, batches, message):
    """A process begins its next batch when all others are done with the last one."""
    return np.array([[b * sum(seconds) + sum(seconds[:p]) for b in range(batches)] for p in range(len(seconds))])


def by_recursion(seconds, batches, message=0.0):
    """Another style: from the last step back to the first."""

    def begin(p, b):
        if p < 0 or b < 0:
            return 0.0
        ready = begin(p - 1, b) + seconds[p - 1] + message if p else 0.0
        return max(ready, begin(p, b - 1) + seconds[p] if b else 0.0)

    return [[begin(p, b) for b in range(batches)] for p in range(len(seconds))]


def by_batches(seconds, batches, message=0.0):
    """Another style: a batch after the other, what is free kept in a tensor."""
    free, rows = torch.zeros(len(seconds), dtype=torch.float64), []
    for _ in range(batches):
        row, arrival = [], torch.zeros((), dtype=torch.float64)
        for p, of_step in enumerate(seconds):
            row.append(torch.maximum(free[p], arrival))
            free[p] = row[-1] + of_step
            arrival = free[p] + message
        rows.append(torch.stack(row))
    return torch.stack(rows, dim=1)


BEGINS = Exercise(
    "begins",
    check.begins,
    wrong=[
        (lambda s, n, message: table(s, n, message) + np.array(s)[:, None], "these are the ends"),
        (lambda s, n, message: table(s, n, message, only="arrival"), "before it is done with the one before"),
        (lambda s, n, message: table(s, n, message, only="free"), "before its input is there"),
        (lambda s, n, message: table(s, n), "a message takes time"),
        (lambda s, n, message: table(s, n, message, back=message), "free again at its own last end"),
        (lambda s, n, message: table(s, n, message) + message, "nothing is sent to the first process"),
        (lambda s, n, message: table(s, n, message, join=lambda a, b: a + b), "the later one counts, not their sum"),
        (lambda s, n, message: table(s, n, message, part=0), "the step before has ENDED"),
        (lambda s, n, message: table(s, n, message, join=min), r"wrong begins; begin = max\(own last end, arrival\)"),
        (lambda s, n, message: table(s, n, message).T, "rows and columns are swapped"),
        (lambda s, n, message: table(s, n, message)[-1], r"should have shape \(3, 4\), processes x batches"),
        (locked, "wrong begins"),
        (lambda s, n, message: None, "returned None"),
        (then(table, lambda s, n, message: s.reverse()), "changed the list of seconds"),
    ],
    right=[by_recursion, by_batches, table],
)

EXERCISES = [WAITING, SPEED_UP, BEGINS]
LIBRARY = [(e, getattr(pipelines, e.name)) for e in STAGE + EXERCISES]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + STAGE)


@pytest.mark.parametrize("exercise, library", LIBRARY, ids=[exercise.name for exercise, _ in LIBRARY])
def test_what_runs_for_an_unanswered_exercise_is_right(exercise, library, capsys):
    assert_passes(exercise, library, capsys)


def test_blocks_are_shared_out_so_that_the_slowest_process_has_least():
    seconds = [3.0, 1.0, 1.0, 2.0, 2.0, 1.0]
    three = pipelines.shared_out(seconds, 3)
    assert len(three) == 3 and sum(three) == 10.0 and max(three) == 4.0
    assert pipelines.shared_out(seconds, 6) == seconds and pipelines.shared_out(seconds, 1) == [10.0]


def test_a_pipeline_takes_what_the_speed_up_says():
    seconds, batches = [2.0, 3.0, 1.0, 2.5], 7
    ends = pd.DataFrame(pipelines.begins(seconds, batches)).add(seconds, axis=0)
    assert batches * sum(seconds) / ends.to_numpy().max() == pytest.approx(pipelines.speed_up(seconds, batches))
    late = pipelines.begins(seconds, batches, 0.5)[-1][-1] - pipelines.begins(seconds, batches)[-1][-1]
    assert late == pytest.approx(3 * 0.5)  # messages cost at the filling, and never again
