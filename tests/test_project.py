"""The files around the code: the environment, the Makefile, sizes, and no trace of a machine."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from mankit.rules import RULES, entry_of

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
README, MAKEFILE, CI = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile", ".ci/run"))


def package(requirement):
    """'torch>=2.11' -> 'torch'"""
    return re.match(r"[\w.-]+", requirement)[0].lower()


# --- what is installed ---


def test_environment_installs_this_project_and_nothing_twice():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    words = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (by_pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert words == [f"python{PROJECT['requires-python']}", "pip"]
    (itself,) = by_pip  # everything else is pyproject.toml's to say
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", itself)[1].split(",")
    assert "lab" in extras and set(extras) <= set(PROJECT["optional-dependencies"])


def test_dependencies_are_listed_once_and_have_a_lowest_version():
    extras = PROJECT["optional-dependencies"]
    listed = PROJECT["dependencies"] + extras["lab"] + extras["test"]
    names = [package(requirement) for requirement in listed]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[\w.-]+>=[\d.]+", requirement) for requirement in listed)
    needed = {"torch", "torchvision", "jupyterlab", "ipywidgets", "plotly", "papermill", "nbval"}
    assert needed <= {package(requirement) for requirement in PROJECT["dependencies"] + extras["lab"]}
    for_readers_of_colab = {"jupyterlab", "ipywidgets", "anywidget", "notebook", "papermill", "nbval", "nbconvert"}
    assert not for_readers_of_colab & {package(requirement) for requirement in PROJECT["dependencies"]}


def test_the_wheel_takes_every_folder_of_the_package():
    folders = {file.parent.relative_to(ROOT) for file in (ROOT / "mankit").rglob("*.py")}
    own = {name for name in PYPROJECT["tool"]["setuptools"]["packages"] if not name.startswith("mankit._")}
    assert own == {".".join(folder.parts) for folder in folders}


def test_the_lock_fixes_everything_that_make_lab_installs():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    fixed = [re.fullmatch(r"([\w.-]+)==([\w.]+)( ; .+)?", line) for line in lines if not line.startswith("#")]
    assert all(fixed) and "://" not in "".join(lines)  # versions, and no address of anybody's index
    versions = {}
    for match in fixed:
        versions.setdefault(match[1].lower().replace("_", "-"), []).append(match[2])
    for requirement in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["lab"]:
        name, _, lowest = requirement.lower().replace("_", "-").partition(">=")
        assert all(numbers(version) >= numbers(lowest) for version in versions[name]), requirement


def numbers(version):
    return [int(part) for part in version.split(".") if part.isdigit()]


ADDRESS = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
SAYS_ADDRESS = [
    "README.md",
    "CITATION.cff",
    *sorted(path.relative_to(ROOT) for path in ROOT.glob("notebooks/0*.ipynb")),
]


@pytest.mark.parametrize("path", SAYS_ADDRESS, ids=str)
def test_every_badge_leads_to_the_address_in_pyproject(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    links = re.findall(
        r"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)/([\w-]+/mankit)\b", text
    )
    assert links and set(links) == {ADDRESS}
    if str(path).endswith(".ipynb"):
        assert text.count(f"{ADDRESS}/blob/main/{path.as_posix()})") == 1
        assert text.count(f"{ADDRESS}/main?urlpath=lab/tree/{path.as_posix()})") == 1


def test_lessons_citation_and_changelog_name_this_version():
    for path in ROOT.glob("notebooks/0*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert f"install --quiet mankit=={PROJECT['version']}\\" in text, path.name
        assert f'made_for(\\"{PROJECT["version"]}\\")' in text, path.name
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_oldest_typer_allowed_has_what_the_command_imports():
    lowest = next(r for r in PROJECT["dependencies"] if package(r) == "typer").partition(">=")[2]
    assert tuple(map(int, lowest.split("."))) >= (0, 28)  # typer.exceptions.TyperException is from there


def test_every_file_names_the_same_pythons():
    tried = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={tried[0]}"
    assert f"You need Python {', '.join(tried[:-1])} or {tried[-1]}" in README
    assert f"sys.version_info < ({tried[0].replace('.', ', ')})" in MAKEFILE


def test_readme_and_makefile_name_the_same_minutes():
    minutes = dict(re.findall(r"^# make (\S+) .*\(about (\d+) minutes", MAKEFILE, re.M))
    assert set(minutes) == {"test", "test-lowest", "test-lessons"}
    for goal, number in minutes.items():
        assert re.findall(rf"\bmake {goal}[` ][^(]*\(about (\d+) minutes", README) == [number], goal


def test_ci_tries_the_lowest_versions_too():
    assert re.findall(r"^make .*$", CI, re.M) == ["make test", "make test-lowest", "make test-lessons"]


@pytest.mark.parametrize(
    "path",
    [
        "notebooks/",
        "mankit/",
        "data/",
        "data/published.csv",
        "data/README.md",
        "tests/",
        "environment.yml",
        "README.md",
        "Makefile",
        "LICENSE",
        "LICENSE-CC-BY-4.0",
        "CITATION.cff",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        ".github/workflows/release.yml",
        "pyproject.toml",
        ".ci/run",
    ],
)
def test_path_exists(path):
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).stat().st_size > 0


def test_ci_can_be_executed():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# --- no trace of a machine ---

# a path from the root of somebody's machine, and not the middle of another path or address
MACHINE_PATH = re.compile(rb"(?<![\w.~*$}-])/(?:work|root|home|Users)/")


def project_files():
    """Everything that is in the repository, or would be added to it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this copy is no git checkout, so what belongs to it isn't known")
    return [ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name and (ROOT / os.fsdecode(name)).is_file()]


