"""Notebooks as one HTML page that needs no connection: formulas are MathML, plots are pictures with their words.

Of any notebook: jupyter nbconvert --to offline notebooks/02_dgl.ipynb
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets import default


class Formulas(IPythonRenderer):
    """nbconvert's HTML of markdown, with formulas as the MathML that browsers draw themselves."""

    def inline_math(self, body: str, display: str = "inline") -> str:
        """MathML; of what isn't LaTeX, the source."""
        try:
            return convert(body, display=display)
        except Exception:  # it has one for each mistake, without a common base
            return f"<code>{self.escape_html(body)}</code>"

    def block_math(self, body: str) -> str:
        """The same, in a line of its own."""
        return self.inline_math(body, "block")


def no_empty_header(table: str) -> str:
    """A table's corner without words (pandas leaves one) as a cell: a screen reader would announce a header."""
    return table.replace("<th></th>", "<td></td>")


class Page(HTMLExporter):
    """nbconvert's HTML, without scripts: nothing is loaded, and what needs a kernel stands there in words."""

    export_from_notebook = "HTML, offline"  # in JupyterLab's menu

    @default("raw_template")
    def _template(self) -> str:
        return Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")

    def default_filters(self) -> Iterator[tuple[str, Callable]]:
        """nbconvert's, and what page.html.j2 calls besides."""
        yield from super().default_filters()
        yield "no_empty_header", no_empty_header

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """A cell's or an output's markdown, with the pictures that were pasted into it."""
        pasted = context.get("cell", {}).get("attachments", {})
        return no_empty_header(MarkdownWithMath(Formulas(escape=False, attachments=pasted)).render(source))


def report(executed: list[Path], target: Path) -> None:
    """Write executed notebooks one below the other as one page: prose, tables and pictures, without code."""
    cells = [cell for path in executed for cell in nbformat.read(path, as_version=4).cells]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the notebooks have some in common
    exporter = Page(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
    resources = {"metadata": {"name": "mankit: reproductions"}}
    html, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=cells), resources)
    target.write_text(html, encoding="utf-8")
