"""What the live panel shows: one figure of eight plots, and its summary in words.

All traces are made at once, for the largest K, and only their numbers change: a figure that is on a page can be
updated so without losing or doubling anything (traces that are added later are lost when the page is reloaded).
"""

from __future__ import annotations

from copy import deepcopy

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from ..rules import entry_of
from .session import History
from .static import INK, plain
from .style import BLACK, BLUE, LOOKS, RED, say, style

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
# where the traces of each plot stand in the figure: a range of MOST, a line for each block, or a few
OWN, BESIDE, LOSS, EMA = (range(i * MOST, (i + 1) * MOST) for i in range(4))
THIS, OTHER, CKA, CKA_BP, MEMORY = (4 * MOST + i for i in range(5))
HEIGHT = 1120
NO_BARS = dict(x=["BP", "BP,<br>ckpt"], y=[0, 0])  # not empty: plotly would take the axis for one of numbers


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


def empty_figure(kind: type[go.Figure] = go.Figure) -> go.Figure:
    """The eight plots without numbers, as a go.Figure or a LiveFigure."""
    fig = make_subplots(4, 2, subplot_titles=TITLES, horizontal_spacing=0.12, vertical_spacing=0.085)
    for traces, row, column in ((OWN, 1, 1), (BESIDE, 1, 2), (LOSS, 2, 1), (EMA, 4, 2)):
        for k in range(len(traces)):
            fig.add_scatter(**_block_look(k), showlegend=traces is OWN, row=row, col=column)
    for name, (color, dash, symbol, _) in (("this run", LOOKS["MAN"]), ("beside it", LOOKS["BP"])):
        fig.add_scatter(
            x=[],
            y=[],
            name=name,
            mode="lines+markers",
            line=dict(color=color, dash=dash, width=2),
            marker=dict(symbol=symbol, size=8),
            showlegend=False,
            row=2,
            col=2,
        )
    for column in (1, 2):
        fig.add_heatmap(
            z=[[None]],
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            colorscale="Cividis",
            showscale=column == 2,
            colorbar=dict(len=0.2, y=0.375, thickness=12, title=dict(text="CKA", side="right")),
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
            row=3,
            col=column,
        )
    fig.add_bar(**NO_BARS, showlegend=False, row=4, col=1)
    _axes(fig)
    style(fig, "", "Nothing trained yet.", height=HEIGHT, left=60, right=110)
    fig.update_layout(margin_t=56, legend=dict(title="block", y=1, font_size=12), font_size=12)
    fig.update_annotations(font_size=13)
    return kind(fig)


def _axes(fig: go.Figure) -> None:
    for row, column in ((1, 1), (1, 2), (2, 1), (4, 2)):
        fig.update_xaxes(title_text="training step", row=row, col=column)
    fig.update_xaxes(title_text="block (1 = next to the image)", row=2, col=2)
    fig.update_xaxes(title_text="block", row=3)
    fig.update_xaxes(title_text="BP's block", row=3, col=2)
    fig.update_xaxes(
        title_text="block, and BP with all of them", type="category", autotypenumbers="strict", row=4, col=1
    )  # strict: "1" is a name, also when plotly looks at new bars
    for row, column, title in (
        (1, 1, "accuracy (%)"),
        (1, 2, "accuracy (%)"),
        (2, 1, "loss"),
        (2, 2, "accuracy (%)"),
        (3, 1, "block"),
        (3, 2, "block"),
        (4, 1, "MiB a batch"),
        (4, 2, "|EMA - N| / |N|"),
    ):
        fig.update_yaxes(title_text=title, title_standoff=4, row=row, col=column)
    for row, column in ((1, 1), (1, 2), (2, 2)):
        fig.update_yaxes(range=[0, 102], row=row, col=column)


