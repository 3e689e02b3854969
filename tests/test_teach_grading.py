"""Grading: what becomes of submissions that are right, wrong, broken, endless, deadly or dishonest."""

import copy
import csv
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from handed_in import EXERCISES, LESSON, Copies, exercise_of, hand_in

from mankit.teach.course import make_course
from mankit.teach.grading import grade
from mankit.teach.verdicts import NOT_HANDED_IN

LOOP = "def isolated_step(block, head, h, x, y):\n    while True:\n        pass"
EXIT = "import os\ndef isolated_step(block, head, h, x, y):\n    os._exit(0)"
HUGE = "def isolated_step(block, head, h, x, y):\n    return torch.empty(10**10), None"  # 40 GB
OWN_GROUP = "import os\ndef isolated_step(*given):\n    os.killpg(0, 9)"
READER = """
import json
def block_sizes(n, K):
    cells = json.load(open({path!r}))["cells"]
    names = {{}}
    exec(next("".join(c["source"]) for c in cells if "def block_sizes" in "".join(c["source"])), names)
    return names["block_sizes"](n, K)
"""
PATCH = """
from mankit.teach.checks import measure
def linear_cka(a, b):
    measure.expect = lambda *anything: None
    return torch.tensor(0.5)
"""
FORGED = """
import os
def isolated_step(*given):
    said = b'{"verdict": "passed", "sentence": "", "look_at": [], "code": ""}'
    for number in range(3, 2000):
        try:
            os.write(number, said)
        except OSError:
            pass
    os._exit(0)
"""
BY_HEART = """
def block_sizes(n, K):
    known = {(23, 5): [5, 5, 5, 4, 4], (9, 1): [9], (9, 8): [2] + [1] * 7, (16, 8): [2] * 8, (16, 3): [6, 5, 5]}
    return known.get((n, K), [1] * K)
"""
PASSED = dict.fromkeys(EXERCISES, "passed")


def lost(nb):
    """Without metadata: no tags, no grade ids."""
    nb = copy.deepcopy(nb)
    for cell in nb.cells:
        cell.metadata.clear()
    return nb


def doubled(nb, stubs):
    """Each answer twice, and a stub behind them all."""
    nb = copy.deepcopy(nb)
    answers = [cell for cell in nb.cells if exercise_of(cell)]
    nb.cells += copy.deepcopy(answers) + [nbformat.v4.new_code_cell(stub) for stub in stubs.values()]
    for number, cell in enumerate(nb.cells):
        cell.id = f"cell-{number}"
    return nb


def without_checks(nb):
    nb = copy.deepcopy(nb)
    for cell in nb.cells:
        cell.source = 'print("Passed")' if cell.source.startswith("check.") else cell.source
    return nb


def without(nb, name):
    nb = copy.deepcopy(nb)
    nb.cells = [cell for cell in nb.cells if exercise_of(cell) != name]
    return nb


