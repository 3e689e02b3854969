"""`mankit recipes`: the papers' experiments by name."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option


def recipes(
    name: Annotated[str | None, Argument(help="A study, or one recipe; without it, everything.")] = None,
    profile: Annotated[
        str, Option(help="paper (as published), short (minutes on a GPU) or quick (about two minutes a study, CPU).")
    ] = "paper",
    json: Annotated[bool, Option("--json", help="Print one recipe as JSON, for mankit train --recipe FILE.")] = False,
) -> None:
    """List the papers' experiments by name, with the published values.

    Example: mankit recipes cifar10 --profile quick

    Studies: cifar10, svhn_stl10, imagenet, memory, controls; under a study's list stands what to expect: time (by
    FLOPs where it isn't measured), numbers, and departures from the papers.
    """
    from ..studies import papers

    if json or "/" in (name or ""):
        if name is None or name in papers.STUDIES:
            raise ValueError("--json prints one recipe: name it, as in mankit recipes cifar10/resnet32/dgl/K16 --json")
        cell = papers.cell(name)
        recipe = papers.with_profile(cell.recipe, profile)
        what = f"{cell.name}: {cell.method} on {cell.data}, {cell.network}, K={cell.K} ({recipe.K} blocks are built)"
        about = f"{what}\npublished: {_values(cell) or 'not found, or not reported'}\n"
        print(recipe.to_json() if json else about + recipe.to_json(), end="")
        return
    rows = [(cell.name, str(cell.recipe.K), _values(cell) or "-") for cell in papers.cells(name, profile)]
    columns = ("recipe", "blocks", "published")
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    if name:
        print(f"\n{papers.STUDIES[name].__doc__.strip()}")


def _values(cell: object) -> str:
    return ", ".join(f"{p.metric} {p.value:g} {p.unit} ({p.source.partition(' ')[0]})" for p in cell.published)
