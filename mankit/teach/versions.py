"""The versions that a lesson was made for and its stored numbers were made with, against those that are here."""

from __future__ import annotations

from importlib.metadata import version


def made_for(number: str) -> None:
    """Say so where the installed mankit isn't the version that a lesson was written for: its cells may not fit."""
    if number != (here := version("mankit")):
        print(
            f"Note: this lesson is from mankit {number}, and {here} is installed: `mankit lessons DIR` copies those of"
        )
        print(f"{here}, `pip install mankit=={number}` installs the one that fits these.")


def executed_with(**versions: str) -> None:
    """Say which versions are here, and warn where they differ from those that the stored outputs were made with.

    Example: `executed_with(mankit="0.1.0", torch="2.15.0")`. A build's suffix ("+cu126") doesn't count.
    """
    here = {name: version(name).partition("+")[0] for name in versions}
    print(", ".join(f"{name} {number}" for name, number in here.items()))
    other = [f"{name} {number}" for name, number in versions.items() if number != here[name]]
    if other:
        print(f"Note: the stored outputs were made with {', '.join(other)}: expect other last digits, or more.")
