"""The plots of the lessons: each takes numbers by name and gives a Chart that says in words what it draws."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from mankit.charts import words as say
from mankit.charts.looks import Look, looks
from mankit.charts.record import Axis, Bars, Chart, Heat, Line, Plot, Stroke, Text

Stats = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, minimum, maximum over the seeds


def block_accuracy(
    series: Mapping[str, Sequence],
    ylabel: str = "accuracy (%)",
    chance: float | None = None,
    title: str = "Accuracy by block",
) -> Chart:
    """Accuracy against the block, 1 to K, a line a rule; seeds (lists of K) show as mean, minimum, maximum.

    A NaN is a gap. Raises ValueError for an empty dict and for seeds of different lengths.
    """
    points = {name: (np.arange(1, len(s[0]) + 1), s) for name, s in _stats(series).items()}
    deepest = max(len(xs) for xs, _ in points.values())
    chart = _lines(points, ("block", "block (1 = next to the image)", ylabel), title, chance=chance)
    return chart.but(xticks=ticks(deepest), xrange=(0.7, deepest + 0.3))


def curves(series: Mapping[str, tuple], xlabel: str = "epoch", ylabel: str = "accuracy (%)", title: str = "") -> Chart:
    """Curves name: (xs, ys), such as accuracy against the epoch; ys may be a list of seeds. A NaN is a gap.

    Raises ValueError for an empty dict, and for xs and ys of different lengths.
    """
    for name, pair in _named(series).items():
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{name!r} isn't a pair: give name: (xs, ys)")
    stats = _stats({name: ys for name, (_, ys) in series.items()})
    points = {name: (_table(name, series[name][0], (1,), "a list of xs"), s) for name, s in stats.items()}
    for name, (xs, (mean, _, _)) in points.items():
        if xs.shape != mean.shape:
            raise ValueError(f"{name!r} has {xs.size} xs but {mean.size} ys: give one y for each x")
    return _lines(points, (xlabel, xlabel, ylabel), title)


def bars(values: Mapping[str, float | Sequence[float]], ylabel: str, title: str = "") -> Chart:
    """A bar for each name, its value above it; a list is one value a seed: the mean, minimum and maximum.

    A NaN is a gap marked 'no value'. Raises ValueError for an empty dict and for values that aren't numbers.
    """
    wanted = "a number, or a list of them, one a seed"
    tables = {name: _table(name, v, (0, 1), wanted) for name, v in _named(values).items()}
    mean, low, high = (np.array([part(t) for t in tables.values()]) for part in (np.mean, np.min, np.max))
    room = max(6, 78 // len(tables))  # letters that fit under a bar
    names = ["\n".join(textwrap.wrap(name, room, break_long_words=False)) for name in tables]
    tops = np.where(np.isnan(mean), 0, np.maximum(high, 0))
    marks = [
        Bars(names, mean, looks(tables)),
        *(Stroke(i, low[i], i, high[i]) for i in range(len(names)) if high[i] > low[i]),
        *(Text(i, tops[i], say.say(mean[i]), at="above", lift=3) for i in range(len(names))),
    ]
    parts = [f"{n}: {say.say(mean[i], say.unit(ylabel))}{say.over(low[i], high[i])}" for i, n in enumerate(tables)]
    bottom, top = (float(edge([0, *part])) * 1.12 for edge, part in ((np.nanmin, low), (np.nanmax, high)))
    y = Axis(ylabel, (bottom, top or (1.0 if not bottom else -bottom / 8)))
    plot = Plot(marks, Axis(range=(-0.5, len(names) - 0.5), grid=False), y)
    return Chart([plot], f"{title or ylabel}. {'; '.join(parts)}.", title)


def stacked(
    values: Mapping[str, Mapping[str, float]], ylabel: str, title: str = "", limit: tuple[str, float] | None = None
) -> Chart:
    """A bar for each name, made of parts that stand on each other, part: value, its sum above it.

    limit: a name and a height, drawn as a line across. Raises ValueError for an empty dict, parts that differ from bar
    to bar, and values that aren't numbers of 0 or more.
    """
    parts = list(next(iter(_named(values).values())))
    for name, of_bar in values.items():
        if list(of_bar) != parts:
            raise ValueError(f"{name!r} has the parts {list(of_bar)}: give those of the first bar, {parts}")
    table = np.array([_table(name, list(v.values()), (1,), "a number a part") for name, v in values.items()])  # (N, P)
    if not (table >= 0).all():
        raise ValueError(f"the bars have a part of {np.min(table):g}: give numbers of 0 or more")
    sums, room = table.sum(1), max(6, 78 // len(table))
    names = ["\n".join(textwrap.wrap(name, room, break_long_words=False)) for name in values]
    marks = [Bars(names, table[:, i], [look] * len(names), parts[i]) for i, look in enumerate(looks(parts))]
    marks += [Text(i, value, say.say(value), at="above", lift=3) for i, value in enumerate(sums)]
    unit = say.unit(ylabel)
    words = [f"{n}: {say.say(sums[i], unit)} ({_parts(parts, table[i])})" for i, n in enumerate(values)]
    if limit:
        marks.append(Stroke(-0.5, limit[1], len(names) - 0.5, limit[1], "black", 1.5, "dot"))
        # for the legend: among names a curve has no places
        marks.append(Line([0], [np.nan], limit[0], Look("black", "dot"), width=1.5))
        words.append(f"{limit[0]}: {say.say(limit[1], unit)}")
    top = max(*sums, limit[1] if limit else 0) * 1.12 or 1.0
    plot = Plot(marks, Axis(range=(-0.5, len(names) - 0.5), grid=False), Axis(ylabel, (0, top)))
    return Chart([plot], f"{title or ylabel}. {'; '.join(words)}.", title)


def _parts(parts: Sequence[str], values: np.ndarray) -> str:
    return ", ".join(f"{part} {say.number(value)}" for part, value in zip(parts, values, strict=True))


def cka_heatmaps(
    matrices: Mapping[str, Sequence], xlabel: str = "block", ylabel: str = "block", title: str = "CKA"
) -> Chart:
    """CKA matrices side by side, name: (rows, columns) of similarities 0..1, on one scale. A NaN is a gap.

    Raises ValueError for an empty dict, a matrix that isn't 2-D, and values outside -1..1 (unbiased CKA may
    be below 0).
    """
    wanted = "a matrix: equally long rows of numbers"
    tables = {name: _table(name or "matrix", m, (2,), wanted) for name, m in _named(matrices).items()}
    count, gap, several, plots = len(tables), 0.05, len(tables) > 1, []
    wide = (Chart.width - 70 - 95) * (1 - gap * (count - 1)) / count  # a plot, in pixels
    high = min(wide * (1.15 if several else 0.75), 420)
    for name, z in tables.items():
        if (far := z[np.abs(z) > 1 + 1e-6]).size:
            raise ValueError(f"{name or 'matrix'!r} has a value of {far[0]:g}: CKA is a similarity from 0 to 1")
        cell = min(wide / z.shape[1], high / z.shape[0] * 1.8)
        scale = "CKA" * (len(plots) == count - 1)
        heat = Heat(z, name, _cells(z, cell), min(13, max(9, round(cell * 0.4))), scale, (ylabel, xlabel))
        x = Axis(xlabel, grid=False, ticks=ticks(z.shape[1]))
        y = Axis("" if plots else ylabel, grid=False, ticks=ticks(z.shape[0]))
        plots.append(Plot([heat], x, y, name))
    parts = [say.cells(name, z, xlabel, ylabel) for name, z in tables.items()]
    size = dict(height=round(high) + 110 + 25 * several, margin=(70, 95, 50 + 25 * several, 60))
    return Chart(plots, " ".join([f"{title}.", *parts]), title, columns=count, gaps=(gap, 0), **size)


def _cells(z: np.ndarray, cell: float) -> list[list[str]]:
    """The text of each cell of a heat map: '0.57', in narrow cells '.57', in tiny ones nothing."""

    def text(value: float) -> str:
        if np.isnan(value) or cell < 19:
            return ""
        return f"{value:.2f}" if cell > 33 else f"{value:.2f}".replace("0.", ".", 1)[:3].replace("1.0", "1")

    return [[text(value) for value in row] for row in z]


def _named(series: Mapping) -> Mapping:
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f"got {str(series)[:60]!r}: give a dict with at least one name: values")
    return series


def _table(name: str, values: Sequence, dims: tuple[int, ...], wanted: str) -> np.ndarray:
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


def ticks(n: int) -> list[int]:
    """1 to n, at most 16 of them."""
    return list(range(1, n + 1, 1 + (n - 1) // 16))


def _lines(
    points: Mapping[str, tuple[np.ndarray, Stats]],
    labels: tuple[str, str, str],
    title: str,
    chance: float | None = None,
) -> Chart:
    """A line a series with markers and whiskers, and the summary. labels: of a place (in words), of x and of y."""
    where, xlabel, ylabel = labels
    marks, parts, ending = [], [], say.unit(ylabel)
    for (name, (xs, stats)), look in zip(points.items(), looks(points), strict=True):
        mean, low, high = stats
        spread = dict(low=low, high=high) if (high > low).any() else {}
        marks.append(Line(xs, mean, name, look, hover=(where, ending), **spread))
        parts.append(f"{name}: {say.ends(xs, stats, where, ending)}.")
    x = np.concatenate([xs for xs, _ in points.values()])
    y = np.concatenate([edge for _, stats in points.values() for edge in stats[1:]])
    if chance is not None:
        y, value = np.append(y, chance), f"{say.number(chance)}{ending}"
        parts.append(f"Chance is {value}.")
        marks.append(Line([0, float(x.max()) + 1], [chance] * 2, f"chance: {value}", Look("grey", "dot"), width=1.5))
    whole = np.unique(x[x == np.round(x)])
    few = len(whole) <= 12 and np.isin(x, whole).all()
    plot = Plot(marks, Axis(xlabel, _range(x), whole if few else None), Axis(ylabel, _range(y)))
    return Chart([plot], f"{title or ylabel}. {' '.join(parts)}", title)


def _range(values: np.ndarray) -> tuple[float, float]:
    if np.isnan(values).all():
        return 0.0, 1.0
    low, high = np.nanmin(values), np.nanmax(values)
    pad = 0.06 * (high - low) or 0.5
    return float(low - pad), float(high + pad)
