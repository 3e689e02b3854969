"""A small run in a folder, for the tests of mankit.studies: fixtures `data` and `whole`, and what compares folders."""

import dataclasses

import pytest
import torch

from mankit.images import Augment
from mankit.studies import Recipe, load_data, open_run, read_run, train_in
from mankit.studies import folder as files

TINY = Recipe(
    rule="man",
    K=3,
    options={"head": "0c1f", "decay": 0.9},
    widths=(4, 6, 8),
    epochs=3,
    batch=20,
    augment=True,
    data_options={"train_size": 60, "val_size": 30, "test_size": 50},
)


@pytest.fixture(scope="module")
def data():
    return dataclasses.replace(load_data(TINY), augment=Augment(2, flip=True))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of a run of TINY that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    train_in(folder, TINY, data)
    return folder


def train_until(folder, step, data, recipe=TINY, **options):
    """Train and leave after some steps, as a kill would: nothing is saved on the way out."""
    with open_run(folder, recipe, data, **options) as kept:
        for _ in kept:
            if kept.run.done == step:
                return


def check_same(folder, other):
    """The last checkpoints are equal bit for bit (but for seconds), and the logs have each epoch once.

    torch's own random numbers are left out: no rule of ours draws any, and they are the process's, not the run's.
    """
    a, b = ({k: v for k, v in files.load(each).items() if k != "rng"} for each in (folder, other))
    assert a.keys() == b.keys() and a["done"] == b["done"]
    assert tensors(a) and all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))
    rows, others = ([{**row, "seconds": 0} for row in read_run(each).log] for each in (folder, other))
    assert rows == others and [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    without = [dataclasses.replace(read_run(each).summary, seconds=0) for each in (folder, other)]
    assert without[0] == without[1]


def tensors(value):
    """All tensors in nested dictionaries and lists, in their order."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for each in values for tensor in tensors(each)]
