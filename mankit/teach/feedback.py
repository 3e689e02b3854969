"""What grading leaves: two tables for the teacher, and a page for each student."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .course import Course
from .exercises import Exercise
from .submissions import Submission
from .verdicts import NOT_HANDED_IN

Write = Callable[[Path, str], None]
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
caption, th, td {{ text-align: left; vertical-align: top; padding: 0.4rem 0.6rem; }}
th, td {{ border-bottom: 1px solid; }}
td p {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
pre {{ overflow-x: auto; }}
@media (max-width: 40rem) {{  /* a phone: most of its width for what was found */
    table {{ font-size: 0.9rem; table-layout: fixed; }}
    th, td {{ overflow-wrap: break-word; padding: 0.4rem 0.2rem; }}
    thead th:nth-child(1) {{ width: 28%; }}
    thead th:nth-child(2) {{ width: 19%; }}
    thead th:nth-child(3) {{ width: 15%; }}
}}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{points:g} of {most:g} points in term {term}.</p>
{lessons}
</main>
</body>
</html>
"""

LESSON = """\
<h2>{lesson}</h2>
<table>
<caption>{points:g} of {most:g} points</caption>
<thead><tr><th scope="col">Exercise</th><th scope="col">Verdict</th><th scope="col">Points</th>\
<th scope="col">What was found</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
{codes}
"""

NONE = """\
<h2>{lesson}</h2>
<p>Not handed in: 0 of {most:g} points.</p>
"""

ROW = """\
<tr><th scope="row">{title}</th><td>{verdict}</td><td>{points:g} of {most:g}</td>\
<td><p>{sentence}</p></td></tr>"""

CODE = """<details><summary>What of your notebook ran for {name}</summary><pre tabindex="0">{lines}</pre></details>"""


def points_of(course: Course, exercise: Exercise, result: Mapping[str, Any]) -> float:
    """All points of the exercise for an answer that passed, else none."""
    return _most(course, exercise) if result.get("verdict") == "passed" else 0


def _most(course: Course, exercise: Exercise) -> float:
    return course.points[exercise.lesson][exercise.name]


def write_tables(
    course: Course,
    exercises: Sequence[Exercise],
    results: Results,
    handed_in: Mapping[str, Mapping[str, Submission]],
    write: Write,
) -> None:
    """grades.csv, a row a student, and verdicts.csv, a row an answer. What isn't graded yet has an empty verdict."""
    grades, verdicts, most = [], [], sum(_most(course, exercise) for exercise in exercises)
    for student in sorted(results):
        by_lesson, look_at = dict.fromkeys(course.lessons, 0.0), set()
        for exercise in exercises:
            result = results[student].get(f"{exercise.lesson}/{exercise.name}", {})
            points = points_of(course, exercise, result)
            by_lesson[exercise.lesson] += points
            look_at |= {f"{exercise.name}: {name}" for name in result.get("look_at", [])}
            said = {"student": student, "lesson": exercise.lesson, "exercise": exercise.name}
            said |= {key: result.get(key, "") for key in ("verdict", "sentence", "seconds")}
            verdicts.append({**said, "points": points, "look_at": " ".join(result.get("look_at", []))})
        late = [lesson for lesson, handed in handed_in[student].items() if _late(course, lesson, handed)]
        row = {"student": student, "points": sum(by_lesson.values()), "of": most, **by_lesson}
        grades.append({**row, "late": ", ".join(late), "look_at": ", ".join(sorted(look_at))})
    write(course.folder / "grades.csv", _csv(grades))
    write(course.folder / "verdicts.csv", _csv(verdicts))


def _late(course: Course, lesson: str, handed_in: Submission) -> bool:
    due = course.due.get(lesson)
    return bool(due and handed_in.came and handed_in.came > due)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula: students choose names, and the words of their errors."""
    if isinstance(value, float) and value == int(value):
        return int(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def write_feedback(course: Course, exercises: Sequence[Exercise], results: Results, write: Write) -> None:
    """feedback/STUDENT.html for each student: verdicts, points, the check's sentences, and what of the notebook ran."""
    for student, of_student in results.items():
        lessons = [_lesson(course, name, exercises, of_student) for name in course.lessons]
        points = sum(got for _, got, _ in lessons)
        page = PAGE.format(
            title=escape(f"Feedback for {student}"),
            term=escape(course.term),
            points=points,
            most=sum(most for _, _, most in lessons),
            lessons="\n".join(html for html, _, _ in lessons),
        )
        write(course.folder / "feedback" / f"{student}.html", page)


def _lesson(
    course: Course, name: str, exercises: Sequence[Exercise], results: Mapping[str, Mapping[str, Any]]
) -> tuple[str, float, float]:
    """(a lesson's table, points, the most points)"""
    rows, codes, sentences, points, most = [], [], set(), 0.0, 0.0
    for exercise in (exercise for exercise in exercises if exercise.lesson == name):
        result = results.get(f"{name}/{exercise.name}", {})
        got, of = points_of(course, exercise, result), _most(course, exercise)
        points, most = points + got, most + of
        rows.append(_row(exercise, result, got, of))
        codes.append(_code(exercise, str(result.get("code", ""))))
        sentences.add(result.get("sentence"))
    if sentences == {NOT_HANDED_IN}:
        return NONE.format(lesson=escape(name), most=most), 0.0, most
    table = {"rows": "\n".join(rows), "codes": "\n".join(filter(None, codes))}
    return LESSON.format(lesson=escape(name), points=points, most=most, **table), points, most


def _row(exercise: Exercise, result: Mapping[str, Any], points: float, most: float) -> str:
    return ROW.format(
        title=escape(exercise.title),
        verdict=escape(str(result.get("verdict", "not graded yet"))),
        points=points,
        most=most,
        sentence=escape(str(result.get("sentence", ""))),
    )


def _code(exercise: Exercise, code: str) -> str:
    """What ran, folded, with the line numbers that the check's sentence names."""
    lines = "\n".join(f"{number:3d}  {line}" for number, line in enumerate(code.splitlines(), start=1))
    return CODE.format(name=escape(exercise.name), lines=escape(lines)) if code else ""
