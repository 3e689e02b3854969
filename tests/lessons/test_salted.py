"""Each check on other numbers: it still takes the lesson's solution, and refuses the known mistake."""

import nbformat
import pytest
import torch
from exercises import NOTEBOOKS

from mankit.teach.checks.base import SALT, more, normal, salted
from mankit.teach.copies import graded_copy
from mankit.teach.exercises import lessons
from mankit.teach.mistakes import MISTAKES, mistaken
from mankit.teach.trusted import run_code, said_to, trusted_of

SALTS = (1, 2**59 + 7)


def table():
    for name, path in lessons().items():
        yield from trusted_of(name, graded_copy(name, nbformat.read(path, as_version=4), "2027S"), {})


TABLE = list(table())


@pytest.mark.parametrize("trusted", TABLE, ids=lambda trusted: trusted.exercise.name)
def test_solutions_pass_and_mistakes_are_refused_on_any_numbers(trusted):
    solution = run_code(trusted.exercise.solution, trusted.names)[trusted.exercise.name]
    before = torch.get_rng_state()
    assert said_to(solution, trusted.check) is None
    assert trusted.refusal()
    for salt in SALTS:
        with salted(salt):
            assert said_to(solution, trusted.check) is None
            assert trusted.refusal()
    assert torch.equal(torch.get_rng_state(), before)


def test_every_exercise_has_a_known_mistake_and_no_other():
    assert sorted(MISTAKES) == sorted(trusted.exercise.name for trusted in TABLE)
    assert {path.stem for path in NOTEBOOKS.glob("0[1-9]_*.ipynb")} == {trusted.exercise.lesson for trusted in TABLE}


def test_a_solution_that_no_longer_holds_the_mistakes_place_is_said():
    assert mistaken("waiting", "return a / span") == "return a"
    for solution in ("return a", "return a / span / span"):
        with pytest.raises(ValueError, match="waiting: ' / span' stands [02] times in its solution"):
            mistaken("waiting", solution)


def test_without_a_salt_numbers_and_cases_are_the_lessons():
    cases = [(1, 2)]
    assert SALT.get() is None and more(cases, lambda r: (r.random(), 0)) == cases
    with salted(5):
        other = normal(3)
        assert len(more(cases, lambda r: (r.random(), 0))) == 6
        assert more(cases, lambda r: r.random()) == more(cases, lambda r: r.random())
    with salted(6):
        assert not torch.equal(normal(3), other)
    assert SALT.get() is None and not torch.equal(normal(3), other)
