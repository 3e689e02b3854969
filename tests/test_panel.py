"""The panel's controls and figure without a browser, and the panel where there is no page."""

import functools
import gzip
import json
import math
import re
import shlex
import subprocess
import sys
import threading
import time

import nbformat
import pandas as pd
import papermill
import pytest
from plotly.offline import get_plotlyjs
from test_session import BP, DGL, MAN, last, until

from mankit import lab
from mankit.charts import bundle
from mankit.lab import controls, figure
from mankit.lab.controls import Controls, command, folded
from mankit.lab.live import Panel
from mankit.lab.page import Library, Plots
from mankit.lab.panel import is_live
from mankit.lab.still import Still
from mankit.rules import RULES
from mankit.studies import LAB, Run, block_table

RECIPES = {"bp": BP, "dgl": DGL, "man": MAN, "man of one block": MAN.but(K=1), "man of nine": MAN.but(K=9)}
each = pytest.mark.parametrize("name", ["bp", "dgl", "man"])
TINY = {"train_size": 60, "val_size": 40, "test_size": 50}


@functools.cache
def history_of(name):
    return last(RECIPES[name]).history


@pytest.fixture
def panel():
    panel = lab.panel("man", 3, live=True, epochs=400, batch=20, **TINY)
    yield panel
    panel.close()
    panel.session.join(20)


# --- where it is live ---


def test_live_only_where_a_server_started_the_kernel_for_a_page(monkeypatch):
    monkeypatch.delenv("MANKIT_LIVE", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not is_live() and is_live(True)
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    assert is_live() and not is_live(False)
    monkeypatch.setenv("MANKIT_LIVE", "0")
    assert not is_live()
    monkeypatch.setenv("MANKIT_LIVE", "1")
    assert is_live()


def test_without_a_page_it_trains_a_short_run_and_shows_one_figure(capsys):
    still = lab.panel("dgl", 3, live=False, epochs=9, short_epochs=2, batch=20, **TINY)
    assert isinstance(still, Still) and still.recipe.epochs == 2
    still._ipython_display_()
    assert still.history.step == still.history.total == 6
    assert still.train() is still.history  # shown twice, trained once


def run_panel_cell(folder, execute):
    """Execute a notebook with a panel as another tool would; gives its one cell's outputs."""
    cell = "from mankit import lab\n\nlab.panel('man', 3, batch=20, epochs=1, train_size=60)"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)], metadata={"kernelspec": kernel})
    nbformat.write(nb, folder / "a.ipynb")
    execute(folder / "a.ipynb", folder / "b.ipynb")
    return nbformat.read(folder / "b.ipynb", as_version=4)


