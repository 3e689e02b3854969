"""A course: what its folder holds, what students get of it, and that nothing is overwritten."""

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import nbformat
import pytest

from mankit.teach.course import make_course, read_course
from mankit.teach.exercises import chosen, exercises_of, lessons
from mankit.teach.trusted import run_code

LESSONS = ("02_dgl", "05_what_makes_man_work")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("courses") / "autumn"
    make_course(folder, "02,05", "2027S", date(2027, 4, 12))
    return folder


def notebook(course, part, lesson):
    return nbformat.read(course / part / lesson / f"{lesson}.ipynb", as_version=4)


def code(nb):
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")


def test_every_exercise_has_its_rating_in_metadata_and_text():
    number = 0
    for name, path in lessons().items():
        nb = nbformat.read(path, as_version=4)
        for exercise in exercises_of(name, nb):
            number += 1
            points = f"{exercise.points} point{'s' * (exercise.points > 1)}"
            rating = f"*Difficulty {exercise.difficulty} of 3, about {exercise.minutes} minutes, {points}.*"
            (text,) = [cell.source for cell in nb.cells if f"### {exercise.title}\n" in cell.source]
            assert f"### {exercise.title}\n\n{rating}\n" in text
            assert f"def {exercise.name}(" in exercise.solution
    assert number == 48


def test_settings_hold_points_dates_term_and_a_salt_of_their_own(course, tmp_path):
    made = read_course(course)
    assert (made.term, made.lessons) == ("2027S", list(LESSONS))
    assert made.points["02_dgl"]["isolated_step"] == 1 and len(made.points["05_what_makes_man_work"]) == 6
    assert [when.strftime("%Y-%m-%d %H:%M") for when in made.due.values()] == ["2027-04-12 23:59", "2027-04-19 23:59"]
    make_course(tmp_path, "9", "2027S")
    other = read_course(tmp_path)
    assert len(made.salt) == 32 and made.salt != other.salt and other.due == {}


@pytest.mark.parametrize("lesson", LESSONS)
def test_students_get_set_up_exercises_and_checks_and_no_secret(course, lesson):
    source, release = (notebook(course, part, lesson) for part in ("source", "release"))
    names = [exercise.name for exercise in exercises_of(lesson, source)]
    assert len(names) == 6 and len(release.cells) == 2 + 3 * len(names)
    assert code(release).count("raise NotImplementedError") == len(names)
    assert all(f"check.{name}({name})" in code(release) for name in names)
    for nb in (source, release):
        nbformat.validate(nb)
        assert len({cell.id for cell in nb.cells}) == len(nb.cells)
        assert not any(cell.get("outputs") or cell.metadata.get("jupyter") for cell in nb.cells)
        assert "instructor" not in str(nb.metadata) + str([cell.metadata for cell in nb.cells])
        headings = [len(level) for cell in nb.cells for level in re.findall("^(#+) ", cell.source, re.MULTILINE)]
        assert headings[0] == 1 and all(b <= a + 1 for a, b in zip(headings, headings[1:], strict=False))
    assert "SOLUTION" in code(source) and "SOLUTION" not in code(release)
    text = (course / "release" / lesson / f"{lesson}.ipynb").read_text()
    assert read_course(course).salt not in text


def test_the_release_runs_as_it_is(course, capsys):
    for part, said in (("release", "Not answered yet: "), ("source", "Passed: ")):
        run_code(code(notebook(course, part, "05_what_makes_man_work")))
        assert capsys.readouterr().out.count(said) == 6


def test_the_teachers_page_has_minutes_goals_mistakes_questions_and_a_rubric(course):
    page = (course / "teacher.md").read_text()
    assert "| 2. DGL, every block learns from a loss of its own | 6 | 55 | 6 |" in page
    assert "| all | 12 | 130 | 12 |" in page
    for part in (
        "**Goals.**",
        "**How long.**",
        "**Usual mistakes.**",
        "**To discuss.**",
        "**Questions.**",
        "### Rubric",
    ):
        assert part in page
    rubric = [line for line in page.splitlines() if "`isolated_step`" in line]
    assert len(rubric) == 1 and "| `block(h.detach())` | `block(h)` | block 2's loss changed block 1's" in rubric[0]
    table = [line for line in page.splitlines() if line.startswith("| ") and "`" in line]
    assert len(table) == 12 and all(len(re.findall(r"(?<!\\)\|", line)) == 9 for line in table)
    assert read_course(course).salt not in page


