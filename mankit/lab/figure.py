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
from .watch import History

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
NAMES = ("own", "beside", "loss", "by_block", "cka", "cka_bp", "memory", "ema")  # of the plots, in this order
ON_PAGE = ("by_block", "ema", "cka", "cka_bp", "own", "beside", "loss", "memory")  # first what answers the decay
SYMBOLS = dict(zip(MARKERS, "\u25cf\u25a0\u25c6\u25b2\u2716\u2605", strict=True))
Curves = Sequence[Sequence[float]]


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
    """A bar for each block, and two for BP: with all its blocks at once, and with the best checkpoints."""
    sizes = [*memory["blocks"], *memory["BP"], *memory["BP, checkpointed"]] if memory else [0, 0, 0]
    names = ["this run"] if memory and len(sizes) == 3 else [str(k + 1) for k in range(len(sizes) - 2)]
    looks = [Look("blue")] * len(names) + [Look("black", hatch="/"), Look("red", hatch="x")]
    return Bars([*names, "BP", "BP,\nckpt"], sizes, looks)


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


def _heat(matrix: Curves, columns: str, scale: str) -> tuple[list[Heat], Axis, Axis]:
    places = ticks(max(1, len(matrix)))
    heat = Heat(matrix or [[float("nan")]], scale=scale, hover=("block", columns))
    return [heat], Axis(columns, ticks=places), Axis("block", ticks=places)


@functools.lru_cache
def block_color(k: int, K: int) -> str:
    """Dark violet for the first block to light green for the last."""
    rgb = sample_colorscale("Viridis", [0.85 * k / max(1, K - 1)], colortype="tuple")[0]
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def picture(chart: Chart, run: int = 0) -> dict[str, Any]:
    """The chart as JSON for a page: words, legend, and each plot as plotly's data and layout.

    run: what a reader has zoomed into stays as it is until this number changes.
    """
    plots = dict(zip(NAMES, chart.plots, strict=True))
    known = {line.name: line.look for line in chart.lines()}
    legend = [dict(name=name, color=look.color, symbol=SYMBOLS[look.symbol]) for name, look in known.items()]
    return dict(words=chart.words, legend=legend, plots=[_small(name, plots[name], run) for name in ON_PAGE])


def _small(name: str, plot: Plot, run: int) -> dict[str, Any]:
    """One plot as a figure of its own; its title is the page's."""
    drawn = spec(Chart([replace(plot, title="")], plot.title, margin=(46, 8, 4, 36), font=11))
    layout, title = drawn["layout"] | dict(showlegend=False, uirevision=run), plot.title
    if name == "ema":
        layout["yaxis"]["rangemode"] = "tozero"
    if plot.of(Bars):
        layout["xaxis"]["dtick"] = 1  # each has its name
    names = [name for bars in plot.of(Bars) for name in bars.names]
    for axis, places in ((layout["xaxis"], plot.x.ticks or names), (layout["yaxis"], plot.y.ticks or ())):
        if len(places) > 11:
            axis.update(tickangle=0, tickfont=dict(size=8))  # small, but all of them
    if plot.of(Heat):
        drawn["data"][0]["showscale"], title = False, f"{title}: blue 0, yellow 1"
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
    known = options_of(recipe.rule, recipe.options.get("base"))
    choices = [name for name, option in known.items() if get_origin(option.annotation) is Literal]
    chosen = [recipe.options.get(name, known[name].default) for name in choices]
    others = [str(value) for name, value in zip(choices, chosen, strict=True) if value != known[name].default]
    control = f" ({', '.join(others)})" if others else ""
    decay = "" if history.decay is None else f", decay {history.decay:g}{' (changed)' * bool(history.changes)}"
    return f"{entry_of(recipe.rule).label}{control}, K={recipe.K}{decay}, seed {recipe.seed}"


def _titles(history: History, kept: History | None, by_probe: bool) -> list[str]:
    what = "linear probe" if by_probe else "own head"
    beside = f"{title_beside(history, kept)}\naccuracy by {what if kept else 'linear probe'}"
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
        parts.append(f"{title_beside(history, kept)}: {', '.join(say(curve[-1]) for curve in other)} %.")
    if history.cka_to_bp:
        same = [row[k] for k, row in enumerate(history.cka_to_bp)]
        parts.append(f"CKA to the same block of BP: {', '.join(f'{value:.2f}' for value in same)}.")
    distances = [curve[-1] for curve in history.curve("ema_distance")]
    if history.decay is not None:
        parts.append(f"EMA's distance to its layer: {', '.join(say(value) for value in distances[:-1])}.")
    largest, (bp,), (checkpointed,) = max(history.memory["blocks"]), *list(history.memory.values())[1:]
    parts.append(f"Memory: largest block {largest:.1f} MiB, BP {bp:.1f}, BP checkpointed {checkpointed:.1f}.")
    return " ".join(filter(None, [*parts, caution(history, kept), history.beside]))
