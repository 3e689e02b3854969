"""Execute a notebook from a fresh kernel, and clean what it leaves, so that it can be kept and compared."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import papermill
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor

PACKAGE = Path(__file__).parents[1]


def execute(notebook: Path, target: Path, parameters: dict[str, object] | None = None) -> None:
    """Run every cell of a notebook, in its `folder_of`, into `target`, with other parameters.

    The kernel is this Python's, whatever kernel the notebook was saved with. What was run is kept even when a
    cell fails. Raises: papermill's PapermillExecutionError for a failing cell.
    """
    os.environ["MANKIT_LIVE"] = "0"  # the kernel inherits it: nobody is there to press a panel's buttons
    how = {"cwd": str(folder_of(notebook)), "kernel_name": "python3", "language": "python"}
    how["extra_arguments"] = ["--log-level=ERROR"]  # its warnings (TCP without encryption) are for servers' keepers
    try:
        papermill.execute_notebook(str(notebook), str(target), parameters or {}, **how)
    finally:
        if target.is_file():
            tidy(target)


def folder_of(notebook: Path) -> Path:
    """Where a notebook's cells run: in its own folder, or for one inside an installed package in the current one."""
    return Path.cwd() if notebook.resolve().is_relative_to(PACKAGE) else notebook.parent


def tidy(executed: Path) -> None:
    """Progress bars write over one line again and again: keep in an executed copy what one would still see.

    Not by nbclient's `coalesce_streams`: it would put what is printed after a picture before it.
    """
    nb, _ = CoalesceStreamsPreprocessor().preprocess(nbformat.read(executed, as_version=4), {})
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
    nbformat.write(nb, executed)


def save(executed: Path, notebook: Path) -> None:
    """Store an executed copy as the notebook itself: without times, paths or widget state of this machine."""
    nb = nbformat.read(executed, as_version=4)
    for metadata in [nb.metadata, *(cell.metadata for cell in nb.cells)]:
        for key in ("papermill", "widgets", "execution"):
            metadata.pop(key, None)
    nb.metadata.get("language_info", {}).pop("version", None)
    nbformat.write(nb, notebook)
