"""A Sphinx extension: a page for each room of the library, and its docstrings as valid RST.

Docstrings are written to be read in the source. A line `name: words` under a paragraph is an item of a list, an
indented paragraph is code, and a list or a section (`Args:`) may follow a paragraph without an empty line.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

SECTION = re.compile(r"(Args|Returns|Raises|Yields):$")
ITEM = re.compile(r"(\w+(?:, \w+)*): (.+)")

PACKAGE = Path(__file__).parents[1] / "mankit"


def page_of(room: Path) -> list[str]:
    """The lines of a room's page: what it is for, then its files."""
    name = ".".join(room.relative_to(PACKAGE.parent).parts)
    lines = [name, "=" * len(name), "", f".. automodule:: {name}", ""]
    if room == PACKAGE:  # all in one list, which needs no folds
        rooms = sorted(".".join(init.parent.relative_to(PACKAGE).parts) for init in PACKAGE.glob("*/**/__init__.py"))
        lines += [".. toctree::", "   :hidden:", "", *(f"   {name}.{inner}" for inner in rooms), ""]
    for file in sorted(room.glob("[!_]*.py")):
        lines += [file.stem, "-" * len(file.stem), "", f".. automodule:: {name}.{file.stem}", ""]
    return lines


def write_pages(app: Sphinx) -> None:
    """Sphinx's event `builder-inited`: write docs/api, which git ignores."""
    folder = Path(app.srcdir, "docs", "api")
    folder.mkdir(exist_ok=True)
    for room in [init.parent for init in PACKAGE.rglob("__init__.py")]:
        name, text = ".".join(room.relative_to(PACKAGE.parent).parts), "\n".join(page_of(room))
        page = folder / f"{name}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:  # else Sphinx would read it again
            page.write_text(text, encoding="utf-8")


def as_rst(lines: list[str]) -> list[str]:
    """The same lines as RST (napoleon then reads the sections)."""
    out, kind = [], ""  # of the line before: text, item, bullet, code, section or "" for an empty one
    for number, line in enumerate(lines):
        indented, item = line.startswith(" "), ITEM.fullmatch(line)
        if not line.strip():
            now = kind if kind in ("code", "section") else ""
        elif indented:
            now = "code" if kind == "" and out else kind
        elif SECTION.fullmatch(line):
            now = "section"
        elif line.startswith("- "):
            now = "bullet"
        else:
            now = "item" if item and number and kind in ("", "item", "section", "code") else "text"
        if now != kind and line.strip() and out and out[-1]:
            out.append("")
        if now == "code" != kind:
            out += ["::", ""]
        out += [f":{item[1]}: {item[2]}"] if now == "item" and not indented else [line]
        kind = now
    return out


def process(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Sphinx's event `autodoc-process-docstring`: change the lines in place."""
    lines[:] = as_rst(lines)


def setup(app: Sphinx) -> ExtensionMetadata:
    """What Sphinx calls."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
