"""A lesson as its students get it."""

from __future__ import annotations

import copy
import re

from nbformat import NotebookNode

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
