"""What the live panel shows: one chart of eight plots, and its summary in words.

On a page each plot is a small figure of its own, so that they stack where the page is narrow: `picture` makes the JSON.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_origin

from plotly.colors import sample_colorscale

from ..charts import LOOKS, Axis, Bars, Chart, Heat, Line, Look, Plot, Stroke
from ..charts.plotly_pen import spec
from ..charts.plots import ticks
from ..charts.words import say
from ..rules import entry_of, options_of
from ..studies import Recipe
from .watch import History

MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
SYMBOLS = dict(zip(MARKERS, "\u25cf\u25a0\u25c6\u25b2\u2716\u2605", strict=True))  # for the page's legend
DASHES = ("solid", "dash", "dot", "dashdot")
TITLES = {  # of the plots by their names, in the chart's order
    "own": "This run: accuracy of each block",
    "beside": "Beside it: BP of the same seed",
    "loss": "Loss of each block",
    "by_block": "By block: \u25b2 this run, \u25cf the other",
    "cka": "Similarity of blocks (CKA)",
    "cka_bp": "Similarity to BP's blocks (CKA)",
    "memory": "Memory for the backward pass",
    "ema": "Distance of the EMA to its layer",
}
ON_PAGE = ("by_block", "ema", "cka", "cka_bp", "own", "beside", "loss", "memory")  # first what answers the decay
MEASURES = {"probe": "linear probe", "own_head": "own head"}  # of accuracy
EMPTY = History(Recipe(), K=0, total=0, every=1, memory=[0, 0, 0])
Curves = Sequence[Sequence[float]]


def chart_of(history: History | None, kept: History | None = None, measure: str = "own_head") -> Chart:
    """The chart of a run, beside it a kept one or the BP network of the same seed; None: a chart without numbers."""
    plots = _plots(history or EMPTY, kept, measure)
    titles = _titles(history, kept, measure) if history else TITLES
    titled = [replace(plots[name], title=title) for name, title in titles.items()]
    words = summary(history, kept, measure) if history else "Nothing trained yet."
    look = dict(height=1120, margin=(60, 110, 56, 60), gaps=(0.12, 0.085), font=12, legend="block")
    return Chart(titled, words, columns=2, **look)


def _plots(history: History, kept: History | None, measure: str) -> dict[str, Plot]:
    other = kept or history
    mine, its = ([point.step for point in run.points] for run in (history, other))
    beside, ema = other.curve(measure if kept else "bp_probe"), history.curve("ema_distance")
    now = history.curve(measure if kept else "probe")  # by the same measure as what stands beside
    steps, percent = _steps(history), Axis("accuracy (%)", (0, 102))
    top = max((value for curve in ema for value in curve if value == value), default=0)
    changes = [Stroke(step, 0, step, top, width=1, dash="dot") for step, _ in history.changes]
    blocks = Axis("block (1 = next to the image)", ticks=ticks(max(1, len(now), len(beside))))
    return dict(
        own=Plot(_lines(mine, history.curve(measure), " %"), steps, percent),
        beside=Plot(_lines(its, beside, " %"), _steps(other), percent),
        loss=Plot(_lines(mine, history.curve("loss")), steps, Axis("loss")),
        by_block=Plot([_profile(now, "MAN", "this run"), _profile(beside, "BP", "the other")], blocks, percent),
        cka=_heat(history.cka, "block", ""),
        cka_bp=_heat(history.cka_to_bp, "BP's block", "CKA"),
        memory=Plot([_bars(history)], Axis("block, and BP with all of them"), Axis("MiB a batch")),
        ema=Plot(_lines(mine, ema) + changes, steps, Axis("|EMA - N| / |N|")),
    )


def _steps(run: History) -> Axis:
    return Axis("training step", (-0.03 * run.total, 1.03 * run.total) if run.total else None)


def _bars(history: History) -> Bars:
    """A bar for each block, and two for BP: with all its blocks at once, and with the best checkpoints."""
    count = len(history.memory) - 2
    names = ["this run"] if history.K and count == 1 else [str(k + 1) for k in range(count)]
    looks = [Look("blue")] * count + [Look("black", hatch="/"), Look("red", hatch="x")]
    return Bars([*names, "BP", "BP,\nckpt"], history.memory, looks)


def _lines(x: Sequence[int], curves: Curves, ending: str = "") -> list[Line]:
    """A line for each block that has a number at all. No two have the same marker and dash."""
    lines = []
    for k, y in enumerate(curves):
        look = Look(block_color(k, len(curves)), DASHES[k // len(MARKERS) % len(DASHES)], MARKERS[k % len(MARKERS)])
        if any(value == value for value in y):  # a nan isn't
            lines.append(Line(x, y, str(k + 1), look, width=2, size=6, hover=("step", ending)))
    return lines


def _profile(curves: Curves, look: str, name: str) -> Line:
    last = [curve[-1] for curve in curves]
    return Line(range(1, len(last) + 1), last, "", LOOKS[look], width=2, size=8, hover=(f"{name}, block", " %"))


def _heat(matrix: Curves, columns: str, scale: str) -> Plot:
    places = ticks(max(1, len(matrix)))
    heat = Heat(matrix or [[float("nan")]], scale=scale, hover=("block", columns))
    return Plot([heat], Axis(columns, ticks=places), Axis("block", ticks=places))


@functools.lru_cache
def block_color(k: int, K: int) -> str:
    """Dark violet for the first block to light green for the last."""
    rgb = sample_colorscale("Viridis", [0.85 * k / max(1, K - 1)], colortype="tuple")[0]
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def picture(chart: Chart, run: int = 0) -> dict[str, Any]:
    """The chart as JSON for a page: words, legend, and each plot as plotly's data and layout.

    run: what a reader has zoomed into stays as it is until this number changes.
    """
    plots = dict(zip(TITLES, chart.plots, strict=True))
    legend = [dict(name=line.name, color=line.look.color, symbol=SYMBOLS[line.look.symbol]) for line in chart.lines()]
    return dict(words=chart.words, legend=legend, plots=[_small(name, plots[name], run) for name in ON_PAGE])


def _small(name: str, plot: Plot, run: int) -> dict[str, Any]:
    """One plot as a figure of its own; its title is the page's."""
    drawn = spec(Chart([replace(plot, title="")], plot.title, margin=(46, 8, 4, 36), font=11))
    layout, title, x_places = drawn["layout"] | dict(showlegend=False, uirevision=run), plot.title, plot.x.ticks
    if name == "ema":
        layout["yaxis"]["rangemode"] = "tozero"
    if name == "memory":
        layout["xaxis"]["dtick"], x_places = 1, plot.marks[0].names  # each bar has its name
    if name in ("cka", "cka_bp"):
        drawn["data"][0]["showscale"], title = False, f"{title}: blue 0, yellow 1"
    for axis, places in ((layout["xaxis"], x_places), (layout["yaxis"], plot.y.ticks)):
        if len(places or ()) > 11:
            axis.update(tickangle=0, tickfont=dict(size=8))  # small, but all of them
    return dict(name=name, title=title, data=drawn["data"], layout=layout)


