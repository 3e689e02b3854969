"""Execute a notebook from a fresh kernel, and clean what it leaves, so that it can be kept and compared."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path

import nbformat
import papermill
from nbformat import NotebookNode


def execute(notebook: Path, target: Path, parameters: dict[str, object] | None = None) -> None:
    """Run every cell of a notebook, in its own folder, into `target`, with other parameters.

    The kernel is this Python's, whatever kernel the notebook was saved with. What was run is kept even when a
    cell fails. Raises: papermill's PapermillExecutionError for a failing cell.
    """
    os.environ["MANKIT_LIVE"] = "0"  # the kernel inherits it: nobody is there to press a panel's buttons
    where = str(notebook.parent)
    try:
        papermill.execute_notebook(str(notebook), str(target), parameters or {}, cwd=where, kernel_name="python3")
    finally:
        if target.is_file():
            tidy(target)


def tidy(executed: Path) -> None:
    """Leave of each progress bar in an executed copy what one would still see."""
    nbformat.write(without_progress_bars(nbformat.read(executed, as_version=4)), executed)


def save(executed: Path, notebook: Path) -> None:
    """Store an executed copy as the notebook itself: without times, paths or widget state of this machine."""
    nb = nbformat.read(executed, as_version=4)
    for metadata in [nb.metadata, *(cell.metadata for cell in nb.cells)]:
        for key in ("papermill", "widgets", "execution"):
            metadata.pop(key, None)
    nb.metadata.get("language_info", {}).pop("version", None)
    nbformat.write(nb, notebook)


SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION", re.DOTALL | re.MULTILINE)


def student_version(nb: NotebookNode) -> NotebookNode:
    """A copy without solutions, outputs and teacher's notes: what stands between `### BEGIN SOLUTION` and
    `### END SOLUTION` becomes a NotImplementedError, and cells tagged `instructor` are left out.
    """
    nb = copy.deepcopy(nb)
    nb.cells = [cell for cell in nb.cells if "instructor" not in cell.metadata.get("tags", [])]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = SOLUTION.sub(r'\1raise NotImplementedError("your answer goes here")', cell.source)
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("jupyter", None)  # a folded solution opens, for it is now the reader's
    return nb


def without_progress_bars(nb: NotebookNode) -> NotebookNode:
    """Progress bars write over one line again and again: keep of each line what one would still see."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in _joined(cell.outputs) if o.output_type != "stream" or o.text.strip()]
    return nb


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last and last.get("name") == output.name:
            last.text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream" and "\r" in output.text:
            output.text = "\n".join(line.rsplit("\r", 1)[-1] for line in output.text.split("\n"))
    return joined


def report(executed: list[Path], target: Path) -> None:
    """Write executed notebooks one below the other as one HTML page: prose, tables and pictures, without code."""
    from nbconvert import HTMLExporter  # here, as it takes a second

    cells = [cell for path in executed for cell in nbformat.read(path, as_version=4).cells]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the notebooks have some in common
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):  # the picture alone: plotly's own needs a connection
                output.data.pop("application/vnd.plotly.v1+json", None)
    page = nbformat.v4.new_notebook(cells=cells)
    exporter = HTMLExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
    html, _ = exporter.from_notebook_node(page, resources={"metadata": {"name": "mankit: reproductions"}})
    target.write_text(html, encoding="utf-8")
