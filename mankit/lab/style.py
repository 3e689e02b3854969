"""What every figure shares: its looks, its layout, the wording of numbers, and how it is shown."""

import base64
import re
import textwrap
from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go
from IPython.display import display

from mankit.lab.static import INK, plain, png

# Okabe and Ito's colours, safe for colour-blind readers (grey for their yellow: too pale for a line on white)
BLACK, ORANGE, SKY, GREEN, GREY = "#000000", "#E69F00", "#56B4E9", "#009E73", "#777777"
BLUE, RED, PINK = "#0072B2", "#D55E00", "#CC79A7"
LOOKS = {  # name: colour, dash, marker, hatch; fixed, so that a rule looks the same in every lesson
    "BP": (BLACK, "solid", "circle", ""),
    "DGL": (RED, "dash", "square", "/"),
    "InfoPro": (ORANGE, "dot", "diamond", "\\"),
    "MAN": (BLUE, "longdash", "triangle-up", "x"),
    "MAN + decoder": (GREEN, "dashdot", "star", "."),
    "Greedy": (PINK, "longdashdot", "x", "-"),
}
OTHER_COLORS = (SKY, GREY, PINK, GREEN, RED, BLUE, ORANGE)
OTHER_MARKERS = ("circle-open", "square-open", "triangle-down", "diamond-open", "cross", "star-open")
WIDTH, FONT = 700, 14


def look(name: str, index: int = 0) -> dict[str, str]:
    """Colour, dash, symbol and hatch of a series: fixed for the rules in LOOKS, by `index` for others."""
    if name in LOOKS:
        color, dash, symbol, hatch = LOOKS[name]
    else:  # the dash shifts at each round of the markers: 36 different pairs, no marker shared with LOOKS
        color, symbol = OTHER_COLORS[index % len(OTHER_COLORS)], OTHER_MARKERS[index % 6]
        dash, hatch = list(LOOKS.values())[(index + index // 6) % 6][1], "|+/x\\.-"[index % 7]
    return {"color": color, "dash": dash, "symbol": symbol, "hatch": hatch}


def looks(names: Iterable[str]) -> list[dict[str, str]]:
    """The look of each series of one figure; names that aren't in LOOKS are numbered among themselves."""
    names = list(names)
    others = [name for name in names if name not in LOOKS]
    return [look(name, others.index(name) if name in others else 0) for name in names]


def bundle(fig: go.Figure, alt: str | None = None, scale: float = 1.0) -> tuple[dict, dict]:
    """The MIME bundle of a figure and its metadata. `alt` goes before `fig.layout.meta["alt"]`.

    Raises ValueError without any summary in words, and where the PNG can't be drawn (see `static.png`).
    """
    alt = alt or (fig.layout.meta or {}).get("alt")
    if not alt:
        raise ValueError("the figure has no summary in words: pass alt='...' that says what the data show")
    spec = {**plain(fig.to_plotly_json()), "config": {"displaylogo": False, "responsive": True}}
    image = base64.b64encode(png(fig, scale)).decode()
    data = {"application/vnd.plotly.v1+json": spec, "image/png": image, "text/plain": alt}
    size = {"width": fig.layout.width or WIDTH, "height": fig.layout.height or 450}
    return data, {"image/png": {"alt": alt, **size}}


def show(fig: go.Figure, alt: str | None = None) -> None:
    """Display a figure so that it lasts, and under it its summary in words, for readers who can't see it."""
    data, metadata = bundle(fig, alt)
    display(data, metadata=metadata, raw=True)
    words = re.sub(r"([\\`*_\[\]<>$#|~])", r"\\\1", data["text/plain"])  # text, not markdown
    display({"text/markdown": f"*{words}*", "text/plain": data["text/plain"]}, raw=True)


def style(
    fig: go.Figure,
    title: str,
    alt: str,
    xlabel: str = "",
    ylabel: str = "",
    height: int = 400,
    left: int = 70,
    right: int = 30,
) -> go.Figure:
    """Give a figure our layout (a small template: plotly's adds 6 kB) and its summary, meta['alt']."""
    axis = dict(
        gridcolor="#dddddd",
        linecolor="#888888",
        tickcolor="#888888",
        showline=True,
        mirror=True,
        zeroline=False,
        ticks="outside",
        exponentformat="none",
        separatethousands=True,
        title=dict(standoff=8),
    )
    arrow = dict(axref="x", ayref="y", arrowhead=2, arrowwidth=1.5, arrowcolor=INK, text="")
    paper = dict(plot_bgcolor="white", paper_bgcolor="white")
    fig.layout.template = dict(layout=dict(xaxis=axis, yaxis=axis, annotationdefaults=arrow, **paper))
    text = "<br>".join(textwrap.wrap(title, 80))
    fig.update_layout(
        title=dict(text=text, x=0, xref="paper", font_size=17),
        font=dict(size=FONT, color=INK),
        height=height,
        margin=dict(l=left, r=right, t=56, b=60),
        legend=dict(itemwidth=44),
        meta=dict(alt=alt),
    )
    if xlabel:
        fig.update_xaxes(title_text=xlabel)
    if ylabel:
        fig.update_yaxes(title_text=ylabel)
    return fig


def left_margin(top: float) -> int:
    """Room for the title of the y axis and for tick labels up to `top`, in pixels."""
    return max(70, 38 + 9 * len(f"{top:,.0f}")) if np.isfinite(top) else 70


def number(value: float) -> str:
    """Three significant digits; whole numbers from 1,000 up."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def unit(label: str) -> str:
    """'memory (MiB)' -> ' MiB'."""
    found = re.search(r"\(([^)]*)\)\s*$", label)
    return f" {found[1]}" if found else ""


def say(value: float, ending: str = "") -> str:
    """A number in words for a summary: NaN is 'no value'."""
    return "no value" if np.isnan(value) else number(value) + ending