def title_beside(history: History, kept: History | None) -> str:
    """What stands beside this run, and how far it came if that is another step."""
    far = f", step {kept.step}" if kept and kept.step != history.step else ""
    return f"kept: {name_of(kept)}{far}" if kept else "BP, same seed"


def caution(history: History, kept: History | None) -> str:
    """What to bear in mind: a decay that was changed, and other steps where a run is compared with a kept one."""
    parts = []
    if kept and kept.step != history.step:
        parts.append(f"The kept run is at step {kept.step}, this one at {history.step}.")
    for name, run in (("This", history), ("The kept", kept)):
        changes = [f"to {decay:g} at step {step}" for step, decay in (run.changes if run else [])]
        parts += [f"{name} run's decay was changed {', '.join(changes)}."] if changes else []
    return " ".join(parts)


def name_of(history: History) -> str:
    """'MAN, K=8, decay 0.995, seed 0'; a choice that isn't the rule's default stands behind its name."""
    recipe = history.recipe
    others = []
    for name, option in options_of(recipe.rule, recipe.options.get("base")).items():
        value = recipe.options.get(name, option.default)
        if get_origin(option.annotation) is Literal and value != option.default:
            others.append(str(value))
    control = f" ({', '.join(others)})" if others else ""
    decay = "" if history.decay is None else f", decay {history.decay:g}{' (changed)' * bool(history.changes)}"
    return f"{entry_of(recipe.rule).label}{control}, K={recipe.K}{decay}, seed {recipe.seed}"


def _titles(history: History, kept: History | None, measure: str) -> dict[str, str]:
    """TITLES, and in them what is known of the runs."""
    compared = MEASURES[measure if kept else "probe"]
    return TITLES | dict(
        own=f"{name_of(history)}\naccuracy by {MEASURES[measure]}",
        beside=f"{title_beside(history, kept)}\naccuracy by {compared}",
        by_block=TITLES["by_block"].replace(":", f", {compared}:"),
        cka_bp=TITLES["cka_bp"] + ("" if history.cka_to_bp else " (no BP beside it)"),
        ema=TITLES["ema"] + ("" if history.decay is not None else " (no EMA here)"),
    )


def summary(history: History, kept: History | None = None, measure: str = "own_head") -> str:
    """The figure in words: what is trained, how far, and the last numbers of each plot."""
    epochs = history.recipe.epochs
    epoch = min(epochs, 1 + history.step * epochs // history.total)
    parts = [
        f"{name_of(history)}: step {history.step} of {history.total}, epoch {epoch} of {epochs}.",
        f"Validation accuracy by {MEASURES[measure]}, block 1 to {history.K}: {_last(history.curve(measure))} %.",
    ]
    if other := kept.curve(measure) if kept else history.curve("bp_probe"):
        parts.append(f"{title_beside(history, kept)}: {_last(other)} %.")
    if history.cka_to_bp:
        same = [row[k] for k, row in enumerate(history.cka_to_bp)]
        parts.append(f"CKA to the same block of BP: {', '.join(f'{value:.2f}' for value in same)}.")
    if history.decay is not None:
        parts.append(f"EMA's distance to its layer: {_last(history.curve('ema_distance')[:-1])}.")
    *blocks, bp, checkpointed = history.memory
    parts.append(f"Memory: largest block {max(blocks):.1f} MiB, BP {bp:.1f}, BP checkpointed {checkpointed:.1f}.")
    return " ".join(filter(None, [*parts, caution(history, kept), history.beside]))


def _last(curves: Curves) -> str:
    return ", ".join(say(curve[-1]) for curve in curves)
