"""A plotly figure as a PNG, drawn by matplotlib: no browser needed, and the same bytes each time.

Only a small part of plotly is drawn: scatter, bar, heatmap and image traces, line and rectangle shapes,
annotations, titles, legend, linear and log axes. Another trace or shape is a ValueError, never a blank.
"""

import base64
import io
import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.style import context
from matplotlib.ticker import AutoLocator, NullLocator
from PIL import Image

PT = 0.72  # points per plotly pixel: the matplotlib figure has 100 pixels an inch
INK = "#222222"
DASHES = {
    "solid": "-",
    "dot": (0, (1, 1.6)),
    "dash": (0, (4, 2)),
    "longdash": (0, (8, 2)),
    "dashdot": (0, (5, 2, 1, 2)),
    "longdashdot": (0, (8, 2, 1, 2)),
}
SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "star": "*",
    "cross": "P",
    "x": "X",
    "triangle-up": "^",
    "triangle-down": "v",
}  # each also with -open
COLORWAY = ["#636efa", "#EF553B", "#00cc96", "#ab63fa", "#FFA15A", "#19d3f3", "#FF6692"]  # plotly's own
ANCHORS = {"auto": "center", "middle": "center"}  # the other names are the same in both libraries


def plain(value: Any) -> Any:
    """Plotly JSON with plain lists: arrays unpacked, floats rounded to 5 significant digits, NaN as None."""
    if isinstance(value, dict) and "bdata" in value:
        array = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]))
        shape = [int(n) for n in str(value.get("shape", array.size)).split(",")]
        return plain(array.reshape(shape).tolist())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value


def png(fig: Any, scale: float = 1.0) -> bytes:
    """Draw a plotly figure as a PNG of `scale` pixels per plotly pixel (width 700 where the figure has none).

    Raises ValueError for a trace, shape or option outside the part of plotly that this module draws.
    """
    spec = plain(fig.to_plotly_json())
    with context(["default", {"text.parse_math": False, "axes.unicode_minus": True}]):
        page = _Page(spec["layout"], scale)
        for index, trace in enumerate(spec["data"]):
            kind = trace.get("type", "scatter")
            if kind not in DRAW:
                raise ValueError(f"can't draw a {kind!r} trace as PNG: use one of {', '.join(DRAW)}")
            page.color = COLORWAY[index % len(COLORWAY)]
            DRAW[kind](page, page.axes_of(trace), trace, spec)
        page.finish(spec)
        return page.png()


def _text(value) -> str:
    """Plotly's mark-up as plain text."""
    text = value.get("text") if isinstance(value, dict) else value
    return re.sub(r"<[^>]*>", "", re.sub(r"<br ?/?>", "\n", str(text or "")))


def _refuse(trace: dict, key: str, allowed: tuple = (None,)) -> None:
    if trace.get(key) not in allowed:
        raise ValueError(f"can't draw {key} = {str(trace[key])[:40]} of a trace as PNG: leave it out")


