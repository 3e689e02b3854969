"""The effects that the kit is built to show, over seeds (minutes: `pytest -m slow`; the tour asserts them too)."""

import os
from pathlib import Path

import pytest

from mankit import batches, evaluate
from mankit.studies import LAB, Run, load_data

pytestmark = pytest.mark.slow


def accuracy_of(rule, seed, **changes):
    recipe = LAB[rule].but(seed=seed, **changes)
    run = Run(recipe, load_data(recipe), "cpu")
    for _ in run:
        pass
    return evaluate(run.net, batches(run.data.test, 500, shuffle=False))


def mean(rule, seeds, **changes):
    return sum(accuracy_of(rule, seed, **changes) for seed in seeds) / len(seeds)


def test_glyphs_short_sight_costs_dgl_and_looking_ahead_wins_it_back():
    seeds = (0, 1, 2)
    bp, dgl, man = (mean(rule, seeds) for rule in ("BP", "DGL", "MAN + decoder"))
    print(f"BP {bp:.1f}, DGL {dgl:.1f}, MAN + decoder {man:.1f}")
    assert bp >= 96
    assert man >= dgl + 10


@pytest.mark.skipif(
    not Path(os.environ.get("MANKIT_DATA", "data"), "cifar-10-batches-py").is_dir(),
    reason="needs CIFAR-10: set MANKIT_DATA to the folder that holds cifar-10-batches-py",
)
def test_cifar10_man_is_above_dgl_with_the_labs_heads():
    small = {"data": "cifar10", "data_options": {"size": 16, "train_size": 8000}, "epochs": 8}
    dgl, man = (mean(rule, (0, 1), **small) for rule in ("DGL", "MAN"))
    print(f"DGL {dgl:.1f}, MAN {man:.1f}")
    assert man > dgl
