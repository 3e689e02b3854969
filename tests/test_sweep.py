"""Sweeps: the grid, what a notebook hands over, which runs are run (again), the table, the plot, and Ctrl-C."""

import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from figures import figure
from jupyter_core.utils import ensure_event_loop
from processes import interruptible

from mankit.execution import results
from mankit.execution.sweep import grid, main_result, plot, sweep

PARAMETERS = "K = 8\ndecay = 0.9\nrule = 'man'\nseed = 0"
# what `result` does, without the seconds that importing mankit takes in each kernel
RESULT = "from IPython.display import display\ndisplay({'%s': {%s}, 'text/plain': 'result'}, raw=True)"


def write_notebook(path, *sources):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.cells[0].metadata.tags = ["parameters"]
    nbformat.write(nb, path)
    return path


def notebook_with(folder, *code, shows="'accuracy': 10 * K + decay + seed / 100"):
    return write_notebook(folder / "small.ipynb", PARAMETERS, *code, RESULT % (results.MIME, shows))


def read(csv):
    return pd.read_csv(csv, keep_default_na=False, na_values=["nan"])


# --- the grid ---


def test_the_grid_is_every_combination_with_seeds_last():
    cells = grid({"K": [1, 2], "rule": ["dgl"]}, seeds=2, fixed={"epochs": 3})
    assert cells == [{"epochs": 3, "K": K, "rule": "dgl", "seed": seed} for K in (1, 2) for seed in (0, 1)]
    assert grid({"K": [1]}) == [{"K": 1}]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"axes": {"K": []}}, "K=: give at least one value"),
        ({"axes": {"K": [1, 2, 1]}}, "K=1,2,1: .*each once"),
        ({"axes": {"K": [1]}, "fixed": {"K": 2}}, "K is both an axis of the grid and fixed to 2"),
        ({"axes": {"seed": [1]}, "seeds": 2}, "seeds=2: .*no axis named seed"),
        ({"axes": {"K": [1]}, "seeds": 2, "fixed": {"seed": 1}}, "seed is both"),
        ({"axes": {"K": [1]}, "seeds": 0}, "seeds=0: choose 1 or more"),
    ],
)
def test_impossible_grids_are_one_clear_line(given, message):
    with pytest.raises(ValueError, match=message) as error:
        grid(**given)
    assert "\n" not in str(error.value)


# --- what a notebook hands over ---


@pytest.fixture
def shown(monkeypatch):
    bundles = []
    monkeypatch.setattr(results, "display", lambda data, raw: bundles.append(data))
    return bundles


def test_result_shows_plain_values(shown):
    results.result(a=1, b=2.5, c="x", d=True, e=torch.tensor(0.5), f=np.float32(0.25), g=math.nan, h=np.array([3]))
    expected = {"a": 1, "b": 2.5, "c": "x", "d": True, "e": 0.5, "f": 0.25, "g": None, "h": 3}
    assert shown[0][results.MIME] == expected
    assert shown[0]["text/plain"].startswith("result: a = 1, b = 2.5, c = x")


@pytest.mark.parametrize("wrong", [[1, 2], torch.ones(2), np.ones(2), None, {"a": 1}])
def test_what_is_no_single_value_is_one_clear_line(shown, wrong):
    with pytest.raises(ValueError, match="result name=.*give one number"):
        results.result(name=wrong)
    with pytest.raises(ValueError, match="nothing to show"):
        results.result()
    assert shown == []


def test_results_of_a_notebook_are_those_of_all_its_cells():
    def output(values):
        return nbformat.v4.new_output("display_data", data={results.MIME: values})

    text = nbformat.v4.new_output("stream", text="x")
    lists = [output({"a": 1, "b": 2})], [text, output({"b": 3})]
    cells = [nbformat.v4.new_code_cell(outputs=outputs) for outputs in lists]
    cells.insert(1, nbformat.v4.new_markdown_cell("text"))
    assert results.read_results(nbformat.v4.new_notebook(cells=cells)) == {"a": 1, "b": 3}


# --- running ---


