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


@dataclass(frozen=True, eq=False)
class Line:
    """A curve; a NaN is a gap. Lines of one name stand once in the legend, a line without name not at all.

    low, high: ends of its whiskers. hover: words before x and after y.
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


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars from 0, the first at x = 0, the next at 1, ...; a NaN is a gap.

    Several sets in a plot stand on each other, in their order, and each has a `name`, which stands in the legend.
    """

    names: Sequence[str]
    heights: Numbers
    looks: Sequence[Look]
    name: str = ""


@dataclass(frozen=True, eq=False)
class Heat:
    """A matrix (rows from the bottom up, columns) in colours from 0 to 1; cells are counted from 1.

    texts: what stands in each cell. scale: the title of its colour scale; '': none. hover: what rows and columns are.
    """

    z: np.ndarray | Sequence[Sequence[float]]
    name: str = ""
    texts: Sequence[Sequence[str]] | None = None
    size: int = 12
    scale: str = ""
    hover: tuple[str, str] = ("row", "column")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image (height, width, 3) of uint8: its pixels are at x = 0, 1, ..., and at y = 0, 1, ... downwards."""

    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Box:
    """A rectangle."""

    x0: float
    y0: float
    x1: float
    y1: float
    fill: str = "white"
    dash: str = "solid"


@dataclass(frozen=True, eq=False)
class Stroke:
    """A straight line from (x0, y0) to (x1, y1), or an arrow, which is solid and 1.5 wide."""

    x0: float
    y0: float
    x1: float
    y1: float
    color: str = INK
    width: float = 2
    dash: str = "solid"
    arrow: bool = False


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


Mark = Line | Bars | Heat | Picture | Box | Stroke | Text


def check(mark: Mark) -> None:
    """Raise ValueError for a mark that a pen couldn't draw."""
    match mark:
        case Line():
            for values in (mark.ys, mark.low, mark.high):
                if values is not None and np.shape(values) != (len(mark.xs),):
                    raise ValueError(f"{mark.name!r} has {len(mark.xs)} xs but {np.size(values)} ys: give as many")
        case Bars(names, heights, looks):
            if not len(names) == len(heights) == len(looks):
                counts = f"{len(names)} names, {len(heights)} heights and {len(looks)} looks"
                raise ValueError(f"bars with {counts}: give as many")
        case Heat(z):
            if np.ndim(z) != 2:
                raise ValueError(f"heat map of shape {np.shape(z)}: give rows and columns")
        case Picture(pixels):
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}: give uint8 (height, width, 3)")
        case Box() | Stroke():
            paint(mark.fill if isinstance(mark, Box) else mark.color)
            choose("dash", mark.dash, ("solid",) if isinstance(mark, Stroke) and mark.arrow else DASHES)
        case Text():
            paint(mark.color or INK), choose("at", mark.at, ("center", "left", "above"))
        case _:
            kinds = ", ".join(kind.__name__ for kind in Mark.__args__)
            raise ValueError(f"can't draw {str(mark)[:60]!r}: a mark is one of {kinds}")


@dataclass(frozen=True, eq=False)
class Axis:
    """An axis. range, ticks: None lets the pen choose. labels: what stands at the ticks. shown: line and numbers."""

    title: str = ""
    range: tuple[float, float] | None = None
    ticks: Numbers | None = None
    labels: Sequence[str] | None = None
    grid: bool = True
    shown: bool = True

    def __post_init__(self) -> None:
        if self.labels is not None and (self.ticks is None or len(self.labels) != len(self.ticks)):
            raise ValueError(f"{len(self.labels)} labels of an axis: give ticks, one for each")


@dataclass(frozen=True, eq=False)
class Plot:
    """Marks on a pair of axes, each drawn over those before it: shapes over lines and bars, texts over all."""

    marks: Sequence[Mark]
    x: Axis = Axis()
    y: Axis = Axis()
    title: str = ""

    def __post_init__(self) -> None:
        for mark in self.marks:
            check(mark)
        sets = self.of(Bars)
        if len(sets) > 1 and not all(bars.name and bars.names == sets[0].names for bars in sets):
            raise ValueError("a plot has one set of bars, or several of the same names that have a name each")

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
    width: int = 700
    height: int = 400
    margin: tuple[int, int, int, int] | None = None
    gaps: tuple[float, float] = (0.05, 0.1)
    font: int = 14
    legend: str = ""

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("the chart has no summary in words: give words='...' that say what the data show")
        at_least("columns", self.columns, 1)
        at_least("plots", len(self.plots), 1, "give at least one Plot")

    def but(self, **changes: Any) -> Chart:
        """A copy with some fields changed, and with x... and y... those of every axis: but(title="", yrange=(0, 1))."""
        mine = {field.name for field in fields(Chart)}
        axes: dict[str, dict[str, Any]] = {"x": {}, "y": {}}
        for name in set(changes) - mine:
            choose("field", name, [*mine, *(axis + field.name for axis in axes for field in fields(Axis))])
            axes[name[0]][name[1:]] = changes.pop(name)
        plots = [replace(p, x=replace(p.x, **axes["x"]), y=replace(p.y, **axes["y"])) for p in self.plots]
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
        """The lines that stand in the legend."""
        return [mark for mark in self.named() if isinstance(mark, Line)]

    def named(self) -> list[Line | Bars]:
        """The lines and sets of bars that stand in the legend: the first of each name."""
        marks = [mark for plot in self.plots for mark in plot.of(Line, Bars) if mark.name]
        return [mark for i, mark in enumerate(marks) if mark.name not in {other.name for other in marks[:i]}]

    def margins(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom, with room for tick labels and the legend."""
        if self.margin:
            return self.margin
        y, names = self.plots[0].y, [mark.name for mark in self.named()]
        top = max(map(abs, y.range)) if y.range else 0
        left = 24 + 7 * max(map(len, y.labels)) if y.labels else max(70, 38 + 9 * len(f"{top:,.0f}"))
        under = max((name.count("\n") for bars in self.plots[0].of(Bars) for name in bars.names), default=0)
        return left, 85 + 9 * max(map(len, names)) if names else 30, 56, max(60, 34 + 17 * under)
