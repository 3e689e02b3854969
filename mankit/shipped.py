"""Where the files lie that come with the code: the notebooks, and the numbers of data/*.csv."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

TOUR = "00_tour.ipynb"


def shipped(folder: str, file: str) -> Path:
    """A file of notebooks/ or data/: inside the package where a wheel was installed, beside it in a clone.

    Raises: ValueError where it is missing, since tables without their published numbers would look complete.
    """
    package = Path(str(files("mankit")))
    for place in (package / f"_{folder}", package.parent / folder):
        if (place / file).is_file():
            return place / file
    raise ValueError(f"{folder}/{file} is missing beside {package}: install mankit again, from its wheel or its clone")
