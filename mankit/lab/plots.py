"""The plots of the lessons: each returns a plotly figure whose summary in words is `fig.layout.meta["alt"]`.

`show(fig)` displays a figure as one bundle (interactive plotly, PNG, text), so that it lasts in an executed
notebook, on a code host and in an HTML export. Colour never stands alone: lines differ in dash and marker,
bars in hatch.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mankit.lab.pictures import cut_picture, image_grid
from mankit.lab.static import INK, plain
from mankit.lab.style import GREY, WIDTH, bundle, left_margin, look, looks, number, say, show, style, unit

__all__ = [
    "bars",
    "block_accuracy",
    "bundle",
    "cka_heatmap",
    "cka_heatmaps",
    "curves",
    "cut_picture",
    "image_grid",
    "look",
    "show",
]
Stats = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, minimum, maximum over the seeds


def block_accuracy(
    series: Mapping[str, Sequence],
    ylabel: str = "accuracy (%)",
    chance: float | None = None,
    title: str = "Accuracy by block",
) -> go.Figure:
    """Accuracy against the block, 1 to K, a line a rule; seeds (lists of K) show as mean, minimum, maximum.

    A NaN is a gap. Raises ValueError for an empty dict and for seeds of different lengths.
    """
    points = {name: (np.arange(1, len(s[0]) + 1), s) for name, s in _stats(series).items()}
    deepest = max(len(xs) for xs, _ in points.values())
    fig = _lines(points, "block", "block (1 = next to the image)", ylabel, title, chance=chance)
    return fig.update_xaxes(tickvals=_ticks(deepest), range=[0.7, deepest + 0.3])


def curves(
    series: Mapping[str, tuple],
    xlabel: str = "epoch",
    ylabel: str = "accuracy (%)",
    title: str = "",
    log_y: bool = False,
) -> go.Figure:
    """Curves name: (xs, ys), such as accuracy against the epoch; ys may be a list of seeds. A NaN is a gap.

    Raises ValueError for an empty dict, xs and ys of different lengths, and with log_y values not above 0.
    """
    for name, pair in _named(series).items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{name!r} isn't a pair: give name: (xs, ys)")
    stats = _stats({name: ys for name, (_, ys) in series.items()})
    points = {name: (_table(name, series[name][0], (1,), "a list of xs"), s) for name, s in stats.items()}
    for name, (xs, (mean, low, _)) in points.items():
        if xs.shape != mean.shape:
            raise ValueError(f"{name!r} has {xs.size} xs but {mean.size} ys: give one y for each x")
        if log_y and (low <= 0).any():
            raise ValueError(
                f"{name!r} has a value of {np.nanmin(low):g}: a log axis needs values above 0; use log_y=False"
            )
    return _lines(points, xlabel, xlabel, ylabel, title, log_y=log_y)


def bars(values: Mapping[str, float | Sequence[float]], ylabel: str, title: str = "") -> go.Figure:
    """A bar for each name, its value above it; a list is one value a seed: the mean, minimum and maximum.

    A NaN is a gap marked 'no value'. Raises ValueError for an empty dict and for values that aren't numbers.
    """
    wanted = "a number, or a list of them, one a seed"
    tables = {name: _table(name, v, (0, 1), wanted) for name, v in _named(values).items()}
    mean, low, high = (np.array([part(t) for t in tables.values()]) for part in (np.mean, np.min, np.max))
    kinds = looks(tables)
    names = ["<br>".join(textwrap.wrap(name, max(8, 80 // len(tables)))) for name in tables]
    hatch = dict(shape=[k["hatch"] for k in kinds], fillmode="overlay", fgcolor="white")
    marker = dict(color=[k["color"] for k in kinds], pattern=hatch)
    fig = go.Figure(go.Bar(x=names, y=plain(mean), marker=marker))
    for i, value in enumerate(mean):
        top = 0.0 if np.isnan(value) else float(max(high[i], 0))
        fig.add_annotation(x=i, y=top, text=say(value), yanchor="bottom", yshift=3, showarrow=False)
        if high[i] > low[i]:  # a shape, for plotly draws error_y on every bar, also where it is empty
            whisker = dict(x0=i, x1=i, y0=plain(low[i]), y1=plain(high[i]))
            fig.add_shape(type="line", line=dict(color=INK, width=2), **whisker)
    words = [f"{name}: {say(mean[i], unit(ylabel))}{_over(low[i], high[i])}" for i, name in enumerate(tables)]
    left = left_margin(np.nanmax([0, *high]))
    style(fig, title, f"{title or ylabel}. {'; '.join(words)}.", "", ylabel, left=left)
    bottom, top = (float(edge([0, *part])) * 1.12 for edge, part in ((np.nanmin, low), (np.nanmax, high)))
    fig.update_yaxes(range=[bottom, top or (1.0 if not bottom else -bottom / 8)])
    return fig.update_xaxes(showgrid=False, range=[-0.5, len(names) - 0.5])


def cka_heatmap(matrix: Sequence, xlabel: str = "block", ylabel: str = "block", title: str = "CKA") -> go.Figure:
    """One CKA matrix, rows (ylabel) from the bottom up, columns (xlabel); see `cka_heatmaps`."""
    return cka_heatmaps({"": matrix}, xlabel, ylabel, title)


def cka_heatmaps(
    matrices: Mapping[str, Sequence], xlabel: str = "block", ylabel: str = "block", title: str = "CKA"
) -> go.Figure:
    """CKA matrices side by side, name: (rows, columns) of similarities 0..1, on one scale. A NaN is a gap.

    Raises ValueError for an empty dict, a matrix that isn't 2-D, and values outside -1..1 (unbiased CKA may
    be below 0).
    """
    tables = {name: _matrix(name, m) for name, m in _named(matrices).items()}
    count, gap = len(tables), 0.05
    several = count > 1
    titles = list(tables) if several else None
    fig = make_subplots(1, count, horizontal_spacing=gap * several, subplot_titles=titles)
    wide = (WIDTH - 70 - 95) * (1 - gap * (count - 1)) / count  # a panel, in pixels
    high = min(wide * (1.15 if several else 0.75), 420)
    for i, (name, z) in enumerate(tables.items(), start=1):
        cell = min(wide / z.shape[1], high / z.shape[0] * 1.8)
        bar = dict(title=dict(text="CKA", side="right"), thickness=14)
        fig.add_heatmap(
            z=plain(z),
            x=_count(z.shape[1]),
            y=_count(z.shape[0]),
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            text=_cells(z, cell),
            texttemplate="%{text}",
            colorscale="Cividis",
            textfont_size=min(13, max(9, round(cell * 0.4))),
            showscale=i == count,
            colorbar=bar,
            row=1,
            col=i,
            hovertemplate=f"{ylabel} %{{y}}, {xlabel} %{{x}}: %{{z:.3f}}<extra>{name}</extra>",
        )
        fig.update_xaxes(title_text=xlabel, tickvals=_ticks(z.shape[1]), showgrid=False, row=1, col=i)
        fig.update_yaxes(tickvals=_ticks(z.shape[0]), showgrid=False, row=1, col=i)
    fig.update_yaxes(title_text=ylabel, col=1)
    alt = " ".join([f"{title}."] + [_describe(name, z, xlabel, ylabel) for name, z in tables.items()])
    style(fig, title, alt, height=round(high) + 110 + 25 * several, right=95)
    return fig.update_layout(margin_t=50 + 25 * several)


def _cells(z: np.ndarray, cell: float) -> list[list[str]]:
    """The text of each cell of a heat map: '0.57', in narrow cells '.57', in tiny ones nothing."""

    def text(value: float) -> str:
        if np.isnan(value) or cell < 19:
            return ""
        return f"{value:.2f}" if cell > 33 else f"{value:.2f}".replace("0.", ".", 1)[:3].replace("1.0", "1")

    return [[text(value) for value in row] for row in z]


def _describe(name: str, z: np.ndarray, xlabel: str, ylabel: str) -> str:
    start = f"{name}: " if name else ""
    if np.isnan(z).all():
        return f"{start}no value."
    places = [np.unravel_index(i, z.shape) for i in (np.nanargmin(z), np.nanargmax(z))]
    low, high = (f"{z[p]:.2f} (row {ylabel} {p[0] + 1}, column {xlabel} {p[1] + 1})" for p in places)
    missing = f", cells with no value: {np.isnan(z).sum()}" if np.isnan(z).any() else ""
    text = f"{start}lowest {low}, highest {high}, mean {np.nanmean(z):.2f}{missing}."
    return text if name else text[0].upper() + text[1:]


def _named(series: Mapping) -> Mapping:
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f"got {str(series)[:60]!r}: give a dict with at least one name: values")
    return series


def _table(name: str, values, dims: tuple[int, ...], wanted: str) -> np.ndarray:
    try:
        table = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name!r} holds lists of different lengths, or no numbers: give {wanted}") from None
    if table.ndim not in dims or not table.size:
        raise ValueError(f"{name!r} has shape {table.shape}: give {wanted}")
    return np.where(np.isfinite(table), table, np.nan)


def _stats(series: Mapping) -> dict[str, Stats]:
    """name: numbers, or a list of them a seed -> mean, minimum, maximum. A NaN in any seed stays a NaN."""
    wanted = "a list of numbers, or such a list for each seed, all of one length"
    tables = {name: np.atleast_2d(_table(name, v, (1, 2), wanted)) for name, v in _named(series).items()}
    return {name: (t.mean(0), t.min(0), t.max(0)) for name, t in tables.items()}


def _matrix(name: str, values) -> np.ndarray:
    z = _table(name or "matrix", values, (2,), "a matrix: equally long rows of numbers")
    far = z[np.abs(z) > 1 + 1e-6]
    if far.size:
        raise ValueError(f"{name or 'matrix'!r} has a value of {far[0]:g}: CKA is a similarity from 0 to 1")
    return z


def _over(low: float, high: float) -> str:
    return f" ({number(low)} to {number(high)} over the seeds)" if high > low else ""


def _count(n: int) -> list[int]:
    return list(range(1, n + 1))


def _ticks(n: int) -> list[int]:
    return list(range(1, n + 1, 1 + (n - 1) // 16))


def _spread(mean: np.ndarray, low: np.ndarray, high: np.ndarray, color: str) -> dict | None:
    """Whiskers from the minimum to the maximum, None where all seeds agree."""
    if not (high > low).any():
        return None
    whisker = dict(color=color, thickness=1.5, width=4)
    return dict(array=plain(high - mean), arrayminus=plain(mean - low), **whisker)


def _lines(
    points: Mapping[str, tuple[np.ndarray, Stats]],
    where: str,
    xlabel: str,
    ylabel: str,
    title: str,
    log_y: bool = False,
    chance: float | None = None,
) -> go.Figure:
    """A line a series with markers and whiskers, the summary in words, and ranges both renderers share."""
    fig, words, ending = go.Figure(), [], unit(ylabel)
    for (name, (xs, (mean, low, high))), kind in zip(points.items(), looks(points), strict=True):
        fig.add_scatter(
            x=plain(xs),
            y=plain(mean),
            name=name,
            mode="lines+markers",
            error_y=_spread(mean, low, high, kind["color"]),
            line=dict(color=kind["color"], dash=kind["dash"], width=2.2),
            marker=dict(symbol=kind["symbol"], size=9, maxdisplayed=16),
            hovertemplate=f"{where} %{{x}}: %{{y:.4g}}{ending}",
        )
        words.append(f"{name}: {_ends(xs, (mean, low, high), where, ending)}.")
    x = np.concatenate([xs for xs, _ in points.values()])
    y = np.concatenate([edge for _, stats in points.values() for edge in stats[1:]])
    names = list(points)
    if chance is not None:
        names.append(f"chance: {number(chance)}{ending}")
        y = np.append(y, chance)
        words.append(f"Chance is {number(chance)}{ending}.")
        fig.add_scatter(
            x=[0, float(x.max()) + 1],
            y=[chance, chance],
            name=names[-1],
            mode="lines",
            hoverinfo="skip",
            line=dict(color=GREY, dash="dot", width=1.5),
        )
    style(
        fig,
        title,
        f"{title or ylabel}. {' '.join(words)}",
        xlabel,
        ylabel,
        left=95 if log_y else left_margin(np.nanmax([0, *y])),
        right=85 + 9 * max(map(len, names)),
    )
    whole = np.unique(x[x == np.round(x)])
    few = len(whole) <= 12 and np.isin(x, whole).all()
    fig.update_xaxes(range=_range(x), tickvals=plain(whole) if few else None)
    fig.update_yaxes(range=_range(np.log10(y) if log_y else y))
    if log_y:
        ticks = _log_ticks(*fig.layout.yaxis.range)
        fig.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return fig.update_layout(showlegend=True, hovermode="closest")


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two exponents, with their multiples where there are few."""
    steps = range(1, 10) if high - low < 1 else (1, 2, 5) if high - low < 2.5 else (1,)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    return [tick for tick in ticks if low <= np.log10(tick) <= high]


def _ends(xs: np.ndarray, stats: Stats, where: str, ending: str) -> str:
    """'40.1 % at block 1 to 98.2 % (97 to 99 over the seeds) at block 8, no value at block 3'."""
    mean, low, high = stats
    words = f"{say(mean[-1], ending)}{_over(low[-1], high[-1])} at {where} {xs[-1]:g}"
    if len(xs) > 1:
        words = f"{say(mean[0], ending)} at {where} {xs[0]:g} to {words}"
    gaps = [f"{x:g}" for x in xs[1:-1][np.isnan(mean[1:-1])]]
    return words + (f", no value at {where} {', '.join(gaps)}" if gaps else "")


def _range(values: np.ndarray) -> list[float]:
    if np.isnan(values).all():
        return [0.0, 1.0]
    low, high = np.nanmin(values), np.nanmax(values)
    pad = 0.06 * (high - low) or 0.5
    return [float(low - pad), float(high + pad)]
