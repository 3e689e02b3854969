"""The command that lists the papers' experiments: recipes."""

from __future__ import annotations

import math
from typing import Annotated

import typer

OPTION = typer.Option


def recipes(
    name: Annotated[str | None, typer.Argument(help="A study, or one recipe; without it, everything.")] = None,
    profile: Annotated[
        str, OPTION(help="paper (as published), short (minutes on a GPU) or quick (about two minutes a study, CPU).")
    ] = "paper",
    json: Annotated[bool, OPTION("--json", help="Print one recipe as JSON, for mankit train --recipe FILE.")] = False,
) -> None:
    """List the papers' experiments by name, with a rough time and the published value.

    Example: mankit recipes cifar10 --profile quick

    Studies: cifar10, svhn_stl10, imagenet, memory, controls. Expected times are estimates, from the FLOPs of
    training at a stated rate (see mankit/estimate.py): one CPU core for quick, one large GPU for short and paper.
    """
    from .. import published

    if json or "/" in (name or ""):
        if name is None or name in published.STUDIES:
            raise ValueError("--json prints one recipe: name it, as in mankit recipes cifar10/resnet32/dgl/K16 --json")
        cell = published.cell(name)
        recipe = published.with_profile(cell.recipe, profile)
        print(recipe.to_json() if json else _described(cell, recipe, profile), end="")
    else:
        print(_listed(published.cells(name, profile), profile))


def _described(cell: object, recipe: object, profile: str) -> str:
    published = _values(cell) or "not found, or not reported"
    return (
        f"{cell.name}: {cell.method} on {cell.data}, {cell.network}, K={cell.K} ({recipe.K} blocks are built)\n"
        f"published: {published}\nexpected, profile {profile}: {_time(recipe, profile)}\n{recipe.to_json()}"
    )


def _listed(cells: list, profile: str) -> str:
    import pandas as pd

    rows = [(cell.name, cell.recipe.K, _time(cell.recipe, profile), _values(cell) or "-") for cell in cells]
    table = pd.DataFrame(rows, columns=["recipe", "blocks", "expected", "published"])
    widths = {name: table[name].str.len().max() for name in ("recipe", "published")}
    left = {name: f"{{:<{width}}}".format for name, width in widths.items()}
    text = table.to_string(index=False, formatters=left, justify="left")
    where = "one CPU core" if profile == "quick" else "one large GPU"
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join([*lines, f"expected: an estimate, for {where}, profile {profile}"])


def _values(cell: object) -> str:
    return ", ".join(
        f"{row.metric} {row.value:g} {row.unit} ({row.source.partition(' ')[0]})" for row in cell.published
    )


def _time(recipe: object, profile: str) -> str:
    from ..estimate import seconds

    expected = seconds(recipe, "cpu" if profile == "quick" else "gpu")
    if math.isnan(expected):
        return "?"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if expected >= 1.5 * size:
            return f"~{expected / size:.0f} {unit}"
    return f"~{expected:.0f} s"