class _Page:
    """The matplotlib figure, with plotly's margins, so that both pictures have the same proportions."""

    def __init__(self, layout: dict, scale: float):
        self.layout, self.scale = layout, scale
        self.width, self.height = layout.get("width", 700), layout.get("height", 450)
        margin = {"l": 80, "r": 80, "t": 100, "b": 80, **layout.get("margin", {})}
        self.left, self.top, self.bottom = margin["l"], margin["t"], margin["b"]
        self.inner = (self.width - margin["l"] - margin["r"], self.height - margin["t"] - margin["b"])
        self.fig = Figure((self.width / 100, self.height / 100), dpi=100 * scale, facecolor="white")
        self.canvas = FigureCanvasAgg(self.fig)
        self.font = layout.get("font", {}).get("size", 12) * PT
        self.axes: dict[tuple[str, str], Axes] = {}
        self.handles: list[Line2D] = []
        self.color, self.photos = INK, False

    def axes_of(self, trace: dict) -> Axes:
        key = trace.get("xaxis", "x"), trace.get("yaxis", "y")
        if key not in self.axes:
            (x0, x1), (y0, y1) = (self.axis(k).get("domain", [0, 1]) for k in key)
            low, high = self.paper(x0, y0), self.paper(x1, y1)
            size = (high[0] - low[0]) / self.width, (high[1] - low[1]) / self.height
            self.axes[key] = self.fig.add_axes((low[0] / self.width, low[1] / self.height, *size))
        return self.axes[key]

    def axis(self, key: str) -> dict:
        return self.layout.get(f"{key[0]}axis{key[1:]}", {})

    def paper(self, x: float, y: float) -> tuple[float, float]:
        """Paper coordinates (0..1 over the plot area) -> plotly pixels from the lower left corner."""
        return self.left + x * self.inner[0], self.bottom + y * self.inner[1]

    def point(self, item: dict, x, y) -> np.ndarray:
        """A place of a shape or annotation -> device pixels."""
        refs = item.get("xref", "x"), item.get("yref", "y")
        at = np.array(self.paper(x, y) if "paper" in refs else (0.0, 0.0)) * self.scale
        for i, (value, ref) in enumerate(zip((x, y), refs, strict=True)):
            if ref != "paper":
                ax = next(a for key, a in self.axes.items() if key[i] == ref)
                log = self.axis(ref).get("type") == "log" and "text" in item  # annotations are in log10 there
                at[i] = ax.transData.transform([10.0**value if log else value] * 2)[i]
        return at

    def finish(self, spec: dict) -> None:
        for (x, y), ax in self.axes.items():
            _axis(ax, ax.xaxis, self.axis(x), "x", self)
            _axis(ax, ax.yaxis, self.axis(y), "y", self)
            ax.set_axisbelow(True)
            ax.set_facecolor(self.layout.get("plot_bgcolor", "white"))
        self.canvas.draw()  # fixes the boxes of axes with equal scales, on which shapes and annotations stand
        for shape in self.layout.get("shapes", []):
            _shape(self, shape)
        defaults = self.layout.get("template", {}).get("layout", {}).get("annotationdefaults", {})
        for note in self.layout.get("annotations", []):
            _annotation(self, {**defaults, **note})
        if self.layout.get("showlegend", len(spec["data"]) > 1) and self.handles:
            anchor = np.array(self.paper(1.02, 1)) / (self.width, self.height)
            self.fig.legend(
                handles=self.handles,
                loc="upper left",
                frameon=False,
                fontsize=self.font,
                bbox_to_anchor=anchor,
                borderaxespad=0,
                handlelength=3.2,
            )
        title = self.layout.get("title", {})
        if _text(title):
            size = title.get("font", {}).get("size", 17) * PT
            self.fig.text(
                self.left * self.scale,
                (self.height - self.top / 2) * self.scale,
                _text(title),
                transform=None,
                size=size,
                color=INK,
                va="center",
            )

    def png(self) -> bytes:
        self.canvas.draw()
        image = Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")
        if not self.photos:  # 256 colours are plenty for a plot, and a third of the bytes
            image = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        return file.getvalue()


def _axis(ax: Axes, axis, opts: dict, which: str, page: _Page) -> None:
    limits = ax.set_xlim if which == "x" else ax.set_ylim
    if opts.get("visible") is False:
        axis.set_visible(False)
        for side in ("left", "right") if which == "y" else ("bottom", "top"):
            ax.spines[side].set_visible(False)
    if opts.get("type") == "log":
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
        axis.set_major_formatter(lambda value, place: f"{value:g}")
        axis.set_minor_locator(NullLocator())
    elif isinstance(axis.get_major_locator(), AutoLocator):
        axis.get_major_locator().set_params(nbins=7)
        axis.set_major_formatter(lambda value, place: f"{value:,.10g}")
    if opts.get("range"):
        limits(*(10.0**v for v in opts["range"]) if opts.get("type") == "log" else opts["range"])
    if opts.get("tickvals") is not None:
        axis.set_ticks(opts["tickvals"], labels=opts.get("ticktext", [f"{v:g}" for v in opts["tickvals"]]))
    axis.set_label_text(_text(opts.get("title")), fontsize=page.font)
    axis.set_tick_params(labelsize=page.font * 0.93, color="#888888", labelcolor=INK)
    if opts.get("showgrid", True) and opts.get("visible", True):
        axis.grid(True, color="#dddddd", linewidth=0.8)
    for side in ax.spines.values():
        side.set_color("#888888")


