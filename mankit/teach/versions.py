"""The versions that a lesson's stored numbers were made with, against those that are here."""

from __future__ import annotations

from importlib.metadata import version


def executed_with(**versions: str) -> None:
    """Say which versions are here, and warn where they differ from those that the stored outputs were made with.

    Example: `executed_with(mankit="0.1.0", torch="2.15.0")`. A build's suffix ("+cu126") doesn't count.
    """
    here = {name: version(name).partition("+")[0] for name in versions}
    print(", ".join(f"{name} {number}" for name, number in here.items()))
    other = [f"{name} {number}" for name, number in versions.items() if number != here[name]]
    if other:
        print(f"Note: the stored outputs were made with {', '.join(other)}: expect other last digits, or more.")
