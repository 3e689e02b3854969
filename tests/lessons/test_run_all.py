"""Run All in a real kernel: an unanswered or wrong answer is one line or one sentence, and the lesson goes on.

Whoever executes a solved lesson, by `mankit run` or under nbval, still hears of a check that fails.
"""

import subprocess
import sys

import nbformat
import pytest
from exercises import LESSONS, NOTEBOOKS
from nbformat.v4 import new_code_cell, new_notebook, new_output

CHECK = {"tags": ["check", "raises-exception"]}
CELLS = [
    "from mankit.teach import own\nfrom mankit.teach.checks import man as check",
    'def look_ahead(learnable_bias, ema, h):\n    raise NotImplementedError("your answer goes here")',
    "check.look_ahead(look_ahead)",
    "def look_ahead(learnable_bias, ema, h):\n    return learnable_bias(h)",
    "check.look_ahead(look_ahead)",
    "def sideways(h):\n    return h @ h[:2]\n\ndef look_ahead(learnable_bias, ema, h):\n    return ema(sideways(h))",
    "check.look_ahead(look_ahead)",
    "check.look_ahead(look_behind)",  # a name that the reader's cell, with a typing mistake in it, never made
    "def look_ahead(learnable_bias, ema, h):\n    return learnable_bias(h) + ema(h)",
    "check.look_ahead(look_ahead)",
    "print('the end')",
]


def lesson():
    """A notebook of CELLS."""
    cells = [new_code_cell(source, metadata=CHECK if source.startswith("check.") else {}) for source in CELLS]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def check_cells(nb):
    return [cell for cell in nb.cells if "check" in cell.metadata.get("tags", [])]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """`mankit run` on a lesson with answers of all kinds: the finished process and the executed copy."""
    folder = tmp_path_factory.mktemp("lesson")
    nbformat.write(lesson(), folder / "lesson.ipynb")
    command = [sys.executable, "-m", "mankit", "run", str(folder / "lesson.ipynb"), "-o", str(folder / "out")]
    process = subprocess.run(command, capture_output=True, text=True)
    return process, nbformat.read(folder / "out" / "lesson.ipynb", as_version=4)


def shown(nb):
    """What each check cell shows, a line of output or an error's traceback."""
    outputs = [cell.outputs[0] for cell in check_cells(nb)]
    return [output.get("text") or "\n".join(output.traceback) for output in outputs]


def test_every_cell_runs_whatever_the_answers_are(executed):
    _, nb = executed
    assert nb.cells[-1].outputs[0].text == "the end\n"
    assert all(len(cell.outputs) == 1 for cell in check_cells(nb))


def test_an_answer_is_met_by_a_line_or_a_sentence_without_a_traceback(executed):
    unanswered, wrong, stopped, _, right = shown(executed[1])
    assert unanswered == "Not answered yet: look_ahead\n"
    assert wrong == "Not yet: one branch is missing: add learnable_bias(h) and ema(h)."
    first, last = stopped.split("\n")
    assert first.startswith("Not yet: your function stopped with RuntimeError: ")
    assert last == "  in sideways, line 2: return h @ h[:2]"
    assert right.startswith("Passed: ")


def test_the_command_fails_and_names_the_mistake(executed):
    process, _ = executed
    assert process.returncode == 1
    assert len(process.stderr.strip().splitlines()[-1:]) == 1 and "failed: " in process.stderr.splitlines()[-1]


def test_nbval_fails_where_a_check_does(tmp_path):
    """It knows the tag too, and then compares the error with what is stored."""
    cell = new_code_cell("raise ValueError('wrong')", metadata=CHECK, execution_count=1)
    cell.outputs = [new_output("stream", name="stdout", text="Passed: it is right.\n")]
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    command += ["--nbval", "--nbval-current-env", str(tmp_path / "a.ipynb")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1 and "1 failed" in result.stdout


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_check_cell_lets_run_all_go_on_and_is_compared_by_nbval(lesson):
    nb = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4)
    assert len(check_cells(nb)) >= 4
    for cell in check_cells(nb):
        assert "raises-exception" in cell.metadata.tags
        assert "nbval-ignore-output" not in cell.metadata.tags  # with it nbval would let a failing check pass
        assert [output.output_type for output in cell.outputs] == ["stream"]
