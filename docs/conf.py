"""The site, built from the repository as it stands: sphinx-build -c docs . build/site (make docs).

The source folder is the repository itself, so that a page has the path of its file, the lessons aren't copied, and a
link between files leads to the same place on a code host and on the site. Nothing is executed: the notebooks hold
their outputs. Nothing is loaded from elsewhere: see assets.py.
"""

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]  # pages.py and assets.py; mankit of this checkout

PROJECT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
project, release, html_title = "mankit", PROJECT["version"], "mankit"
author = "the authors of mankit"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "pages",
    "assets",
    "library",
]
root_doc = "docs/index"
include_patterns = ["*.md", "data/README.md", "docs/**.md", "docs/api/**.rst", "notebooks/**.ipynb"]
exclude_patterns = [".*", "build", "dist", "runs", "tests", "mankit", "**/.ipynb_checkpoints"]

# --- notebooks and markdown ---
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_code_prompt_show = "Show a solution"
nb_code_prompt_hide = "Hide the solution"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "attrs_block", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = [
    "mystnb.unknown_mime_type",  # a notebook's result as JSON: its words are shown
    "myst.header",  # a lesson's teacher's notes begin two levels down
    "ref.python",  # two classes are named Data: a type hint may mean either
]

# --- the library's own pages ---
autodoc_default_options = {"members": True, "member-order": "bysource", "ignore-module-all": True}
default_role = "code"  # single backticks, as in markdown
autodoc_typehints = "description"
add_module_names = False

# --- what a page looks like ---
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("figures.js", {"defer": "defer"})]
alone = (
    "README",
    "CHANGELOG",
    "CONTRIBUTING",
    "data/README",
    "docs/own_rule",
    "docs/questions",
    "docs/command",
    "docs/processes",
)
html_sidebars = {page: [] for page in alone}  # they have no pages below them
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "mankit"},
    "navigation_depth": 2,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = "the authors of mankit. Code: MIT"
copybutton_exclude = ".linenos, .gp, .go"

# speech for screen readers: MathJax writes MathML beside each formula; its menu can read it aloud, from local files
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"menuOptions": {"settings": {"assistiveMml": True}}}}
