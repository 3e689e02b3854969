"""What the live panel shows: one chart of eight plots, and its summary in words.

All lines are there at once, for the largest K, and only their numbers change: a figure that is on a page can be
updated so without losing or doubling anything (traces that are added later are lost when the page is reloaded).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal, get_origin

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from ..charts import LOOKS, Axis, Bars, Chart, Heat, Line, Look, Plot, Stroke, figure
from ..charts.plotly_pen import spec
from ..charts.plots import ticks
from ..charts.words import say
from ..rules import entry_of, options_of
from .watch import History

MOST = 16  # blocks that can be drawn
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
DASHES = ("solid", "dash", "dot", "dashdot")
TITLES = (
    "This run: accuracy of each block",
    "Beside it: BP of the same seed",
    "Loss of each block",
    "By block: \u25b2 this run, \u25cf the other",
    "Similarity of blocks (CKA)",
    "Similarity to BP's blocks (CKA)",
    "Memory for the backward pass",
    "Distance of the EMA to its layer",
)
# where the traces of each plot stand in the figure: a line for each block, or a few
OWN, BESIDE, LOSS = (range(i * MOST, (i + 1) * MOST) for i in range(3))
THIS, OTHER, CKA, CKA_BP, MEMORY = range(3 * MOST, 3 * MOST + 5)
EMA = range(MEMORY + 1, MEMORY + 1 + MOST)
Curves = Sequence[Sequence[float]]


class LiveFigure(go.FigureWidget):
    """A FigureWidget that a reloaded page gets as it is now (plotly's own comes back as it was at first)."""

    def get_state(self, key: object = None, drop_defaults: bool = False) -> dict:
        """The widget's state; what a page asks for as a whole (key None) is made anew from the figure."""
        if key is None and "_layout_obj" in self.__dict__:  # not yet there while the widget is being made
            self._widget_data = deepcopy(self._data)
            self._widget_layout = deepcopy(self._layout_obj._props)
        return super().get_state(key, drop_defaults)

    @staticmethod
    def _remove_overlapping_props(input_data: object, delta_data: object, prop_path: tuple = ()) -> list:
        """Keep all numbers here: plotly's own takes out what a page says it has, and a reloaded page lacks it."""
        return []


def chart_of(history: History | None, kept: History | None = None, by_probe: bool = False) -> Chart:
    """The chart of a run, beside it a kept one or the BP network of the same seed; None: a chart without numbers."""
    measure, percent, known = "probe" if by_probe else "own_head", Axis("accuracy (%)", (0, 102)), history is not None
    other = kept or history

    def curves(run: History | None, what: str) -> Curves:
        return run.curve(what) if run else []

    mine, its = ([point.step for point in run.points] if run else [] for run in (history, other))
    beside, ema = curves(other, measure if kept else "bp_probe"), curves(history, "ema_distance")
    now = curves(history, measure if kept else "probe")  # by the same measure as what stands beside
    steps, other_steps = (_steps(run.total if run else None) for run in (history, other))
    top = max((value for curve in ema for value in curve if value == value), default=0)
    changes = [Stroke(step, 0, step, top, width=1, dash="dot") for step, _ in (history.changes if known else [])]
    blocks = Axis("block (1 = next to the image)", ticks=ticks(max(1, len(now), len(beside))))
    plots = [
        (_lines(mine, curves(history, measure), " %"), steps, percent),
        (_lines(its, beside, " %"), other_steps, percent),
        (_lines(mine, curves(history, "loss")), steps, Axis("loss")),
        ([_profile(now, "MAN", "this run"), _profile(beside, "BP", "the other")], blocks, percent),
        _heat(history.cka if known else [], "block", ""),
        _heat(history.cka_to_bp if known else [], "BP's block", "CKA"),
        ([_bars(history.memory if known else None)], Axis("block, and BP with all of them"), Axis("MiB a batch")),
        (_lines(mine, ema) + changes, steps, Axis("|EMA - N| / |N|")),
    ]
    titles = _titles(history, kept, by_probe) if known else TITLES
    titled = [Plot(*plot, title=title) for plot, title in zip(plots, titles, strict=True)]
    words = summary(history, kept, by_probe) if known else "Nothing trained yet."
    look = dict(height=1120, margin=(60, 110, 56, 60), gaps=(0.12, 0.085), font=12, legend="block")
    return Chart(titled, words, columns=2, **look)


def _steps(total: int | None) -> Axis:
    return Axis("training step", (-0.03 * total, 1.03 * total) if total else None)


def _bars(memory: dict[str, list[float]] | None) -> Bars:
    """A bar for each block, and two for BP: with all its blocks at once, and with a checkpoint at each layer."""
    sizes = [*memory["blocks"], *memory["BP"], *memory["BP, checkpointed"]] if memory else [0, 0, 0]
    names = ["this run"] if memory and len(sizes) == 3 else [str(k + 1) for k in range(len(sizes) - 2)]
    looks = [Look("blue")] * len(names) + [Look("black", hatch="/"), Look("red", hatch="x")]
    return Bars([*names, "BP", "BP,\nckpt"], sizes, looks)


def _lines(x: Sequence[int], curves: Curves, ending: str = "") -> list[Line]:
    """MOST lines, one for each block: those without any number aren't shown. No two have the same marker and dash."""
    lines = []
    for k in range(MOST):
        y = curves[k] if k < len(curves) else []
        there = any(value == value for value in y)  # a nan isn't
        color = block_color(k, len(curves)) if there else "black"
        look = Look(color, DASHES[k // len(MARKERS) % len(DASHES)], MARKERS[k % len(MARKERS)])
        xy = (x, y) if there else ([], [])
        lines.append(Line(*xy, str(k + 1), look, width=2, size=6, hover=("step", ending), shown=there))
    return lines


def _profile(curves: Curves, look: str, name: str) -> Line:
    last = [curve[-1] for curve in curves]
    return Line(range(1, len(last) + 1), last, "", LOOKS[look], width=2, size=8, hover=(f"{name}, block", " %"))


def _heat(matrix: Curves, columns: str, scale: str) -> tuple[list[Heat], Axis, Axis]:
    places = ticks(max(1, len(matrix)))
    heat = Heat(matrix or [[float("nan")]], scale=scale, hover=("block", columns))
    return [heat], Axis(columns, ticks=places), Axis("block", ticks=places)


def block_color(k: int, K: int) -> str:
    """Dark violet for the first block to light green for the last."""
    rgb = sample_colorscale("Viridis", [0.85 * k / max(1, K - 1)], colortype="tuple")[0]
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def empty_figure(kind: type[go.Figure] = go.Figure) -> go.Figure:
    """The eight plots without numbers, as a go.Figure or a LiveFigure."""
    return figure(chart_of(None), kind)


def draw(fig: go.Figure, history: History, kept: History | None = None, by_probe: bool = False) -> None:
    """Put a run's numbers into the figure, and beside it those of a kept run, or of its BP network."""
    _put(fig, chart_of(history, kept, by_probe))


def clear(fig: go.Figure) -> None:
    """Take all numbers out of the figure."""
    _put(fig, chart_of(None))


def ordinary(history: History) -> Chart:
    """The panel's chart without a panel, for a notebook that is executed where nobody looks on."""
    return chart_of(history).but(width=860)


def _put(fig: go.Figure, chart: Chart) -> None:
    """Change a figure into that of another chart, number by number, so that a page gets only what is new."""
    new = spec(chart, hidden=True)
    layout = new["layout"]
    axes = {name: part for name, part in layout.items() if "axis" in name}
    ranges = [list(axis.get("range", ())) for axis in axes.values()]
    other_run = [list(values) for values in (fig.layout.meta or {}).get("ranges", ())] != ranges
    with fig.batch_update():
        for trace, values in zip(fig.data, new["data"], strict=True):
            usual = {"visible": True} | ({"showlegend": True} if trace.type == "scatter" else {})
            trace.update(usual | values)
        for note, values in zip(fig.layout.annotations, layout["annotations"], strict=True):
            note.text = values["text"]
        for name, axis in axes.items():  # the ranges once for each run, so that a reader's zoom stays
            fig.layout[name].update({key: part for key, part in axis.items() if key != "range" or other_run})
        fig.layout.shapes = layout.get("shapes", [])
        fig.layout.meta = dict(alt=chart.words, ranges=ranges)


def title_beside(kept: History | None) -> str:
    """What stands beside this run."""
    return f"kept: {name_of(kept)}" if kept else "BP, same seed"


def name_of(history: History) -> str:
    """'MAN, K=8, decay 0.995, seed 0'; a choice that isn't the rule's default stands behind its name."""
    recipe = history.recipe
    known = options_of(recipe.rule, recipe.options.get("base"))
    choices = [name for name, option in known.items() if get_origin(option.annotation) is Literal]
    chosen = [recipe.options.get(name, known[name].default) for name in choices]
    others = [str(value) for name, value in zip(choices, chosen, strict=True) if value != known[name].default]
    control = f" ({', '.join(others)})" if others else ""
    decay = "" if history.decay is None else f", decay {history.decay:g}"
    return f"{entry_of(recipe.rule).label}{control}, K={recipe.K}{decay}, seed {recipe.seed}"


def _titles(history: History, kept: History | None, by_probe: bool) -> list[str]:
    what = "linear probe" if by_probe else "own head"
    beside = f"{title_beside(kept)}\naccuracy by {what if kept else 'linear probe'}"
    missing = "" if history.cka_to_bp else " (no BP beside it)"
    has_ema = "" if history.decay is not None else " (no EMA here)"
    mine = f"{name_of(history)}\naccuracy by {what}"
    by_block = f"By block, {what if kept else 'linear probe'}: \u25b2 this run, \u25cf the other"
    return [mine, beside, TITLES[2], by_block, TITLES[4], TITLES[5] + missing, TITLES[6], TITLES[7] + has_ema]


def summary(history: History, kept: History | None = None, by_probe: bool = False) -> str:
    """The figure in words: what is trained, how far, and the last numbers of each plot."""
    epochs = history.recipe.epochs
    epoch = min(epochs, 1 + history.step * epochs // history.total)
    mine = [curve[-1] for curve in history.curve("probe" if by_probe else "own_head")]
    parts = [
        f"{name_of(history)}: step {history.step} of {history.total}, epoch {epoch} of {epochs}.",
        f"Validation accuracy by {'linear probe' if by_probe else 'own head'}, block 1 to {history.K}: "
        f"{', '.join(say(value) for value in mine)} %.",
    ]
    other = kept.curve("probe" if by_probe else "own_head") if kept else history.curve("bp_probe")
    if other:
        parts.append(f"{title_beside(kept)}: {', '.join(say(curve[-1]) for curve in other)} %.")
    if history.cka_to_bp:
        same = [row[k] for k, row in enumerate(history.cka_to_bp)]
        parts.append(f"CKA to the same block of BP: {', '.join(f'{value:.2f}' for value in same)}.")
    distances = [curve[-1] for curve in history.curve("ema_distance")]
    if history.decay is not None:
        parts.append(f"EMA's distance to its layer: {', '.join(say(value) for value in distances[:-1])}.")
    largest, (bp,), (checkpointed,) = max(history.memory["blocks"]), *list(history.memory.values())[1:]
    parts.append(f"Memory: largest block {largest:.1f} MiB, BP {bp:.1f}, BP checkpointed {checkpointed:.1f}.")
    changes = [f"to {decay:g} at step {step}" for step, decay in history.changes]
    return " ".join(parts + ([f"Decay changed {', '.join(changes)}."] if changes else []))
