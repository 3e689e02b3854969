"""A Sphinx extension: what a notebook needs to be a good page, before Sphinx reads it.

Pictures get their words and, in a browser with JavaScript, become the plotly figure that lies beside them (figures.js).
Solutions and teacher's notes are folded.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

FIGURE = """<figure class="plot">
<img class="dark-light" src="data:image/png;base64,{png}" alt="{alt}" width="{width}" height="{height}">
<button type="button" hidden>Interactive</button>
<script type="application/json">{plotly}</script>
</figure>"""
Cell = dict[str, Any]


def text(source: str | list[str]) -> str:
    """A notebook's source or output, which may be stored as lines."""
    return source if isinstance(source, str) else "".join(source)


def figure(output: dict[str, Any]) -> str:
    """A chart's PNG with its words, and the plotly figure as data, which nothing draws yet."""
    data, words = output["data"], output["metadata"]["image/png"]
    plotly = json.dumps(data["application/vnd.plotly.v1+json"]).replace("<", "\\u003c")  # no </script> inside
    png = text(data["image/png"]).replace("\n", "")
    size = {name: words[name] for name in ("width", "height")}
    return FIGURE.format(png=png, alt=html.escape(words["alt"]), plotly=plotly, **size)


def with_headers(table: str) -> str:
    """A pandas table: a corner without words is no header, and others say what they are the header of."""
    table = re.sub(r"<style scoped>.*?</style>", "", table, flags=re.DOTALL).replace(' border="1"', "")
    table = table.replace("<th></th>", "<td></td>")
    head, mark, body = table.partition("</thead>")
    return head.replace("<th>", '<th scope="col">') + mark + body.replace("<th>", '<th scope="row">')


def show(output: dict[str, Any]) -> None:
    """Turn an output's figure or table into HTML of its own."""
    data = output.get("data", {})
    if "application/vnd.plotly.v1+json" in data:
        output["data"] = {"text/html": figure(output)}
    elif "text/html" in data:
        data["text/html"] = with_headers(text(data["text/html"]))


def fold(cell: Cell) -> None:
    """Fold a solution, and a note for the teacher."""
    tags = cell["metadata"].setdefault("tags", [])
    if "exercise" in tags and cell["cell_type"] == "code":
        tags.append("hide-input")
        cell["source"] = re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", text(cell["source"]))
    if "instructor" in tags and cell["cell_type"] == "markdown":
        title, _, words = text(cell["source"]).partition("\n")
        cell["source"] = f":::::{{dropdown}} {title.lstrip('# ')}\n{words}\n:::::"


def notebook(source: str) -> str:
    """A notebook's JSON, made ready."""
    content = json.loads(source)
    for cell in content["cells"]:
        fold(cell)
        for output in cell.get("outputs", []):
            show(output)
    return json.dumps(content)


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Sphinx's event `source-read`: change the text of a page in place."""
    if Path(app.env.doc2path(name)).suffix == ".ipynb":
        source[0] = notebook(source[0])


def setup(app: Sphinx) -> ExtensionMetadata:
    """What Sphinx calls."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