def _scatter(page: _Page, ax: Axes, trace: dict, spec: dict) -> None:
    _refuse(trace, "fill", (None, "none"))
    line, marker, mode = trace.get("line", {}), trace.get("marker", {}), trace.get("mode", "lines+markers")
    if "text" in mode or any(isinstance(marker.get(key), list) for key in ("color", "size", "symbol")):
        raise ValueError("can't draw text or a style for each point as PNG: use annotations, a trace a style")
    symbol, dash = marker.get("symbol", "circle").removesuffix("-open"), line.get("dash", "solid")
    if symbol not in SYMBOLS or dash not in DASHES:
        raise ValueError(f"can't draw {symbol!r} with {dash!r} as PNG: use {', '.join([*SYMBOLS, *DASHES])}")
    color = line.get("color", marker.get("color", page.color))
    fill, is_open = marker.get("color", color), marker.get("symbol", "").endswith("-open")
    style = {
        "color": color,
        "linestyle": DASHES[dash] if "lines" in mode else "none",
        "linewidth": line.get("width", 2) * PT,
        "alpha": marker.get("opacity"),
        "marker": SYMBOLS[symbol] if "markers" in mode else "none",
        "markersize": marker.get("size", 6) * PT * (1.5 if symbol == "star" else 1.05),
        "markerfacecolor": "none" if is_open else fill,
        "markeredgecolor": fill,
        "markeredgewidth": 1.1 * is_open,
    }
    x, y = _numbers(trace.get("x", range(len(trace["y"])))), _numbers(trace["y"])
    ax.plot(x, y, **style, markevery=max(1, round(len(y) / marker.get("maxdisplayed", len(y) + 1))))
    _whiskers(ax, x, y, trace, color)
    if trace.get("name") and trace.get("showlegend", True):
        page.handles.append(Line2D([], [], **style, label=_text(trace["name"])))


def _numbers(values) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _whiskers(ax: Axes, x: np.ndarray, y: np.ndarray, trace: dict, color: str) -> None:
    error = trace.get("error_y")
    if error:
        down_up = [_numbers(error.get("arrayminus", error["array"])), _numbers(error["array"])]
        thick = error.get("thickness", 2) * PT
        ax.errorbar(
            x,
            y,
            yerr=down_up,
            fmt="none",
            ecolor=error.get("color", color),
            elinewidth=thick,
            capthick=thick,
            capsize=error.get("width", 4) * PT,
            zorder=3,
        )


def _bar(page: _Page, ax: Axes, trace: dict, spec: dict) -> None:
    _refuse(trace, "orientation", (None, "v"))
    _refuse(trace, "text")
    if spec["layout"].get("barmode", "group") != "group":
        raise ValueError(f"can't draw barmode {spec['layout']['barmode']!r} as PNG: use 'group'")
    group = [t for t in spec["data"] if t.get("type") == "bar"]
    names = list(dict.fromkeys(_text(x) for t in group for x in t["x"]))
    width = 0.8 / len(group)
    shift = (group.index(trace) - (len(group) - 1) / 2) * width
    x = np.array([names.index(_text(v)) + shift for v in trace["x"]])
    marker, y = trace.get("marker", {}), _numbers(trace["y"])
    shapes = np.broadcast_to(marker.get("pattern", {}).get("shape", ""), len(x)).tolist()
    style = {"edgecolor": "white", "linewidth": 0, "hatch": shapes}
    drawn = ax.bar(x, y, width, color=marker.get("color", page.color), **style)
    _whiskers(ax, x, y, trace, INK)
    ax.set_xticks(range(len(names)), names)
    ax.set_xlim(-0.5, len(names) - 0.5)
    if trace.get("name"):
        style.update(hatch=shapes[0], label=_text(trace["name"]), facecolor=drawn[0].get_facecolor())
        page.handles.append(Patch(**style))


