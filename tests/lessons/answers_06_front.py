"""Lesson 6: the check of the Pareto front."""

import numpy as np
from exercises import Exercise, then

from mankit.teach.checks import family as check


def front(points, beats=lambda b, a: b != a and b[0] <= a[0] and b[1] <= a[1] and b[2] >= a[2]):
    return [name for name, a in points.items() if not any(beats(b, a) for b in points.values())]


def strictly(b, a):
    return b[0] < a[0] and b[1] < a[1] and b[2] > a[2]


def without_work(b, a):
    return b[0] <= a[0] and b[2] >= a[2] and (b[0], b[2]) != (a[0], a[2])


def all_small(b, a):
    return b != a and all(x <= y for x, y in zip(b, a, strict=True))


def no_twins(points):
    kept = {}
    for name in front(points):
        kept.setdefault(points[name], name)
    return list(kept.values())


def by_arrays(points):
    table = np.array(list(points.values())) * [1, 1, -1]
    no_worse = (table[:, None] <= table[None]).all(2)
    better = (table[:, None] < table[None]).any(2)
    return np.array(list(points))[~(no_worse & better).any(0)].tolist()


def one_by_one(points):
    left = dict(points)
    for name, (memory, work, accuracy) in points.items():
        for m, w, a in points.values():
            if m <= memory and w <= work and a >= accuracy and (m, w, a) != (memory, work, accuracy):
                left.pop(name, None)
    return left.keys()


EXERCISES = [
    Exercise(
        "pareto_front",
        check.pareto_front,
        wrong=[
            (lambda points: front(points, strictly), "no number of it is worse, and one is better: that is enough"),
            (lambda points: front(points, without_work), "E needs more work. All three numbers count"),
            (lambda points: front(points, all_small), "stays: .* All three numbers count|is beaten by"),
            (no_twins, "are the same point: neither is better, so both stay"),
            (lambda points: front(points, lambda b, a: b[0] <= a[0] and b[1] <= a[1]), "stays: B is less accurate"),
            (lambda points: [max(points, key=lambda name: points[name][2])], "stays: .* All three numbers count"),
            (lambda points: front(points) if len(points) > 1 else [], "is alone, and beaten by nobody"),
            (lambda points: [points[name] for name in front(points)], "which is no name of a point"),
            (lambda points: "A", "should be a list of names, not str"),
            (lambda points: list(points), "is beaten by"),
            (then(front, lambda points: points.clear()), "changed points itself"),
        ],
        right=[by_arrays, one_by_one, lambda points: set(front(points))],
    )
]
