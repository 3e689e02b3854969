"""A chart as a record: what is drawn, and in words. It knows no library; `plotly_pen` and `png_pen` draw it.

    marks = [Line([1, 2, 3], [10, 40, 60], "DGL", look("DGL")), Text(2, 40, "here")]
    Chart([Plot(marks, Axis("epoch"), Axis("accuracy (%)"))], "DGL rises from 10 to 60 %.", title="DGL")

What a pen couldn't draw is a ValueError when the record is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mankit.charts.looks import DASHES, INK, Look, paint
from mankit.errors import at_least, choose

Numbers = Sequence[float] | np.ndarray
WIDTH = 700  # pixels


@dataclass(frozen=True, eq=False)
class Line:
    """A curve; a NaN is a gap. Lines of one name stand once in the legend, a line without name not at all.

    low, high: ends of its whiskers. hover: words before x and after y. shown: False keeps its place, undrawn.
    """

    xs: Numbers
    ys: Numbers
    name: str = ""
    look: Look = Look()
    width: float = 2.2
    size: float = 9
    low: Numbers | None = None
    high: Numbers | None = None
    hover: tuple[str, str] | None = None
    shown: bool = True

    def __post_init__(self) -> None:
        for values in (self.ys, self.low, self.high):
            if values is not None and np.shape(values) != (len(self.xs),):
                raise ValueError(f"line {self.name!r}: {np.size(values)} ys for {len(self.xs)} xs: give one for each")


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars from 0, the first at x = 0, the next at 1, ...; a NaN is a gap."""

    names: Sequence[str]
    heights: Numbers
    looks: Sequence[Look]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.heights) == len(self.looks):
            counts = f"{len(self.heights)} heights and {len(self.looks)} looks for {len(self.names)} names"
            raise ValueError(f"bars: {counts}: give one for each")


