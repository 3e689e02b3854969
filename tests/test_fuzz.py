"""Whatever is typed, written in a recipe or found in a folder: it works, or one line says why not. Never a traceback.

A minute of it runs with all tests, ten minutes by `pytest -m slow tests/test_fuzz.py`.
"""

import contextlib
import io
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept_runs import TINY

from mankit.__main__ import main
from mankit.commands.settings import settings as options_of_train
from mankit.studies import Recipe, Run, read_run, train_in
from mankit.studies.folder import STATE

often = pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])


def fuzz(check, times, **strategies):
    """Call a check with what Hypothesis thinks of, so many times."""
    how = {"max_examples": times, "deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    settings(**how)(given(**strategies)(check))()


# --- what is typed ---

WORDS = [
    *("", " ", "-1", "0", "1", "2", "1.5", "1e400", "nan", "inf", "-inf", "None", "null", "true", "[]", "{}", "x"),
    *("9" * 30, "a" * 300, "../..", "/dev/null", "/", "~", "glyphs", "digits", "folder", "folder:", "folder:x"),
    *("man", "bp", "1,2", "1,,2", ",", "1,nan", "(", "both", "meta", "cuda", "cpu", "\u00e4\u2603", "\0", "--K", "-o"),
    *("x.json", "list.json", "odd.json", "x.py:f", "odd.py:f", "odd.ipynb", "list.ipynb", "small.ipynb", "lab"),
    *("K", "K 3", "K=3", "K=x", "Q=3", "quick", "cifar10", "cifar10/resnet32/dgl/K16", "memory"),
]
SMALL = "--train-size 60 --val-size 20 --test-size 40 --epochs 1 --batch 20 --widths 4,6,8 --device cpu".split()
COSTLY = {"--download", "--compile", "--epochs"}  # a network, a compiler, or hours


def options():
    """The options of each command, that may be given any word."""
    of_train = [f"--{p.name}".replace("_", "-") for p in options_of_train()]
    return {
        "train": [*of_train, "--recipe", "--profile", "--root", "--device", "--threads", "-o", "-K", "--unknown"],
        "run": ["-p", "-o", "--unknown"],
        "sweep": ["-g", "--seeds", "-p", "--jobs", "--y", "-o"],
        "student": ["-o"],
        "recipes": ["--profile", "--json"],
        "bench": ["--network", "-K", "--head", "--size", "--device", "--threads", "--csv", "--batch"],
        "reproduce": ["--profile", "--seeds", "--jobs", "--lr", "--device"],
    }


@st.composite
def lines(draw):
    """The words of a command line."""
    known = options()
    command = draw(st.sampled_from([*known, *["train"] * 5, "trian", ""]))
    words = [command]
    if command == "train":
        words += SMALL
    if command == "bench":
        words += "--rounds 1 --network lab -K 2 --size 8 --batch 2".split()
    if command in ("run", "student", "sweep", "recipes"):
        words += draw(st.lists(st.sampled_from(WORDS), max_size=2))
    if command == "reproduce":
        words += [draw(st.sampled_from(["", "x", "cifar", "nan"]))]  # a right one would train for minutes
    for option in draw(st.lists(st.sampled_from(known.get(command, ["-x"])), min_size=1, max_size=3)):
        if option not in COSTLY:
            words += [option, *draw(st.lists(st.sampled_from(WORDS), max_size=2 if option in ("-p", "-g") else 1))]
    return words


def called(words):
    """The exit code of a command, and what it says."""
    before, said = sys.argv, io.StringIO()
    sys.argv = ["mankit", *words]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as end:
        return end.code or 0, said.getvalue()
    finally:
        sys.argv = before
        torch.set_num_threads(1)


@often
def test_no_word_gives_a_traceback(times, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "odd.json").write_text('{"rule": 3, "options": {"x": null}}')
    (tmp_path / "odd.py").write_text("f = 1 / 0")
    (tmp_path / "odd.ipynb").write_text('{"nbformat": 4, "nbformat_minor": 5, "cells": [3], "metadata": {}}')
    (tmp_path / "list.ipynb").write_text("[]")

    def check(words):
        code, said = called(words)
        if code == 2:
            *_, last = said.splitlines() or [""]
            assert last.startswith("mankit: ") or words == [""], (words, said)
            assert "Traceback" not in said and len(last) < 600, (words, said)
        else:
            assert code in (0, 1), (words, code, said)

    fuzz(check, 120 * times, words=lines())


# --- what stands in a recipe ---

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 9)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["man", "dgl", "infopro", "bp", "lab", "lab16", "cifar_resnet20", "glyphs", "digits", "0c1f"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
OPTIONS = ["decay", "base", "branches", "start", "head", "lam_x", "lam_y", "contrast", "x", "size", "train_size"]
FIELDS = [*Recipe.__dataclass_fields__, "x"]
RECIPES = st.dictionaries(
    st.sampled_from(FIELDS), JSON | st.dictionaries(st.sampled_from(OPTIONS), JSON, max_size=3), max_size=4
)


@often
def test_no_recipe_gives_a_traceback(times, data):
    def check(values):
        try:
            recipe = Recipe.from_json(json.dumps(values))
            assert Recipe.from_json(recipe.to_json()) == recipe
            Run(recipe.but(batch=min(recipe.batch, 20), compile=False), data)
        except ValueError as error:
            assert 0 < len(str(error).splitlines()[0]) < 600

    fuzz(check, 3000 * times, values=RECIPES)


# --- what lies in a run's folder ---


@st.composite
def damages(draw):
    """A file's name, and what happens to its bytes."""
    name = draw(st.sampled_from(["checkpoint.pt"] * 4 + ["recipe.json", "log.jsonl", "summary.json", "blocks.csv"]))
    at, few = draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=9))
    kind = draw(st.sampled_from(["cut", "put in", "written over", "other"]))

    def damaged(content):
        i = int(at * len(content))
        parts = {"cut": b"", "put in": few + content[i:], "written over": few + content[i + len(few) :]}
        return few if kind == "other" else content[:i] + parts[kind]

    return name, damaged


def goes_on_or_says_why(folder, data):
    """Training a run in a folder that was damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in (lambda: train_in(folder, TINY, data, table=True), lambda: read_run(folder)):
            try:
                read()
            except ValueError as error:
                assert 0 < len(str(error).splitlines()[0]) < 600


@often
@pytest.mark.parametrize("finished", [True, False])
def test_no_damaged_file_gives_a_traceback(times, finished, data, whole):
    def check(damage):
        name, damaged = damage
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "run"
            shutil.copytree(whole, folder)
            if not finished:
                (folder / "summary.json").unlink()
            file = folder / name
            file.write_bytes(damaged(file.read_bytes() if file.exists() else b""))
            goes_on_or_says_why(folder, data)

    fuzz(check, 60 * times, damage=damages())


PLAIN = st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.just(torch.zeros(2)) | st.just(torch.ones(1))
OBJECTS = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["epoch", "val", "state", "x"]), inner),
)


@often
def test_no_checkpoint_of_wrong_things_gives_a_traceback(times, data, whole):
    right = torch.load(whole / "checkpoint.pt", weights_only=True)

    def check(name, value, alone):
        with tempfile.TemporaryDirectory() as place:
            torch.save(value if alone else right | {name: value}, Path(place) / "checkpoint.pt")
            goes_on_or_says_why(place, data)

    fuzz(check, 50 * times, name=st.sampled_from(list(STATE)), value=OBJECTS, alone=st.booleans())
