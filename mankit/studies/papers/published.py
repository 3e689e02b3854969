"""A cell of a published table: its recipe, and the numbers that the papers report. What the studies are made of."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...rules import entry_of
from ...shipped import shipped
from ..recipe import Recipe

PROFILES = ("quick", "short", "paper")
ERRORS, COSTS = ("test error", "top-1 error", "top-5 error"), ("GPU memory", "extra wall time")
MARK = "†"  # at a number that can't be checked where it comes from
SECONDARY = f"{MARK} from a secondary summary of the paper, not from its tables: check it there before you cite it"


@dataclass(frozen=True)
class Published:
    """A number from a paper: `value` in `unit` ('%' or 'GB'), of a metric ('test error', 'GPU memory', ...)."""

    value: float
    unit: str
    metric: str
    source: str
    note: str

    @property
    def shown(self) -> str:
        """'14.08', or '14.08†' where the source is a secondary summary."""
        return f"{self.value:g}" + MARK * ("secondary" in self.source)


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
    profiles: tuple[str, ...] = PROFILES  # that have this cell; 'quick' and 'short' have fewer K
    quick: dict[str, object] = field(default_factory=dict)  # fields of the recipe that differ from the data's 'quick'


@dataclass(frozen=True)
class DataSet:
    """A data set of the papers: `Recipe.data`, its label, and the fields of a recipe by profile."""

    name: str
    label: str
    profiles: dict[str, dict[str, object]]


LAB16 = {"network": "lab16", "batch": 100, "lr": 0.1, "augment": False}  # of the quick profiles

MAN_BASE = "infopro"  # of MAN at its best, as published
_LAMBDAS = {"lam_x": (5.0, 0.5), "lam_y": (0.5, 1.0)}
_INFOPRO = {"head": "1c2f", **_LAMBDAS}
_MAN = {"head": "2c2f", "decay": 0.995, "base": "dgl"}
_METHODS: dict[str, tuple[str, dict[str, object], str]] = {  # by the name in a cell's name: rule, options, remark
    "bp": ("bp", {}, ""),
    "bp-checkpointing": ("bp", {}, " + gradient checkpointing"),  # trains the same weights; memory and time differ
    "greedy": ("greedy", {}, ""),
    "dgl": ("dgl", {"head": "1c2f"}, ""),
    "infopro": ("infopro", _INFOPRO, " (CE)"),
    "infopro-supcon": ("infopro", {**_INFOPRO, "contrast": True}, " (SupCon)"),
    "infopro-star": ("infopro", _INFOPRO, "*"),  # blocks of equal memory
    "dgl-man": ("man", _MAN, ""),
    "infopro-man": ("man", {**_MAN, "base": MAN_BASE, **_LAMBDAS}, ""),
    "auglocal-d2": ("auglocal", {"depth": 2}, " (d = 2)"),
    "auglocal-d4": ("auglocal", {"depth": 4, "pyramid": 0.0, "norm": False}, " (d = 4)"),  # as its ImageNet code
    "auglocal-d6": ("auglocal", {"depth": 6}, " (d = 6)"),
    "predsim": ("predsim", {}, ""),
    "dgl-manpp": ("manpp", {"base": "dgl", "head": "mlp512", "decay": 0.995}, ""),
    "infopro-manpp": ("manpp", {"base": MAN_BASE, "head": "2c2f", "decay": 0.995, **_LAMBDAS}, ""),
    "none": ("dgl", {"head": "2c2f"}, ""),  # the controls, by what is left of MAN
    "both": ("man", _MAN, ""),
    "ema-only": ("man", {**_MAN, "branches": "ema"}, " (EMA only)"),
    "bias-only": ("man", {**_MAN, "branches": "bias"}, " (bias only)"),
    "twin": ("man", {**_MAN, "branches": "twin"}, " (two trained branches)"),
    "frozen": ("man", {**_MAN, "decay": 1.0}, " (decay 1, frozen)"),
    "copy": ("man", {**_MAN, "decay": 0.0}, " (decay 0, a copy)"),
}
_TABLE = ("greedy", "dgl", "infopro", "infopro-supcon", "dgl-man", "infopro-man")  # what has a column for each K
NETWORKS = {  # label, Recipe.network, units in a stage
    "resnet32": ("ResNet-32", "cifar_resnet32", 5),
    "resnet110": ("ResNet-110", "cifar_resnet110", 18),
    "resnet101": ("ResNet-101", "resnet101", 0),
    "resnet152": ("ResNet-152", "resnet152", 0),
    "resnext101": ("ResNeXt-101", "resnext101_32x8d", 0),
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


def grid(
    study: str, data: DataSet, network: str, numbers: Sequence[int], small: Sequence[int] = (), **how: object
) -> Iterator[Cell]:
    """A published table: BP, and every method with every number of blocks. small: the K of 'quick' and 'short'
    alike, or of each by its name. how: see `make`."""
    by_profile = small if isinstance(small, dict) else {"quick": small, "short": small}
    for method, K in [("bp", 1), *((method, K) for method in _TABLE for K in numbers)]:
        profiles = tuple(profile for profile in PROFILES if K in by_profile.get(profile, (K,)))
        yield make(study, data, network, method, K, profiles=profiles, **how)


def make(
    study: str,
    data: DataSet,
    network: str,
    method: str,
    K: int,
    *,
    metrics: Sequence[str] = ERRORS,
    source: str = "",
    profiles: tuple[str, ...] = PROFILES,
    quick: dict[str, object] | None = None,
) -> Cell:
    """A cell, trained as published. metrics, source: which published numbers belong to it."""
    rule, options, remark = _METHODS[method]
    label = " + ".join(entry_of(each).label for each in (options.get("base"), rule) if each) + remark
    net_label, net, _ = NETWORKS[network]
    recipe = Recipe(
        rule=rule,
        options=options,
        network=net,
        data=data.name,
        warmup=10,
        weight_decay=1e-4,
        augment=True,
        **data.profiles["paper"],
        **_blocks(network, method, K),
    )
    first = study if study in ("memory", "controls", "family") else data.name.removeprefix("folder:")
    rows = tuple(
        Published(float(row["value"]), *(row[name] for name in ("unit", "metric", "source", "note")))
        for row in _rows()
        if (row["data"], row["network"], row["K"]) == (data.label, net_label, str(K))
        and row["method"] in (label, label.removesuffix(" (CE)"))
        and row["metric"] in metrics
        and row["source"].startswith(source)
    )
    name = f"{first}/{network}/{method}/K{K}"
    return Cell(name, study, data.label, net_label, label, K, recipe, rows, profiles, quick or {})


def _blocks(network: str, method: str, K: int) -> dict[str, object]:
    """K, at and balance of a recipe: the published split where there is one."""
    units = NETWORKS[network][2]
    if method.startswith("auglocal"):  # a block for each layer, but the last d + 1 are one
        depth = _METHODS[method][1]["depth"]
        return {"K": K - depth, "at": tuple(range(1, K - depth))}
    if method in ("predsim", "dgl-manpp", "infopro-manpp"):  # a block for each layer, the stem too
        return {"K": K, "at": tuple(range(1, K))}
    of_memory = method == "infopro-star"
    if units and K == 3 * units + 1:  # a block for each layer, but the stem belongs to the first
        return {"K": K - 1, "at": tuple(range(2, K))}
    ends = (_STAR_ENDS if of_memory else _ENDS).get((network, K))  # the stem is layer 0, so ...
    at = tuple(1 + (stage - 1) * units + unit + 1 for stage, unit in ends) if ends else None
    return {"K": K, "at": at, "balance": "memory" if of_memory or not units else "units"}


@functools.cache
def _rows() -> list[dict[str, str]]:
    """data/published.csv. Raises: ValueError where it is missing."""
    return list(csv.DictReader(shipped("data", "published.csv").read_text(encoding="utf-8").splitlines()))
