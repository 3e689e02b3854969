"""A pen that draws a chart as PNG, by matplotlib: no browser needed, and the same bytes each time."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.style import context
from matplotlib.ticker import AutoLocator
from PIL import Image

from mankit.charts.looks import DASHES, FILLED, INK, SCALE, paint
from mankit.charts.record import Axis, Bars, Box, Chart, Heat, Line, Mark, Picture, Plot, Stroke, Text

PT = 0.72  # points per pixel: the matplotlib figure has 100 pixels an inch
PATTERNS = ("-", (0, (1, 1.6)), (0, (4, 2)), (0, (8, 2)), (0, (5, 2, 1, 2)), (0, (8, 2, 1, 2)))
LINES = {"": "none", **dict(zip(DASHES, PATTERNS, strict=True))}
SYMBOLS = {"": "none", **dict(zip(FILLED, "osD*PX^v", strict=True))}  # each also with -open
TICKS = 0.93 * PT  # size of tick labels, in a chart's font
STYLE = {"text.parse_math": False, "axes.axisbelow": True, "axes.edgecolor": "#888888"}
STYLE |= {"grid.color": "#dddddd", "legend.frameon": False, "legend.handlelength": 3.2, "legend.borderaxespad": 0}
STYLE |= dict.fromkeys(("xtick.color", "ytick.color"), "#888888")
STYLE |= dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), INK)


def png(chart: Chart, scale: float = 1.0) -> bytes:
    """Draw a chart as a PNG of `scale` pixels per pixel of its width and height."""
    sizes = {"font.size": chart.font * PT, "xtick.labelsize": chart.font * TICKS, "ytick.labelsize": chart.font * TICKS}
    with context(["default", STYLE, sizes]):
        size = [n / 100 + 1e-9 for n in (chart.width, chart.height)]  # 4.27 * 100 is 426.99..., and may be cut to 426
        page = Figure(size, dpi=100 * scale, facecolor="white")
        canvas = FigureCanvasAgg(page)
        left, right, top, bottom = chart.margins()
        wide, high = chart.width - left - right, chart.height - top - bottom
        for plot, (x0, y0, x1, y1) in chart.placed():
            corner = (left + x0 * wide) / chart.width, (bottom + y0 * high) / chart.height
            ax = page.add_axes((*corner, (x1 - x0) * wide / chart.width, (y1 - y0) * high / chart.height))
            _plot(ax, plot)
        _around(page, chart)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if not any(plot.of(Picture) for plot in chart.plots):  # 256 colours are plenty for a plot, and a third of the bytes
        image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _around(page: Figure, chart: Chart) -> None:
    """The legend and the title."""
    left, right, top, _ = chart.margins()
    if handles := [_handle(mark) for mark in chart.named()]:
        corner = (1 - (right - 0.02 * (chart.width - left - right)) / chart.width, 1 - top / chart.height)
        page.legend(handles=handles, title=chart.legend or None, loc="upper left", bbox_to_anchor=corner)
    place = left / chart.width, 1 - top / 2 / chart.height
    page.text(*place, "\n".join(textwrap.wrap(chart.title, 80)), size=17 * PT, color=INK, va="center")


def _handle(mark: Line | Bars) -> Line2D | Patch:
    """What stands before a name in the legend."""
    if isinstance(mark, Line):
        return Line2D([], [], **_style(mark), label=mark.name)
    first = mark.looks[0]
    return Patch(facecolor=paint(first.color), edgecolor="white", linewidth=0, hatch=first.hatch, label=mark.name)


def _plot(ax: Axes, plot: Plot) -> None:
    ground = 0.0  # where the next set of bars stands
    for mark in plot.marks:
        _draw(ax, mark, ground)
        if isinstance(mark, Bars):
            ground = ground + np.nan_to_num(np.asarray(mark.heights, dtype=float))
    _axis(ax, "x", plot.x)
    _axis(ax, "y", plot.y)
    if plot.title:
        size = rcParams["font.size"] + PT
        ax.annotate(plot.title, (0.5, 1), (0, 3), "axes fraction", "offset points", ha="center", size=size)


def _axis(ax: Axes, which: str, axis: Axis) -> None:
    drawn, limits = (ax.xaxis, ax.set_xlim) if which == "x" else (ax.yaxis, ax.set_ylim)
    if not axis.shown:
        drawn.set_visible(False)
        ax.spines[["bottom", "top"] if which == "x" else ["left", "right"]].set_visible(False)
    if isinstance(drawn.get_major_locator(), AutoLocator):
        drawn.get_major_locator().set_params(nbins=7)
        drawn.set_major_formatter(lambda value, place: f"{value:,.10g}")
    if axis.range is not None:
        limits(*axis.range)
    if axis.ticks is not None:
        drawn.set_ticks(axis.ticks, labels=axis.labels or [f"{value:g}" for value in axis.ticks])
    drawn.set_label_text(axis.title)
    drawn.grid(axis.grid and axis.shown)


def _draw(ax: Axes, mark: Mark, ground: float | np.ndarray) -> None:
    """Draw a mark where the axes say, bars on `ground`; shapes and texts leave the range of the axes as it is."""
    match mark:
        case Line():
            _line(ax, mark)
        case Bars():
            hatch = [look.hatch for look in mark.looks]
            color = [paint(look.color) for look in mark.looks]
            style = dict(color=color, edgecolor="white", linewidth=0, hatch=hatch)
            ax.bar(range(len(hatch)), mark.heights, 0.8, ground, **style)
            ax.set_xticks(range(len(hatch)), mark.names)
            ax.set_xlim(-0.5, len(hatch) - 0.5)
        case Heat():
            _heat(ax, mark)
        case Picture():
            ax.imshow(mark.pixels, interpolation="nearest")
        case Box():
            colors = dict(facecolor=paint(mark.fill), edgecolor=INK)
            dash = dict(linewidth=PT, linestyle=LINES[mark.dash], clip_on=False, zorder=3)
            ax.add_artist(Rectangle((mark.x0, mark.y0), mark.x1 - mark.x0, mark.y1 - mark.y0, **colors, **dash))
        case Stroke():
            _stroke(ax, mark)
        case Text():
            # an offset in points: matplotlib's text has no shift of its own
            text = ax.annotate(mark.text, (mark.x, mark.y), (0, mark.lift * PT), textcoords="offset points", zorder=6)
            text.set(color=paint(mark.color or INK), rotation=mark.angle, annotation_clip=False)
            text.set(ha="left" if mark.at == "left" else "center", va="bottom" if mark.at == "above" else "center")
            if mark.size is not None:
                text.set_size(mark.size * PT)


def _style(line: Line) -> dict[str, Any]:
    look, color = line.look, paint(line.look.color)
    symbol, is_open = look.symbol.removesuffix("-open"), look.symbol.endswith("-open")
    return {
        "color": color,
        "linestyle": LINES[look.dash],
        "linewidth": line.width * PT,
        "marker": SYMBOLS[symbol],
        "markersize": line.size * PT * (1.5 if symbol == "star" else 1.05),
        "markerfacecolor": "none" if is_open else color,
        "markeredgewidth": 1.1 * is_open,
    }


def _line(ax: Axes, line: Line) -> None:
    xs, ys = (np.asarray(values, dtype=float) for values in (line.xs, line.ys))
    every = max(1, round(len(ys) / 16)) if line.look.dash else 1
    ax.plot(xs, ys, **_style(line), markevery=every)
    if line.low is not None:
        spread = np.maximum(0, [ys - line.low, line.high - ys])  # a mean of equal numbers may be off by a bit
        width = dict(elinewidth=1.5 * PT, capthick=1.5 * PT, capsize=4 * PT, zorder=3)
        ax.errorbar(xs, ys, yerr=spread, fmt="none", ecolor=paint(line.look.color), **width)


def _heat(ax: Axes, heat: Heat) -> None:
    z, cmap = np.asarray(heat.z, dtype=float), LinearSegmentedColormap.from_list("scale", SCALE)
    edges = [np.arange(size + 1) + 0.5 for size in z.shape]
    mesh = ax.pcolormesh(edges[1], edges[0], z, cmap=cmap, vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(z if heat.texts is not None else np.zeros((0, 0))):
        dark = not np.isnan(value) and np.dot(cmap(mesh.norm(value))[:3], (0.3, 0.59, 0.11)) < 0.5
        style = dict(ha="center", va="center", color="white" if dark else INK, size=heat.size * PT)
        ax.text(column + 1, row + 1, heat.texts[row][column], **style)
    if heat.scale:
        box, inch = ax.get_position(), 1 / ax.figure.get_size_inches()[0]
        place = ax.figure.add_axes((box.x1 + 0.14 * inch, box.y0, 0.14 * inch, box.height))
        scale = ax.figure.colorbar(mesh, cax=place, label=heat.scale)
        scale.ax.tick_params(color="black", labelcolor="black")
        scale.outline.set_visible(False)


def _stroke(ax: Axes, mark: Stroke) -> None:
    color, width = paint(mark.color), mark.width * PT
    if mark.arrow:
        head = dict(arrowstyle="-|>", mutation_scale=7 * width, linewidth=width, shrinkA=0, shrinkB=0)
        artist = FancyArrowPatch((mark.x0, mark.y0), (mark.x1, mark.y1), color=color, **head, zorder=5)
    else:
        dash = dict(linestyle=LINES[mark.dash], linewidth=width, solid_capstyle="butt", zorder=4)
        artist = Line2D([mark.x0, mark.x1], [mark.y0, mark.y1], color=color, **dash)
    artist.set_clip_on(False)
    ax.add_artist(artist)
