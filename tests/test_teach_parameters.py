"""A lesson's parameters: what can't be is said at once, in the words of the parameter."""

import re
from pathlib import Path

import pytest

from mankit.execution.read import parameters_of, read_notebook
from mankit.teach import check_parameters
from mankit.teach.parameters import KINDS

LESSONS = sorted((Path(__file__).parents[1] / "notebooks").glob("0*.ipynb"))


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"K": 17}, "K=17: the network has 16 layers; choose 1 to 16 blocks"),
        ({"K": 0}, "K=0: choose 1 or more"),
        ({"K": "8"}, "K='8': choose a valid integer"),
        ({"K": 4.0}, "K=4.0: choose a valid integer"),
        ({"Ks": 4}, "Ks=4: choose a valid list"),
        ({"Ks": []}, "Ks=[]: List should have at least 1 item"),
        ({"Ks": [1, 17]}, "K=17: the network"),
        ({"seeds": 0}, "seeds=0: choose 1 or more"),
        ({"seed": -1}, "seed=-1: choose 0 or more"),
        ({"epochs": True}, "epochs=True: choose a valid integer"),
        ({"budgets": [3, 0]}, "budgets=[3, 0]: choose 1 or more"),
        ({"decay": "x"}, "decay='x': choose a valid number"),
        ({"decay": float("nan")}, "decay=nan: choose"),
        ({"decays": [0, 1.5]}, "decays=[0, 1.5]: choose 1 or less"),
        ({"lam_x": [1, 2, 3]}, "lam_x=[1, 2, 3]"),
        ({"lam_y": -1}, "lam_y=-1"),
        ({"data": "glyph"}, "data='glyph': did you mean 'glyphs'?"),
        ({"other_data": 3}, "other_data=3: choose a valid string"),
        ({"processes": 0}, "processes=0: choose 1 or more"),
        ({"steps": 1}, "steps=1: choose 2 or more"),
        ({"k": 3}, "parameter='k'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        check_parameters(16, **wrong)


def test_what_can_be_passes():
    check_parameters(16, K=16, Ks=[1, 16], seed=0, seeds=2, decay=0, decays=[0, 0.5, 1], lam_x=1, lam_y=[1, 2.0])
    check_parameters(9, data="folder:images", other_data="digits", epochs=3, budgets=[1])


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_every_lesson_checks_each_of_its_parameters_in_its_first_cell(lesson):
    nb = read_notebook(lesson)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    (line,) = re.findall(r"^check_parameters\((.*)\)$", code[1].source, re.MULTILINE | re.DOTALL)
    named = re.findall(r"(\w+)=(\w+)", line)
    taken = [name for name in parameters_of(nb) if name != "device"]  # pick_device says what is wrong with it
    assert named == [(name, name) for name in taken] and set(taken) <= KINDS.keys()


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_wrong_parameter_ends_a_lesson_in_its_first_cell(mankit, tmp_path, lesson):
    result = mankit("run", lesson, "-p", "K", 99, "-o", tmp_path)
    assert result.code == 1 and "cell 3 failed: ValueError: K=99: the network has" in result.err
