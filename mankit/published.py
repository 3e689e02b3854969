"""The papers' experiments by name: each cell of their tables as a recipe, with the number that was published.

    for cell in cells("cifar10", "quick"):
        print(cell.name, cell.recipe.K, [row.value for row in cell.published])

Three profiles: 'paper', as published; 'short', the same data in minutes on a GPU; 'quick', the same table on small
images in about two minutes a study on two CPU cores. Where 'paper' departs from the publications:
- A few training images are held out (`val_size`), so that the best epoch is chosen on them. The published codes train
  on all and report the best TEST epoch; `data_options={"val_size": 0}` holds nothing out.
- InfoPro's weights end at 0.5 and 1: the published ones end at 0, which would leave the last auxiliary block no loss.
- CIFAR-10 trains for 400 epochs, as MAN's code does; InfoPro's own numbers there are from 160, SVHN's and STL-10's too.
- Splits that weren't published have as many units in each block; on ImageNet, as many bytes.
- MAN's heads have two convolutions (as in its code), those of DGL and InfoPro one: not a fair comparison. 'quick' and
  'short' give every rule but Greedy the same head, and so do the controls in every profile.
All images are held in memory: ImageNet at 224 pixels is 190 GB, which few machines have; 'short' takes 50,000 at 64.
One learning rate for all rules favours MAN: in our trials DGL with 0.4 instead of 0.1 matched it. So vary `lr`.
"""

from __future__ import annotations

import csv
import difflib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .recipes import Recipe

STUDIES = ("cifar10", "svhn_stl10", "imagenet", "memory", "controls")
PROFILES = ("quick", "short", "paper")


@dataclass(frozen=True)
class Published:
    """A number from a paper: `value` in `unit` ('%' or 'GB'), of a metric ('test error', 'GPU memory', ...)."""

    value: float
    unit: str
    metric: str
    source: str
    note: str


@dataclass(frozen=True)
class Cell:
    """One cell of a published table. K is the published number of blocks, `recipe.K` what is really built:
    the published 'K=16' of ResNet-32 has 15 blocks (and 'K=55' of ResNet-110 has 54), the stem being merged.
    """

    name: str
    study: str
    data: str
    network: str
    method: str
    K: int
    recipe: Recipe
    published: tuple[Published, ...]


_LAMBDAS = {"lam_x": (5.0, 0.5), "lam_y": (0.5, 1.0)}
_MAN = {"head": "2c2f", "decay": 0.995}
_METHODS: dict[str, tuple[str, str, dict[str, object]]] = {  # by the name in a cell's name: label, rule, options
    "bp": ("BP", "bp", {}),
    "bp-checkpointing": ("BP + gradient checkpointing", "bp", {}),  # trains the same weights; memory and time differ
    "greedy": ("Greedy", "greedy", {}),
    "dgl": ("DGL", "dgl", {"head": "1c2f"}),
    "infopro": ("InfoPro (CE)", "infopro", {"head": "1c2f", **_LAMBDAS}),
    "infopro-supcon": ("InfoPro (SupCon)", "infopro", {"head": "1c2f", **_LAMBDAS, "contrast": True}),
    "infopro-star": ("InfoPro*", "infopro", {"head": "1c2f", **_LAMBDAS}),  # blocks of equal memory
    "dgl-man": ("DGL + MAN", "man", {**_MAN, "base": "dgl"}),
    "infopro-man": ("InfoPro + MAN", "man", {**_MAN, "base": "infopro", **_LAMBDAS}),
    "none": ("DGL", "dgl", {"head": "2c2f"}),  # the controls, by what is left of MAN
    "both": ("DGL + MAN", "man", {**_MAN, "base": "dgl"}),
    "ema-only": ("DGL + MAN (EMA only)", "man", {**_MAN, "base": "dgl", "branches": "ema"}),
    "bias-only": ("DGL + MAN (bias only)", "man", {**_MAN, "base": "dgl", "branches": "bias"}),
    "twin": ("DGL + MAN (two trained branches)", "man", {**_MAN, "base": "dgl", "branches": "twin"}),
    "frozen": ("DGL + MAN (decay 1, frozen)", "man", {**_MAN, "base": "dgl", "decay": 1.0}),
    "copy": ("DGL + MAN (decay 0, a copy)", "man", {**_MAN, "base": "dgl", "decay": 0.0}),
}
_TABLE = ("greedy", "dgl", "infopro", "infopro-supcon", "dgl-man", "infopro-man")  # what has a column for each K
_CONTROLS = ("none", "ema-only", "bias-only", "both", "twin", "frozen", "copy")
_NETWORKS = {  # label, Recipe.network, units in a stage
    "resnet32": ("ResNet-32", "cifar_resnet32", 5),
    "resnet110": ("ResNet-110", "cifar_resnet110", 18),
    "resnet101": ("ResNet-101", "resnet101", 0),
    "resnet152": ("ResNet-152", "resnet152", 0),
    "resnext101": ("ResNeXt-101", "resnext101_32x8d", 0),
}
_TRAINED: dict[str, tuple[str, dict[str, object]]] = {  # by data set: label, how the papers train
    "cifar10": ("CIFAR-10", {"epochs": 400, "batch": 1024, "lr": 0.8, "data_options": {"val_size": 1000}}),
    "svhn": ("SVHN", {"epochs": 160, "batch": 1024, "lr": 0.8, "data_options": {"val_size": 1000}}),
    "stl10": ("STL-10", {"epochs": 160, "batch": 128, "lr": 0.1, "data_options": {"val_size": 500}}),
    "folder:imagenet": (
        "ImageNet",
        {"epochs": 90, "batch": 128, "lr": 0.05, "data_options": {"size": 224, "val_size": 10000}},
    ),
}
_ENDS = {  # where the published code ends its blocks: (stage, unit), stages from 1, units from 0
    ("resnet32", 2): [(2, 1)],
    ("resnet32", 4): [(1, 2), (2, 1), (3, 0)],
    ("resnet32", 8): [(1, 0), (1, 2), (1, 4), (2, 1), (2, 3), (3, 0), (3, 2)],
}
_STAR_ENDS = {  # InfoPro*
    ("resnet110", 2): [(1, 14)],
    ("resnet110", 3): [(1, 9), (2, 2)],
    ("resnet110", 4): [(1, 6), (1, 14), (2, 8)],
}