def with_nbconvert(source, target):
    words = ["-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", str(source), "--output", str(target)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize(
    "execute",
    [papermill.execute_notebook, pytest.param(with_nbconvert, marks=pytest.mark.slow)],
    ids=["papermill", "nbconvert"],
)
def test_other_tools_leave_an_ordinary_figure_and_its_words(tmp_path, monkeypatch, execute):
    monkeypatch.delenv("MANKIT_LIVE", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    nb = run_panel_cell(tmp_path, execute)
    shown = [output for output in nb.cells[0].outputs if output.output_type == "display_data"]
    assert set(shown[0].data) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert "MAN, K=3" in shown[1].data["text/plain"] and len(shown) == 2
    assert "widgets" not in nb.metadata


# --- the figure ---


def drawn(*arguments, **options):
    """The plots of a picture by name, as a page gets them."""
    picture = json.loads(json.dumps(figure.picture(figure.chart_of(*arguments, **options)), allow_nan=False))
    return {plot["name"]: plot for plot in picture["plots"]}


def ys(plot):
    return [trace["y"] for trace in plot["data"] if "name" in trace]


@each
def test_the_picture_shows_the_numbers(name):
    history = history_of(name)
    plots = drawn(history)
    steps = [point.step for point in history.points]
    for plot, what in (("own", "own_head"), ("beside", "bp_probe"), ("loss", "loss"), ("ema", "ema_distance")):
        curves = [curve for curve in history.curve(what) if any(v == v for v in curve)]
        assert len(ys(plots[plot])) == len(curves)
        assert all(trace["x"] == steps for trace in plots[plot]["data"] if "name" in trace)
        for y, curve in zip(ys(plots[plot]), curves, strict=True):
            assert [math.nan if v is None else v for v in y] == pytest.approx(curve, rel=1e-4, nan_ok=True)
    assert plots["cka"]["data"][0]["z"] == [pytest.approx(row, rel=1e-4) for row in history.cka]
    # by block, both runs are measured in the same way
    this, other = (trace["y"] for trace in plots["by_block"]["data"])
    assert this == pytest.approx(history.points[-1].probe, rel=1e-4)
    assert other == pytest.approx(history.points[-1].bp_probe, rel=1e-4)
    assert plots["memory"]["data"][0]["y"] == pytest.approx(history.memory, rel=1e-4)


def test_a_picture_without_a_run_has_all_plots_and_no_number():
    picture = figure.picture(figure.chart_of(None))
    assert [plot["name"] for plot in picture["plots"]] == list(figure.ON_PAGE)
    assert set(figure.TITLES) == set(figure.ON_PAGE)
    assert picture["words"] == "Nothing trained yet." and picture["legend"] == []
    assert not any(ys(plot) for plot in picture["plots"])


def test_what_answers_the_decay_comes_first():
    assert figure.ON_PAGE[:3] == ("by_block", "ema", "cka")


def test_the_legend_names_blocks_and_nothing_else():
    picture = figure.picture(figure.chart_of(history_of("man"), history_of("dgl")))
    assert [entry["name"] for entry in picture["legend"]] == ["1", "2", "3"]
    assert {entry["symbol"] for entry in picture["legend"]} == {"\u25cf", "\u25a0", "\u25c6"}
    assert not any(plot["layout"]["showlegend"] for plot in picture["plots"])


def test_axes_name_every_block_and_the_distance_begins_at_0():
    plots = drawn(history_of("man of nine"))
    for name in ("by_block", "cka", "cka_bp"):
        assert plots[name]["layout"]["xaxis"]["tickvals"] == list(range(1, 10))
    assert plots["memory"]["layout"]["xaxis"]["dtick"] == 1
    assert plots["ema"]["layout"]["yaxis"]["rangemode"] == "tozero"


def test_zoom_stays_within_a_run():
    """plotly keeps what a reader has zoomed into while uirevision, and the range that it is given, stay the same."""
    half = history_of("man").copy()
    half.points, half.step = half.points[:9], 9
    before, after, other = (
        figure.picture(figure.chart_of(history), run=run)
        for history, run in ((half, 1), (history_of("man"), 1), (half, 2))
    )
    for a, b, c in zip(*(picture["plots"] for picture in (before, after, other)), strict=True):
        assert a["layout"]["uirevision"] == b["layout"]["uirevision"] != c["layout"]["uirevision"]
        for axis in ("xaxis", "yaxis"):
            assert a["layout"][axis].get("range") == b["layout"][axis].get("range")


def test_a_kept_run_stands_beside():
    kept, history = history_of("dgl"), history_of("man of nine")
    plots = drawn(history, kept)
    assert ys(plots["beside"])[0] == pytest.approx(kept.curve("own_head")[0], rel=1e-4)
    this, other = (trace["y"] for trace in plots["by_block"]["data"])
    assert this == pytest.approx(history.points[-1].own_head, rel=1e-4)
    assert other == pytest.approx(kept.points[-1].own_head, rel=1e-4)
    assert "DGL, K=3" in plots["beside"]["title"] and "DGL, K=3" in figure.summary(history, kept)


def test_a_kept_run_of_other_steps_or_with_a_changed_decay_is_said_to_be_so():
    kept, history = history_of("man").copy(), history_of("man of nine")
    assert figure.caution(history, kept) == "" and "step" not in drawn(history, kept)["beside"]["title"]
    kept.step, kept.changes = 12, [(5, 0.5)]
    words = "The kept run is at step 12, this one at 24. The kept run's decay was changed to 0.5 at step 5."
    assert figure.caution(history, kept) == words and words in figure.summary(history, kept)
    title = drawn(history, kept)["beside"]["title"]
    assert "step 12" in title and "(changed)" in title and "(changed)" not in drawn(history, kept)["own"]["title"]


# --- what the page gets and says ---


def test_a_page_gets_the_newest_picture_whenever_it_asks():
    plots = Plots(figure.picture(figure.chart_of(None)))
    plots.show(figure.picture(figure.chart_of(history_of("dgl"))))
    state = plots.shown.get_state()
    assert state["picture"]["number"] == plots.sent == 1 and "DGL, K=3" in state["picture"]["words"]
    assert plots.record == plots.shown.model_id


def test_a_page_says_what_it_has_drawn():
    plots = Plots(figure.picture(figure.chart_of(None)))
    plots.show(plots.shown.picture)
    plots.show(plots.shown.picture)
    plots.shown._handle_custom_msg({"drawn": 2}, [])
    plots.shown._handle_custom_msg({"drawn": 1}, [])  # a slower one
    assert plots.drawn == plots.sent == 2


def test_the_packed_library_is_plotlys_and_sent_once():
    plots, other = (Plots({}) for _ in range(2))
    assert plots.library == other.library
    library = Library.shared()
    assert plots.library == library.model_id
    assert gzip.decompress(library.packed).decode() == get_plotlyjs()
    library.close()  # by ipywidgets.Widget.close_all()
    assert Plots({}).library != plots.library


@pytest.mark.parametrize("name", RECIPES)
def test_the_ordinary_figure_can_be_kept_in_a_notebook(name):
    data, _ = bundle(figure.chart_of(history_of(name)))
    assert data["image/png"] and data["text/plain"].startswith(figure.name_of(history_of(name)))


def test_no_two_blocks_look_the_same():
    looks = [(line.look.dash, line.look.symbol) for line in figure._lines([1], [[1]] * 16)]
    assert len(set(looks)) == 16
    assert len({figure.block_color(k, 16) for k in range(16)}) == 16


def test_the_summary_says_what_the_plots_show():
    history = history_of("man").copy()
    history.changes.append((3, 0.5))
    words = figure.summary(history)
    for part in (
        "MAN, K=3, decay 0.9",
        "step 24 of 24, epoch 4 of 4",
        "BP, same seed:",
        "CKA to the same block",
        "EMA's distance",
        "checkpointed",
        "This run's decay was changed to 0.5 at step 3",
    ):
        assert part in words
    own = re.search(r"own head, block 1 to 3: ([^%]*) %", words)[1].split(", ")
    assert [float(value) for value in own] == pytest.approx(history.points[-1].own_head, rel=0.01)


# --- the controls ---


@pytest.mark.parametrize("name", LAB)
def test_controls_stand_for_the_recipe_they_were_given(name):
    assert Controls(LAB[name]).recipe == LAB[name]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_can_be_chosen_and_prepared(rule):
    c = Controls(LAB["MAN"])
    c.rule.value = rule
    run = Run(c.recipe)
    assert run.measured_net.K == 8


def test_controls_that_a_rule_lacks_are_hidden():
    c = Controls(LAB["MAN"])
    hidden = {name: widget.layout.display == "none" for name, widget in c.options.items()}
    shown = {name for name, is_hidden in hidden.items() if not is_hidden}
    assert shown == {"head", "norm", "base", "branches", "decay", "start"} and {"lam_x", "lam_y", "contrast"} < set(
        hidden
    )
    c.options["base"].value = "infopro"
    assert c.options["lam_x"].layout.display == "" and "lam_x" in c.recipe.options
    c.rule.value = "dgl"
    assert c.options["decay"].layout.display == "none" and c.recipe.options == {"head": "0c1f"}


def test_k_goes_as_far_as_the_network_does():
    c = Controls(LAB["DGL"])
    assert c.K.max == 9
    c.network.value = "lab16"
    assert c.K.max == 16
    c.K.value = 16
    c.network.value = "lab"
    assert c.K.value == 9
    assert "9 layers in 9 blocks" in c.picture.value


def test_decays_have_exact_ends_and_even_steps():
    c = Controls(LAB["MAN"])
    assert {0.0, 0.9, 0.99, 0.995, 0.999, 1.0} <= set(controls.DECAYS)
    c.options["decay"].index = 0
    assert c.recipe.options["decay"] == 0
    c.options["decay"].index = len(c.options["decay"].options) - 1
    assert c.recipe.options["decay"] == 1


def test_photographs_are_made_small():
    c = Controls(LAB["DGL"])
    c.data.value = "cifar10"
    assert c.recipe.data_options == controls.SMALL
    c.data.value = "glyphs"
    assert c.recipe.data_options == {}


def test_every_control_and_button_has_a_label_and_says_more(panel):
    widgets = [*panel.controls.all(), panel.start, panel.step, panel.stop, panel.reset, panel.keep]
    assert all(widget.description and widget.tooltip for widget in widgets)
    assert panel.probe.description and panel.probe.tooltip


def test_a_pair_of_weights_is_refused_in_words():
    with pytest.raises(ValueError, match="one weight for all blocks"):
        lab.panel("infopro", 4, lam_x=(5, 0.5), live=True)


def test_the_picture_of_the_cut_is_the_lessons_and_says_in_words_what_it_draws():
    c = Controls(LAB["DGL"].but(K=4))
    assert "9 layers in 4 blocks of 3, 2, 2, 2" in c.picture.value and "no gradient does" in c.picture.value
    assert "take" not in c.picture.value
    c.rule.value = "man"
    assert "head i takes weights from the first layer of block i+1" in c.picture.value
    c.rule.value = "bp"
    assert "no gradient does" not in c.picture.value and "9 layers in 4 blocks" in c.picture.value


def test_an_error_is_folded_and_escaped():
    html = folded("Traceback\n  line\nValueError: no <b>\n")
    assert html.index("ValueError: no &lt;b&gt;") < html.index("<pre>Traceback")


# --- the panel ---


def test_start_goes_to_pause_and_on(panel):
    panel.start.click()
    until(lambda: panel.session.history and panel.session.history.step > 2)
    assert panel.start.description == "Pause"
    panel.controls.options["decay"].value = 0.0
    until(lambda: panel.session.history.decay == 0)
    panel.controls.K.value = 2
    assert "from the next Start on" in panel.status.value
    panel.start.click()
    until(lambda: panel.start.description == "Go on")
    first = panel.session
    panel.start.click()
    assert panel.session is first
    panel.stop.click()
    until(lambda: panel.start.description == "Start" and panel.stop.disabled)
    panel.keep.click()
    panel.step.click()
    until(lambda: panel.session.history and panel.session.history.step == 1)
    until(lambda: "kept: MAN, K=3" in panel.summary.value)
    assert panel.session.recipe.K == 2
    panel.reset.click()
    assert panel.session.state == "ready" and panel.kept is None
    assert not any(ys(plot) for plot in panel.figure.shown.picture["plots"])


def test_a_thread_that_starts_late_is_drawn_too(panel, monkeypatch):
    """A busy machine may take long between the press of Start and the first line of the thread."""
    start = threading.Thread.start

    def late(thread):
        time.sleep(0.5 * (thread.name == "mankit training"))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", late)
    panel.start.click()
    until(lambda: panel.progress.value > 2)
    panel.stop.click()
    until(lambda: panel.status.value.startswith('<div role="status">Stopped, step '))


def test_only_the_decay_may_change_without_a_word(panel):
    panel.start.click()
    panel.controls.options["decay"].value = 0.5
    assert "from the next Start on" not in panel.status.value
    panel.stop.click()


def test_a_new_panel_stops_the_old_run(panel):
    panel.start.click()
    until(lambda: panel.session.history is not None)
    lab.panel(live=True)
    panel.session.join(5)
    assert panel.session.state == "stopped"


def test_a_page_that_closes_the_panel_stops_the_run(panel):
    def views(page, count):
        panel.figure.shown._handle_custom_msg({"page": page, "views": count}, [])

    views("tab", 1)
    views("other tab", 1)
    panel.start.click()
    until(lambda: panel.session.history is not None)
    views("tab", 0)
    assert not panel.session._stop_asked
    views("other tab", 0)
    panel.session.join(5)
    assert panel.session.state == "stopped"


def test_the_command_makes_the_same_run(tmp_path):
    panel = lab.panel("man", 4, decay=0.9, live=True, epochs=2, seed=3, data="digits", batch=50, train_size=200)
    assert isinstance(panel, Panel)
    panel.start.click()
    panel.session.join(120)
    words = shlex.split(command(panel.recipe))
    assert words[:2] == ["mankit", "train"] and panel.code.value.splitlines()[0] == command(panel.recipe)
    out = [sys.executable, "-m", "mankit", *words[1:], "--out", str(tmp_path / "run")]
    subprocess.run(out, check=True, capture_output=True, timeout=120)
    told = pd.read_csv(tmp_path / "run" / "blocks.csv")
    pd.testing.assert_frame_equal(told, block_table(panel.session.watched.run), check_exact=True, check_dtype=False)
    assert "mankit run NOTEBOOK -p rule man -p K 4 -p data digits -p network lab" in panel.code.value
    assert "-p decay 0.9" in panel.code.value


@pytest.mark.parametrize("name", LAB)
def test_a_command_has_every_option_of_its_rule(name):
    words = shlex.split(command(LAB[name]))
    assert {f"--{option.replace('_', '-')}" for option in LAB[name].options} <= set(words)
