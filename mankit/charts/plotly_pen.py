"""A pen that draws a chart with plotly: as the JSON that plotly.js reads, and plotly's Figure too."""

from __future__ import annotations

import base64
import html
import io
import textwrap
from typing import Any

import numpy as np
from PIL import Image

from mankit.charts.looks import INK, SCALE, paint
from mankit.charts.record import Axis, Bars, Box, Chart, Heat, Line, Picture, Stroke, Text

FRAME = dict(gridcolor="#dddddd", linecolor="#888888", tickcolor="#888888", showline=True, mirror=True, zeroline=False)
FRAME |= dict(ticks="outside", exponentformat="none", separatethousands=True, title=dict(standoff=8))
ARROW = dict(axref="x", ayref="y", arrowhead=2, arrowwidth=1.5, arrowcolor=INK, text="")
PAPER = dict(plot_bgcolor="white", paper_bgcolor="white")
TEMPLATE = dict(layout=dict(xaxis=FRAME, yaxis=FRAME, annotationdefaults=ARROW, **PAPER))  # plotly's own adds 6 kB

NOTHING = dict(type="scatter", x=[0], y=[0], mode="markers", marker=dict(opacity=0), hoverinfo="skip")  # for axes


def spec(chart: Chart) -> dict[str, Any]:
    """The chart as plotly's JSON, of plain lists: {'data': traces in the order of the plots, 'layout': ...}.

    Floats have 5 significant digits; a NaN is None.
    """
    left, right, top, bottom = chart.margins()
    data, notes, shapes, axes, legend = [], [], [], {}, chart.named()
    for i, (plot, domain) in enumerate(chart.placed()):
        n = str(i + 1) if i else ""
        place = dict(xaxis=f"x{n}", yaxis=f"y{n}") if len(chart.plots) > 1 else {}
        on = dict(xref=f"x{n}", yref=f"y{n}") if n else {}  # nothing to be said of the first axes
        tail = dict(axref=f"x{n}", ayref=f"y{n}") if n else {}  # of an arrow
        traces = [_trace(mark, domain, legend) for mark in plot.of(Line, Bars, Heat, Picture)]
        data += [trace | place for trace in traces or [NOTHING]]
        axes[f"xaxis{n}"] = _axis(plot.x) | (dict(anchor=f"y{n}", domain=domain[::2]) if place else {})
        axes[f"yaxis{n}"] = _axis(plot.y) | (dict(anchor=f"x{n}", domain=domain[1::2]) if place else {})
        if any(str(name).isdigit() for bars in plot.of(Bars) for name in bars.names):
            axes[f"xaxis{n}"].update(type="category", autotypenumbers="strict")  # "1" is a name
        notes += [_note(mark) | on | tail for mark in plot.of(Text, Stroke) if _is_note(mark)]
        shapes += [_shape(mark) | on for mark in plot.of(Box, Stroke) if not _is_note(mark)]
        if plot.title:
            at = dict(x=(domain[0] + domain[2]) / 2, y=domain[3], xref="paper", yref="paper", xanchor="center")
            head = dict(yanchor="bottom", showarrow=False, font=dict(size=chart.font + 1))
            notes.append(dict(text=_text(plot.title), **at, **head))
    layout = dict(
        template=TEMPLATE,
        title=dict(text=_text("\n".join(textwrap.wrap(chart.title, 80))), x=0, xref="paper", font=dict(size=17)),
        font=dict(size=chart.font, color=INK),
        width=chart.width if chart.width != Chart.width else None,  # the page's own, but for wide ones
        height=chart.height,
        margin=dict(l=left, r=right, t=top, b=bottom),
        legend=dict(itemwidth=44, title=dict(text=chart.legend) if chart.legend else None),
        meta=dict(alt=chart.words),
        showlegend=True if legend else None,
        barmode="stack" if any(len(plot.of(Bars)) > 1 for plot in chart.plots) else None,
        hovermode="closest" if legend else None,
        annotations=notes or None,
        shapes=shapes or None,
    )
    return plain({"data": data, "layout": layout | axes})


