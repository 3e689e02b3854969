"""The panel's controls and figure without a browser, and the panel where there is no page."""

import functools
import re
import shlex
import subprocess
import sys

import nbformat
import pandas as pd
import papermill
import plotly.graph_objects as go
import pytest
from test_session import BP, DGL, MAN, last, until

from mankit import lab
from mankit.charts import bundle
from mankit.lab import controls, figure
from mankit.lab.controls import Controls, command, folded, parameters
from mankit.lab.page import is_live
from mankit.lab.panel import Panel
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


@pytest.mark.parametrize("execute", [papermill.execute_notebook, with_nbconvert], ids=["papermill", "nbconvert"])
def test_other_tools_leave_an_ordinary_figure_and_its_words(tmp_path, monkeypatch, execute):
    monkeypatch.delenv("MANKIT_LIVE", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    nb = run_panel_cell(tmp_path, execute)
    shown = [output for output in nb.cells[0].outputs if output.output_type == "display_data"]
    assert set(shown[0].data) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert "MAN, K=3" in shown[1].data["text/plain"] and len(shown) == 2
    assert "widgets" not in nb.metadata


# --- the figure ---


@pytest.mark.parametrize("kind", [go.Figure, figure.LiveFigure])
@each
def test_the_figure_shows_the_numbers(kind, name):
    history, fig = history_of(name), figure.empty_figure(kind)
    figure.draw(fig, history)
    steps = [point.step for point in history.points]
    for slots, what in ((figure.OWN, "own_head"), (figure.BESIDE, "bp_probe"), (figure.LOSS, "loss")):
        curves = [curve for curve in history.curve(what) if any(v == v for v in curve)]
        lines = [fig.data[i] for i in slots if fig.data[i].visible]
        assert len(lines) == len(curves)
        for line, curve in zip(lines, curves, strict=True):
            assert list(line.x) == steps
            drawn = [float("nan") if v is None else v for v in line.y]
            assert drawn == pytest.approx(curve, rel=1e-4, nan_ok=True)
    assert [list(row) for row in fig.data[figure.CKA].z] == [pytest.approx(row, rel=1e-4) for row in history.cka]
    # by block, both runs are measured in the same way
    assert list(fig.data[figure.THIS].y) == pytest.approx(history.points[-1].probe, rel=1e-4)
    assert list(fig.data[figure.OTHER].y) == pytest.approx(history.points[-1].bp_probe, rel=1e-4)
    of_bp = history.memory["BP"] + history.memory["BP, checkpointed"]
    assert list(fig.data[figure.MEMORY].y)[-2:] == pytest.approx(of_bp, rel=1e-4)


def test_drawing_again_changes_numbers_only():
    fig = figure.empty_figure(figure.LiveFigure)
    uids = [trace.uid for trace in fig.data]
    figure.draw(fig, history_of("man"))
    figure.draw(fig, history_of("man of nine"), kept=history_of("dgl"), by_probe=True)
    assert [trace.uid for trace in fig.data] == uids
    figure.draw(fig, history_of("dgl"))
    assert [sum(fig.data[i].visible for i in slots) for slots in (figure.OWN, figure.EMA)] == [3, 0]
    figure.clear(fig)
    assert not any(len(fig.data[i].y) for slots in (figure.OWN, figure.LOSS) for i in slots)


@pytest.mark.parametrize("kind", [go.Figure, figure.LiveFigure])
def test_the_legend_names_blocks_and_nothing_else(kind):
    fig = figure.empty_figure(kind)
    figure.draw(fig, history_of("man"), kept=history_of("dgl"))
    shown = [trace for trace in fig.data if trace.visible and trace.showlegend]
    assert [trace.name for trace in shown] == ["1", "2", "3"]


def test_a_kept_run_stands_beside():
    kept, history, fig = history_of("dgl"), history_of("man of nine"), figure.empty_figure()
    figure.draw(fig, history, kept)
    assert list(fig.data[figure.BESIDE[0]].y) == pytest.approx(kept.curve("own_head")[0], rel=1e-4)
    assert list(fig.data[figure.OTHER].y) == pytest.approx(kept.points[-1].own_head, rel=1e-4)
    assert list(fig.data[figure.THIS].y) == pytest.approx(history.points[-1].own_head, rel=1e-4)
    assert "DGL, K=3" in fig.layout.annotations[1].text and "DGL, K=3" in fig.layout.meta["alt"]


def test_a_reloaded_page_gets_the_figure_as_it_is():
    fig = figure.empty_figure(figure.LiveFigure)
    history = history_of("dgl")
    figure.draw(fig, history)
    state = fig.get_state()
    assert state["_widget_data"][0]["y"] == pytest.approx(history.curve("own_head")[0], rel=1e-4)
    assert "DGL, K=3" in state["_widget_layout"]["annotations"][0]["text"]
    assert set(fig.get_state("_widget_data")) == {"_widget_data"}
    # what a page answers after it has drawn: plotly's own widget would take x and y out of the figure
    y = list(fig.data[0].y)
    answer = {"uid": fig.data[0].uid, "x": [0, 1], "y": [5, 5], "name": "1"}
    fig._js2py_traceDeltas = {"trace_deltas": [answer], "trace_edit_id": fig._last_trace_edit_id}
    assert list(fig.data[0].y) == y and fig.get_state()["_widget_data"][0]["y"] == y


@pytest.mark.parametrize("name", RECIPES)
def test_the_ordinary_figure_can_be_kept_in_a_notebook(name):
    data, _ = bundle(figure.ordinary(history_of(name)))
    assert data["image/png"] and data["text/plain"].startswith(figure.name_of(history_of(name)))


def test_no_two_blocks_look_the_same():
    looks = [(t.line.dash, t.marker.symbol) for t in figure.empty_figure().data[: figure.MOST]]
    assert len(set(looks)) == figure.MOST
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
        "to 0.5 at step 3",
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
    assert shown == {"head", "base", "branches", "decay", "start"} and {"lam_x", "lam_y", "contrast"} < set(hidden)
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
    assert panel.probe.description and len(panel.probe.tooltips) == len(panel.probe.options)


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
    assert panel.session.state == "ready" and panel.kept is None and not len(panel.figure.data[0].y)


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
    panel.copy.views = 1
    panel.start.click()
    until(lambda: panel.session.history is not None)
    panel.copy.views = 0
    panel.session.join(5)
    assert panel.session.state == "stopped"


def test_the_command_makes_the_same_run(tmp_path):
    panel = lab.panel("man", 4, decay=0.9, live=True, epochs=2, seed=3, data="digits", batch=50)
    assert isinstance(panel, Panel)
    panel.start.click()
    panel.session.join(120)
    words = shlex.split(panel.command)
    assert words[:2] == ["mankit", "train"] and panel.copy.text == panel.command
    out = [sys.executable, "-m", "mankit", *words[1:], "--out", str(tmp_path / "run")]
    subprocess.run(out, check=True, capture_output=True, timeout=120)
    told = pd.read_csv(tmp_path / "run" / "blocks.csv")
    pd.testing.assert_frame_equal(told, block_table(panel.session.watched.run), check_exact=True, check_dtype=False)
    assert "mankit run NOTEBOOK -p rule man -p K 4 -p data digits -p network lab" in panel.code.value
    assert panel.parameters == parameters(panel.recipe) and panel.parameters["decay"] == 0.9


@pytest.mark.parametrize("name", LAB)
def test_a_command_has_every_option_of_its_rule(name):
    words = shlex.split(command(LAB[name]))
    assert {f"--{option.replace('_', '-')}" for option in LAB[name].options} <= set(words)
