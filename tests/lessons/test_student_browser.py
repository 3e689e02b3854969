"""Every lesson as its students get it, in JupyterLab in a real browser: Run All reaches the end, its panel draws."""

import nbformat
import papermill
import pytest
from exercises import LESSONS, NOTEBOOKS
from lab_page import LabPage, browser_page, jupyterlab

from mankit.teach.student import student_version

# one block is proven by the same run
QUICK = {
    "K": 1,
    "decay": 0.0,
    "epochs": 1,
    "other_epochs": 1,
    "seeds": 1,
    "budgets": [1],
    "Ks": [1, 2],
    "decays": [0.0],
    "data": "digits",  # few images
}
PLOTS = {"by_block", "ema", "cka", "own", "beside", "loss", "cka_bp", "memory"}
CHECKS = """window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => (cell.model.metadata.tags ?? []).includes('check'))
    .map(cell => cell.model.outputs.toJSON().map(output => output.text).join())"""


def students_version(name, path):
    """A lesson without its solutions, with few epochs and one seed."""
    nb = student_version(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))
    assert "### BEGIN SOLUTION" not in nbformat.writes(nb)
    assert not any("instructor" in cell.metadata.get("tags", []) for cell in nb.cells)
    known = papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb"))
    values = "\n".join(f"{name} = {value!r}" for name, value in QUICK.items() if name in known)
    at = next(i for i, cell in enumerate(nb.cells) if "parameters" in cell.metadata.get("tags", []))
    nb.cells.insert(at + 1, nbformat.v4.new_code_cell(values))
    nbformat.write(nb, path)
    return nb


@pytest.mark.lesson
@pytest.mark.parametrize("name", LESSONS)
def test_run_all_reaches_the_end_and_a_panel_draws(name, tmp_path):
    """Nothing is answered, and nothing stops: each check says so in a line."""
    nb = students_version(name, tmp_path / "student.ipynb")
    with jupyterlab(tmp_path) as address, browser_page() as page:
        if page is None:
            pytest.skip("needs Chromium and Playwright: apt-get install chromium, pip install playwright")
        lab = LabPage(page, address("student.ipynb"))
        lab.run_all(600)
        if "lab.panel(" in nbformat.writes(nb):
            lab.wait_drawn(120)
            assert set(lab.plotted()) == PLOTS
        checks = page.evaluate(CHECKS)
        assert len(checks) >= 4 and all(words.startswith("Not answered yet: ") for words in checks)