def cells(study: str | None = None, profile: str = "paper", lr: float | None = None) -> list[Cell]:
    """The cells of a study (None: of all), with recipes for a profile; 'quick' and 'short' have fewer K.

    lr: the highest learning rate, in place of the profile's. Raises: ValueError for an unknown name.
    """
    if study is not None:
        _choose("study", study, STUDIES)
    chosen = [c for c in _all_cells() if study in (None, c.study) and (profile == "paper" or _is_essential(c, profile))]
    return [replace(c, recipe=with_profile(c.recipe, profile, lr)) for c in chosen]


def cell(name: str) -> Cell:
    """A cell by its name, such as 'cifar10/resnet32/dgl/K16'. Raises: ValueError, with the nearest names."""
    by_name = {each.name: each for each in _all_cells()}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"no recipe '{name}': {hint}`mankit recipes` lists them")
    return by_name[name]


def with_profile(recipe: Recipe, profile: str = "paper", lr: float | None = None) -> Recipe:
    """A published recipe made shorter ('quick', 'short'), or as it is ('paper').

    'short' keeps data, network and blocks; 'quick' has drawn images or digits, and the network lab16 or resnet18.
    lr: another learning rate. Raises: ValueError for an unknown profile, or a data set that has none.
    """
    _choose("profile", profile, PROFILES)
    if profile != "paper":
        budgets = _QUICK if profile == "quick" else _SHORT
        if recipe.data not in budgets:
            raise ValueError(f"data='{recipe.data}' has no profile '{profile}': choose from {', '.join(budgets)}")
        recipe = recipe.but(**budgets[recipe.data], warmup=1, weight_decay=5e-4, per_step=True)
        recipe = recipe.but(options=_alike(recipe.options, profile))
        recipe = _small(recipe) if profile == "quick" else recipe.but(bf16=True)
    return recipe.but(lr=lr) if lr is not None else recipe


_SHORT: dict[str, dict[str, object]] = {
    "cifar10": {"epochs": 20, "batch": 512, "lr": 0.4, "data_options": {}},
    "svhn": {"epochs": 10, "batch": 512, "lr": 0.4, "data_options": {}},
    "stl10": {"epochs": 40, "batch": 128, "lr": 0.1, "data_options": {}},
    "folder:imagenet": {"epochs": 10, "batch": 128, "lr": 0.05, "data_options": {"size": 64, "train_size": 50000}},
}
_LAB16 = {"network": "lab16", "batch": 100, "lr": 0.1, "augment": False}
_QUICK: dict[str, dict[str, object]] = {
    "cifar10": {**_LAB16, "data": "glyphs", "data_options": {"train_size": 3000}, "epochs": 5},
    "svhn": {**_LAB16, "data": "digits", "data_options": {}, "epochs": 6},
    "stl10": {**_LAB16, "data": "glyphs", "data_options": {"train_size": 1500}, "epochs": 8},
    "folder:imagenet": {
        **_LAB16,
        "network": "resnet18",
        "data": "digits",
        "data_options": {"size": 32, "train_size": 700},
        "epochs": 4,
        "batch": 50,
    },
}
_ESSENTIAL = {  # study: network and the K of the quick and of the short profile
    "cifar10": ("ResNet-32", {"quick": (1, 4, 16), "short": (1, 8, 16)}),
    "svhn_stl10": ("ResNet-110", {"quick": (1, 4, 16), "short": (1, 4, 16)}),
    "imagenet": ("ResNet-101", {"quick": (1, 2, 4), "short": (1, 2, 4)}),
}


