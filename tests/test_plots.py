"""The figures of the lessons: what is shown, that it lasts, and that it says in words what it draws."""

import base64
import io
import json

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mankit.lab import plots
from mankit.lab.static import plain, png
from mankit.lab.style import LOOKS

NAN = float("nan")
PLOTLY = "application/vnd.plotly.v1+json"
ACCURACY = {"BP": [[20.5, 60, 98.0], [19.5, 62, 98.4]], "DGL": [60, 65, 70], "decay 0.5": [55, 60, 72.5]}
CKA = np.array([[1.0, 0.25], [0.5, 0.125]])
FIGURES = {
    "cut": lambda: plots.cut_picture([2, 1, 1, 1, 1, 1, 1, 1], rule="MAN", look_ahead=True),
    "cut, K = 1": lambda: plots.cut_picture([9]),
    "cut, K = 16": lambda: plots.cut_picture([1] * 16, look_ahead=True),
    "cut, 55 layers": lambda: plots.cut_picture([4] * 7 + [3] * 9),
    "accuracy": lambda: plots.block_accuracy(ACCURACY, chance=10),
    "curves": lambda: plots.curves({"BP": (range(1, 101), np.geomspace(2.3, 0.01, 100))}, log_y=True),
    "bars": lambda: plots.bars({"BP": 15.7, "DGL": [4.8, 5.2], "new": NAN}, "memory (MiB)", "Memory"),
    "cka": lambda: plots.cka_heatmap(np.eye(16)),
    "ckas": lambda: plots.cka_heatmaps({"DGL": CKA, "MAN": np.eye(8)}),
    "images": lambda: plots.image_grid(np.random.default_rng(0).random((12, 3, 16, 16)), ["a"] * 12),
}


def pixels(fig, scale=1.0) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(fig, scale))).convert("RGB")).astype(int)


def alt(fig) -> str:
    return fig.layout.meta["alt"]


@pytest.mark.parametrize("name", FIGURES)
def test_a_bundle_lasts_is_small_and_repeats(name):
    (data, metadata), (again, _) = (plots.bundle(FIGURES[name](), scale=1.0) for _ in range(2))
    assert set(data) == {PLOTLY, "image/png", "text/plain"} and data == again
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    image.load()
    assert image.format == "PNG" and "Software" not in image.info
    size = metadata["image/png"]
    assert image.size == (size["width"], size["height"]) and size["width"] == 700
    assert np.asarray(image.convert("L")).std() > 5, "the picture is blank"
    text = json.dumps(data[PLOTLY], allow_nan=False)
    assert len(json.dumps(data[PLOTLY], separators=(",", ":"))) < 20_000 and "bdata" not in text
    go.Figure({key: data[PLOTLY][key] for key in ("data", "layout")})  # plotly itself accepts what is shown


def test_show_displays_the_figure_and_its_words_under_it(monkeypatch):
    shown = []
    monkeypatch.setattr("mankit.lab.style.display", lambda data, **options: shown.append((data, options)))
    fig = plots.bars({"BP": 15.7}, "memory (MiB)", "A_title")
    assert plots.show(fig) is None
    (figure, options), (words, _) = shown
    assert options["raw"] and options["metadata"]["image/png"]["alt"] == alt(fig) == figure["text/plain"]
    assert words["text/plain"] == alt(fig) and words["text/markdown"] == "*A\\_title. BP: 15.7 MiB.*"
    plots.show(fig, alt="other words")
    assert shown[2][0]["text/plain"] == "other words"


def test_a_figure_without_words_is_refused():
    with pytest.raises(ValueError, match="no summary in words"):
        plots.bundle(go.Figure())