def _heatmap(page: _Page, ax: Axes, trace: dict, spec: dict) -> None:
    z = np.array([_numbers(row) for row in trace["z"]])
    if not isinstance(trace.get("colorscale"), list):
        raise ValueError("can't draw a heatmap without its own colours as PNG: give colorscale='Cividis'")
    cmap = LinearSegmentedColormap.from_list("plotly", trace["colorscale"])
    xs, ys = (_numbers(trace.get(key, range(size))) for key, size in (("x", z.shape[1]), ("y", z.shape[0])))
    edges = (np.append(v - 0.5, v[-1] + 0.5) for v in (xs, ys))  # cells of width 1, even a lone one
    mesh = ax.pcolormesh(*edges, z, cmap=cmap, vmin=trace.get("zmin"), vmax=trace.get("zmax"))
    for (row, column), value in np.ndenumerate(z if trace.get("text") else np.zeros((0, 0))):
        dark = not np.isnan(value) and np.dot(cmap(mesh.norm(value))[:3], (0.3, 0.59, 0.11)) < 0.5
        ax.text(
            xs[column],
            ys[row],
            _text(trace["text"][row][column]),
            ha="center",
            va="center",
            color="white" if dark else "#222222",
            size=trace.get("textfont", {}).get("size", 12) * PT,
        )
    if trace.get("showscale", True):
        bar, box = trace.get("colorbar", {}), ax.get_position()
        place = [box.x1 + 14 / page.width, box.y0, bar.get("thickness", 14) / page.width, box.height]
        scale = page.fig.colorbar(mesh, cax=page.fig.add_axes(place))
        scale.set_label(_text(bar.get("title")), size=page.font)
        scale.ax.tick_params(labelsize=page.font * 0.93)
        scale.outline.set_visible(False)


def _image(page: _Page, ax: Axes, trace: dict, spec: dict) -> None:
    source = trace.get("source")
    file = io.BytesIO(base64.b64decode(source.split(",", 1)[1])) if source else None
    ax.imshow(imread(file) if source else np.array(trace["z"], dtype=np.uint8), interpolation="nearest")
    page.photos = True


DRAW = {"scatter": _scatter, "bar": _bar, "heatmap": _heatmap, "image": _image}


def _shape(page: _Page, shape: dict) -> None:
    (x0, y0), (x1, y1) = (page.point(shape, shape[f"x{i}"], shape[f"y{i}"]) for i in (0, 1))
    line = {"dash": "solid", "width": 2, **shape.get("line", {})}
    style = {"linewidth": line["width"] * PT, "linestyle": DASHES[line["dash"]], "transform": None}
    if shape.get("type") == "rect":
        page.fig.add_artist(
            Rectangle(
                (x0, y0),
                x1 - x0,
                y1 - y0,
                facecolor=shape.get("fillcolor", "none"),
                edgecolor=line.get("color", INK),
                **style,
            )
        )
    elif shape.get("type") == "line":
        style.update(color=line.get("color", INK), solid_capstyle="butt")
        page.fig.add_artist(Line2D([x0, x1], [y0, y1], **style))
    else:
        raise ValueError(f"can't draw a {shape.get('type')!r} shape as PNG: use one of rect, line")


def _annotation(page: _Page, note: dict) -> None:
    at = page.point(note, note["x"], note["y"])
    at += np.array([note.get("xshift", 0), note.get("yshift", 0)]) * page.scale
    font = note.get("font", {})
    if note.get("showarrow", True):
        tail = at + np.array([note.get("ax", -10), -note.get("ay", -30)]) * page.scale
        if note.get("axref", "pixel") != "pixel":
            tail = page.point(note, note["ax"], note["ay"])
        width = note.get("arrowwidth", 2) * PT
        page.fig.add_artist(
            FancyArrowPatch(
                tail,
                at,
                transform=None,
                color=note.get("arrowcolor", INK),
                arrowstyle="-|>",
                mutation_scale=7 * width,
                linewidth=width,
                shrinkA=0,
                shrinkB=0,
            )
        )
        at = tail
    ha, va = (ANCHORS.get(note.get(key), note.get(key, "center")) for key in ("xanchor", "yanchor"))
    page.fig.text(
        *at,
        _text(note),
        transform=None,
        size=font.get("size", page.font / PT) * PT,
        color=font.get("color", INK),
        ha=ha,
        va=va,
        rotation=-note.get("textangle", 0),
    )
