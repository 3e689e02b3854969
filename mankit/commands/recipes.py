"""`mankit recipes`: the papers' experiments by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

if TYPE_CHECKING:  # imported in earnest below, for it takes torch
    from ..studies import Recipe


def recipes(
    name: Annotated[str | None, Argument(help="A study, or one recipe; without it, everything.")] = None,
    profile: Annotated[
        str, Option(help="paper (as published), short (minutes on a GPU) or quick (about two minutes a study, CPU).")
    ] = "paper",
    json: Annotated[bool, Option("--json", help="Print one recipe as JSON, for mankit train --recipe FILE.")] = False,
) -> None:
    """List the papers' experiments by name, with the published values.

    Example: mankit recipes cifar10 --profile quick

    Studies: cifar10, svhn_stl10, imagenet, memory, controls, family, heads; under a study's list stands what to expect:
    time (by FLOPs where it isn't measured), numbers, and departures from the papers.
    """
    from ..studies import papers

    if json or "/" in (name or ""):
        if name is None or name in papers.STUDIES | papers.OURS:
            raise ValueError("--json prints one recipe: name it, as in mankit recipes cifar10/resnet32/dgl/K16 --json")
        cell = papers.cell(name, profile)
        recipe = cell.recipe
        if json:
            print(recipe.to_json(), end="")
            return
        what = f"{cell.method} on {', '.join(papers.trained(recipe))}, K={cell.K} ({recipe.K} blocks are built)"
        published = f"published ({cell.data}, {cell.network}): {_values(cell) or 'not found, or not reported'}"
        text = f"{cell.name}: {what}\n{published}\n{recipe.to_json()}"
    else:
        columns = ("recipe", "blocks", "published")
        chosen = papers.cells(name, profile)
        rows = [columns, *((cell.name, str(cell.recipe.K), _values(cell) or "-") for cell in chosen)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        text = "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows) + "\n"
        text += f"\n{(papers.STUDIES | papers.OURS)[name].__doc__.strip()}\n" if name else ""
    print(text + f"\n{papers.SECONDARY}\n" * (papers.MARK in text), end="")


def _values(cell: object) -> str:
    return ", ".join(f"{p.metric} {p.shown} {p.unit} ({p.source.partition(' ')[0]})" for p in cell.published)


def recipe_of(name: str | None, profile: str, typed: dict[str, object]) -> Recipe:
    """The recipe of a name or a file, or the lab's, with the settings that were typed."""
    from ..studies import Recipe, lab_recipe
    from ..studies.papers import cell, with_profile

    if name is None and profile != "paper":
        raise ValueError(f"--profile {profile} goes with --recipe: name one, `mankit recipes` lists them")
    if name is None:
        return lab_recipe(**typed)
    read = with_profile(Recipe.read(name), profile) if name.endswith(".json") else cell(name, profile).recipe
    return read.changed(**typed)