def _block_look(k: int) -> dict[str, object]:
    """Line and marker of block k: no two blocks have the same marker and dash."""
    name = str(k + 1)
    return dict(
        x=[],
        y=[],
        name=name,
        legendgroup=name,
        mode="lines+markers",
        visible=False,
        line=dict(dash=DASHES[(k // len(MARKERS)) % len(DASHES)], width=2),
        marker=dict(symbol=MARKERS[k % len(MARKERS)], size=6, maxdisplayed=12),
    )


def block_color(k: int, K: int) -> str:
    """Dark violet for the first block to light green for the last."""
    rgb = sample_colorscale("Viridis", [0.85 * k / max(1, K - 1)], colortype="tuple")[0]
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def draw(fig: go.Figure, history: History, kept: History | None = None, by_probe: bool = False) -> None:
    """Put a run's numbers into the figure, and beside it those of a kept run, or of its BP network."""
    steps = [point.step for point in history.points]
    mine = history.curve("probe" if by_probe else "own_head")
    now = mine  # by the same measure as the other
    if kept:
        other, other_steps = kept.curve("probe" if by_probe else "own_head"), [point.step for point in kept.points]
    else:
        now, other, other_steps = history.curve("probe"), history.curve("bp_probe"), steps
    new = {
        **_lines(OWN, steps, mine),
        **_lines(BESIDE, other_steps, other),
        **_lines(LOSS, steps, history.curve("loss")),
        **_lines(EMA, steps, history.curve("ema_distance")),
        THIS: _profile(now, "this run"),
        OTHER: _profile(other, title_beside(kept)),
        CKA: _heat(history.cka),
        CKA_BP: _heat(history.cka_to_bp),
        MEMORY: _bars(history.memory),
    }
    titles = _titles(history, kept, by_probe)
    with fig.batch_update():
        for index, values in new.items():
            fig.data[index].update(values, overwrite=False)
        for annotation, title in zip(fig.layout.annotations, titles, strict=False):
            annotation.text = title
        fig.layout.shapes = [_change(step, history) for step, _ in history.changes]
        totals = (history.total, kept.total if kept else history.total)
        _fit_steps(fig, totals)
        fig.layout.meta = dict(alt=summary(history, kept, by_probe), totals=totals)


def _fit_steps(fig: go.Figure, totals: tuple[int, int]) -> None:
    """Let the axes of steps go from 0 to the end of the run: once for each run, so that a reader's zoom stays."""
    if tuple((fig.layout.meta or {}).get("totals", ())) != totals:
        for total, axis in zip((*totals, totals[0], totals[0]), (1, 2, 3, 8), strict=True):
            fig.layout[f"xaxis{axis}"].range = (-0.03 * total, 1.03 * total)


def clear(fig: go.Figure) -> None:
    """Take all numbers out of the figure."""
    with fig.batch_update():
        for index in range(MEMORY + 1):
            special = {CKA: dict(z=[[None]]), CKA_BP: dict(z=[[None]]), MEMORY: NO_BARS}
            fig.data[index].update(special.get(index, dict(x=[], y=[])))
        for annotation, title in zip(fig.layout.annotations, TITLES, strict=False):
            annotation.text = title
        fig.layout.shapes = []
        fig.layout.meta = dict(alt="Nothing trained yet.")


def ordinary_figure(history: History) -> go.Figure:
    """The panel's figure without a panel, for a notebook that is executed where nobody looks on."""
    fig = empty_figure()
    draw(fig, history)
    first = [slots[0] for slots in (OWN, BESIDE, LOSS, EMA)]  # a plot without lines keeps its empty axes
    shown = [trace for i, trace in enumerate(fig.data) if trace.visible is not False or i in first]
    for trace in shown:
        trace.update(visible=True, showlegend=bool(trace.showlegend and len(trace.y)))
    return go.Figure(shown, fig.layout).update_layout(width=860)


def _lines(slots: range, x: list[int], curves: list[list[float]]) -> dict[int, dict]:
    """A line for each block that has a number anywhere; the other traces are hidden."""
    lines = {}
    for k, index in enumerate(slots):
        y = plain(curves[k]) if k < len(curves) else []
        there = any(value is not None for value in y)
        color = dict(color=block_color(k, len(curves)) if there else BLACK)
        lines[index] = dict(x=x if there else [], y=y if there else [], visible=there, line=color, marker=color)
    return lines


def _profile(curves: list[list[float]], name: str) -> dict[str, object]:
    return dict(x=list(range(1, len(curves) + 1)), y=plain([curve[-1] for curve in curves]), name=name)


def _heat(matrix: list[list[float]]) -> dict[str, object]:
    blocks = list(range(1, len(matrix) + 1))
    return dict(z=[plain(row) for row in matrix] or [[None]], x=blocks or [1], y=blocks or [1])


def _bars(memory: dict[str, list[float]]) -> dict[str, object]:
    """A bar for each block, and two for BP: with all its blocks at once, and with a checkpoint at each layer."""
    blocks, others = memory["blocks"], ["BP", "BP, checkpointed"]
    names = [str(k + 1) for k in range(len(blocks))] if len(blocks) > 1 else ["this run"]
    color = [BLUE] * len(blocks) + [BLACK, RED]
    hatch = dict(shape=[""] * len(blocks) + ["/", "x"], fillmode="overlay", fgcolor="white")
    return dict(
        x=[*names, *NO_BARS["x"]],
        y=blocks + [memory[name][0] for name in others],
        marker=dict(color=color, pattern=hatch),
    )


def _change(step: int, history: History) -> dict[str, object]:
    """A line in the plot of the EMA's distance where the decay was changed."""
    top = max(max(point.ema_distance[:-1]) for point in history.points)  # the last block has no EMA
    return dict(
        type="line", x0=step, x1=step, y0=0, y1=top, xref="x8", yref="y8", line=dict(color=INK, width=1, dash="dot")
    )


def title_beside(kept: History | None) -> str:
    """What stands beside this run."""
    return f"kept: {name_of(kept)}" if kept else "BP, same seed"


def name_of(history: History) -> str:
    """'MAN, K=8, decay 0.995, seed 0'"""
    recipe = history.recipe
    branches = recipe.options.get("branches", "both")
    control = "" if branches == "both" else f" ({branches})"
    decay = "" if history.decay is None else f", decay {history.decay:g}"
    return f"{entry_of(recipe.rule).label}{control}, K={recipe.K}{decay}, seed {recipe.seed}"


def _titles(history: History, kept: History | None, by_probe: bool) -> list[str]:
    what = "linear probe" if by_probe else "own head"
    beside = f"{title_beside(kept)}<br>accuracy by {what if kept else 'linear probe'}"
    missing = " (needs another rule than BP)" if not history.cka_to_bp else ""
    has_ema = "" if history.decay is not None else " (no EMA here)"
    mine = f"{name_of(history)}<br>accuracy by {what}"
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
