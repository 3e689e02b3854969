"""Which head is worth its cost? Every head on one small network: accuracy against memory against work.

Command: mankit reproduce heads --profile short --seeds 3 --tune-lr --lr-grid 1,2,4 (data/heads.csv is what it gave)
Time: quick 50 seconds, short about 2 hours for the glyphs and 1 for CIFAR-10 (see MANKIT_DATA) on an idle CPU core.
Expected: no paper reports this. BatchNorm before a head's linear layer is worth more than the rule: in 'short' it takes
    Greedy, the cheapest, to MAN's accuracy (recipe heads/glyphs/greedy-norm/K8: 98.3 beside 94.7; CIFAR-10 37.8 beside
    34.5) at 0.24 of BP's bytes and 0.93 of its FLOPs. What data/heads.csv doesn't hold hasn't been run.
Departures: none, since nothing was published; 'paper' has more images and epochs, and hasn't been run.

Two budgets: as many epochs for each method ('epochs'), or as many FLOPs as BP has ('FLOPs': its epochs over the
method's share of work, rounded; where that gives the same epochs there is no second cell).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...blocks import LocalNet
from ...errors import choose
from ...measure import best_checkpoints, checkpointed_flops, flops, saved_bytes
from ...networks import build_network
from ...rules import ONE_BLOCK, entry_of, local_net
from ...shipped import shipped
from ..recipe import Recipe, lab_recipe
from .published import Cell, Published

_NORM = {"norm": True}
METHODS: dict[str, tuple[str, dict[str, object]]] = {  # what decides comes first; the lab's head is 0c1f
    "bp": (ONE_BLOCK, {}),
    "greedy": ("greedy", {}),  # DGL with the head 0c1f is the same
    "greedy-norm": ("greedy", _NORM),
    "man": ("man", {}),
    "man-norm": ("man", _NORM),
    "dgl-1c2f": ("dgl", {"head": "1c2f"}),
    "dgl-1c2f-norm": ("dgl", {"head": "1c2f", **_NORM}),
    "lls": ("lls", {}),
    "auglocal-d1-norm": ("auglocal", {"depth": 1, **_NORM}),  # as published
    "auglocal-d1": ("auglocal", {"depth": 1, "norm": False}),
    "linear-norm": ("greedy", {"pool": False, **_NORM}),
    "linear": ("greedy", {"pool": False}),
    "man-bias-norm": ("man", {"branches": "bias", **_NORM}),
    "man-bias": ("man", {"branches": "bias"}),
    "manpp": ("manpp", {}),  # with s fixed at 1 it is MAN
    "predsim-norm": ("predsim", _NORM),
    "predsim": ("predsim", {}),
    "infopro": ("infopro", {}),
    "infopro-norm": ("infopro", _NORM),
    "dgl-2c2f": ("dgl", {"head": "2c2f"}),
    "dgl-2c2f-norm": ("dgl", {"head": "2c2f", **_NORM}),
    "auglocal-d2": ("auglocal", {"depth": 2}),
    "auglocal-d2-norm": ("auglocal", {"depth": 2, **_NORM}),
    "auglocal-d3": ("auglocal", {"depth": 3}),
    "auglocal-d3-norm": ("auglocal", {"depth": 3, **_NORM}),
    "manpp-s0": ("manpp", {"s": 0.0, "train_s": False}),  # the EMA alone, twice
    "manpp-s2": ("manpp", {"s": 2.0, "train_s": False}),  # the bias alone, twice
}
CHEAP = ("greedy", "greedy-norm", "lls", "dgl-1c2f-norm", "man")  # also with a block for each layer
FEW = ("bp", "greedy", "greedy-norm", "man", "man-norm")
SOME = (*FEW, "dgl-1c2f", "dgl-1c2f-norm", "auglocal-d1-norm", "auglocal-d1", "lls")  # on real images
GLYPHS = {"data": "glyphs", "test_size": 2000}
CIFAR = {"data": "cifar10", "size": 16}
PROFILES = {  # what is trained in each: settings of the lab's recipe, K and methods
    "quick": [(GLYPHS | {"train_size": 600, "epochs": 3, "test_size": 500, "val_size": 200}, 8, FEW)],
    "short": [
        (GLYPHS | {"train_size": 1500, "epochs": 6}, 8, tuple(METHODS)),
        (GLYPHS | {"train_size": 1500, "epochs": 6}, 16, CHEAP),
        (CIFAR | {"train_size": 3000, "val_size": 1000, "test_size": 2000, "epochs": 4}, 8, SOME),
    ],
    "paper": [
        (GLYPHS | {"train_size": 20000, "epochs": 20}, 8, tuple(METHODS)),
        (GLYPHS | {"train_size": 20000, "epochs": 20}, 16, CHEAP),
        (CIFAR | {"epochs": 30}, 8, tuple(METHODS)),
    ],
}
KEPT = "short"  # the profile of data/heads.csv
NETWORK, BATCH, IMAGE = "lab16", 50, (3, 16, 16)
EQUAL_FLOPS = "-flops"  # at the end of a cell's method
CSV = "method rule options data network K budget lr seeds accuracy low high bytes_of_bp flops_of_bp".split()
CHECKPOINTED = "BP, checkpointed"


def cells(profile: str = "short") -> list[Cell]:
    """The cells of a profile: of each method one with equal epochs, and one with equal FLOPs where that is another.

    Raises: ValueError for an unknown profile.
    """
    choose("profile", profile, PROFILES)
    return [
        cell for settings, K, names in PROFILES[profile] for name in names for cell in _both_budgets(name, K, settings)
    ]


def _both_budgets(name: str, K: int, settings: dict[str, object]) -> list[Cell]:
    rule, options = METHODS[name]
    K = 1 if entry_of(rule).one_block else K
    recipe = lab_recipe(rule=rule, K=K, network=NETWORK, batch=BATCH, per_step=True, **options, **settings)
    found = [_cell(name, recipe, "epochs", settings)]
    epochs = max(1, round(recipe.epochs * _flops("bp", 1) / _flops(name, K)))
    return found + [_cell(name + EQUAL_FLOPS, recipe.but(epochs=epochs), "FLOPs", settings)] * (epochs != recipe.epochs)


def _cell(name: str, recipe: Recipe, budget: str, settings: dict[str, object]) -> Cell:
    """A cell; in place of published numbers stands what data/heads.csv holds of it."""
    method, K = label(name.removesuffix(EQUAL_FLOPS)), recipe.K
    rows = _kept() if any(settings == each for each, _, _ in PROFILES[KEPT]) else []
    ours = tuple(
        Published(round(row.accuracy, 1), "%", f"test accuracy with lr {row.lr:g}", "mankit's own", "data/heads.csv")
        for row in rows
        if (row.method, row.data, row.K, row.budget) == (method, recipe.data, K, budget)
    )
    return Cell(f"heads/{recipe.data}/{name}/K{K}", "heads", recipe.data, NETWORK, method, K, recipe, ours)


@functools.cache
def _kept() -> list:
    """The rows of data/heads.csv. Raises: ValueError where it is missing."""
    return list(pd.read_csv(shipped("data", "heads.csv")).itertuples())


def label(name: str) -> str:
    """A method in words: 'DGL 1c2f + norm', 'AugLocal depth=1'."""
    rule, options = METHODS[name]
    words = [f"{value}" if option == "head" else f"{option}={value}" for option, value in options.items()]
    words = [word.replace("train_s=False", "fixed") for word in words]
    text = " ".join([entry_of(rule).label, *words])
    return text.replace(" norm=True", " + norm").replace(" norm=False", "")


def cost(name: str, K: int) -> dict[str, float]:
    """Of a training step, over BP's: bytes_of_bp (kept for the backward pass, the largest block) and flops_of_bp."""
    return {"bytes_of_bp": _bytes(name, K) / _bytes("bp", 1), "flops_of_bp": _flops(name, K) / _flops("bp", 1)}