@pytest.mark.parametrize(
    "fig, message",
    [
        (go.Figure(go.Pie(values=[1, 2])), "'pie' trace"),
        (go.Figure(go.Scatter(y=[1, 2], fill="tozeroy")), "fill = tozeroy"),
        (go.Figure(go.Scatter(y=[1, 2], marker_symbol="hourglass")), "'hourglass'"),
        (go.Figure(go.Scatter(y=[1, 2], marker_color=["red", "blue"])), "style for each point"),
        (go.Figure(go.Bar(x=["a"], y=[1], orientation="h")), "orientation = h"),
        (go.Figure(go.Bar(x=["a"], y=[1]), {"barmode": "stack"}), "barmode 'stack'"),
        (go.Figure(go.Scatter(y=[1])).add_shape(type="circle", x0=0, x1=1, y0=0, y1=1), "'circle' shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused_not_left_blank(fig, message):
    with pytest.raises(ValueError, match=message) as caught:
        png(fig)
    assert "\n" not in str(caught.value)


def test_plain_unpacks_and_rounds_what_plotly_packs():
    fig = go.Figure(go.Heatmap(z=np.array([[1 / 3, NAN], [2.0, 123456.7]])))
    assert "bdata" in str(fig.to_plotly_json())
    assert plain(fig.to_plotly_json())["data"][0]["z"] == [[0.33333, None], [2.0, 123460.0]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([*LOOKS]) | st.text("abc", min_size=1), unique=True, min_size=2, max_size=12))
def test_series_of_one_figure_differ_without_colour(names):
    fig = plots.curves({name: ([1, 2], [3, 4]) for name in names})
    assert len({(trace.line.dash, trace.marker.symbol) for trace in fig.data}) == len(names)


def test_a_rule_looks_the_same_in_every_figure():
    assert plots.look("MAN", 0) == plots.look("MAN", 5)
    assert set(LOOKS) == {"BP", "DGL", "InfoPro", "MAN", "MAN + decoder", "Greedy"}
    for part in ("color", "dash", "symbol", "hatch"):
        assert len({plots.look(rule)[part] for rule in LOOKS}) == 6, f"two rules share a {part}"
    first, last = plots.curves({"DGL": ([1], [1])}), plots.curves({"new": ([1], [1]), "DGL": ([1], [1])})
    assert first.data[0].line == last.data[1].line and first.data[0].marker == last.data[1].marker


def test_accuracy_shows_the_mean_and_the_range_of_the_seeds():
    fig = plots.block_accuracy(ACCURACY, chance=10)
    bp = fig.data[0]
    assert list(bp.y) == [20, 61, 98.2] and list(bp.error_y.array) == pytest.approx([0.5, 1, 0.2])
    assert fig.data[1].error_y.array is None, "one seed has no spread"
    assert "BP: 20 % at block 1 to 98.2 % (98 to 98.4 over the seeds) at block 3" in alt(fig)
    assert "DGL: 60 % at block 1 to 70 % at block 3" in alt(fig) and "Chance is 10 %" in alt(fig)
    low, high = fig.layout.yaxis.range
    assert low < 10 and high > 98.4


def test_a_nan_is_a_gap_and_said():
    fig = plots.block_accuracy({"BP": [40, NAN, 60, 70], "DGL": [[1, 2, 3, NAN], [1, 2, 3, 4]]})
    assert fig.data[0].y[1] is None and fig.data[1].y[3] is None
    assert "no value at block 2" in alt(fig) and "to no value at block 4" in alt(fig)
    assert "no value" in alt(plots.bars({"a": NAN}, "x")) and "no value" in alt(plots.cka_heatmap([[NAN]]))
    assert "cells with no value: 1" in alt(plots.cka_heatmap([[NAN, 0.5]]))
    for empty in (
        plots.block_accuracy({"a": [NAN, NAN]}),
        plots.cka_heatmap([[NAN]]),
        plots.bars({"a": NAN}, "x"),
        plots.curves({"a": ([1], [NAN])}, log_y=True),
    ):
        assert pixels(empty).min() < 100, "the axes are drawn all the same"


def test_the_png_shows_the_data():
    low, high = (pixels(plots.bars({"BP": value, "DGL": 10}, "x")) for value in (1, 9))
    black = [(image.sum(axis=2) < 30).sum() for image in (low, high)]  # BP's bar is black
    assert black[1] > 5 * black[0]
    yellow = pixels(plots.cka_heatmap([[1.0]], title=""))  # Cividis at 1; one cell fills the panel
    assert (np.abs(yellow - (254, 232, 56)).sum(axis=2) < 12).mean() > 0.3
    image = np.zeros((1, 3, 8, 8), np.uint8)
    image[:, 0] = 255
    red = pixels(plots.image_grid(image))
    assert ((red == (255, 0, 0)).all(axis=2)).sum() > 5_000


@pytest.mark.parametrize("axis", ["linear", "log"])
def test_a_scatter_lands_where_its_axis_says(axis):
    """An invisible frame, so that the one dark thing is the marker: plotly's arithmetic gives the pixel."""
    fig = go.Figure(go.Scatter(x=[2], y=[100], mode="markers", marker=dict(size=10, color="black")))
    fig.update_layout(width=400, height=300, margin=dict(l=50, r=50, t=50, b=50), showlegend=False)
    fig.update_xaxes(visible=False, range=[0, 4])
    fig.update_yaxes(visible=False, type=axis, range=[0, 200] if axis == "linear" else [0, 3])
    rows, columns = np.nonzero(pixels(fig).sum(axis=2) < 100)
    assert columns.mean() == pytest.approx(200, abs=2)
    assert rows.mean() == pytest.approx(50 + 200 * (1 / 2 if axis == "linear" else 1 / 3), abs=2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=16), st.booleans())
def test_cut_picture_has_a_box_a_layer_a_head_a_block_and_a_cross_a_cut(sizes, look_ahead):
    fig = plots.cut_picture(sizes, look_ahead=look_ahead)
    shapes, notes = fig.layout.shapes, fig.layout.annotations
    depth, count = sum(sizes), len(sizes)
    assert sum(shape.type == "rect" for shape in shapes) == depth + count
    assert sum(shape.type == "line" for shape in shapes) == (count - 1) * look_ahead
    assert sum(note.text == "✕" for note in notes) == count - 1
    assert max(shape.x1 for shape in shapes) <= fig.layout.xaxis.range[1]
    backward = [(note.ax, note.x) for note in notes if note.arrowcolor and note.ay == note.y == 95]
    assert len(backward) == count and all(a[1] < a[0] for a in backward)
    assert all(a[0] < b[1] for a, b in zip(backward, backward[1:], strict=False)), "no gradient crosses a cut"
    assert ("No cut" in alt(fig)) == (count == 1) and f"{count} block" in alt(fig)


def test_cka_words_and_numbers():
    fig = plots.cka_heatmaps({"DGL": CKA, "MAN": np.eye(2)}, "block of DGL", "block of BP")
    assert "lowest 0.12 (row block of BP 2, column block of DGL 2), highest 1.00" in alt(fig)
    assert fig.data[0].text == (["1.00", "0.25"], ["0.50", "0.12"]) and {t.zmax for t in fig.data} == {1}
    assert [trace.showscale for trace in fig.data] == [False, True]


def test_bars_carry_value_and_hatch():
    fig = FIGURES["bars"]()
    assert [note.text for note in fig.layout.annotations] == ["15.7", "5", "no value"]
    assert len(set(fig.data[0].marker.pattern.shape)) == 3
    assert alt(fig) == "Memory. BP: 15.7 MiB; DGL: 5 MiB (4.8 to 5.2 over the seeds); new: no value."


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: plots.block_accuracy({}), "at least one"),
        (lambda: plots.block_accuracy([1, 2]), "give a dict"),
        (lambda: plots.block_accuracy({"BP": [[1, 2], [3]]}), "'BP' holds lists of different lengths"),
        (lambda: plots.block_accuracy({"BP": []}), "shape"),
        (lambda: plots.curves({"BP": [1, 2, 3]}), "isn't a pair"),
        (lambda: plots.curves({"BP": ([1, 2], [1, 2, 3])}), "2 xs but 3 ys"),
        (lambda: plots.curves({"BP": ([1], [0])}, log_y=True), "above 0"),
        (lambda: plots.bars({}, "x"), "at least one"),
        (lambda: plots.bars({"BP": "much"}, "x"), "'BP'"),
        (lambda: plots.cka_heatmap([[1, 2], [3]]), "different lengths"),
        (lambda: plots.cka_heatmap([[98.0]]), "value of 98"),
        (lambda: plots.cka_heatmap([1.0]), "matrix"),
        (lambda: plots.cut_picture([]), r"sizes = \[\]"),
        (lambda: plots.cut_picture([2, 0]), "1 or more"),
        (lambda: plots.cut_picture([2], names=["stem"]), "1 names for 2 layers"),
        (lambda: plots.image_grid(np.zeros((3, 8, 8))), r"\(3, 8, 8\)"),
        (lambda: plots.image_grid(np.zeros((2, 3, 8, 8)), ["a"]), "1 titles for 2 images"),
        (lambda: plots.image_grid(np.zeros((2, 3, 8, 8)), columns=0), "columns = 0"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