def test_two_jobs_run_side_by_side_where_the_notebook_is(tmp_path):
    """Each run waits for the other: one after the other they would never end. It also looks around."""
    meet = "import os, time\nopen(f'met-{K}', 'w').close()\nend = time.time() + 60\n" + (
        "while not (os.path.exists('met-1') and os.path.exists('met-2')):\n    assert time.time() < end\n"
        "    time.sleep(0.05)"
    )
    (tmp_path / "there").mkdir()
    shows = "'threads': os.environ['OMP_NUM_THREADS'], 'folder': os.path.basename(os.getcwd())"
    notebook = notebook_with(tmp_path / "there", meet, shows=shows)
    before, here = notebook.read_bytes(), os.getcwd()
    ensure_event_loop()  # as Jupyter's tools leave one here: the jobs' threads must not share it
    (tmp_path / "out").mkdir()
    table = sweep(notebook, grid({"K": [1, 2]}), tmp_path / "out", jobs=2)
    assert list(table["error"]) == ["", ""]
    assert list(table["folder"]) == ["there", "there"] and set(table["threads"]) == {"1"}
    assert (table["duration_s"] > 0).all()
    assert notebook.read_bytes() == before and os.getcwd() == here
    assert main_result(table, grid({"K": [1, 2]})) is None  # two texts: nothing to plot


def test_only_what_is_missing_failed_or_changed_is_run(mankit, tmp_path):
    """Each run leaves a line in runs.txt. K=2 fails until a file is there; K=3 kills its kernel."""
    log = "with open('runs.txt', 'a') as file:\n    print(K, seed, file=file)"
    trouble = "import os\nif K == 3:\n    os._exit(1)\nif K == 2 and not os.path.exists('cured'):\n" + (
        "    raise ValueError('no\\nway')"
    )
    notebook, out = notebook_with(tmp_path, log, trouble), tmp_path / "new" / "out"

    def ran():
        lines = (tmp_path / "runs.txt").read_text().split("\n")[:-1]
        (tmp_path / "runs.txt").unlink()
        return sorted(lines)

    words = ("sweep", notebook, "--seeds", 2, "--jobs", 2, "-p", "decay", 0.5, "-o", out)
    first = mankit(*words, "-g", "K", "3,2,1")
    assert first.code == 1 and ran() == ["1 0", "1 1", "2 0", "2 1", "3 0", "3 1"]
    assert first.out.splitlines() == [str(out / "small.csv"), str(out / "small.png")]
    assert "mankit: failed: decay=0.5, K=2, seed=1: cell 4: ValueError: no\n" in first.err
    assert "mankit: failed: decay=0.5, K=3, seed=0: DeadKernelError" in first.err
    assert "6/6" in first.err and "TCP" not in first.err  # the bar, and no chatter of kernels
    table = read(out / "small.csv")
    assert list(table.columns) == ["decay", "K", "seed", "accuracy", "duration_s", "error"]
    assert list(zip(table["K"], table["seed"], strict=True)) == [(K, s) for K in (3, 2, 1) for s in (0, 1)]
    assert list(table["accuracy"])[4:] == ["10.5", "10.51"] and set(table["accuracy"][:4]) == {""}
    assert set(table["error"][2:4]) == {"cell 4: ValueError: no"}
    assert (out / "small-decay0.5-K1-seed0.ipynb").is_file()
    assert (out / "small-decay0.5-K2-seed0.unfinished.ipynb").is_file()

    (tmp_path / "cured").touch()
    second = mankit(*words, "-g", "K", "1,2,4")
    assert second.code == 0 and ran() == ["2 0", "2 1", "4 0", "4 1"]
    assert set(read(out / "small.csv")["error"]) == {""} and "grid" not in read(out / "small.csv")
    assert not (out / "small-decay0.5-K2-seed0.unfinished.ipynb").exists()

    (out / "small-decay0.5-K2-seed0.ipynb").write_text('{"cells": [')  # as a full disk may leave it
    assert mankit(*words, "-g", "K", "1,2").code == 0 and ran() == ["2 0"]
    # another grid: what it doesn't have stays in the table, marked
    table = read(out / "small.csv")
    kept = list(zip(table["K"], table["seed"], table["grid"], strict=True))
    assert kept == [(K, s, "this") for K in (1, 2) for s in (0, 1)] + [(4, s, "earlier") for s in (0, 1)]
    assert list(table["accuracy"].astype(str))[-2:] == ["40.5", "40.51"]
    notebook_with(tmp_path, log, trouble, "'the code has changed'")
    assert mankit(*words, "-g", "K", 1).code == 0 and ran() == ["1 0", "1 1"]
    assert list(read(out / "small.csv")["K"]) == [1, 1]  # the others are of other code


def test_a_notebook_without_results_is_a_failure_that_says_what_to_do(tmp_path):
    silent = write_notebook(tmp_path / "silent.ipynb", PARAMETERS)
    table = sweep(silent, grid({"K": [1]}), tmp_path)
    assert "call mankit.execution.result" in table["error"][0]
    twice = notebook_with(tmp_path, shows="'K': 3")
    assert "result K has the name of a parameter" in sweep(twice, grid({"K": [1]}), tmp_path)["error"][0]