@functools.cache
def _bytes(name: str, K: int) -> float:
    """Of an image."""
    return max(saved_bytes(*_net(name, K))) / BATCH


@functools.cache
def _flops(name: str, K: int) -> float:
    """Of an image; BatchNorm isn't in them."""
    if name.endswith("-norm"):
        return _flops(name.removesuffix("-norm"), K)
    net, x, y = _net(name, K)
    return flops(net, x[:4], y[:4]) / 4


def _checkpointed() -> dict[str, float]:
    """The same of BP with a checkpoint at the best segments, in bytes; its work is that of one more forward pass."""
    net, x, y = _net("bp", 1)
    kept, again = best_checkpoints(net, x, y)[0] / BATCH, checkpointed_flops(net, x[:4], y[:4]) / 4
    return {"bytes_of_bp": kept / _bytes("bp", 1), "flops_of_bp": again / _flops("bp", 1)}


def _net(name: str, K: int) -> tuple[LocalNet, Tensor, Tensor]:
    """A method's network, and a batch of random images and labels."""
    rule, options = METHODS[name]
    draw = torch.Generator().manual_seed(0)
    options = lab_recipe(rule=rule, K=K, **options).options
    net = local_net(*build_network(NETWORK), rule, K, image_shape=IMAGE, generator=draw, **options)
    return net, torch.rand(BATCH, *IMAGE, generator=draw), torch.randint(10, (BATCH,), generator=draw)


def fair_table(runs: pd.DataFrame, profile: str) -> pd.DataFrame:
    """The runs of `read_study` that are done, as data/heads.csv has them: a row for each method and budget.

    accuracy: of the test images, in percent with the last weights, the mean over seeds; low to high: its 95 % interval
    by Student's t (nothing where there is one seed). What has one cell for both budgets has a row in each.
    Checkpointed BP has BP's accuracy, the bytes of its best segments, and the work of one more forward pass (so with
    equal FLOPs it would have fewer epochs: that isn't trained).
    """
    rows, found = [], {cell.name: cell for cell in cells(profile)}
    for name, part in runs[runs.status == "done"].groupby("cell", sort=False):
        method, scaled = name.split("/")[2].removesuffix(EQUAL_FLOPS), EQUAL_FLOPS in name
        rule, options = METHODS[method]
        row = {"method": label(method), "rule": rule, "options": json.dumps(options), "seeds": len(part)}
        row |= {column: part[column].iloc[0] for column in ("network", "K", "lr")} | {"data": found[name].recipe.data}
        row |= interval(100 - part.error_last) | cost(method, int(row["K"]))
        one_for_both = not scaled and name.replace(method, method + EQUAL_FLOPS) not in found
        budgets = ["FLOPs"] if scaled else ["epochs", "FLOPs"] if one_for_both else ["epochs"]
        rows += [row | {"budget": budget} for budget in budgets]
        if rule == ONE_BLOCK:
            rows.append(row | _checkpointed() | {"method": CHECKPOINTED, "budget": "epochs"})
    return pd.DataFrame(rows, columns=CSV)


def interval(values: Sequence[float], level: float = 0.95) -> dict[str, float]:
    """accuracy, the mean of values in percent, and low and high of its interval by Student's t (NaN of one value)."""
    from scipy import stats  # here: a worker that trains needn't wait for it

    mean, few = float(np.mean(values)), len(values) < 2
    half = np.nan if few else stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return {"accuracy": mean, "low": float(np.clip(mean - half, 0, 100)), "high": float(np.clip(mean + half, 0, 100))}
