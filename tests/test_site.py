"""The site, built once from what git would hold: no warning, no dead link, nothing from elsewhere; then read."""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock
from lab_page import browser_page, wait_for
from PIL import Image

for package in ("sphinx", "myst_nb", "pydata_sphinx_theme", "sphinx_copybutton", "sphinx_design"):
    pytest.importorskip(package, reason="needs the extra [docs]")

ROOT = Path(__file__).parents[1]
LESSON = "notebooks/02_dgl.html"
PAGES = (
    "docs/index.html",
    "notebooks/06_family_of_heads.html",
    "docs/api/mankit.rules.html",
    "docs/reproductions.html",
)
NO_BROWSER = "needs Chromium and Playwright: apt-get install chromium, pip install playwright"


def checkout(folder):
    """What a clean clone has (but for the oracles), so that no page needs a file that git ignores."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this copy is no git checkout, so what belongs to it isn't known")
    for name in names:
        if name and not name.startswith("tests/oracles/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def build(folder):
    """Build the site as `make docs` does, every warning an error."""
    checkout(folder / "clone")
    words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", "../doctrees", ".", "../site"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder / "clone", env=environment, capture_output=True, text=True
    )
    (folder / "said").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")


@pytest.fixture(scope="module")
def site(tmp_path_factory, worker_id):
    """The built site: one for all processes that test."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "docs"
    with FileLock(f"{folder}.lock"):
        if not (folder / "said").exists():
            build(folder)
    assert (folder / "said").read_text() == "0\n"  # no page, docstring or reference that Sphinx complains about
    return folder / "site"


@pytest.fixture(scope="module")
def address(site):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def reader(address, width=1280, **media):
    """A browser page; at the end, nothing was asked for from elsewhere."""
    with browser_page(width) as page:
        if page is None:
            pytest.skip(NO_BROWSER)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.emulate_media(**media)
        yield page
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


# --- the files ---


