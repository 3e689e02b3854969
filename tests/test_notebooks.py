"""The notebooks: executed, small, clean, right again under nbval, and able to run with other parameters."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from mankit.execution.execute import execute, save, tidy

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(p for p in ROOT.glob("notebooks/**/*.ipynb") if ".ipynb_checkpoints" not in p.parts)
COMPARED = 5  # at least so many cells of each notebook are compared with their stored output
# these train for minutes; tests/test_studies_study.py executes each of them on what is there
TRAINED = {"cifar10", "svhn_stl10", "imagenet", "controls", "family"}
QUICK = {"epochs": 1, "digits_epochs": 1, "seeds": 1}
LONG = {"03_infopro", "05_what_makes_man_work"}  # minutes of two cores each; students' versions of them run every time
assert NOTEBOOKS, "no notebooks found: a parametrized test would pass without having looked at one"
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def compared_cells(nb):
    """Cells whose stored output nbval compares: not tagged to be ignored, and more than a picture."""
    skipped = {"image/png", "image/jpeg", "image/svg+xml"}  # nbval skips these
    return [
        cell
        for cell in code_cells(nb)
        if "nbval-ignore-output" not in cell.metadata.get("tags", [])
        and any(o.output_type == "stream" or set(o.get("data", {})) - skipped for o in cell.outputs)
    ]


def nbval(path):
    options = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg")]
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", *options, str(path)]
    live = {**os.environ, "MANKIT_LIVE": "1"}  # a panel waits for its buttons; the figure it leaves: test_panel.py
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=live)


def often(path):
    """Marks: the tour is executed by `make test`, the other notebooks by `make test-lessons`, long ones by hand."""
    if path.stem == "00_tour":
        return []
    return [pytest.mark.slow if path.stem in LONG else pytest.mark.lesson]


@every_notebook
def test_is_executed_small_and_clean(path):
    text, nb = path.read_text(), nbformat.read(path, as_version=4)
    assert path.stat().st_size < 1_000_000
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    assert "widgets" not in nb.metadata
    assert nb.metadata.kernelspec.language == "python"
    assert "parameters" in code_cells(nb)[0].metadata.tags
    counts = [cell.execution_count for cell in code_cells(nb)]
    assert counts == list(range(1, len(counts) + 1))  # run once, from top to bottom
    for cell in code_cells(nb):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", f"a warning or a progress bar was stored: {output.text[:200]}"


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=often(p)) for p in NOTEBOOKS if p.stem not in TRAINED]
)
def test_says_the_same_again_under_nbval(path):
    nb = nbformat.read(path, as_version=4)
    assert len(compared_cells(nb)) >= (2 if path.parent.name == "reproduce" else COMPARED)
    result = nbval(path)
    assert result.returncode == 0, result.stdout[-3000:]
    assert f"{len(code_cells(nb))} passed" in result.stdout


@every_notebook
def test_reads_well_without_running(path):
    nb = nbformat.read(path, as_version=4)
    headings = [line for c in nb.cells if c.cell_type == "markdown" for line in c.source.split("\n") if line[:1] == "#"]
    levels = [len(line) - len(line.lstrip("#")) for line in headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    html, _ = HTMLExporter().from_notebook_node(nb)
    figures = [o for c in code_cells(nb) for o in c.outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(figures) > 0
    assert html.count("data:image/png;base64") >= len(figures)  # each plot is there as a picture too
    for figure in figures:
        words = figure.data["text/plain"]
        assert words
        assert words.split(".")[0].split("+")[0][:40] in html.replace("&amp;", "&")  # and in words


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"batch": 0}, "batch=0: choose 2 or more"),
        ({"batch": 2.5}, "batch=2.5: choose a whole number, 2 or more"),
        ({"seeds": 0}, "seeds=0: choose 1 or more"),
        ({"rival_batch": "many"}, "rival_batch=many: choose 4 or more"),
        ({"rival_steps": 1}, "rival_steps=1: choose 10 or more"),
        ({"budget": 0}, "budget=0: choose a number from 0.2 to 1.0"),
        ({"lr": float("nan")}, "lr=nan: choose 0.0 or more"),
    ],
    ids=str,
)
def test_the_memory_notebook_says_what_its_parameters_may_be(wrong, said):
    nb = nbformat.read(ROOT / "notebooks" / "reproduce" / "memory.ipynb", as_version=4)
    parameters, check = code_cells(nb)[:2]
    names = {}
    exec(parameters.source, names)
    exec(check.source, names)  # what stands there may be
    names |= wrong
    with pytest.raises(ValueError) as caught:
        exec(check.source, names)
    assert str(caught.value) == said


@pytest.mark.slow  # one block: every lesson, in lessons/test_student_browser.py
@pytest.mark.parametrize("parameters", [{"K": 1, "decay": 0.0}, {"K": 9, "decay": 1.0}], ids=str)
def test_the_tour_runs_with_other_parameters(tmp_path, parameters):
    tour = ROOT / "notebooks" / "00_tour.ipynb"
    execute(tour, tmp_path / "out.ipynb", {**QUICK, **parameters})
    nb = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    shown = "".join(str(o.get("data", {}).get("text/plain", "")) for c in code_cells(nb) for o in c.outputs)
    if parameters["K"] == 1:
        assert "9 layers in 1 block of 9" in shown
    else:
        assert f"9 layers in {parameters['K']} blocks" in shown


def tiny(*sources):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nb.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nb


def test_our_nbval_settings_catch_a_changed_number(tmp_path):
    nbformat.write(tiny("print(round(2 / 3, 3))", "6 * 7"), tmp_path / "a.ipynb")
    execute(tmp_path / "a.ipynb", tmp_path / "right.ipynb")
    nb = nbformat.read(tmp_path / "right.ipynb", as_version=4)
    assert len(compared_cells(nb)) == 2
    for i, (old, new) in enumerate([("0.667", "0.668"), ("42", "43")]):
        wrong = copy.deepcopy(nb)
        output = wrong.cells[i].outputs[0]
        if output.output_type == "stream":
            output.text = output.text.replace(old, new)
        else:
            output.data["text/plain"] = new
        nbformat.write(wrong, tmp_path / f"wrong{i}.ipynb")
        assert nbval(tmp_path / f"wrong{i}.ipynb").returncode == 1
    assert nbval(tmp_path / "right.ipynb").returncode == 0


def test_a_kernels_errors_reach_the_user_and_its_warnings_do_not(tmp_path, capfd):
    log = "get_ipython().kernel.log"
    nbformat.write(tiny(f"{log}.warning('a small thing')\n{log}.error('a real one')"), tmp_path / "a.ipynb")
    execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb")
    err = capfd.readouterr().err
    assert "a real one" in err and "a small thing" not in err and "encryption" not in err


def test_save_keeps_outputs_and_drops_what_belongs_to_a_machine(tmp_path):
    bars = "import sys\nfor i in range(3):\n    print(f'\\r{i} of 3', end='', file=sys.stderr, flush=True)\n"
    erase = "print('\\r      \\r', end='', file=sys.stderr, flush=True)\n"
    nbformat.write(tiny(bars + erase + "print('done')"), tmp_path / "a.ipynb")
    execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb")
    assert "papermill" in nbformat.read(tmp_path / "b.ipynb", as_version=4).metadata
    save(tmp_path / "b.ipynb", tmp_path / "a.ipynb")
    saved = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    assert [o.text for o in saved.cells[0].outputs] == ["done\n"]
    assert str(tmp_path) not in (tmp_path / "a.ipynb").read_text()
    assert "papermill" not in saved.metadata


def tidied(path, *written):
    """What is left of outputs, (name, text) for a stream and a text alone for what is shown."""
    nb = tiny("")
    nb.cells[0].outputs = [
        nbformat.v4.new_output("display_data", data={"text/plain": what})
        if isinstance(what, str)
        else nbformat.v4.new_output("stream", name=what[0], text=what[1])
        for what in written
    ]
    nbformat.write(nb, path)
    tidy(path)
    outputs = nbformat.read(path, as_version=4).cells[0].outputs
    return [o.text if o.output_type == "stream" else o.data["text/plain"] for o in outputs]


def test_a_progress_bars_last_state_and_other_text_stay(tmp_path):
    def left(*written):
        return tidied(tmp_path / "a.ipynb", *written)

    bar = [("stderr", "\r 10%"), ("stderr", "\r100%\n")]
    assert left(*bar, ("stdout", "kept\n")) == ["100%\n", "kept\n"]
    assert left(("stdout", "a\nb\n"), ("stdout", "\r1"), ("stdout", "\r2\nc")) == ["a\nb\n2\nc"]
    assert left(("stderr", "\r 50%"), ("stderr", "\r     \r")) == []  # it erased itself
    assert left(("stderr", "\r 50%"), ("stderr", "\r     \r"), ("stderr", "oh\n")) == ["oh\n"]
    assert left(("stdout", "end of a line\r\n")) == ["end of a line\r\n"]


def test_what_is_printed_after_a_picture_stays_after_it(tmp_path):
    written = ("stdout", "before\n"), "a picture", ("stdout", "after\n")
    assert tidied(tmp_path / "a.ipynb", *written) == ["before\n", "a picture", "after\n"]
