"""The package as a stranger gets it: a wheel in an empty folder, its base beside Colab's versions, and a clone."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from importlib.metadata import version

import nbformat
import papermill
import pytest
import venvs
from lab_page import wait_for

from mankit import shipped
from mankit.lab.panel import lacking
from mankit.teach import made_for
from mankit.teach.lessons import notebooks

CSV = {"published.csv", "measured.csv", "heads.csv"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return venvs.wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def stranger(wheel, tmp_path_factory):
    """`stranger('mankit', ...)`: a command of a new environment that has the wheel, in a folder that was empty."""
    folder = tmp_path_factory.mktemp("stranger")
    python = venvs.environment(folder / "env")
    venvs.borrow_all(python)
    venvs.install(python, "--no-deps", wheel)
    (folder / "empty").mkdir()

    def call(command, *words):
        return venvs.run(python.with_name(command), *words, cwd=folder / "empty")

    call.folder, call.python = folder / "empty", python
    call("mankit", "lessons", "here")
    return call


def test_the_wheel_carries_notebooks_and_numbers(wheel):
    assert 1e6 < wheel.stat().st_size < 4e6
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mankit/_notebooks/{name}" for name in notebooks()} == {n for n in names if n.endswith(".ipynb")}
    assert {f"mankit/_data/{name}" for name in CSV} == {name for name in names if name.endswith(".csv")}
    assert any(name.endswith("LICENSE-CC-BY-4.0") for name in names) and len(notebooks()) >= 18


def test_in_an_empty_folder_the_package_has_it_all(stranger):
    at = stranger("python", "-c", "import mankit; print(mankit.__file__)").strip()
    assert str(stranger.python.parents[1]) in at  # the wheel's, and not this checkout's
    assert {path.relative_to(stranger.folder / "here").as_posix() for path in stranger.folder.rglob("*.ipynb")} == {
        *notebooks()
    }
    assert re.search(r"memory/.*\bBP|9\.4", stranger("mankit", "recipes", "memory"))
    (stranger.folder / "none").mkdir()
    said = venvs.run(stranger.python.with_name("mankit"), "lab", cwd=stranger.folder / "none", code=2)
    assert "`mankit lessons notebooks`" in said and said.count("\n") == 1


def test_lab_serves_the_lessons_of_a_wheel(stranger):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, token = free.getsockname()[1], secrets.token_hex(8)
    home = {"JUPYTER_PORT": str(port), "JUPYTER_TOKEN": token, "JUPYTER_CONFIG_DIR": str(stranger.folder / ".jupyter")}
    command = [stranger.python.with_name("mankit"), "lab", "here", "--no-browser"]
    with open(stranger.folder / "lab.log", "w") as log:
        server = subprocess.Popen(
            command, cwd=stranger.folder, env=venvs.away() | home, stdout=log, stderr=log, start_new_session=True
        )

    def contents():
        try:
            address = f"http://127.0.0.1:{port}/api/contents?token={token}"
            return json.load(urllib.request.urlopen(address, timeout=2))
        except OSError:
            assert server.poll() is None, (stranger.folder / "lab.log").read_text()
            return None

    try:
        wait_for(contents, 300)
        assert {"00_tour.ipynb", "reproduce"} <= {entry["name"] for entry in contents()["content"]}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.mark.slow
def test_a_stranger_executes_a_lesson_and_a_reproduction(stranger):
    small = ["-p", "K", "2", "-p", "epochs", "1", "-p", "seeds", "1", "-p", "data", "digits", "-k", "python3"]
    stranger("python", "-m", "papermill", "here/01_backprop.ipynb", "01.ipynb", *small)
    assert stranger("mankit", "run", "notebooks/reproduce/sweep.ipynb", "-p", "epochs", "1").startswith("runs")
    page = stranger("mankit", "reproduce", "memory").strip()
    assert "9.4" in (stranger.folder / page).read_text() and "published" in (stranger.folder / page).read_text()


def test_an_editable_clone_has_it_all_too(tmp_path):
    clone = venvs.copied_project(tmp_path / "clone")
    python = venvs.environment(tmp_path / "env")
    venvs.borrow_all(python)
    venvs.install(python, "--no-deps", "--no-build-isolation", "-e", clone)
    code = "from mankit.shipped import *; print(shipped('notebooks', TOUR), shipped('data', 'published.csv'))"
    said = venvs.run(python, "-c", code, cwd=tmp_path)
    assert said.split() == [str(clone / "notebooks" / "00_tour.ipynb"), str(clone / "data" / "published.csv")]


@pytest.fixture(scope="module")
def colab(wheel, tmp_path_factory):
    """A kernel of an environment in which mankit's base was installed beside Colab's versions."""
    folder = tmp_path_factory.mktemp("colab")
    python = venvs.environment(folder / "env")
    venvs.borrow_torch(python)
    venvs.install(python, "-c", venvs.ROOT / "tests" / "colab.txt", "ipykernel", "ipywidgets", wheel)
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
    (folder / "kernels" / "colab").mkdir(parents=True)
    spec |= {"display_name": "Colab", "language": "python", "env": {"OMP_NUM_THREADS": "1"}}
    (folder / "kernels" / "colab" / "kernel.json").write_text(json.dumps(spec))
    return folder, python


@pytest.mark.lesson
def test_beside_colabs_versions_a_lesson_runs_and_its_panel_is_a_figure(colab, monkeypatch):
    folder, python = colab
    text = (venvs.ROOT / "tests" / "colab.txt").read_text().replace("_", "-")
    fixed = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.M))
    code = "import json; from importlib.metadata import distributions as all\n"
    code += "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in all()}))"
    here = json.loads(venvs.run(python, "-c", code, cwd=folder))
    assert {name: here[name] for name in fixed} == fixed
    assert not {"jupyterlab", "papermill", "nbval", "anywidget"} & set(here)
    for words in (["here"], ["students", "--student"]):  # the base is enough for the command too
        venvs.run(python.with_name("mankit"), "lessons", *words, cwd=folder)
    monkeypatch.setenv("JUPYTER_PATH", str(folder))
    monkeypatch.setenv("MANKIT_LIVE", "1")  # as on a page
    monkeypatch.delenv("PYTHONPATH", raising=False)
    small = {"K": 2, "epochs": 1, "budgets": [1], "Ks": [1, 2], "seeds": 1, "data": "digits"}
    nb = papermill.execute_notebook(
        str(folder / "here" / "02_dgl.ipynb"),
        str(folder / "02.ipynb"),
        small,
        kernel_name="colab",
        progress_bar=False,
        cwd=str(folder),
    )
    panels = [cell for cell in nb.cells if cell.cell_type == "code" and "lab.panel(" in cell.source]
    assert panels
    for panel in panels:
        said = "".join(output.get("text", "") for output in panel.outputs)
        assert "The live panel needs ipywidgets 8 and anywidget" in said and "(here: ipywidgets 7.7.1" in said
        assert any("image/png" in output.get("data", {}) for output in panel.outputs)
    assert "Note: this lesson" not in str(nb)


# --- the parts ---


def test_lessons_are_copied_once_and_never_over_what_is_there(mankit, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "02_dgl.ipynb").write_text("my answers")
    first, again = (mankit("lessons", tmp_path / "mine") for _ in range(2))
    assert first.code == again.code == 0
    assert first.out.startswith(f"{len(notebooks()) - 1} notebooks copied to ") and "1 were there" in first.out
    assert again.out.startswith("0 notebooks copied") and f"{len(notebooks())} were there" in again.out
    assert (tmp_path / "mine" / "02_dgl.ipynb").read_text() == "my answers"
    tour = tmp_path / "mine" / "00_tour.ipynb"
    assert tour.read_bytes() == notebooks()["00_tour.ipynb"].read_bytes()


def test_students_get_lessons_without_solutions_and_reproductions_as_they_are(mankit, tmp_path):
    assert mankit("lessons", tmp_path, "--student").code == 0
    for name, source in notebooks().items():
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "BEGIN SOLUTION" not in text
        assert (text == source.read_text(encoding="utf-8")) == name.startswith("reproduce/"), name
        nbformat.validate(nbformat.reads(text, as_version=4))


def test_a_folder_that_cannot_be_written_is_one_line(mankit, tmp_path):
    (tmp_path / "file").touch()
    said = mankit("lessons", tmp_path / "file")
    assert said.code == 2 and said.err.startswith("mankit: can't write ") and said.err.count("\n") == 1


def test_numbers_that_are_missing_are_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "files", lambda name: tmp_path / "site-packages" / "mankit")
    with pytest.raises(ValueError, match=r"data/published\.csv is missing beside .*: install mankit again"):
        shipped.shipped("data", "published.csv")


@pytest.fixture
def empty(monkeypatch, tmp_path):
    """An empty folder to be in, the package as a wheel leaves it, and a list of what `mankit lab` would open."""
    opened, package = [], tmp_path / "site-packages" / "mankit"
    shutil.copytree(venvs.ROOT / "notebooks", package / "_notebooks")
    monkeypatch.setattr(shipped, "files", lambda name: package)
    monkeypatch.setattr(subprocess, "call", lambda command: opened.append(command[3]) or 0)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    before = signal.getsignal(signal.SIGINT)
    yield opened
    signal.signal(signal.SIGINT, before)


def test_lab_offers_the_lessons_where_there_are_none(mankit, empty, monkeypatch, tmp_path):
    said = mankit("lab")
    assert said.code == 2 and "`mankit lessons notebooks` copies them" in said.err and empty == []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["no", ""])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert mankit("lab").code == 2 and empty == []
    assert mankit("lab").code == 0
    assert mankit("lab").code == 0  # and now without asking
    assert empty == 2 * [str(tmp_path / "empty" / "notebooks" / "00_tour.ipynb")]


def test_commands_find_the_packages_notebooks_and_run_them_here(mankit, empty, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *args, **options: calls.append((args, options)))
    monkeypatch.setattr("mankit.execution.execute.PACKAGE", tmp_path / "site-packages" / "mankit")
    assert mankit("run", "notebooks/00_tour.ipynb", "-p", "K", 4).code == 0
    (((source, _, values), options),) = calls
    assert source == str(tmp_path / "site-packages" / "mankit" / "_notebooks" / "00_tour.ipynb") and values == {"K": 4}
    assert options["cwd"] == str(tmp_path / "empty")
    assert "no notebook" in mankit("run", "notebooks/99_none.ipynb").err


def test_an_extra_that_is_missing_is_one_line(mankit, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "papermill.translators", None)
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]})]),
        tmp_path / "a.ipynb",
    )
    said = mankit("run", tmp_path / "a.ipynb")
    assert said.code == 2 and said.err == "mankit: papermill is missing: pip install 'mankit[lab]' brings it\n"


def test_a_lesson_of_another_version_says_so(capsys):
    made_for(version("mankit"))
    assert capsys.readouterr().out == ""
    made_for("99.0")
    assert "this lesson is from mankit 99.0, and" in capsys.readouterr().out


def test_the_live_panels_packages_are_here():
    assert lacking() == ""
