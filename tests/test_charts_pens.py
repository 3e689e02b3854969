"""The chart as a record, and its two pens: what each draws, and what is refused when a chart is made."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from figures import figure
from PIL import Image

from mankit import charts
from mankit.charts import (
    Axis,
    Bars,
    Box,
    Chart,
    Heat,
    Line,
    Look,
    Picture,
    Plot,
    Stroke,
    Text,
    look,
    plotly_pen,
    png,
    png_pen,
)
from mankit.charts import looks as style
from mankit.charts.plotly_pen import plain

NAN = float("nan")


def pixels(chart, scale=1.0) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(chart, scale))).convert("RGB")).astype(int)


def alone(*marks, **axes) -> Chart:
    """A chart of one plot."""
    return Chart([Plot(marks, **axes)], "words")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: alone({"type": "pie"}), "a mark is one of Line, Bars, Heat, Picture, Box, Stroke, Text"),
        (lambda: Look(symbol="hourglass"), "symbol='hourglass'"),
        (lambda: Look(dash="dotted"), "dash='dotted': did you mean 'dot'"),
        (lambda: Look(hatch="o"), "hatch='o'"),
        (lambda: Look("blu"), "color='blu': did you mean 'blue'"),
        (lambda: alone(Box(0, 0, 1, 1, fill="#12345")), "color='#12345'"),
        (lambda: alone(Box(0, 0, 1, 1, dash="wavy")), "dash='wavy'"),
        (lambda: alone(Stroke(0, 0, 1, 1, dash="dot", arrow=True)), "dash='dot': choose from solid"),
        (lambda: alone(Text(0, 0, "a", color="redd")), "color='redd'"),
        (lambda: alone(Text(0, 0, "a", at="below")), "at='below'"),
        (lambda: alone(Line([1, 2], [1])), "2 xs but 1 ys"),
        (lambda: alone(Line([1, 2], [1, 2], low=[1], high=[2])), "2 xs but 1 ys"),
        (lambda: alone(Bars(["a"], [1, 2], [Look()])), "1 names, 2 heights and 1 looks"),
        (lambda: alone(*[Bars(["a"], [1], [Look()])] * 2), "one set of bars"),
        (lambda: alone(*(Bars([n], [1], [Look()], "set") for n in "ab")), "several of the same names"),
        (lambda: alone(Heat([1, 2])), "rows and columns"),
        (lambda: alone(Picture(np.zeros((4, 4, 3)))), "uint8"),
        (lambda: Axis(labels=["a"]), "1 labels"),
        (lambda: Chart([], "words"), "at least one Plot"),
        (lambda: Chart([Plot([])], ""), "no summary in words"),
        (lambda: Chart([Plot([])], "words", columns=0), "columns=0"),
        (lambda: Chart([Plot([])], "words").but(xrnge=(0, 1)), "xrnge.*did you mean 'xrange'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_when_it_is_made(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


ONE_OF_EACH = {
    "line": [Line([0, 5, 9], [0, NAN, 9], "a", look("DGL"), low=[0, NAN, 8], high=[1, NAN, 9], hover=("step", " %"))],
    "bars": [Bars(["a", "b"], [5, NAN], [look("BP"), look("MAN")])],
    "stacked": [Bars(["a", "b"], [h, NAN], [Look(h2)] * 2, n) for h, h2, n in ((5, "red", "s"), (3, "blue", "t"))],
    "heat": [Heat([[0.5, NAN], [1, 0]], texts=[["a", ""], ["b", "c"]], scale="CKA")],
    "picture": [Picture(np.zeros((8, 8, 3), np.uint8))],
    "box": [Box(1, 1, 8, 8, fill="blue", dash="dash")],
    "stroke": [Stroke(1, 1, 8, 8, color="red", width=5, dash="dot")],
    "arrow": [Stroke(1, 1, 8, 8, arrow=True)],
    "text": [Text(5, 5, "words", size=40, at="above", lift=3, angle=90)],
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_both_pens_draw_every_mark(name):
    axes = dict(x=Axis("x", (0, 10), grid=False), y=Axis("y", (0, 10), grid=False))
    chart, empty = (alone(*marks, **axes) for marks in (ONE_OF_EACH[name], []))
    assert (pixels(chart) != pixels(empty)).any(axis=2).sum() > 100
    drawn, nothing = (figure(c).to_plotly_json() for c in (chart, empty))
    assert drawn["data"] != nothing["data"] or set(drawn["layout"]) - set(nothing["layout"])


def test_a_marker_lands_where_its_axis_says():
    """Hidden axes, so that the one dark thing is the marker: the record's arithmetic gives the pixel."""
    marker = Line([2], [100], look=Look("black", "", "circle"), size=10)
    plot = Plot([marker], Axis(range=(0, 4), shown=False), Axis(range=(0, 200), shown=False))
    chart = Chart([plot], "A marker", width=400, height=300, margin=(50, 50, 50, 50))
    rows, columns = np.nonzero(pixels(chart).sum(axis=2) < 100)
    assert columns.mean() == pytest.approx(200, abs=2)
    assert rows.mean() == pytest.approx(150, abs=2)
    assert list(figure(chart).layout.yaxis.range) == [0, 200]


