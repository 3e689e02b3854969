"""The lessons: their parts, and other parameters."""

import re
from pathlib import Path

import nbformat
import papermill
import pytest

from mankit.execution.execute import execute

ROOT = Path(__file__).parents[1]
LESSONS = sorted(ROOT.glob("notebooks/0[1-9]_*.ipynb"))
QUICK = {"epochs": 1, "other_epochs": 1, "seeds": 1, "budgets": [1], "Ks": [1, 2], "decays": [0.0, 1.0]}
OTHERS = {"decay": 1.0, "data": "digits"}  # and as many blocks as there are; one: lessons/test_student_browser.py
every_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def tagged(nb, tag):
    return [cell for cell in nb.cells if tag in cell.metadata.get("tags", [])]


def quick(path, parameters):
    """The given parameters and quick ones, as far as the lesson has them."""
    known = papermill.inspect_notebook(str(path))
    return {name: value for name, value in {**QUICK, **parameters}.items() if name in known}


def rating(exercise):
    """An exercise's metadata as its text shows it."""
    points = f"{exercise.points} point{'s' * (exercise.points > 1)}"
    return f"*Difficulty {exercise.difficulty} of 3, about {exercise.minutes} minutes, {points}.*"


@every_lesson
def test_a_lesson_has_all_its_parts(path):
    nb = nbformat.read(path, as_version=4)
    prose = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    for part in ("goals", "what you need", "how long", "references", "we saw"):
        assert re.search(part, prose, re.IGNORECASE), f"no part about '{part}'"
    assert re.search(r"\d+\s*(s|seconds|min)", prose)
    (set_up,) = [cell for cell in nb.cells if "executed_with(" in cell.source and "mankit.teach" in cell.source]
    assert len([line for line in set_up.source.splitlines() if line.strip()]) <= 10
    assert "Note:" not in "".join(output.text for output in set_up.outputs)  # executed with the versions that it names
    assert len(tagged(nb, "instructor")) >= 1
    exercises, checks = tagged(nb, "exercise"), tagged(nb, "check")
    assert len(exercises) >= 4
    assert len(exercises) == len(checks)
    assert len(re.findall(r"^### Exercise", prose, re.MULTILINE)) == len(exercises)
    assert len(re.findall("<summary>Hint", prose)) == len(exercises)
    assert re.findall(r"^\*Difficulty.*", prose, re.MULTILINE) == [rating(cell.metadata.mankit) for cell in exercises]
    for exercise, check in zip(exercises, checks, strict=True):
        assert exercise.source.count("### BEGIN SOLUTION") == exercise.source.count("### END SOLUTION") == 1
        assert exercise.metadata.nbgrader.solution
        assert exercise.metadata.jupyter.source_hidden  # the solution is folded away
        assert check.metadata.nbgrader.grade
        assert check.metadata.nbgrader.points == exercise.metadata.mankit.points
        assert check.metadata.nbgrader.grade_id == exercise.metadata.nbgrader.grade_id + "-check"


@pytest.mark.slow  # with one block all of them run in lessons/test_student_browser.py
@every_lesson
def test_a_lesson_runs_with_other_parameters(path, tmp_path):
    layers = re.search(r"check_parameters\(\s*(\d+)", nbformat.read(path, as_version=4).cells[2].source)[1]
    execute(path, tmp_path / "out.ipynb", quick(path, {**OTHERS, "K": int(layers)}))
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