def _is_essential(cell: Cell, profile: str) -> bool:
    _choose("profile", profile, PROFILES)
    if cell.study not in _ESSENTIAL:
        return True
    network, numbers = _ESSENTIAL[cell.study]
    return cell.network == network and (cell.K in numbers[profile] or cell.method == "InfoPro*" and cell.K == 4)


def _alike(options: dict[str, object], profile: str) -> dict[str, object]:
    """The same head for every rule, and in 'quick' the same loss weights in every block (as in the lab)."""
    same = {"head": "1c2f", **({"lam_x": 1.0, "lam_y": 1.0} if profile == "quick" else {})}
    return {name: same.get(name, value) for name, value in options.items()}


def _small(recipe: Recipe) -> Recipe:
    """As many blocks as the small network has layers for; splits stay where they fit (lab16 is cut as ResNet-32)."""
    layers = 16 if recipe.network == "lab16" else 9
    if recipe.at and recipe.at[-1] < layers:
        return recipe
    return recipe.but(K=min(recipe.K, layers), at=None)


def _choose(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"{name}='{value}': {hint}choose from {', '.join(allowed)}")


@functools.cache
def _all_cells() -> tuple[Cell, ...]:
    return tuple(_generate())


def _generate() -> Iterator[Cell]:
    yield from _grid("cifar10", "cifar10", "resnet32", (2, 4, 8, 16))
    yield from (_cell("cifar10", "cifar10", "resnet32", "infopro-star", K) for K in (2, 3, 4))
    yield from _grid("cifar10", "cifar10", "resnet110", (2, 4, 8, 16, 32, 55))
    for data in ("svhn", "stl10"):
        yield from _grid("svhn_stl10", data, "resnet110", (2, 4, 8, 16))
    for network in ("resnet101", "resnet152", "resnext101"):
        yield from _grid("imagenet", "folder:imagenet", network, (2, 4))
    yield from (_cell("memory", "cifar10", "resnet110", method, 1) for method in ("bp", "bp-checkpointing"))
    yield from (_cell("memory", "cifar10", "resnet110", "infopro-star", K) for K in (2, 3, 4))
    yield _cell("controls", "cifar10", "resnet32", "bp", 1)
    yield from (_cell("controls", "cifar10", "resnet32", method, 16) for method in _CONTROLS)


def _grid(study: str, data: str, network: str, numbers: Sequence[int]) -> Iterator[Cell]:
    yield _cell(study, data, network, "bp", 1)
    yield from (_cell(study, data, network, method, K) for method in _TABLE for K in numbers)


def _cell(study: str, data: str, network: str, method: str, K: int) -> Cell:
    (label, rule, options), (data_label, how) = _METHODS[method], _TRAINED[data]
    net_label, net, _ = _NETWORKS[network]
    common = {"warmup": 10, "weight_decay": 1e-4, "augment": True}
    recipe = Recipe(rule=rule, options=options, network=net, data=data, **how, **common, **_blocks(network, method, K))
    first = study if study in ("memory", "controls") else data.removeprefix("folder:")
    rows = tuple(_lookup(study, data_label, net_label, label, K))
    return Cell(f"{first}/{network}/{method}/K{K}", study, data_label, net_label, label, K, recipe, rows)


def _blocks(network: str, method: str, K: int) -> dict[str, object]:
    """K, at and balance of a recipe: the published split where there is one."""
    units = _NETWORKS[network][2]
    of_memory = method == "infopro-star"
    if units and K == 3 * units + 1:  # a block for each layer, but the stem belongs to the first
        return {"K": K - 1, "at": tuple(range(2, K))}
    ends = (_STAR_ENDS if of_memory else _ENDS).get((network, K))  # the stem is layer 0, so ...
    at = tuple(1 + (stage - 1) * units + unit + 1 for stage, unit in ends) if ends else None
    return {"K": K, "at": at, "balance": "memory" if of_memory or not units else "units"}


def _lookup(study: str, data: str, network: str, method: str, K: int) -> Iterator[Published]:
    """What the papers report for a cell: a study of memory asks for bytes and time, the others for errors."""
    methods = (method, "InfoPro") if method == "InfoPro (CE)" else (method,)
    for row in _rows():
        right = (row["data"], row["network"], row["K"]) == (data, network, str(K)) and row["method"] in methods
        of_memory = row["metric"] in ("GPU memory", "extra wall time")
        other_paper = study == "controls" and not row["source"].startswith("MAN")  # the ablation is MAN's
        if right and not other_paper and (study == "imagenet" or of_memory == (study == "memory")):
            yield Published(float(row["value"]), *(row[name] for name in ("unit", "metric", "source", "note")))


@functools.cache
def _rows() -> list[dict[str, str]]:
    """data/published.csv of this project; nothing where mankit was installed without it."""
    file = Path(__file__).parents[1] / "data" / "published.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []
