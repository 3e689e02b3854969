"""The figures of the lessons: what is shown, that it lasts, and that it says in words what it draws."""

import base64
import io
import json

import numpy as np
import plotly.graph_objects as go
import pytest
from figures import figure
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mankit import charts
from mankit.charts import LOOKS, Axis, Bars, Chart, Look, Plot, look, png
from mankit.charts import looks as style

NAN = float("nan")
PLOTLY = "application/vnd.plotly.v1+json"
ACCURACY = {"BP": [[20.5, 60, 98.0], [19.5, 62, 98.4]], "DGL": [60, 65, 70], "decay 0.5": [55, 60, 72.5]}
BYTES = {"BP": {"weights": 1, "activations": 4.5}, "DGL": {"weights": 2, "activations": 0.5}}
CKA = np.array([[1.0, 0.25], [0.5, 0.125]])
FIGURES = {
    "cut": lambda: charts.cut_picture([2, 1, 1, 1, 1, 1, 1, 1], rule="MAN", look_ahead=True),
    "cut, K = 1": lambda: charts.cut_picture([9]),
    "cut, K = 16": lambda: charts.cut_picture([1] * 16, look_ahead=True),
    "cut, 55 layers": lambda: charts.cut_picture([4] * 7 + [3] * 9),
    "accuracy": lambda: charts.block_accuracy(ACCURACY, chance=10),
    "curves": lambda: charts.curves({"BP": (range(1, 101), np.geomspace(2.3, 0.01, 100))}),
    "bars": lambda: charts.bars({"BP": 15.7, "DGL": [4.8, 5.2], "new": NAN}, "memory (MiB)", "Memory"),
    "stacked": lambda: charts.stacked(BYTES, "kept (MiB)", "Kept", limit=("budget", 4)),
    "cka": lambda: charts.cka_heatmaps({"": np.eye(16)}),
    "ckas": lambda: charts.cka_heatmaps({"DGL": CKA, "MAN": np.eye(8)}),
    "images": lambda: charts.image_grid(np.random.default_rng(0).random((12, 3, 16, 16)), ["a"] * 12),
}


def pixels(chart, scale=1.0) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(chart, scale))).convert("RGB")).astype(int)


@pytest.mark.parametrize("name", FIGURES)
def test_a_bundle_lasts_is_small_and_repeats(name):
    (data, metadata), (again, _) = (charts.bundle(FIGURES[name](), scale=1.0) for _ in range(2))
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


def test_show_displays_the_chart_and_its_words_under_it(monkeypatch):
    shown = []
    monkeypatch.setattr("mankit.charts.display.display", lambda data, **options: shown.append((data, options)))
    chart = charts.bars({"BP": 15.7}, "memory (MiB)", "A_title")
    assert charts.show(chart) is None
    (data, options), (words, _) = shown
    assert options["raw"] and options["metadata"]["image/png"]["alt"] == chart.words == data["text/plain"]
    assert data[PLOTLY]["layout"]["meta"] == {"alt": chart.words}
    assert words["text/plain"] == chart.words and words["text/markdown"] == "*A\\_title. BP: 15.7 MiB.*"
    charts.show(chart.but(words="other words"))
    assert shown[2][0]["text/plain"] == "other words"
    chart._ipython_display_()  # the last line of a cell
    assert shown[4:] == shown[:2]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([*LOOKS]) | st.text("abc", min_size=1), unique=True, min_size=2, max_size=12))
def test_series_of_one_figure_differ_without_colour(names):
    chart = charts.curves({name: ([1, 2], [3, 4]) for name in names})
    assert len({(trace.line.dash, trace.marker.symbol) for trace in figure(chart).data}) == len(names)


def test_a_rule_looks_the_same_in_every_figure():
    assert set(LOOKS) == {"BP", "DGL", "InfoPro", "MAN", "MAN + decoder", "Greedy"}
    parts = zip(*((k.color, k.dash, k.symbol, k.hatch) for k in map(look, LOOKS)), strict=True)
    assert [len(set(part)) for part in parts] == [6] * 4, "two rules share a part of their looks"
    first, last = (figure(charts.curves(dict.fromkeys(names, ([1], [1])))) for names in (["DGL"], ["new", "DGL"]))
    assert first.data[0].line == last.data[1].line and first.data[0].marker == last.data[1].marker


def test_a_name_keeps_its_look_in_every_chart(monkeypatch):
    monkeypatch.setattr(style, "_places", {})
    first = charts.curves({name: ([1], [1]) for name in ("MAN", "a", "b", "c")})
    second = charts.curves({name: ([1], [1]) for name in ("c", "d", "a")})
    kept = {line.name: line.look for line in first.plots[0].marks}
    assert [line.look == kept.get(line.name) for line in second.plots[0].marks] == [True, False, True]
    (bars,) = charts.bars({"d": 1, "b": 2}, "x").plots[0].of(Bars)
    assert bars.looks == [second.plots[0].marks[1].look, kept["b"]]
    (many,) = charts.bars({str(i): i for i in range(36)}, "x").plots[0].of(Bars)
    assert len({(k.color, k.hatch) for k in many.looks}) == 36, "bars differ by colour and hatch"