@dataclass(frozen=True, eq=False)
class Heat:
    """A matrix (rows from the bottom up, columns) in colours from `low` to `high`; cells are counted from 1.

    texts: what stands in each cell. scale: the title of its colour scale; '': none. hover: what rows and columns are.
    """

    z: np.ndarray | Sequence[Sequence[float]]
    name: str = ""
    texts: Sequence[Sequence[str]] | None = None
    size: int = 12
    scale: str = ""
    hover: tuple[str, str] = ("row", "column")
    low: float = 0
    high: float = 1

    def __post_init__(self) -> None:
        if np.ndim(self.z) != 2:
            raise ValueError(f"heat map of shape {np.shape(self.z)}: give rows and columns")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image (height, width, 3) of uint8: its pixels are at x = 0, 1, ..., and at y = 0, 1, ... downwards."""

    pixels: np.ndarray

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"pixels are {self.pixels.dtype} {self.pixels.shape}: give uint8 (height, width, 3)")


@dataclass(frozen=True, eq=False)
class Box:
    """A rectangle."""

    x0: float
    y0: float
    x1: float
    y1: float
    fill: str = "white"
    dash: str = "solid"
    color: str = INK
    width: float = 1

    def __post_init__(self) -> None:
        paint(self.fill), paint(self.color), choose("dash", self.dash, DASHES)


@dataclass(frozen=True, eq=False)
class Stroke:
    """A straight line from (x0, y0) to (x1, y1), or an arrow, which is solid and of one width."""

    x0: float
    y0: float
    x1: float
    y1: float
    color: str = INK
    width: float = 2
    dash: str = "solid"
    arrow: bool = False

    def __post_init__(self) -> None:
        paint(self.color), choose("dash", self.dash, DASHES)
        if self.arrow and self.dash != "solid":
            raise ValueError(f"dash={self.dash!r} of an arrow: arrows are solid; draw a stroke, and a short arrow")


@dataclass(frozen=True, eq=False)
class Text:
    """Words at a place: centred there, 'left' (they begin there) or 'above' it, by `lift` pixels more.

    size, color: None is the chart's. angle: degrees to the left; 90 reads upwards.
    """

    x: float
    y: float
    text: str
    size: float | None = None
    color: str | None = None
    at: str = "center"
    lift: float = 0
    angle: float = 0

    def __post_init__(self) -> None:
        paint(self.color or INK), choose("at", self.at, ("center", "left", "above"))


Mark = Line | Bars | Heat | Picture | Box | Stroke | Text


@dataclass(frozen=True, eq=False)
class Axis:
    """An axis. range, ticks: None lets the pen choose. labels: what stands at the ticks. shown: line and numbers."""

    title: str = ""
    range: tuple[float, float] | None = None
    ticks: Numbers | None = None
    labels: Sequence[str] | None = None
    log: bool = False
    grid: bool = True
    shown: bool = True

    def __post_init__(self) -> None:
        if self.labels is not None and (self.ticks is None or len(self.labels) != len(self.ticks)):
            raise ValueError(f"{len(self.labels)} labels of an axis: give ticks, one for each")
        if self.log and self.range is not None and min(self.range) <= 0:
            raise ValueError(f"range={self.range}: a log axis needs values above 0; use log=False")


@dataclass(frozen=True, eq=False)
class Plot:
    """Marks on a pair of axes, each drawn over those before it: shapes over lines and bars, texts over all."""

    marks: Sequence[Mark]
    x: Axis = Axis()
    y: Axis = Axis()
    title: str = ""

    def __post_init__(self) -> None:
        for mark in self.marks:
            if not isinstance(mark, Mark):
                kinds = ", ".join(kind.__name__ for kind in Mark.__args__)
                raise ValueError(f"can't draw {str(mark)[:60]!r}: a mark is one of {kinds}")
        if len(self.of(Bars)) > 1:
            raise ValueError("a plot has one set of bars: give all of them at once, or another plot")
        for values in (line.ys for line in self.of(Line) if self.y.log):
            if (np.asarray(values, dtype=float) <= 0).any():
                raise ValueError(f"a value of {np.nanmin(values):g}: a log axis needs values above 0; use log=False")

    def of(self, *kinds: type) -> list[Any]:
        """The marks of these kinds, in order."""
        return [mark for mark in self.marks if isinstance(mark, kinds)]


@dataclass(frozen=True, eq=False)
class Chart:
    """Plots, row by row in `columns`, with a title and a summary in `words` for readers who can't see them.

    Sizes are in pixels. margin: left, right, top, bottom; None makes room for what stands there. gaps: between
    columns and rows, as parts of the whole. legend: its title.
    """

    plots: Sequence[Plot]
    words: str
    title: str = ""
    columns: int = 1
    width: int = WIDTH
    height: int = 400
    margin: tuple[int, int, int, int] | None = None
    gaps: tuple[float, float] = (0.05, 0.1)
    font: int = 14
    legend: str = ""

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("the chart has no summary in words: give words='...' that say what the data show")
        at_least("columns", self.columns, 1)
        if not self.plots:
            raise ValueError("plots is empty: give at least one Plot")

    def but(self, **changes: Any) -> Chart:
        """A copy with some fields changed, and with x... and y... those of every axis: but(title="", yrange=(0, 1))."""
        mine = {field.name for field in fields(Chart)}
        axes: dict[str, dict[str, Any]] = {"x": {}, "y": {}}
        for name in set(changes) - mine:
            choose("field", name, [*mine, *(axis + field.name for axis in axes for field in fields(Axis))])
            axes[name[0]][name[1:]] = changes.pop(name)
        x, y = axes.values()
        plots = [replace(plot, x=replace(plot.x, **x), y=replace(plot.y, **y)) for plot in self.plots]
        return replace(self, **{"plots": plots, **changes})

    def placed(self) -> Iterator[tuple[Plot, tuple[float, float, float, float]]]:
        """Each plot and where it stands in the area between the margins: left, bottom, right, top, from 0 to 1."""
        (across, down), rows = self.gaps, -(-len(self.plots) // self.columns)
        wide = (1 - across * (self.columns - 1)) / self.columns
        high = (1 - down * (rows - 1)) / rows
        for i, plot in enumerate(self.plots):
            left, bottom = i % self.columns * (wide + across), (rows - 1 - i // self.columns) * (high + down)
            yield plot, (left, bottom, left + wide, bottom + high)

    def lines(self) -> list[Line]:
        """The lines that stand in the legend: the first of each name."""
        named: dict[str, Line] = {}
        for line in (line for plot in self.plots for line in plot.of(Line) if line.name and line.shown):
            named.setdefault(line.name, line)
        return list(named.values())

    def margins(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom, with room for tick labels and the legend."""
        if self.margin:
            return self.margin
        y, names = self.plots[0].y, [line.name for line in self.lines()]
        top = max(map(abs, y.range)) if y.range else 0
        left = 95 if y.log else 24 + 7 * max(map(len, y.labels)) if y.labels else max(70, 38 + 9 * len(f"{top:,.0f}"))
        return left, 85 + 9 * max(map(len, names)) if names else 30, 56, 60

    def _ipython_display_(self) -> None:
        from mankit.charts.display import show

        show(self)