def plain(value: Any) -> Any:
    """Arrays as lists, floats rounded to 5 significant digits, NaN as None: what JSON can say, and short.

    What is None in a dict is left to plotly.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value


def _text(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def _trace(mark: Any, domain: tuple, legend: list[Line | Bars]) -> dict[str, Any]:
    match mark:
        case Line():
            return _line(mark, legend)
        case Bars():
            looks = mark.looks
            pattern = dict(shape=[look.hatch for look in looks], fillmode="overlay", fgcolor="white")
            marker = dict(color=[paint(look.color) for look in looks], pattern=pattern)
            names, shown = [_text(name) for name in mark.names], False if legend and mark not in legend else None
            title = _text(mark.name) if mark.name else None
            return dict(type="bar", x=names, y=mark.heights, marker=marker, name=title, showlegend=shown)
        case Heat():
            return _heat(mark, domain)
        case Picture():
            file = io.BytesIO()
            Image.fromarray(mark.pixels).convert("RGBA").save(file, "PNG", dpi=(100, 100))
            source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
            return dict(type="image", source=source, hoverinfo="skip")


def _line(line: Line, legend: list[Line | Bars]) -> dict[str, Any]:
    look, color = line.look, paint(line.look.color)
    mode = "+".join(["lines"] * bool(look.dash) + ["markers"] * bool(look.symbol))
    many = dict(maxdisplayed=16) if look.dash else dict(color=color)
    marker = dict(symbol=look.symbol, size=line.size, **many) if look.symbol else None
    whiskers = None
    if line.low is not None:
        edges = dict(array=np.subtract(line.high, line.ys), arrayminus=np.subtract(line.ys, line.low))
        whiskers = dict(**edges, color=color, thickness=1.5, width=4)
    known = line in legend
    return dict(
        type="scatter",
        x=line.xs,
        y=line.ys,
        mode=mode,
        line=dict(color=color, dash=look.dash, width=line.width) if look.dash else None,
        marker=marker,
        error_y=whiskers,
        name=_text(line.name) if line.name else None,
        showlegend=None if known else False,
        legendgroup=line.name if line.name and not known else None,  # one click hides lines of one name
        hoverinfo=None if line.hover else "skip",
        hovertemplate=f"{line.hover[0]} %{{x}}: %{{y:.4g}}{line.hover[1]}" if line.hover else None,
    )


def _heat(heat: Heat, domain: tuple) -> dict[str, Any]:
    z, (rows, columns) = np.asarray(heat.z, dtype=float), heat.hover
    cells = dict(z=z, x=range(1, z.shape[1] + 1), y=range(1, z.shape[0] + 1), xgap=1, ygap=1, zmin=0, zmax=1)
    bar = dict(x=domain[2] + 0.02, y=(domain[1] + domain[3]) / 2, len=domain[3] - domain[1], thickness=14)
    words = dict(text=heat.texts, texttemplate="%{text}", textfont=dict(size=heat.size))
    return dict(
        type="heatmap",
        colorscale=[[i / 9, color] for i, color in enumerate(SCALE)],
        showscale=bool(heat.scale),
        colorbar=dict(title=dict(text=_text(heat.scale), side="right"), **bar) if heat.scale else None,
        hovertemplate=f"{rows} %{{y}}, {columns} %{{x}}: %{{z:.3f}}<extra>{_text(heat.name)}</extra>",
        **(cells if heat.texts is None else cells | words),
    )


def _axis(axis: Axis) -> dict[str, Any]:
    return dict(
        title=dict(text=_text(axis.title)) if axis.title else None,
        range=axis.range,
        tickvals=axis.ticks,
        ticktext=None if axis.labels is None else [_text(label) for label in axis.labels],
        visible=None if axis.shown else False,
        fixedrange=None if axis.shown or axis.range is None else True,
        showgrid=None if axis.grid else False,
    )


def _is_note(mark: Any) -> bool:
    return isinstance(mark, Text) or isinstance(mark, Stroke) and mark.arrow


def _note(mark: Text | Stroke) -> dict[str, Any]:
    if isinstance(mark, Stroke):
        color = None if mark.color == INK else paint(mark.color)
        return dict(x=mark.x1, y=mark.y1, ax=mark.x0, ay=mark.y0, arrowcolor=color)
    known = mark.size or mark.color
    return dict(
        x=mark.x,
        y=mark.y,
        text=_text(mark.text),
        showarrow=False,
        font=dict(size=mark.size, color=mark.color and paint(mark.color)) if known else None,
        xanchor="left" if mark.at == "left" else None,
        yanchor="bottom" if mark.at == "above" else None,
        yshift=mark.lift or None,
        textangle=-mark.angle or None,
    )


def _shape(mark: Box | Stroke) -> dict[str, Any]:
    ends = dict(x0=mark.x0, x1=mark.x1, y0=mark.y0, y1=mark.y1)
    dash = None if mark.dash == "solid" else mark.dash
    if isinstance(mark, Box):
        return dict(type="rect", **ends, fillcolor=paint(mark.fill), line=dict(color=INK, width=1, dash=dash))
    return dict(type="line", **ends, line=dict(color=paint(mark.color), width=mark.width, dash=dash))
