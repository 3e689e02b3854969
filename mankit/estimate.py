"""How long a recipe takes, roughly: the FLOPs of its training at a stated rate. For lists, not for promises."""

from __future__ import annotations

import math
from typing import NamedTuple

from .recipes import Recipe

GFLOPS_PER_SECOND = {"cpu": 65.0, "gpu": 20_000.0}
"""What small convolutions reach: measured for lab16 on one CPU core; for a large GPU a cautious guess."""

_IMAGES = {
    "glyphs": 4000,
    "digits": 1297,
    "cifar10": 50_000,
    "svhn": 73_257,
    "stl10": 5000,
    "folder:imagenet": 1_281_167,
}
_SIZES = {"cifar10": 32, "svhn": 32, "stl10": 96, "folder:imagenet": 224}  # the others: 16


class _Work(NamedTuple):
    """GFLOPs of a training step for one image of a size, counted by `mankit.measure.flops`: back-propagation, and
    what each auxiliary head, decoder and pair of MAN's branches adds (on average over the network)."""

    size: int
    network: float
    head: float
    decoder: float
    branches: float


_WORK = {
    "lab16": _Work(16, 0.026, 0.0003, 0.0034, 0.0033),
    "resnet18": _Work(32, 0.217, 0.005, 0.1, 0.055),
    "cifar_resnet32": _Work(32, 0.414, 0.0046, 0.025, 0.055),
    "cifar_resnet110": _Work(32, 1.518, 0.0046, 0.026, 0.055),
    "resnet101": _Work(224, 46.6, 5.5, 33, 12),
    "resnet152": _Work(224, 68.8, 5.5, 33, 12),
    "resnext101_32x8d": _Work(224, 216.5, 5.5, 33, 19),
}


def gflops_per_image(recipe: Recipe) -> float:
    """GFLOPs of a training step, an image; nan for a network that isn't in the table above."""
    if recipe.network not in _WORK:
        return math.nan
    work = _WORK[recipe.network]
    size = recipe.data_options.get("size") or _SIZES.get(recipe.data, 16)
    decoder = work.decoder * ("infopro" in (recipe.rule, recipe.options.get("base")))
    branches = work.branches * (recipe.rule == "man")
    head = work.head * (recipe.rule != "greedy")  # pooling and one linear layer cost next to nothing
    heads = 0 if recipe.rule == "bp" else recipe.K - 1
    return (work.network + heads * (head + decoder + branches)) * (size / work.size) ** 2


def seconds(recipe: Recipe, device: str = "gpu") -> float:
    """Expected seconds of training on a large 'gpu' or on one core of a 'cpu'; nan where it isn't known."""
    options = recipe.data_options
    images = options.get("train_size") or _IMAGES.get(recipe.data, math.nan) - (options.get("val_size") or 0)
    return recipe.epochs * images * gflops_per_image(recipe) / GFLOPS_PER_SECOND[device]
