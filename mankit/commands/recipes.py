"""The command that lists the papers' experiments: recipes."""

from __future__ import annotations

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
    """List the papers' experiments by name, with the published value.

    Example: mankit recipes cifar10 --profile quick

    Studies: cifar10, svhn_stl10, imagenet, memory, controls; under a study's list stands what to expect: time (by
    FLOPs where it isn't measured), numbers, and departures from the papers.
    """
    from ..studies import papers as published

    if json or "/" in (name or ""):
        if name is None or name in published.STUDIES:
            raise ValueError("--json prints one recipe: name it, as in mankit recipes cifar10/resnet32/dgl/K16 --json")
        cell = published.cell(name)
        recipe = published.with_profile(cell.recipe, profile)
        print(recipe.to_json() if json else _described(cell, recipe, profile), end="")
    else:
        print(_listed(published.cells(name, profile)))
        if name:
            print(f"\n{published.STUDIES[name].__doc__.strip()}")


def _described(cell: object, recipe: object, profile: str) -> str:
    published = _values(cell) or "not found, or not reported"
    return (
        f"{cell.name}: {cell.method} on {cell.data}, {cell.network}, K={cell.K} ({recipe.K} blocks are built)\n"
        f"published: {published}\nprofile {profile}:\n{recipe.to_json()}"
    )


def _listed(cells: list) -> str:
    import pandas as pd

    rows = [(cell.name, cell.recipe.K, _values(cell) or "-") for cell in cells]
    table = pd.DataFrame(rows, columns=["recipe", "blocks", "published"])
    widths = {name: table[name].str.len().max() for name in ("recipe", "published")}
    left = {name: f"{{:<{width}}}".format for name, width in widths.items()}
    text = table.to_string(index=False, formatters=left, justify="left")
    return "\n".join(line.rstrip() for line in text.splitlines())


def _values(cell: object) -> str:
    return ", ".join(
        f"{row.metric} {row.value:g} {row.unit} ({row.source.partition(' ')[0]})" for row in cell.published
    )
