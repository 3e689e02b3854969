"""How a chart is shown: as one bundle that lasts in an executed notebook, on a code host and in an HTML export."""

from __future__ import annotations

import base64
import re
from typing import Any

from IPython.display import display

from mankit.charts.plotly_pen import spec
from mankit.charts.png_pen import png
from mankit.charts.record import Chart


def bundle(chart: Chart, scale: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """The MIME bundle of a chart (interactive plotly, PNG, words) and its metadata."""
    drawn = {**spec(chart), "config": {"displaylogo": False, "responsive": True}}
    image = base64.b64encode(png(chart, scale)).decode()
    data = {"application/vnd.plotly.v1+json": drawn, "image/png": image, "text/plain": chart.words}
    return data, {"image/png": {"alt": chart.words, "width": chart.width, "height": chart.height}}


def show(chart: Chart) -> None:
    """Display a chart, and under it its summary in words, for readers who can't see it."""
    data, metadata = bundle(chart)
    display(data, metadata=metadata, raw=True)
    words = re.sub(r"([\\`*_\[\]<>$#|~])", r"\\\1", chart.words)  # text, not markdown
    display({"text/markdown": f"*{words}*", "text/plain": chart.words}, raw=True)


Chart._ipython_display_ = show  # for a chart as the last line of a cell; set here, so that the record knows no pen