def test_accuracy_shows_the_mean_and_the_range_of_the_seeds():
    chart = charts.block_accuracy(ACCURACY, chance=10)
    fig, alt = figure(chart), chart.words
    bp = fig.data[0]
    assert list(bp.y) == [20, 61, 98.2] and list(bp.error_y.array) == pytest.approx([0.5, 1, 0.2])
    assert fig.data[1].error_y.array is None, "one seed has no spread"
    assert "BP: 20 % at block 1 to 98.2 % (98 to 98.4 over the seeds) at block 3" in alt
    assert "DGL: 60 % at block 1 to 70 % at block 3" in alt and "Chance is 10 %" in alt
    low, high = fig.layout.yaxis.range
    assert low < 10 and high > 98.4


def test_a_nan_is_a_gap_and_said():
    chart = charts.block_accuracy({"BP": [40, NAN, 60, 70], "DGL": [[1, 2, 3, NAN], [1, 2, 3, 4]]})
    fig, alt = figure(chart), chart.words
    assert fig.data[0].y[1] is None and fig.data[1].y[3] is None
    assert "no value at block 2" in alt and "to no value at block 4" in alt
    assert "no value" in charts.bars({"a": NAN}, "x").words and "no value" in charts.cka_heatmaps({"": [[NAN]]}).words
    assert "cells with no value: 1" in charts.cka_heatmaps({"": [[NAN, 0.5]]}).words
    for empty in (
        charts.block_accuracy({"a": [NAN, NAN]}),
        charts.cka_heatmaps({"": [[NAN]]}),
        charts.bars({"a": NAN}, "x"),
        charts.curves({"a": ([1], [NAN])}),
    ):
        assert pixels(empty).min() < 100, "the axes are drawn all the same"


def test_the_png_shows_the_data():
    low, high = (pixels(charts.bars({"BP": value, "DGL": 10}, "x")) for value in (1, 9))
    black = [(image.sum(axis=2) < 30).sum() for image in (low, high)]  # BP's bar is black
    assert black[1] > 5 * black[0]
    yellow = pixels(charts.cka_heatmaps({"": [[1.0]]}, title=""))  # Cividis at 1; one cell fills the panel
    assert (np.abs(yellow - (254, 232, 56)).sum(axis=2) < 12).mean() > 0.3
    image = np.zeros((1, 3, 8, 8), np.uint8)
    image[:, 0] = 255
    red = pixels(charts.image_grid(image))
    assert ((red == (255, 0, 0)).all(axis=2)).sum() > 5_000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=16), st.booleans())
def test_cut_picture_has_a_box_a_layer_a_head_a_block_and_a_cross_a_cut(sizes, look_ahead):
    chart = charts.cut_picture(sizes, look_ahead=look_ahead)
    fig, alt = figure(chart), chart.words
    shapes, notes = fig.layout.shapes, fig.layout.annotations
    depth, count = sum(sizes), len(sizes)
    assert sum(shape.type == "rect" for shape in shapes) == depth + count
    assert sum(shape.type == "line" for shape in shapes) == (count - 1) * look_ahead
    assert sum(note.text == "✕" for note in notes) == count - 1
    assert max(shape.x1 for shape in shapes) <= fig.layout.xaxis.range[1]
    backward = [(note.ax, note.x) for note in notes if note.arrowcolor and note.ay == note.y == 95]
    assert len(backward) == count and all(a[1] < a[0] for a in backward)
    assert all(a[0] < b[1] for a, b in zip(backward, backward[1:], strict=False)), "no gradient crosses a cut"
    assert ("No cut" in alt) == (count == 1) and f"{count} block" in alt


def test_a_cut_that_only_measures_lets_the_gradient_pass():
    chart = charts.cut_picture([2, 2, 1], rule="BP", isolated=False)
    notes = figure(chart).layout.annotations
    assert not [note for note in notes if "✕" in (note.text or "")] and "No cut" in chart.words
    backward = [(note.ax, note.x) for note in notes if note.arrowcolor and note.ay == note.y == 95]
    assert len(backward) == 3 and all(a[0] == b[1] for a, b in zip(backward, backward[1:], strict=False))
    assert [note.text for note in notes if note.text and "head" in note.text] == []


