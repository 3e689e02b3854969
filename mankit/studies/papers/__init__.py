"""The papers' experiments by name: each cell of their tables as a recipe, with the number that was published.

    for cell in cells("cifar10", "quick"):
        print(cell.name, cell.recipe.K, [row.value for row in cell.published])

Each study has a file, whose docstring says command, time, expected numbers and departures. Three profiles: 'paper', as
published; 'short', the same data in minutes on a GPU; 'quick', the same table on small images in minutes on two CPU
cores. Where 'paper' departs from the publications in every study:
- A few training images are held out (`val_size`), so that the best epoch is chosen on them. The published codes train
  on all and report the best TEST epoch; `data_options={"val_size": 0}` holds nothing out.
- InfoPro's weights end at 0.5 and 1: the published ones end at 0, which would leave the last auxiliary block no loss.
- Splits that weren't published have as many units in each block; on ImageNet, as many bytes.
- MAN's heads have two convolutions (as in its code), those of DGL and InfoPro one: not a fair comparison. 'quick' and
  'short' give every rule but Greedy the same head, and so do the controls in every profile.
One learning rate for all rules favours MAN: in our trials DGL with 0.4 instead of 0.1 matched it. So vary `lr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...errors import choose
from ..recipe import Recipe
from . import cifar10, controls, family, heads, imagenet, memory, svhn_stl10
from .published import MARK, NETWORKS, PROFILES, SECONDARY, Cell, Published

STUDIES = {
    "cifar10": cifar10,
    "svhn_stl10": svhn_stl10,
    "imagenet": imagenet,
    "memory": memory,
    "controls": controls,
    "family": family,
}
"""The studies by name: modules, whose docstrings say what to expect."""
OURS = {"heads": heads}  # studies that no paper has: every profile is a list of its own
CELLS = [each for study in STUDIES.values() for each in study.CELLS]
DATA = (cifar10.CIFAR10, svhn_stl10.SVHN, svhn_stl10.STL10, imagenet.IMAGENET)

__all__ = [
    "MARK",
    "OURS",
    "PROFILES",
    "SECONDARY",
    "STUDIES",
    "Cell",
    "Published",
    "cell",
    "cells",
    "trained",
    "with_profile",
]


def cells(study: str | None = None, profile: str = "paper", lr: float | None = None) -> list[Cell]:
    """The cells of a study (None: of all papers'), with recipes for a profile; 'quick' and 'short' have fewer K.

    lr: the highest learning rate, in place of the profile's. Raises: ValueError for an unknown name.
    """
    if study is not None:
        choose("study", study, [*STUDIES, *OURS])
    choose("profile", profile, PROFILES)
    if study in OURS:
        return [replace(each, recipe=_at(each.recipe, lr)) for each in OURS[study].cells(profile)]
    chosen = [each for each in CELLS if study in (None, each.study) and profile in each.profiles]
    return [_profiled(each, profile, lr) for each in chosen]


def cell(name: str, profile: str = "paper") -> Cell:
    """A cell by its name, such as 'cifar10/resnet32/dgl/K16', with its recipe for a profile.

    Raises: ValueError, with the nearest names.
    """
    study = name.partition("/")[0]
    by_name = {each.name: each for each in (cells(study, profile) if study in OURS else CELLS)}
    choose("recipe", name, by_name, "`mankit recipes` lists them")
    found = by_name[name]
    return found if study in OURS else _profiled(found, profile)


def _profiled(cell: Cell, profile: str, lr: float | None = None) -> Cell:
    return replace(cell, recipe=with_profile(cell.recipe, profile, lr, cell.quick))


def with_profile(
    recipe: Recipe, profile: str = "paper", lr: float | None = None, quick: Mapping[str, object] | None = None
) -> Recipe:
    """A published recipe made shorter ('quick', 'short'), or as it is ('paper').

    'short' keeps data, network and blocks; 'quick' has drawn images or digits, and a small network. lr: another
    learning rate. quick: fields that differ from the data's 'quick'. Raises: ValueError for an unknown profile, or a
    data set that has none.
    """
    choose("profile", profile, PROFILES)
    if profile != "paper":
        budgets = {data.name: data.profiles[profile] for data in DATA}
        choose(f"profile '{profile}' is not for data", recipe.data, budgets)
        same = {"head": "1c2f", **({"lam_x": 1.0, "lam_y": 1.0} if profile == "quick" else {})}  # for every rule
        options = {name: same.get(name, value) for name, value in recipe.options.items()}
        budget = budgets[recipe.data] | ((quick or {}) if profile == "quick" else {})
        recipe = recipe.but(options=options, warmup=1, weight_decay=5e-4, per_step=True, **budget)
        recipe = _small(recipe) if profile == "quick" else recipe.but(bf16=True)
    return _at(recipe, lr)


def _at(recipe: Recipe, lr: float | None) -> Recipe:
    return recipe if lr is None else recipe.but(lr=lr)


def trained(recipe: Recipe) -> tuple[str, str]:
    """Data and network: 'CIFAR-10' and 'ResNet-32' where a recipe has the papers' own, else 'glyphs' and 'lab16'."""
    data = {each.name: each.label for each in DATA}.get(recipe.data, recipe.data)
    few = recipe.data_options.get("train_size")
    part = f" ({few:,} images at {recipe.data_options.get('size')} pixels)" if few and data != recipe.data else ""
    return data + part, {net: label for label, net, _ in NETWORKS.values()}.get(recipe.network, recipe.network)


def _small(recipe: Recipe) -> Recipe:
    """As many blocks as the small network has layers for; splits stay where they fit (lab16 is cut as ResNet-32)."""
    layers = 16 if recipe.network == "lab16" else 9
    if recipe.at and recipe.at[-1] < layers:
        return recipe
    return recipe.but(K=min(recipe.K, layers), at=None)