def test_readmes_pictures_are_here_small_and_have_words():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = dict(re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]+)"', readme))
    pictures |= {path: words for words, path in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", readme)}
    assert all(words and (ROOT / path).is_file() for path, words in pictures.items())
    film = Image.open(ROOT / "docs" / "panel.gif")
    assert film.n_frames > 15 and (ROOT / "docs" / "panel.gif").stat().st_size < 2e6
    lessons = {f"docs/path/{path.name[:2]}.webp" for path in ROOT.glob("notebooks/[0-9]*.ipynb")}
    assert lessons < {*pictures} and sum((ROOT / path).stat().st_size for path in lessons) < 200_000


@functools.cache
def parts(page):
    """The ids of a page, where it leads, and what it loads."""
    text = re.sub(r'<script type="application/json">.*?</script>', "", page.read_text(encoding="utf-8"), flags=re.S)
    loads = re.findall(r'<(?:script|img|link|source|iframe)\b[^>]*?\s(?:src|srcset|href)="([^"]*)"', text)
    return set(re.findall(r'\bid="([^"]*)"', text)), re.findall(r'<a\b[^>]*?\shref="([^"]*)"', text), loads


def outside(link):
    return bool(urlsplit(link).scheme) or link.startswith("//")


def dead(page, link):
    """Whether a link leads to no file, or to no place in it."""
    path, place = unquote(urlsplit(link).path), unquote(urlsplit(link).fragment)
    target = (page.parent / path).resolve() if path else page
    if target.suffix == ".html" and target.is_file():
        return bool(place) and place not in parts(target)[0]
    return not target.is_file()


def test_every_link_inside_the_site_leads_somewhere(site):
    pages = [page for page in site.rglob("*.html") if "_static" not in page.parts]
    links = [(page, link) for page in pages for link in {*parts(page)[1], *parts(page)[2]} if not outside(link)]
    assert len(pages) > 50 and len(links) > 3000
    assert [f"{page.relative_to(site)}: {link}" for page, link in links if dead(page, link)] == []
    assert "docs/index.html" in (site / "index.html").read_text()


def test_no_page_loads_anything_from_elsewhere(site):
    loads = {link for page in site.rglob("*.html") for link in parts(page)[2]}
    assert [link for link in loads if outside(link) and not link.startswith("data:")] == []
    assert (site / "_static" / "mathjax" / "sre" / "mathmaps" / "en.json").stat().st_size > 100_000


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "a.html"
    page.write_text('<p id="here">')
    assert [link for link in ("#here", "a.html#here", "#no", "a.html#no", "b.html") if dead(page, link)] == [
        "#no",
        "a.html#no",
        "b.html",
    ]


def docs_module(name):
    spec = spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_docstring_becomes_valid_rst():
    as_rst = docs_module("library").as_rst
    lines = ["One: a line.", "", "    run(x)", "", "a, b: words", "    more", "c: words", "Args:", "    x: a number"]
    code, items = ["::", "", "    run(x)", ""], [":a, b: words", "    more", ":c: words", ""]
    assert as_rst(lines) == ["One: a line.", "", *code, *items, "Args:", "    x: a number"]
    assert as_rst(["So:", "- one", "- two", "the end"]) == ["So:", "", "- one", "- two", "", "the end"]


def test_a_solution_and_a_teachers_note_are_folded():
    pages = docs_module("pages")
    code = {"cell_type": "code", "metadata": {"tags": ["exercise"]}}
    note = {"cell_type": "markdown", "metadata": {"tags": ["instructor"]}, "source": "### For the teacher\nNote."}
    code["source"] = ["def f():\n", "    ### BEGIN SOLUTION\n", "    return 1\n", "    ### END SOLUTION"]
    pages.fold(code), pages.fold(note)
    assert code["source"] == "def f():\n    return 1\n" and "hide-input" in code["metadata"]["tags"]
    assert note["source"] == ":::::{dropdown} For the teacher\nNote.\n:::::"


def test_every_lesson_and_rule_has_its_page(site):
    notebooks = [path.relative_to(ROOT).with_suffix(".html") for path in ROOT.glob("notebooks/**/[!.]*.ipynb")]
    assert len(notebooks) > 15 and all((site / name).is_file() for name in notebooks)
    ids = parts(site / "docs" / "api" / "mankit.rules.html")[0]
    files = {f"module-mankit.rules.{file.stem}" for file in (ROOT / "mankit" / "rules").glob("[!_]*.py")}
    assert files < ids


# --- in a browser ---

FONT_SIZE = """name => { const found = document.querySelector(name);
                         return found ? parseFloat(getComputedStyle(found).fontSize) : 0; }"""


@pytest.mark.parametrize("width, scheme, judged", [(1280, "light", PAGES), (400, "dark", PAGES[1:2])])
def test_pages_fit_and_axe_finds_nothing_serious(address, width, scheme, judged):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with reader(address, width, color_scheme=scheme) as page:
        for name in PAGES:
            page.goto(address + name)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            sizes = [page.evaluate(FONT_SIZE, f"article {heading}") for heading in ("h1", "h2", "h3")]
            assert sizes == sorted(sizes, reverse=True), name  # 0 where the page has no such heading
            found = axe.run(page).response["violations"] if name in judged else []
            serious = [v for v in found if v["impact"] in ("serious", "critical")]
            assert not [(v["id"], [node["html"][:90] for node in v["nodes"]]) for v in serious], name


def test_formulas_are_drawn_and_can_be_spoken(address):
    with reader(address) as page:
        page.goto(address + LESSON)
        wait_for(lambda: page.locator("mjx-container").count() > 20, 60, "the formulas")
        wait_for(lambda: page.locator("mjx-container:not(:has(mjx-assistive-mml math))").count() == 0, 60, "speech")
        # the menu's Accessibility > Activate, for readers who have formulas read to them: from local files too
        page.evaluate("localStorage.setItem('MathJax-Menu-Settings', JSON.stringify({explorer: true}))")
        page.reload()
        page.locator("mjx-container[aria-label*='Subscript']").first.wait_for(timeout=60_000)


def test_a_picture_becomes_a_figure_and_back(address):
    with reader(address, width=400) as page:
        page.goto(address + LESSON)
        figure = page.locator("figure.plot").nth(1)
        words = figure.locator("img").get_attribute("alt")
        assert figure.locator("img").bounding_box()["width"] > 600 and figure.get_attribute("tabindex") == "0"
        figure.locator("> button").press("Enter")
        figure.locator(".main-svg").first.wait_for()
        assert figure.locator(".drawn").get_attribute("aria-label") == words != ""
        figure.locator("> button").press("Enter")
        figure.locator("img").wait_for()
        assert page.locator(".copybtn").count() > 20
        page.locator("figure.plot img").nth(2).hover()
        page.locator("figure.plot").nth(2).locator(".main-svg").first.wait_for()


def test_without_javascript_pictures_and_words_are_there(address):
    with reader(address) as first:
        context = first.context.browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(address + LESSON)
        picture = page.locator("figure.plot img").first
        assert picture.is_visible() and picture.get_attribute("alt")
        assert not page.locator("figure.plot button").first.is_visible()


def test_search_finds_what_is_meant(address):
    with reader(address) as page:
        page.goto(f"{address}search.html?q=learnable+bias")
        wait_for(lambda: page.locator("ul.search li a").count() > 0, 120, "a result")
        wait_for(lambda: "MAN" in page.locator("ul.search").inner_text(), 120, "MAN's lesson")
        assert any("04_man" in a.get_attribute("href") for a in page.locator("ul.search li a").all())