def test_marks_of_every_plot_stand_on_its_own_axes():
    marks = [Line([1, 2], [1, 100]), Box(1, 1, 2, 10), Stroke(1, 1, 2, 10, arrow=True), Text(2, 10, "here")]
    chart = Chart([Plot(marks, y=Axis("y", (1, 100)))] * 4, "words", columns=2)
    fig = figure(chart)
    assert [trace.yaxis for trace in fig.data] == ["y", "y2", "y3", "y4"]
    assert [shape.yref for shape in fig.layout.shapes] == [None, "y2", "y3", "y4"]
    assert [note.yref for note in fig.layout.annotations] == [None, None, "y2", "y2", "y3", "y3", "y4", "y4"]
    assert [note.ayref for note in fig.layout.annotations][2::2] == ["y2", "y3", "y4"]
    boxes = [(*axis.domain, *other.domain) for axis, other in zip(fig.select_xaxes(), fig.select_yaxes(), strict=True)]
    columns, rows = ((0, 0.475), (0.525, 1)), ((0.55, 1), (0, 0.45))
    assert [tuple(map(float, box)) for box in boxes] == [pytest.approx((*c, *r)) for r in rows for c in columns]
    heads = [note for note in figure(chart.but(plots=[Plot([], title="t")] * 4)).layout.annotations]
    assert [(h.x, h.y, h.xanchor) for h in heads][1::2] == [(pytest.approx(0.7625), y, "center") for y in (1, 0.45)]
    assert {note.y for note in fig.layout.annotations} == {shape.y1 for shape in fig.layout.shapes} == {10}
    image = pixels(chart)
    halves = [image[50:170, 80:350], image[50:170, 400:660], image[230:345, 80:350], image[230:345, 400:660]]
    assert all((half < 100).all(axis=2).sum() > 50 for half in halves), "each plot has its marks"


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_picture_has_the_pixels_that_were_asked_for(scale):
    for pixel in (201, 427, 862, 1003):  # in floating-point numbers a hundredth of it, times 100, is less
        chart = alone(Line([1], [1])).but(width=pixel, height=pixel)
        assert pixels(chart, scale).shape[:2] == (pixel * scale, pixel * scale)


def test_each_pen_knows_every_look_and_neither_loads_the_other():
    assert set(png_pen.LINES) == {"", *style.DASHES} and set(png_pen.SYMBOLS) == {"", *style.FILLED}
    lines = alone(*(Line([0], [0], look=Look(dash=dash, symbol=s)) for dash in style.DASHES for s in style.SYMBOLS))
    assert len(figure(lines).data) == len(style.DASHES) * len(style.SYMBOLS) and png(lines)
    bars = alone(*(Bars(style.HATCHES, [1] * len(style.HATCHES), [Look(hatch=h) for h in style.HATCHES]),))
    assert figure(bars).data[0].marker.pattern.shape == style.HATCHES and png(bars)
    code = (
        "import sys; from mankit.charts import bars, png; png(bars({'a': 1}, 'b')); assert 'plotly' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    sources = [Path(pen.__file__).read_text(encoding="utf-8") for pen in (plotly_pen, png_pen)]
    assert "import matplotlib" not in sources[0] and "from matplotlib" not in sources[0]
    assert "import plotly" not in sources[1] and "from plotly" not in sources[1] and "plotly_pen" not in sources[1]


def test_but_changes_fields_and_axes_of_a_copy():
    chart = charts.curves({"BP": ([1, 2], [3, 4])})
    other = chart.but(xticks=[1, 2], yrange=(0, 5), title="T", words="W")
    assert (other.title, other.words, other.plots[0].y.range, other.plots[0].x.ticks) == ("T", "W", (0, 5), [1, 2])
    assert other.plots[0].y.title == chart.plots[0].y.title and chart.plots[0].y.range != (0, 5)


def test_text_is_text():
    fig = figure(Chart([Plot([Line([1], [1], "<b>")], Axis("a < b"))], "words", "one & two"))
    assert (fig.data[0].name, fig.layout.xaxis.title.text) == ("&lt;b&gt;", "a &lt; b")
    assert fig.layout.title.text == "one &amp; two"
    assert figure(charts.bars({"1": 1, "2": 2}, "x")).layout.xaxis.type == "category", "numbers as names are names"


def test_lines_of_one_name_stand_once_in_the_legend():
    chart = alone(*(Line([1], [1], name) for name in ("a", "b", "a", "")))
    assert [line.name for line in chart.lines()] == ["a", "b"]
    assert [trace.showlegend for trace in figure(chart).data] == [None, None, False, False]
    beside = alone(*ONE_OF_EACH["line"], *ONE_OF_EACH["bars"])
    assert [trace.get("showlegend") for trace in plotly_pen.spec(beside)["data"]] == [None, False], "bars have no name"


def test_plain_unpacks_and_rounds_arrays():
    z = np.array([[1 / 3, NAN], [2.0, 123456.7]])
    found = plain({"data": [{"z": z, "x": range(2), "n": np.float32(0.5)}]})
    assert found == {"data": [{"z": [[0.33333, None], [2.0, 123460.0]], "x": [0, 1], "n": 0.5}]}


def test_a_mean_that_is_off_by_a_bit_has_no_whisker():
    values = [[0.1, 0.1], [0.1, 0.3], [0.1, 0.2]]  # their first mean is 0.10000000000000002
    assert np.mean(values, axis=0)[0] > 0.1
    assert png(charts.block_accuracy({"BP": values}))
