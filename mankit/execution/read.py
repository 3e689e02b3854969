"""Read a notebook, and the parameters that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbformat import NotebookNode

from ..errors import first_line

if TYPE_CHECKING:
    from papermill.models import Parameter


def read_notebook(path: Path) -> NotebookNode:
    """A notebook from its file. Raises: ValueError where there is none, or what is there isn't one."""
    if path.suffix != ".ipynb" or not path.is_file():
        raise ValueError(f"no notebook {path}: look into notebooks/")
    try:
        nb = nbformat.read(path, as_version=4)
        nbformat.validate(nb)
    except Exception as error:  # there are many ways not to be a notebook
        raise ValueError(f"{path} isn't a notebook that can be read: {first_line(error)}") from error
    return nb


def parameters_of(nb: NotebookNode) -> dict[str, Parameter]:
    """What stands in the cell tagged `parameters`, by name; empty without one."""
    from papermill.translators import PythonTranslator  # here: a student's version is made without papermill

    cells = [cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", [])]
    return {parameter.name: parameter for parameter in PythonTranslator.inspect(cells[0])} if cells else {}