def test_nothing_is_ever_overwritten(tmp_path, capsys):
    first = make_course(tmp_path, "9", "2027S")
    assert len(first) == 5
    settings = (tmp_path / "course.toml").read_text()
    (tmp_path / "teacher.md").write_text("mine")
    (tmp_path / "release" / "09_unlocked" / "09_unlocked.ipynb").unlink()
    again = make_course(tmp_path, "09-09", "2027S")
    assert [path.parent.parent.name for path in again] == ["release"]
    assert (tmp_path / "course.toml").read_text() == settings and (tmp_path / "teacher.md").read_text() == "mine"
    for words, term in (("9", "2028S"), ("08-09", "2027S")):
        with pytest.raises(ValueError, match="holds term 2027S with lessons 09_unlocked: say the same again"):
            make_course(tmp_path, words, term)


@pytest.mark.parametrize(
    "words, numbers",
    [("01-05", "1 2 3 4 5"), ("2", "2"), ("03,01-02", "1 2 3"), ("1, 9", "1 9"), ("01-09", "1 2 3 4 5 6 7 8 9")],
)
def test_lessons_are_chosen_by_their_numbers(words, numbers):
    assert [str(int(name[:2])) for name in chosen(words)] == numbers.split()


@pytest.mark.parametrize(
    "words, said", [("12", "lesson='12'"), ("", "lesson='00'"), ("05-02", "the first comes before")]
)
def test_a_wrong_lesson_is_said(words, said):
    with pytest.raises(ValueError, match=said):
        chosen(words)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('term = "2027S"', "", "'term' is missing"),
        ("[limits]", "[limits]\nwal = 3", "wal"),
        ("cpu = 20", "cpu = 0", "cpu=0: choose 1 or more"),
        ("[due]", "[due]\n09_unlocked = 'soon'", "due 'soon': write a date"),
        ('lessons = ["09_unlocked"]', 'lessons = ["10_more"]', "no .*10_more.ipynb"),
        ("[limits]", "[limits", "course.toml: "),
    ],
)
def test_wrong_settings_are_said(tmp_path, old, new, said):
    make_course(tmp_path, "9", "2027S")
    settings = tmp_path / "course.toml"
    assert old in settings.read_text()
    settings.write_text(settings.read_text().replace(old, new))
    with pytest.raises(ValueError, match=said):
        read_course(tmp_path)


def test_what_is_no_course_or_no_term_is_said(tmp_path):
    with pytest.raises(ValueError, match="no course.toml in .*mankit course"):
        read_course(tmp_path)
    with pytest.raises(ValueError, match="term='a/b'"):
        make_course(tmp_path, "9", "a/b")


@pytest.mark.slow
def test_the_page_for_teachers_is_true_word_for_word(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "teachers.md").read_text()
    steps = page[page.index("## 2. ") : page.index("## 6. ")]
    commands = re.findall("```sh\n(.*?)```", steps, re.DOTALL)
    mankit = f'mankit() {{ "{sys.executable}" -m mankit "$@"; }}\n'
    script = ["bash", "-e", "-c", mankit + "".join(commands)]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and len(commands) == 4, done.stderr
    assert re.search("It says `(.*?)`", steps)[1] in done.stdout
    assert f"```text\n{(tmp_path / 'autumn' / 'grades.csv').read_text()}```" in steps
    assert (tmp_path / "autumn" / "feedback" / "ada.html").is_file()


@pytest.mark.slow
def test_nbgrader_takes_the_course_as_it_is(course):
    pytest.importorskip("nbgrader")

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by its name

    def nbgrader(*words):
        command = [sys.executable, "-m", "nbgrader", *words]
        env = os.environ | {"PATH": path}
        done = subprocess.run(command, cwd=course, capture_output=True, text=True, timeout=550, env=env)
        assert done.returncode == 0, done.stderr
        return done

    for lesson in LESSONS:
        ours = code(notebook(course, "release", lesson))
        nbgrader("generate_assignment", lesson, "--force")
        release = notebook(course, "release", lesson)
        assert code(release) == ours and len(release.cells) == 20  # what it hands out is what we do
        for student, part in (("ada", "source"), ("bob", "release")):
            folder = course / "submitted" / student / lesson
            folder.mkdir(parents=True)
            nbformat.write(notebook(course, part, lesson), folder / f"{lesson}.ipynb")
        nbgrader("autograde", lesson)
    nbgrader("export", "--to", "nbgrader.csv")
    rows = [line.split(",") for line in (course / "nbgrader.csv").read_text().splitlines()[1:]]
    assert sorted((row[0], row[3], row[-2], row[-1]) for row in rows) == [
        (lesson, student, score, "6.0") for lesson in LESSONS for student, score in (("ada", "6.0"), ("bob", "0.0"))
    ]
