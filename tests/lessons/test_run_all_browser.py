"""Run All in a real JupyterLab in a real browser goes on behind an unanswered check, and behind a wrong answer."""

import nbformat
import pytest
from lab_page import LabPage, browser_page, jupyterlab, wait_for
from test_run_all import lesson

TEXTS = """window.jupyterapp.shell.currentWidget.content.widgets
    .map(cell => cell.outputArea ? cell.outputArea.node.innerText.trim() : '')"""


@pytest.fixture
def page():
    with browser_page() as page:
        if page is None:
            pytest.skip("needs Chromium and Playwright: apt-get install chromium, pip install playwright")
        yield page


def test_run_all_reaches_the_end_and_shows_sentences(tmp_path, page):
    nbformat.write(lesson(), tmp_path / "lesson.ipynb")
    with jupyterlab(tmp_path) as address:
        LabPage(page, address("lesson.ipynb")).command("notebook:run-all-cells")
        wait_for(lambda: page.evaluate(TEXTS)[-1] == "the end", 60, "the last cell")
        shown = [text for text in page.evaluate(TEXTS) if text]
    assert shown[0] == "Not answered yet: look_ahead"
    assert shown[1] == "Not yet: one branch is missing: add learnable_bias(h) and ema(h)."
    assert shown[2].startswith("Not yet: your function stopped with RuntimeError: ") and "\n" in shown[2]
    assert shown[4].startswith("Passed: ")