def test_cka_words_and_numbers():
    chart = charts.cka_heatmaps({"DGL": CKA, "MAN": np.eye(2)}, "block of DGL", "block of BP")
    fig, alt = figure(chart), chart.words
    assert "lowest 0.12 (row block of BP 2, column block of DGL 2), highest 1.00" in alt
    assert fig.data[0].text == (["1.00", "0.25"], ["0.50", "0.12"]) and {t.zmax for t in fig.data} == {1}
    assert [trace.showscale for trace in fig.data] == [False, True]


def test_bars_carry_value_and_hatch(monkeypatch):
    monkeypatch.setattr(style, "_places", {"new": 0})  # whatever other tests have named before
    chart = FIGURES["bars"]()
    fig, alt = figure(chart), chart.words
    assert [note.text for note in fig.layout.annotations] == ["15.7", "5", "no value"]
    assert len(set(fig.data[0].marker.pattern.shape)) == 3
    assert alt == "Memory. BP: 15.7 MiB; DGL: 5 MiB (4.8 to 5.2 over the seeds); new: no value."


def test_stacked_bars_say_their_parts_and_stand_on_each_other():
    chart = FIGURES["stacked"]()
    fig = figure(chart)
    assert chart.words == (
        "Kept. BP: 5.5 MiB (weights 1, activations 4.5); DGL: 2.5 MiB (weights 2, activations 0.5); budget: 4 MiB."
    )
    assert [(t.type, t.name) for t in fig.data] == [("bar", "weights"), ("bar", "activations"), ("scatter", "budget")]
    assert fig.layout.barmode == "stack" and fig.layout.showlegend
    assert [list(t.y) for t in fig.data] == [[1, 2], [4.5, 0.5], [None]]
    (line,) = fig.layout.shapes
    assert (line.y0, line.y1, line.x0, line.x1, line.line.dash) == (4, 4, -0.5, 1.5, "dot")
    patterns, colors = (
        {t.marker[part] if part == "color" else t.marker.pattern.shape for t in fig.data[:2]}
        for part in ("color", "pattern")
    )
    assert len(patterns) == len(colors) == 2, "parts differ by colour and hatch"
    assert [note.text for note in fig.layout.annotations] == ["5.5", "2.5"]


def test_the_png_pen_stacks_too():
    """The pixels in the middle of a bar: a third as many in the upper part's colour, all above the lower part's."""
    sets = [Bars(["a"], [3], [Look("red")], "low"), Bars(["a"], [1], [Look("blue")], "high")]
    image = pixels(Chart([Plot(sets, Axis(range=(-0.5, 0.5)), Axis(range=(0, 5)))], "words"))
    middle = [tuple(pixel) for pixel in image[:, 300]]
    low, high = ([i for i, pixel in enumerate(middle) if pixel == rgb] for rgb in ((213, 94, 0), (0, 114, 178)))
    assert len(low) == pytest.approx(3 * len(high), rel=0.05) and max(high) < min(low)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: charts.stacked({}, "x"), "at least one"),
        (lambda: charts.stacked({"BP": {"a": 1}, "DGL": {"b": 1}}, "x"), r"'DGL' has the parts \['b'\]: .* \['a'\]"),
        (lambda: charts.stacked({"BP": {"a": -1}}, "x"), "a part of -1"),
        (lambda: charts.stacked({"BP": {"a": NAN}}, "x"), "a part of nan"),
        (lambda: charts.block_accuracy({}), "at least one"),
        (lambda: charts.block_accuracy([1, 2]), "give a dict"),
        (lambda: charts.block_accuracy({"BP": [[1, 2], [3]]}), "'BP' holds lists of different lengths"),
        (lambda: charts.block_accuracy({"BP": []}), "shape"),
        (lambda: charts.curves({"BP": [1, 2, 3]}), "isn't a pair"),
        (lambda: charts.curves({"BP": ([1, 2], [1, 2, 3])}), "2 xs but 3 ys"),
        (lambda: charts.bars({}, "x"), "at least one"),
        (lambda: charts.bars({"BP": "much"}, "x"), "'BP'"),
        (lambda: charts.cka_heatmaps({"": [[1, 2], [3]]}), "different lengths"),
        (lambda: charts.cka_heatmaps({"": [[98.0]]}), "value of 98"),
        (lambda: charts.cka_heatmaps({"": [1.0]}), "matrix"),
        (lambda: charts.cut_picture([]), r"sizes = \[\]"),
        (lambda: charts.cut_picture([2, 0]), "1 or more"),
        (lambda: charts.image_grid(np.zeros((3, 8, 8))), r"\(3, 8, 8\)"),
        (lambda: charts.image_grid(np.zeros((2, 3, 8, 8)), ["a"]), "1 titles for 2 images"),
        (lambda: charts.image_grid(np.zeros((2, 3, 8, 8)), columns=0), "columns=0"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