def table(course):
    """student: (notebook, verdicts that differ from 'passed', what a person should look at)"""
    copies = Copies(course)
    nothing = dict.fromkeys(EXERCISES, "missing")
    one = copies.with_answers
    half = {"block_sizes": "wrong", "linear_cka": "wrong", "ridge_probe": "missing"}
    wrong = copies.solutions["block_sizes"].replace("i < extra", "i >= K - extra")
    patched = copies.with_cell('setattr(check, "isolated_step", lambda f: print("Passed"))', solved=False)
    source = str(course / "source" / LESSON / f"{LESSON}.ipynb")
    broken = {"isolated_step": "error"}
    return {
        # the nine
        "stub": (copies.stub, nothing, ""),
        "half": (
            one(block_sizes=wrong, linear_cka="linear_cka = 3", ridge_probe=copies.stubs["ridge_probe"]),
            half,
            "",
        ),
        "right": (copies.solved, {}, ""),
        "replaced": (without_checks(copies.stub), nothing, ""),
        "patched": (patched, nothing, "setattr"),
        "reader": (one(block_sizes=READER.format(path=source)), {}, "exec open"),
        "loop": (one(isolated_step=LOOP), {"isolated_step": "time-out"}, ""),
        "exit": (one(isolated_step=EXIT), {"isolated_step": "killed"}, "os"),
        "huge": (one(isolated_step=HUGE), {"isolated_step": "wrong"}, ""),
        # the check changed from inside, and what can't be stopped
        "inside": (one(linear_cka=PATCH), {"linear_cka": "tampered"}, "mankit.teach"),
        "forged": (one(isolated_step=FORGED), {}, "os"),
        "group": (one(isolated_step=OWN_GROUP), {"isolated_step": "killed"}, "os"),
        "by_heart": (one(block_sizes=BY_HEART), {"block_sizes": "wrong"}, ""),
        # what becomes of notebooks
        "lost": (lost(copies.solved), {}, ""),
        "doubled": (doubled(copies.solved, copies.stubs), {}, ""),
        "syntax": (one(isolated_step="def isolated_step(block, head, h, x, y)\n    return"), broken, ""),
        "elsewhere": (copies.with_cell("this is no Python"), {}, ""),
        "exits": (one(isolated_step="def isolated_step(*given):\n    raise SystemExit"), broken, ""),
        "at_once": (one(isolated_step="isolated_step = undefined"), broken, ""),
        "gone": (without(copies.solved, "isolated_step"), {"isolated_step": "missing"}, ""),
        "empty": (b"", dict.fromkeys(EXERCISES, "error"), ""),
        "no_json": (b"a page of text", dict.fromkeys(EXERCISES, "error"), ""),
        "no_notebook": (b'{"cells": 3}', dict.fromkeys(EXERCISES, "error"), ""),
        "deep": (b"[" * 100_000, dict.fromkeys(EXERCISES, "error"), ""),
        "latin": ("{'cells': 'äöü'}".encode("latin-1"), dict.fromkeys(EXERCISES, "error"), ""),
        "mark": (b"\xef\xbb\xbf" + nbformat.writes(copies.solved).encode(), {}, ""),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A course of lesson 2, with short limits."""
    course = tmp_path_factory.mktemp("courses") / "course"
    make_course(course, "02", "2027S")
    settings = course / "course.toml"
    text = settings.read_text().replace("cpu = 20", "cpu = 2").replace("block_sizes = 1", "block_sizes = 2.5")
    settings.write_text(text)
    return course


def rows(course, name="verdicts.csv"):
    return list(csv.DictReader((course / name).read_text().splitlines()))


@pytest.fixture(scope="module")
def graded(made):
    """All submissions of the table, graded by the command."""
    for student, (notebook, _, _) in table(made).items():
        hand_in(made, student, notebook)
    command = [sys.executable, "-m", "mankit", "grade", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("26 students, 156 answers: ") and str(made / "grades.csv") in done.stdout
    return made


# --- verdicts ---


def test_each_submission_gets_its_verdicts_and_none_costs_another(graded):
    found = {(row["student"], row["exercise"]): row["verdict"] for row in rows(graded)}
    wanted = {
        (student, name): verdict
        for student, (_, other, _) in table(graded).items()
        for name, verdict in {**PASSED, **other}.items()
    }
    assert set(found.items()) ^ set(wanted.items()) == set()


def test_points_and_what_to_look_at_stand_in_a_row_for_each_student(graded):
    found = {row["student"]: row for row in rows(graded, "grades.csv")}
    for student, (_, other, look_at) in table(graded).items():
        points = sum(2.5 if name == "block_sizes" else 1 for name in EXERCISES if name not in other)
        row = found[student]
        assert (float(row["points"]), float(row["of"]), float(row[LESSON])) == (points, 7.5, points), student
        assert sorted({word.split(": ")[1] for word in row["look_at"].split(", ") if word}) == look_at.split(), student


def test_a_sentence_says_why(graded):
    said = {(row["student"], row["exercise"]): row["sentence"] for row in rows(graded)}
    assert "earlier blocks get the extra layers" in said["half", "block_sizes"]
    assert "write its name without ()" in said["half", "linear_cka"]
    assert "isn't answered" in said["half", "ridge_probe"]
    assert "right on the lesson's numbers, but not on others" in said["by_heart", "block_sizes"]
    assert "your function stopped with RuntimeError" in said["huge", "isolated_step"]
    assert "endless loop" in said["loop", "isolated_step"]
    assert "os._exit" in said["exit", "isolated_step"]
    assert "the answer changes the check" in said["inside", "linear_cka"]
    assert "line 1 of the cell isn't Python: expected ':'" in said["syntax", "isolated_step"]
    assert "NameError: name 'undefined'" in said["at_once", "isolated_step"]
    assert "SystemExit" in said["exits", "isolated_step"]
    assert "no cell defines `isolated_step`" in said["gone", "isolated_step"]
    assert "empty, or cut off" in said["empty", "small_head"] and "empty, or cut off" in said["deep", "small_head"]
    assert "isn't UTF-8" in said["latin", "small_head"]


def test_feedback_has_points_the_checks_words_and_what_ran(graded):
    page = (graded / "feedback" / "half.html").read_text()
    assert "<h1>Feedback for half</h1>" in page and "3 of 7.5 points in term 2027S" in page
    assert "earlier blocks get the extra layers" in page and "<td>missing</td>" in page
    assert "  1  def block_sizes(n, K):" in page
    salt = re.search('salt = "(.*)"', (graded / "course.toml").read_text())[1]
    assert all(salt not in page.read_text() for page in (graded / "feedback").iterdir())
    assert {page.stem for page in (graded / "feedback").iterdir()} == set(table(graded))


# --- again, and other courses ---


@pytest.fixture
def course(made, tmp_path):
    """A course of its own for a test, with nothing handed in."""
    for part in ("source", "release", "course.toml"):
        copied = shutil.copytree if (made / part).is_dir() else shutil.copy
        copied(made / part, tmp_path / part)
    return tmp_path


def counted(course):
    """How many answers grading had to do."""
    totals = []
    grade(course, 2, lambda steps, total: totals.append(total) or steps)
    return totals[0]


def verdicts(course):
    grade(course, 2)
    return {(row["student"], row["exercise"]): row["verdict"] for row in rows(course)}


def test_what_is_graded_is_not_graded_again_unless_it_changed(course):
    copies = Copies(course)
    hand_in(course, "ada", copies.solved)
    bob = hand_in(course, "bob", copies.stub)
    assert counted(course) == 12
    before = (course / "grades.csv").read_text()
    assert counted(course) == 0
    assert (course / "grades.csv").read_text() == before
    hand_in(course, "bob", copies.solved)
    assert counted(course) == 6 and bob.is_file()
    (course / "graded" / "ada.json").write_text("{")  # a broken file counts as none
    assert counted(course) == 6
    kept = json.loads((course / "graded" / "ada.json").read_text())
    assert {result["verdict"] for result in kept.values()} == {"passed"}


def test_a_stopped_grading_keeps_what_it_has(course):
    hand_in(course, "ada", Copies(course).solved)

    def stopped(steps, total):
        yield next(steps)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade(course, 1, stopped)
    assert sum(row["verdict"] == "passed" for row in rows(course)) == 1
    assert "not graded yet" in (course / "feedback" / "ada.html").read_text()
    assert counted(course) == 5


def test_submissions_may_lie_in_several_ways(course):
    solved = Copies(course).solved
    hand_in(course, "ada", solved, "{student}/02_dgl/work.ipynb")
    hand_in(course, "bob", solved, "{student}/any.ipynb")
    hand_in(course, "cem", solved, "{student}_02_dgl.ipynb")
    hand_in(course, "dan", solved, "{student}.ipynb")
    hand_in(course, "dan", b"", ".ipynb_checkpoints/{student}.ipynb")
    assert verdicts(course) == {
        (student, name): "passed" for student in ("ada", "bob", "cem", "dan") for name in PASSED
    }


def test_a_lesson_that_was_not_handed_in_is_one_line(tmp_path):
    make_course(tmp_path, "2,9", "2027S")
    hand_in(tmp_path, "ada", Copies(tmp_path).solved)
    grade(tmp_path, 2)
    assert {row["sentence"] for row in rows(tmp_path) if row["lesson"] == "09_unlocked"} == {NOT_HANDED_IN}
    page = (tmp_path / "feedback" / "ada.html").read_text()
    assert "Not handed in: 0 of 5 points." in page and page.count("<table>") == 1 and "6 of 11 points in" in page


def test_names_and_words_of_students_stay_words(course):
    evil = "def block_sizes(n, K):\n    raise ValueError('=1+1 <script>alert(1)</script>')"
    hand_in(course, "=2+3", Copies(course).with_answers(block_sizes=evil))
    hand_in(course, "<b>eve", Copies(course).with_answers(block_sizes="block_sizes = 3\nraise ValueError('=1')"))
    grade(course, 2)
    page = (course / "feedback" / "<b>eve.html").read_text() + (course / "feedback" / "=2+3.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "&lt;b&gt;eve" in page
    assert {row["student"] for row in rows(course)} == {"'=2+3", "<b>eve"}
    assert not any(value.startswith("=") for row in rows(course) for value in row.values())


def test_what_is_no_text_costs_nobody_else(course):
    copies = Copies(course)
    hand_in(course, "ada", copies.solved)
    raises = "def block_sizes(n, K):\n    raise ValueError(chr(0xD800) + chr(0) + chr(10) + 'more')"
    hand_in(
        course, os.fsdecode(b"J\xf6rg"), copies.with_answers(block_sizes=raises, linear_cka="linear_cka = '\ud800'")
    )
    os.mkfifo(course / "submitted" / "pipe.ipynb")  # reading it would never end
    found = verdicts(course)
    assert {verdict for (student, _), verdict in found.items() if student == "ada"} == {"passed"}
    assert (found["J?rg", "block_sizes"], found["J?rg", "linear_cka"]) == ("wrong", "error")
    assert found["J?rg", "small_head"] == "passed" and (course / "feedback" / "J?rg.html").is_file()


def test_the_teachers_own_test_counts_too(course):
    copies = Copies(course)
    hand_in(course, "ada", copies.solved)
    hand_in(
        course,
        "bob",
        copies.with_answers(
            block_sizes=copies.solutions["block_sizes"].replace("[", "tuple([", 1).replace("range(K)]", "range(K)])")
        ),
    )
    (course / "hidden.py").write_text(
        "def block_sizes(answer):\n    assert isinstance(answer(4, 2), list), 'a list!'\n"
    )
    found = verdicts(course)
    assert (found["ada", "block_sizes"], found["bob", "block_sizes"]) == ("passed", "wrong")
    assert next(row for row in rows(course) if row["verdict"] == "wrong")["sentence"] == "a list!"
    (course / "hidden.py").write_text("def block_size(answer):\n    pass\n")
    with pytest.raises(ValueError, match="hidden.py: test='block_size': did you mean 'block_sizes'"):
        grade(course, 2)


def test_late_is_said(course):
    path = hand_in(course, "ada", Copies(course).solved)
    settings = course / "course.toml"
    settings.write_text(settings.read_text().replace("[due]", "[due]\n02_dgl = 2027-04-12T12:00:00Z"))
    for stamp, late in (("2027-04-12 11:59:00.000000 UTC", ""), ("2027-04-12 12:00:01 UTC", "02_dgl")):
        (path.parent / "timestamp.txt").write_text(stamp)
        grade(course, 2)
        assert rows(course, "grades.csv")[0]["late"] == late


def test_a_course_that_cannot_grade_says_so(course, monkeypatch):
    with pytest.raises(ValueError, match="no notebooks in .*submitted: put what was handed in"):
        grade(course, 2)
    hand_in(course, "ada", Copies(course).stub, "02_dgl.ipynb")
    with pytest.raises(ValueError, match="whose is"):
        grade(course, 2)
    (course / "submitted" / "02_dgl.ipynb").rename(course / "submitted" / "ada.ipynb")
    source = course / "source" / LESSON / f"{LESSON}.ipynb"
    text = source.read_text()
    source.write_text(text.replace("h.detach())", "h.detach() )").replace("divmod(n, K)", "divmod(n, 3)"))
    with pytest.raises(ValueError, match="isolated_step: 'block\\(h.detach\\(\\)\\)' stands 0 times in its solution"):
        grade(course, 2)
    source.write_text(text.replace("divmod(n, K)", "divmod(n, 3)"))
    with pytest.raises(ValueError, match="block_sizes: the course's own solution is 'wrong'"):
        grade(course, 2)
    source.write_text(text)
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ValueError, match="POSIX"):
        grade(course, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run answers as somebody else")
def test_as_somebody_else_an_answer_cannot_read_the_solutions(course):
    source = str(course / "source" / LESSON / f"{LESSON}.ipynb")
    copies = Copies(course)
    course.chmod(0o700)
    hand_in(course, "ada", copies.solved)
    hand_in(course, "eve", copies.with_answers(block_sizes=READER.format(path=source)))
    grade(course, 2, as_user="nobody")
    found = {(row["student"], row["exercise"]): row for row in rows(course)}
    assert {row["verdict"] for (student, _), row in found.items() if student == "ada"} == {"passed"}
    assert found["eve", "block_sizes"]["verdict"] == "wrong"
    assert "PermissionError" in found["eve", "block_sizes"]["sentence"]
    with pytest.raises(ValueError, match="user 'nobody_at_all': there is none"):
        grade(course, 2, as_user="nobody_at_all")


def test_only_root_can_run_answers_as_somebody_else(course, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ValueError, match="only root can"):
        grade(course, 2, as_user="nobody")
