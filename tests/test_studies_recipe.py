"""Recipes: data that is checked, goes through JSON, and is one flat dict of settings."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mankit.rules import RULES, Entry
from mankit.studies.recipe import LAB, Recipe

ROOT = Path(__file__).parents[1]

TINY = Recipe(
    rule="man",
    K=3,
    options={"head": "0c1f", "decay": 0.9},
    widths=(4, 6, 8),
    epochs=1,
    batch=20,
    data_options={"train_size": 60, "val_size": 10, "test_size": 50, "size": 16},
)


# --- fields ---


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": -3}, "epochs=-3"),
        ({"batch": 0}, "batch=0"),
        ({"lr": 0}, "lr=0"),
        ({"lr": -0.1}, "lr=-0.1"),
        ({"lr": math.nan}, "lr=nan"),
    ],
)
def test_bad_field_is_refused_at_once(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)
    with pytest.raises(ValueError, match=message):
        TINY.but(**changes)


def test_recipe_is_frozen_and_but_gives_another():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.epochs = 2
    assert TINY.but(epochs=2).epochs == 2 and TINY.epochs == 1
    assert TINY.but(epochs=2).but(epochs=1) == TINY


def test_lab_names_and_rules():
    assert {name: recipe.rule for name, recipe in LAB.items()} == {
        "BP": "bp",
        "DGL": "dgl",
        "InfoPro": "infopro",
        "MAN": "man",
        "MAN + decoder": "man",
    }
    assert LAB["MAN"].options["decay"] == LAB["MAN + decoder"].options["decay"] == 0.995
    assert LAB["MAN"].options["base"] == "dgl" and LAB["MAN + decoder"].options["base"] == "infopro"


def test_lab_recipes_differ_in_the_rule_only():
    def rest(recipe):
        return dataclasses.replace(recipe, rule="", options={})

    assert len({repr(rest(recipe)) for recipe in LAB.values()}) == 1
    heads = {recipe.options["head"] for name, recipe in LAB.items() if name != "BP"}
    assert heads == {"0c1f"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"at": (1, 4), "K": 8}, r"at=\(1, 4\) makes 3 blocks, but K=8"),
        ({"balance": "bytes"}, "balance='bytes'"),
        ({"momentum": 1}, "momentum=1"),
        ({"weight_decay": -1e-4}, "weight_decay=-0.0001"),
        ({"weight_decay": math.nan}, "weight_decay=nan"),
    ],
)
def test_bad_cut_or_decay_is_refused_at_once(changes, message):
    with pytest.raises(ValueError, match=message):
        TINY.but(**changes)


# --- JSON ---

VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PAIRS = st.tuples(st.floats(0, 1), st.floats(0, 1))
OPTIONS = st.dictionaries(st.text(), VALUES | PAIRS | st.lists(VALUES, max_size=3))
WIDTHS = st.none() | st.lists(st.integers(1, 99), max_size=3).map(tuple)


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "rule": st.text(),
            "K": st.integers(),
            "options": OPTIONS,
            "network": st.text(),
            "widths": WIDTHS,
            "data": st.text(),
            "data_options": st.dictionaries(st.sampled_from(["size", "train_size"]), st.none() | st.integers()),
            "epochs": st.integers(1, 10**9),
            "batch": st.integers(1, 10**9),
            "lr": st.floats(1e-9, 1e9),
            "warmup": st.integers(0, 10**9),
            "momentum": st.floats(0, 0.999),
            "weight_decay": st.floats(0, 1e9),
            "per_step": st.booleans(),
            "augment": st.booleans(),
            "seed": st.integers(0, 2**63 - 1),
            "bf16": st.booleans(),
            "per_block": st.booleans(),
            "ema_update": st.sampled_from(["before", "after"]),
            "balance": st.sampled_from(["units", "memory"]),
        },
    )
)
def test_json_gives_the_same_recipe_back(changes):
    recipe = Recipe(**changes)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(json.dumps(json.loads(recipe.to_json()))) == recipe


@given(at=st.lists(st.integers(1, 50), max_size=8))
def test_json_keeps_the_places_to_cut(at):
    recipe = Recipe(K=len(at) + 1, at=at)
    assert recipe.at == tuple(at) and Recipe.from_json(recipe.to_json()) == recipe


def test_json_has_a_line_for_each_field_and_defaults_for_those_left_out():
    text = Recipe(options={"lam_x": (5.0, 0.5)}).to_json()
    assert len(text.splitlines()) == len(dataclasses.fields(Recipe)) + 2
    assert '  "options": {"lam_x": [5.0, 0.5]},' in text.splitlines()
    assert Recipe.from_json('{"K": 4}') == Recipe(K=4) and Recipe.from_json("{}") == Recipe()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no recipe in JSON, .*see `mankit recipes"),
        ("{", "no recipe in JSON, Invalid JSON"),
        ("[" * 100_000, "no recipe in JSON, .*recursion"),
        ("[1, 2]", "no recipe in JSON, choose an object"),
        ("null", "no recipe in JSON, choose an object"),
        ('{"epoch": 3}', "field='epoch': did you mean 'epochs'"),
        ('{"zzz": 3}', "field='zzz': choose from rule, K"),
        ('{"K": "8"}', "K='8': choose a valid integer"),
        ('{"K": true}', "K=True: choose a valid integer"),
        ('{"K": 2.0}', "K=2.0: choose a valid integer"),
        ('{"lr": "fast"}', "lr='fast': choose a valid number"),
        ('{"bf16": 1}', "bf16=1: choose a valid boolean"),
        ('{"rule": null}', "rule=None: choose a valid string"),
        ('{"options": []}', r"options=\(\): choose a valid dictionary"),
        ('{"widths": [4, "6"]}', "widths=.*choose a valid integer"),
        ('{"at": 3}', "at=3: choose a valid tuple"),
        ('{"at": [3]}', "makes 2 blocks, but K=8"),
        ('{"epochs": 0}', "epochs=0: choose"),
        ('{"lr": NaN}', "lr=nan: choose"),
        ('{"lr": Infinity}', "lr=inf: choose"),
    ],
)
def test_json_that_is_no_recipe_is_a_line(text, message):
    with pytest.raises(ValueError, match=message) as problem:
        Recipe.from_json(text)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("value", [math.nan, {1, 2}, object()])
def test_option_that_json_does_not_know_is_said(value, monkeypatch):
    def free(place, *, thing=None):
        """A rule whose option may be anything."""

    monkeypatch.setitem(RULES, "free", free)
    with pytest.raises(ValueError, match="can't be written as JSON"):
        Recipe("free", options={"thing": value}).to_json()


# --- settings ---


@pytest.mark.parametrize("name", LAB)
def test_settings_are_flat_and_give_the_recipe_back(name):
    settings = LAB[name].but(data_options={"train_size": 60, "size": 8}).settings()
    assert settings["train_size"] == 60 and not {"options", "data_options"} & settings.keys()
    assert Recipe.of(**settings).settings() == settings
    assert Recipe.of(**settings) == LAB[name].but(data_options={"train_size": 60, "size": 8})


def test_settings_are_sorted_into_their_places():
    recipe = Recipe.of(rule="man", K=4, decay=0.9, base="infopro", lam_x=1.0, train_size=2000, size=None)
    assert recipe.options == {"decay": 0.9, "base": "infopro", "lam_x": 1.0}
    assert recipe.data_options == {"train_size": 2000} and recipe.K == 4
    assert Recipe.of() == Recipe()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rule": "man", "dekay": 0.9}, "setting='dekay': did you mean 'decay'"),
        ({"epoch": 3}, "setting='epoch': did you mean 'epochs'"),
        ({"trainsize": 3}, "setting='trainsize': did you mean 'train_size'"),
        ({"rule": "dgl", "decay": 0.9}, "rule 'dgl' takes no option"),
        ({"rule": "mann"}, "rule='mann': did you mean 'man'"),
        ({"K": "4"}, "K='4': choose a valid integer"),
        ({"options": {}}, "setting='options'"),
    ],
)
def test_setting_that_fits_nothing_is_a_line(settings, message):
    with pytest.raises(ValueError, match=message) as problem:
        Recipe.of(**settings)
    assert "\n" not in str(problem.value)


def test_option_with_a_fields_name_is_refused():
    def twice(place, *, lr: float = 1.0, size: int = 3):
        """A rule."""

    with pytest.raises(ValueError, match=r"options \['lr', 'size'\], which a recipe has too"):
        Recipe.of(rule=twice)


def test_function_is_a_rule_and_json_keeps_it_by_its_name(monkeypatch):
    def mine(place, *, head: str = "0c1f"):
        """A rule."""

    recipe = Recipe(rule=mine, options={"head": "0c1f"})
    assert recipe.rule is mine
    with pytest.raises(ValueError, match="the rule mine has no name yet"):
        recipe.to_json()
    monkeypatch.setitem(RULES, "my rule", Entry(mine, "Mine"))
    assert Recipe.from_json(recipe.to_json()) == Recipe(rule=mine, options={"head": "0c1f"})
    assert Recipe(rule=mine).rule == "my rule"


def test_a_recipe_loads_no_tables_and_no_locks():
    code = "import sys, mankit.studies.recipe; print([m for m in ('pandas', 'filelock', 'plotly') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
