"""Notebooks as an HTML page: it needs no connection, and its pictures have words."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from lab_page import browser_page
from nbconvert.exporters import Exporter

from mankit.execution.page import Page, report

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(p for p in ROOT.glob("notebooks/**/*.ipynb") if ".ipynb_checkpoints" not in p.parts)
WORDS = 'A picture: "quotes", <b> & $h_1$.'
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def loaded(html):
    """What a page would fetch from elsewhere, and what it would run."""
    soup = BeautifulSoup(html, "html.parser")
    addresses = [each.get("src") or each.get("href") for each in soup.select("[src], link[href]")]
    styles = " ".join(each.text for each in soup.select("style"))
    addresses += re.findall(r"@import\s+[^;]+|url\(\s*['\"]?([^)'\"]+)", styles)
    return [at for at in addresses if not at.startswith(("data:", "#"))] + soup.select("script")


def page_of(*cells):
    return Page().from_notebook_node(nbformat.v4.new_notebook(cells=list(cells)))[0]


def shown(data, **metadata):
    """A code cell that showed something."""
    cell = nbformat.v4.new_code_cell("show()")
    cell.outputs = [nbformat.v4.new_output("display_data", data=data, metadata=metadata)]
    return cell


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_becomes_a_page_that_loads_nothing_and_says_its_pictures(path):
    nb = nbformat.read(path, as_version=4)
    html, _ = Page().from_notebook_node(nb)
    assert loaded(html) == []
    soup = BeautifulSoup(html, "html.parser")
    outputs = [o for cell in nb.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert [each["alt"] for each in soup.select("img")] == [o.metadata["image/png"]["alt"] for o in outputs]
    prose = " ".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert bool(soup.select("math")) == ("$" in prose)
    for code in soup.select("pre, code"):
        code.decompose()
    assert not re.search(r"\$[^$]*\\[a-z]", soup.text)  # no formula is left as its source


def test_words_of_a_picture_are_kept_as_they_are():
    html = page_of(shown({"image/png": PIXEL}, **{"image/png": {"alt": WORDS, "width": 7}}))
    (picture,) = BeautifulSoup(html, "html.parser").select("img")
    assert (picture["alt"], picture["width"]) == (WORDS, "7")


def test_no_table_has_a_header_without_words():
    table = "<table><thead><tr><th></th><th>BP</th></tr></thead><tr><th>K</th><td>1</td></tr></table>"
    soup = BeautifulSoup(page_of(shown({"text/html": table, "text/plain": "K 1"})), "html.parser")
    assert [each.text for each in soup.select("th")] == ["BP", "K"] and len(soup.select("td")) == 2


def test_formulas_are_mathml_and_what_is_no_formula_stays():
    html = page_of(nbformat.v4.new_markdown_cell("$h_1$ and `$x` and\n\n$$\\frac{a}{b}$$\n\nand $a_b_c$."))
    soup = BeautifulSoup(html, "html.parser")
    assert [each["display"] for each in soup.select("math")] == ["inline", "block"]
    assert soup.select("math mfrac") and "$x" in soup.text
    assert [each.text for each in soup.select("code")] == ["$x", "a_b_c"]  # two indices: no LaTeX


def test_a_saved_panel_and_a_script_stand_there_in_words():
    view = {"model_id": "a", "version_major": 2, "version_minor": 0}
    panel = shown({"application/vnd.jupyter.widget-view+json": view, "text/plain": "Panel(man)"})
    nb = nbformat.v4.new_notebook(cells=[panel, shown({"application/javascript": "run()", "text/plain": "a script"})])
    state = {"state": {"a": {}}, "version_major": 2, "version_minor": 0}
    nb.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    html, _ = Page().from_notebook_node(nb)
    assert loaded(html) == [] and "Panel(man)" in html and "a script" in html


def test_a_pasted_picture_stays():
    cell = nbformat.v4.new_markdown_cell("![mine](attachment:a.png)")
    cell.attachments = {"a.png": {"image/png": PIXEL}}
    (picture,) = BeautifulSoup(page_of(cell), "html.parser").select("img")
    assert picture["alt"] == "mine" and picture["src"] == f"data:image/png;base64,{PIXEL}"


def test_nbconvert_knows_the_page_by_its_name():
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["nbconvert.exporters"]
    module, name = entry["offline"].split(":")
    assert vars(import_module(module))[name] is Page and issubclass(Page, Exporter)
    assert f"--to {next(iter(entry))} " in import_module(module).__doc__


def test_a_report_draws_without_a_connection(tmp_path):
    lessons = [ROOT / "notebooks" / "02_dgl.ipynb", ROOT / "notebooks" / "reproduce" / "memory.ipynb"]
    report(lessons, tmp_path / "page.html")
    assert loaded((tmp_path / "page.html").read_text()) == []
    with browser_page() as page:
        if page is None:
            pytest.skip("needs Chromium and Playwright: apt-get install chromium, pip install playwright")
        page.context.set_offline(True)
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto((tmp_path / "page.html").as_uri())
        assert [url for url in asked[1:] if not url.startswith("data:")] == [] and said == []
        pictures = page.evaluate("[...document.images].map(each => [each.naturalWidth, each.alt])")
        assert len(pictures) > 10 and all(width > 500 and words for width, words in pictures)
        sizes = page.evaluate("[...document.querySelectorAll('math')].map(each => each.getBoundingClientRect().width)")
        assert len(sizes) > 20 and min(sizes) > 2
        assert page.locator(".jp-CodeCell .jp-InputArea").count() == 0  # prose, tables and pictures alone


def test_axe_finds_nothing_on_an_exported_lesson(tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    nb = nbformat.read(ROOT / "notebooks" / "02_dgl.ipynb", as_version=4)
    (tmp_path / "page.html").write_text(Page().from_notebook_node(nb)[0])
    with browser_page() as page:
        if page is None:
            pytest.skip("needs Chromium and Playwright: apt-get install chromium, pip install playwright")
        page.goto((tmp_path / "page.html").as_uri())
        assert [(each["id"], each["nodes"][0]["html"]) for each in axe.run(page).response["violations"]] == []