def test_cells_of_one_file_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one file name"):
        sweep(notebook_with(tmp_path), grid({"rule": ["a/b", "a b"]}), tmp_path)
    assert list(tmp_path.glob("small-*")) == []


def test_ctrl_c_keeps_what_is_finished_ends_the_kernels_and_goes_on(mankit, tmp_path):
    wait = "import os, time\nif K == 2 and not os.path.exists('cured'):\n" + (
        "    open('pid', 'w').write(str(os.getpid()))\n    time.sleep(600)"
    )
    notebook, csv = notebook_with(tmp_path, wait), tmp_path / "small.csv"
    words = ["sweep", str(notebook), "-g", "K", "1,2,3", "-o", str(tmp_path)]

    process = subprocess.Popen(
        [sys.executable, "-m", "mankit", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    try:
        end = time.time() + 60
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
            assert time.time() < end and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert f"mankit: stopped; finished runs are kept in {tmp_path}, and the same command goes on" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert list(read(csv)["K"]) == [1]

    (tmp_path / "cured").touch()
    again = mankit(*words)
    assert again.code == 0 and "3/3" in again.err
    assert list(read(csv)["accuracy"]) == [10.9, 20.9, 30.9]


def test_kernels_that_are_just_starting_are_ended_too(monkeypatch, tmp_path):
    def stopped(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("mankit.scaling.engine.time", SimpleNamespace(sleep=stopped))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sweep(notebook_with(tmp_path, "import time\ntime.sleep(600)"), grid({"K": [1, 2, 3]}), tmp_path, jobs=2)
    assert time.monotonic() - began < 60
    assert not (tmp_path / "small.csv").exists() and not (tmp_path / "small-K1.ipynb").exists()


def test_kernels_end_with_their_parent_however_it_dies(tmp_path):
    notebook = notebook_with(tmp_path, "open(f'{K}', 'w').close()", "__import__('time').sleep(600)")
    command = [sys.executable, "-m", "mankit", "sweep", notebook, "-g", "K", "1,2", "--jobs", "2", "-o", tmp_path]
    parent = psutil.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    while not all((tmp_path / K).exists() for K in "12"):
        time.sleep(0.1)
    kernels = parent.children(recursive=True)
    assert len(kernels) == 2
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(kernels, timeout=300)[1] == []


def test_this_projects_own_notebook_can_be_swept(mankit, tmp_path, request):
    notebook = request.config.rootpath / "notebooks" / "reproduce" / "sweep.ipynb"
    quick = ("-p", "epochs", 1, "-p", "train_size", 200, "-p", "device", "cpu")
    result = mankit("sweep", notebook, "-g", "rule", "bp,man", "-g", "K", 2, *quick, "--jobs", 2, "-o", tmp_path)
    assert result.code == 0, result.err
    table = read(tmp_path / "sweep.csv")
    assert list(table["rule"]) == ["bp", "man"]
    assert {"accuracy", "val_accuracy", "saved_kib", "gflops"} < set(table.columns)
    assert table["saved_kib"][1] < table["saved_kib"][0] and table["accuracy"].between(0, 100).all()
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


# --- the plot ---


def table_of(cells, **columns):
    return pd.DataFrame(
        [{**cell, **{name: f(cell) for name, f in columns.items()}, "duration_s": 1.0, "error": ""} for cell in cells]
    )


def test_plot_has_a_line_a_decay_over_K_with_the_spread_of_the_seeds():
    cells = grid({"decay": [0, 0.9], "K": [4, 1, 2]}, seeds=3)
    table = table_of(cells, accuracy=lambda c: 10 * c["K"] + c["decay"] + c["seed"])
    table.loc[(table["decay"] == 0.9) & (table["K"] == 2) & (table["seed"] == 1), "accuracy"] = math.nan  # it failed
    chart = plot(table, ["K", "decay"], "accuracy")
    assert [trace.name for trace in figure(chart).data] == ["decay 0", "decay 0.9"]
    whole, gap = figure(chart).data
    assert list(whole.x) == [1, 2, 4] and list(whole.y) == [11, 21, 41]
    assert list(whole.error_y.array) == [1, 1, 1] and list(whole.error_y.arrayminus) == [1, 1, 1]
    assert gap.y[0] == pytest.approx(11.9) and gap.y[1] is None
    assert figure(chart).layout.xaxis.title.text == "K" and figure(chart).layout.yaxis.title.text == "accuracy"
    assert list(figure(plot(table, ["decay", "K"], "accuracy")).data[0].x) == [0, 0.9]


def test_plot_without_an_axis_of_numbers_is_bars():
    table = table_of(grid({"rule": ["dgl", "man"]}, seeds=2), loss=lambda c: len(c["rule"]) + c["seed"])
    (trace,) = figure(plot(table, ["rule"], "loss")).data
    assert trace.type == "bar" and list(trace.y) == [3.5, 3.5]


def test_an_axis_that_does_not_vary_is_not_x():
    table = table_of(grid({"K": [4], "decay": [0.0, 0.5]}), accuracy=lambda c: c["decay"])
    assert list(figure(plot(table, ["K", "decay"], "accuracy")).data[0].x) == [0.0, 0.5]


def test_what_is_plotted_is_accuracy_or_the_first_number():
    cells = grid({"K": [1, 2]}, fixed={"epochs": 3})
    assert main_result(table_of(cells, loss=lambda c: 1.5, accuracy=lambda c: 50), cells) == "accuracy"
    assert main_result(table_of(cells, word=lambda c: "x", loss=lambda c: 1.5), cells) == "loss"
    assert main_result(table_of(cells, word=lambda c: "x"), cells) is None
    with pytest.raises(ValueError, match="y=word: the results are .*choose one with numbers"):
        plot(table_of(cells, word=lambda c: "x"), ["K"], "word")


# --- bad input ---


@pytest.mark.parametrize(
    "words, fragment",
    [
        ([], "no grid: give at least one axis, as in -g K 1,2,4,8"),
        (["-g", "k", "1,2"], "parameter='k': choose from K, decay, rule, seed"),
        (["-g", "deca", "1,2"], "did you mean 'decay' or"),
        (["-g", "K"], "-g K: give a name and a value, as in -g K 2,4,8"),
        (["-g", "K", "1,,2"], "a value is missing between commas"),
        (["-g", "K", "1,1"], "each once"),
        (["-g", "K", "1", "-g", "K", "2"], "parameter 'K' is given twice"),
        (["-g", "K", "1", "-p", "K", "2"], "K is both an axis"),
        (["-g", "K", "1", "-p", "x", "2"], "parameter='x'"),
        (["-g", "K", "1", "--seeds", "0"], "--seeds"),
        (["-g", "K", "1", "--jobs", "0"], "--jobs"),
        (["-g", "seed", "1", "--seeds", "2"], "no axis named seed"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_before_anything_runs(mankit, tmp_path, words, fragment):
    result = mankit("sweep", notebook_with(tmp_path), *words, "-o", tmp_path / "out")
    assert result.code == 2 and result.out == "" and result.err.count("\n") == 1
    assert result.err.startswith("mankit: ") and fragment in result.err
    assert list(tmp_path.glob("out/*")) == []


def test_seeds_need_a_notebook_with_a_seed(mankit, tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", "K = 1")
    result = mankit("sweep", notebook, "-g", "K", "1,2", "--seeds", 2)
    assert result.code == 2 and "parameter='seed': choose from K" in result.err
    assert mankit("sweep", tmp_path / "none.ipynb", "-g", "K", 1).code == 2


def test_values_of_an_axis_are_read_as_json_or_text(mankit, monkeypatch, tmp_path):
    seen = []

    def no_sweep(notebook, cells, out, jobs, at):
        seen.extend(cells)
        return table_of(cells)

    monkeypatch.setattr("mankit.execution.sweep.sweep", no_sweep)
    words = ("sweep", notebook_with(tmp_path), "-o", tmp_path, "-p", "seed", 7)
    assert mankit(*words, "-g", "K", "[8,16],[4]", "-g", "rule", "dgl, man", "--grid", "decay", -1).code == 0
    assert seen == grid({"K": [[8, 16], [4]], "rule": ["dgl", "man"], "decay": [-1]}, fixed={"seed": 7})


def test_help_has_an_example(mankit):
    text = mankit("sweep", "--help").out
    assert "Example: mankit sweep notebooks/reproduce/sweep.ipynb -g K 2,4,8" in " ".join(text.split())
    assert "Exit code 1" in text


def test_a_notebook_that_names_no_kernel_runs_too(mankit, tmp_path):
    notebook = notebook_with(tmp_path)
    nb = nbformat.read(notebook, as_version=4)
    nb.metadata.clear()
    nbformat.write(nb, notebook)
    assert mankit("sweep", notebook, "-g", "K", "2", "-o", tmp_path / "out").code == 0
    assert mankit("run", notebook, "-p", "K", "3", "-o", tmp_path / "out").code == 0
