"""A Sphinx extension: what other sites load from elsewhere is copied from installed packages into the built site."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

DOCS = Path(__file__).parent
# tex-svg.js needs no fonts; sre: how formulas are spoken; the rest is loaded by what a formula needs
MATHJAX = ("tex-svg.js", "a11y", "input/mml", "input/mml.js", "input/tex", "sre", "ui")
LANGUAGES = ("base.json", "en.json")
FRONT = '<!doctype html><html lang="en"><title>mankit</title><meta http-equiv="refresh" content="0; url={0}">\n'


def mathjax() -> Path:
    """The folder of MathJax 3's files in the package that carries them."""
    package = find_spec("sphinx-mathjax-offline")
    return Path(package.submodule_search_locations[0], "static", "mathjax")


def copy(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax and plotly.js into the site, and a front page that leads to the first one."""
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    for name in MATHJAX:
        source, target = mathjax() / name, static / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy(source, target)
        else:
            shutil.copytree(source, target, dirs_exist_ok=True)
    for file in (static / "mathjax" / "sre" / "mathmaps").iterdir():
        if file.name not in LANGUAGES:
            file.unlink()
    for picture in (*DOCS.glob("*.gif"), *DOCS.glob("*.png"), *DOCS.glob("path/*")):  # README's <img> and <picture>
        target = Path(app.outdir, "docs", picture.relative_to(DOCS))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    (static / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    (Path(app.outdir) / "index.html").write_text(FRONT.format(f"{app.config.root_doc}.html"), encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """What Sphinx calls."""
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