def test_no_file_names_a_path_of_a_machine():
    files = project_files()
    assert ROOT / "pyproject.toml" in files
    found = {}
    for file in files:
        content = file.read_bytes()
        for match in MACHINE_PATH.finditer(content):
            around = content[max(0, match.start() - 30) : match.end() + 30]
            found.setdefault(str(file.relative_to(ROOT)), around.decode(errors="replace"))
    assert not found


def test_machine_paths_are_told_from_others():
    home, user = b"/ho" + b"me/", b"/Use" + b"rs/"
    for text in (b"open(" + home + b"me/x)", b"'" + user + b"me'", b"root=/ro" + b"ot/x", home + b"x"):
        assert MACHINE_PATH.search(text), text
    for text in (b"https://example.org" + home + b"x", b"notebooks/wo" + b"rk/x", b"~" + home, b"/homes/"):
        assert not MACHINE_PATH.search(text), text


# --- the Makefile ---

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make isn't installed")


MAKES = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON"}  # what a make hands to the makes below it


@pytest.fixture
def make(tmp_path):
    """`make('lab', ...)` in a copy of the project that has no more than make looks at."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {name: value for name, value in os.environ.items() if name not in MAKES}

    def call(*words):
        options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 60}
        return subprocess.run(["make", *words], **options)

    return call


def executable(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def installed(folder, newer=True):
    """Leave what a first `make` leaves, newer or older than pyproject.toml."""
    when = (folder / "pyproject.toml").stat().st_mtime + (100 if newer else -100)
    for path in (folder / ".venv" / "bin" / "python", folder / ".venv" / ".lab", folder / ".venv" / ".test"):
        executable(path)
        os.utime(path, (when, when))


@needs_make
@pytest.mark.parametrize("goal", ["lab", "test", "reproduce"])
def test_old_python_is_told_in_one_clear_line(make, tmp_path, goal):
    old = executable(tmp_path / "old-python", '[ "$1" = -c ] && exit 1', f'touch "{tmp_path}/was-used"')
    result = make(goal, f"PYTHON={old}")
    assert result.returncode != 0
    line = result.stderr.splitlines()[0]
    assert line.startswith("mankit needs Python 3.11 or newer") and str(old) in line and "make PYTHON=" in line
    assert "3.11" in PROJECT["requires-python"]
    assert not (tmp_path / "was-used").exists() and not (tmp_path / ".venv").exists()


@needs_make
def test_make_alone_lists_every_target_in_a_line(make):
    lines = make().stdout.splitlines()
    named = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.M)[1].split()
    assert sorted(line.split()[1] for line in lines[1:]) == sorted(set(named) - {"help"})
    assert all(len(re.split(r"\s{2,}", line)) == 2 for line in lines)


@needs_make
def test_make_lab_installs_by_uv_where_it_can_else_by_pip(make, tmp_path):
    executable(tmp_path / ".venv" / "bin" / "python", 'echo "pip: $*"')
    executable(tmp_path / ".venv" / "bin" / "mankit")
    uv = executable(tmp_path / ".venv" / "bin" / "uv", 'echo "uv: $*"')
    said = make("lab", "LOCK=requirements.lock").stdout.splitlines()
    assert "uv: pip install --quiet --compile-bytecode --python .venv/bin/python -e .[lab] -c requirements.lock" in said
    assert not [line for line in said if line.startswith("pip:") and ".[lab]" in line]
    (tmp_path / ".venv" / ".lab").unlink()
    executable(uv, "exit 1")
    said = make("lab").stdout.splitlines()
    assert "pip: -m pip install --quiet --disable-pip-version-check -e .[lab]" in said


@needs_make
def test_missing_python_is_told_too(make):
    result = make("lab", "PYTHON=no-such-python")
    assert result.returncode != 0
    assert "mankit needs Python 3.11 or newer, but 'no-such-python' is older or missing" in result.stderr


@needs_make
def test_python_that_is_new_enough_goes_on_to_install(make, tmp_path):
    new = executable(tmp_path / "new-python", '[ "$1" = -c ] && exit 0', 'echo "asked for: $*"; exit 7')
    result = make("lab", f"PYTHON={new}")
    assert result.returncode != 0 and "asked for: -m venv .venv" in result.stdout
    assert "needs Python" not in result.stderr


@needs_make
@pytest.mark.parametrize("goal, command", [("lab", ".venv/bin/mankit lab"), ("test", ".venv/bin/python -m pytest")])
def test_second_make_starts_at_once(make, tmp_path, goal, command):
    assert "pip install" in make("-n", goal).stdout
    installed(tmp_path)
    again = make("-n", goal)
    assert again.returncode == 0 and command in again.stdout
    assert "pip install" not in again.stdout and "venv .venv" not in again.stdout


@needs_make
def test_the_lowest_versions_are_tested_in_an_environment_of_their_own(make):
    words = make("-n", "test-lowest").stdout
    assert "uv pip install --quiet --compile-bytecode --python .venv-lowest/bin/python" in words
    assert "--resolution lowest-direct -e '.[lab,test]'" in words
    assert ".venv/" not in words
    (line,) = (line for line in words.splitlines() if "-m pytest" in line)
    part = [ROOT / name for name in line.split() if name.endswith(".py")]
    assert {ROOT / "tests" / f"test_{name}.py" for name in ("oracles", "training", "charts_pens", "project")} < {*part}
    needs_browser = [file.name for file in part if re.search(r"^from lab_page", file.read_text(encoding="utf-8"), re.M)]
    assert not needs_browser


@needs_make
def test_new_pyproject_installs_again_into_the_same_environment(make, tmp_path):
    installed(tmp_path, newer=False)
    shown = make("-n", "lab").stdout
    assert "pip install" in shown and "venv .venv" not in shown


@needs_make
def test_install_that_fails_is_tried_again(make, tmp_path):
    executable(tmp_path / ".venv" / "bin" / "python", "exit 1")
    assert make("lab").returncode != 0
    assert not (tmp_path / ".venv" / ".lab").exists()
    assert "pip install" in make("-n", "lab").stdout


@needs_make
def test_reproduce_is_the_quick_profile_of_all_and_fails_where_it_fails(make, tmp_path):
    installed(tmp_path)
    executable(tmp_path / ".venv" / "bin" / "mankit", 'echo "$*"; exit 1')
    result = make("reproduce")
    assert result.returncode != 0
    assert "reproduce all --profile quick --jobs 2" in result.stdout.splitlines()


def test_readme_names_every_rule():
    assert [entry_of(rule).label for rule in RULES if entry_of(rule).label not in README] == []
