"""The files that serve a class: what they copy, install and start is here. Nothing is built: that takes a daemon."""

import json
import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE, POST_BUILD = ((ROOT / name).read_text(encoding="utf-8") for name in ("Dockerfile", "binder/postBuild"))
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
CPU = "torch torchvision --index-url https://download.pytorch.org/whl/cpu"


def instructions(word, text=DOCKERFILE):
    """A Dockerfile's lines of one instruction, without the options."""
    lines = re.findall(rf"^{word} (.*)$", text, re.M)
    return [re.sub(r"--\S+ ", "", line) for line in lines]


def sources():
    """What the images take from this folder: the class's, and any other one."""
    others = (file.read_text(encoding="utf-8") for file in ROOT.glob("docs/*.Dockerfile"))
    lines = [line for text in (DOCKERFILE, *others) for line in instructions("COPY", text)]
    return sorted({source for line in lines for source in line.split()[:-1]})


def in_context(name):
    """Whether .dockerignore lets a file through: the last line that fits it decides."""
    allowed = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.lstrip("!").removeprefix("**/")
        inside = [name, *(str(parent) for parent in Path(name).parents)]
        if line and not line.startswith("#") and any(fnmatch(each, pattern) for each in inside):
            allowed = line.startswith("!")
    return allowed


@pytest.mark.parametrize("source", sources())
def test_what_the_image_copies_is_here_and_let_through(source):
    found = [path for path in ROOT.glob(source) if path.name != "__pycache__"]
    assert found
    files = [file for path in found for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    names = [file.relative_to(ROOT).as_posix() for file in files]
    listed = subprocess.run(["git", "ls-files", *names], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert all(in_context(name) for name in listed)
    assert not in_context("data/cifar-10-batches-py/data_batch_1") and not in_context(".venv/bin/python")


def test_what_pip_needs_to_build_the_package_is_in_the_image():
    copied = {path.name for source in sources() for path in ROOT.glob(source)}
    licences = {path.name for pattern in PROJECT["license-files"] for path in ROOT.glob(pattern)}
    assert {"pyproject.toml", PROJECT["readme"], *licences} <= copied
    assert {"mankit", "notebooks", "data"} <= copied


@pytest.mark.parametrize(
    "text", [DOCKERFILE, POST_BUILD, DEVCONTAINER["postCreateCommand"]], ids=["image", "Binder", "Codespace"]
)
def test_extras_are_known_and_no_cuda_is_installed(text):
    (extras,) = re.findall(r"pip install .*?\[([\w,]+)\]", text.replace(CPU, ""))
    assert {*extras.split(",")} <= {*PROJECT["optional-dependencies"]}
    assert text.index(CPU) < text.index(f"[{extras}]")  # before the package, which would bring the other wheels


def test_the_image_is_a_hubs():
    assert instructions("CMD") == ['["jupyterhub-singleuser"]'] and instructions("USER") == ["jovyan"]
    assert "--uid 1000" in DOCKERFILE and "mankit-start" in instructions("ENTRYPOINT")[0]
    names = {re.match(r"[\w-]+", each)[0] for each in PROJECT["optional-dependencies"]["hub"]}
    assert names == {"jupyterhub", "nbgitpuller"}
    assert "ENV MANKIT_DATA=/srv/data" in DOCKERFILE and "chmod -R a-w,a+rX /srv" in DOCKERFILE
    (python,) = re.findall(r"^FROM python:(\d\.\d+)-slim$", DOCKERFILE, re.M)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    assert (ROOT / "binder" / "runtime.txt").read_text().strip() == f"python-{python}"
    assert DEVCONTAINER["image"].endswith(f":{python}")


def test_lessons_are_copied_into_a_home_once(tmp_path):
    lessons, home = tmp_path / "srv" / "notebooks", tmp_path / "me"
    lessons.mkdir(parents=True)
    home.mkdir()
    (lessons / "a.ipynb").write_text("new")
    (lessons / "a.ipynb").chmod(0o444)
    text = (ROOT / "docs" / "start.sh").read_text().replace("/srv/mankit/notebooks", str(lessons))
    for expected in ("new", "mine"):
        done = subprocess.run(
            ["sh", "-c", text, "start", "echo", "on"],
            env={**os.environ, "HOME": str(home)},
            capture_output=True,
            text=True,
        )
        assert (done.stdout, done.stderr) == ("on\n", "")
        assert (home / "notebooks" / "a.ipynb").read_text() == expected
        (home / "notebooks" / "a.ipynb").write_text("mine")


@pytest.mark.parametrize("name", ["docs/start.sh", "binder/postBuild"])
def test_scripts_can_be_executed(name):
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["sh", "-n", ROOT / name], check=True)


def test_the_page_says_what_the_files_do():
    (values,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    values = yaml.safe_load(values)
    (mount,) = values["singleuser"]["storage"]["extraVolumeMounts"]
    assert mount["mountPath"] == "/srv/data" and mount["readOnly"] and values["prePuller"]["continuous"]["enabled"]
    for name in re.findall(r"notebooks/[\w/]+\.ipynb", PAGE + json.dumps(DEVCONTAINER)):
        assert (ROOT / name).is_file()
