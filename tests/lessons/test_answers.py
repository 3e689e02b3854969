"""Each check on many answers: its lesson's solution and stub, wrong ones, and right ones in other styles."""

import pytest
from answers_01_net import EXERCISES as NET
from answers_02_head import EXERCISES as HEAD
from answers_02_measure import EXERCISES as MEASURE
from answers_03_core import EXERCISES as INFOPRO_CORE
from answers_03_core import NOT_ASKED
from answers_03_losses import EXERCISES as LOSSES
from answers_04_step import EXERCISES as STEP
from answers_05_decisions import EXERCISES as DECISIONS
from answers_05_twin import EXERCISES as TWIN
from answers_06_lls import EXERCISES as LLS
from answers_07_step import EXERCISES as TWO_VIEWS
from answers_08_cuts import EXERCISES as CUTS
from answers_09_stage import EXERCISES as STAGE
from answers_core_rule import EXERCISES as RULE
from exercises import assert_fits_its_lesson, assert_is_rejected, assert_passes, right_answers, wrong_answers
from test_01_backprop import EXERCISES as BACKPROP
from test_02_dgl import EXERCISES as DGL
from test_03_infopro import EXERCISES as INFOPRO
from test_04_man import EXERCISES as MAN
from test_05_what_makes_man_work import EXERCISES as STUDY
from test_06_family import EXERCISES as FAMILY
from test_07_no_labels import EXERCISES as BARLOW
from test_08_isolation_in_time import EXERCISES as RECURRENT
from test_09_unlocked import EXERCISES as UNLOCKED

LESSONS = {
    "01_backprop": BACKPROP + NET,
    "02_dgl": DGL + HEAD + MEASURE,
    "03_infopro": INFOPRO + INFOPRO_CORE + LOSSES,
    "04_man": MAN + STEP,
    "05_what_makes_man_work": STUDY + DECISIONS + TWIN,
    "06_family_of_heads": FAMILY + LLS,
    "07_no_labels": BARLOW + TWO_VIEWS,
    "08_isolation_in_time": RECURRENT + CUTS,
    "09_unlocked": UNLOCKED + STAGE,
}
IN_LESSONS = [pytest.param(name, e, id=f"{name}-{e.name}") for name, exercises in LESSONS.items() for e in exercises]
NOT_YET = NOT_ASKED + RULE  # checks that no lesson asks for yet
ALL = [exercise for exercises in LESSONS.values() for exercise in exercises] + NOT_YET


@pytest.mark.parametrize("notebook, exercise", IN_LESSONS)
def test_the_check_fits_its_lesson(notebook, exercise, capsys):
    assert_fits_its_lesson(notebook, exercise, capsys)


@wrong_answers(ALL)
def test_a_wrong_answer_gets_its_sentence(exercise, wrong, sentence):
    assert_is_rejected(exercise, wrong, sentence)


@right_answers(ALL)
def test_a_right_answer_in_another_style_passes(exercise, right, capsys):
    assert_passes(exercise, right, capsys)


@pytest.mark.parametrize("exercise", NOT_YET, ids=lambda exercise: exercise.name)
def test_a_stub_gets_one_line(exercise, capsys):
    def stub(*given):
        raise NotImplementedError("your answer goes here")

    exercise.check(stub)
    assert capsys.readouterr().out == "Not answered yet: stub\n"
