"""Recipes: the same recipe gives the same numbers, and nothing outside changes by it."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mankit.images import Augment
from mankit.recipes import LAB, Recipe, pick_device
from mankit.tables import block_table

TINY = Recipe(
    rule="man",
    K=3,
    options={"head": "0c1f", "decay": 0.9},
    widths=(4, 6, 8),
    epochs=1,
    batch=20,
    data_options={"train_size": 60, "val_size": 10, "test_size": 50, "size": 16},
)
RULES = {
    "bp": TINY.but(rule="bp", options={}),
    "dgl": TINY.but(rule="dgl", options={"head": "mlp"}),
    "infopro": TINY.but(rule="infopro", options={"head": "0c1f"}),
    "contrast": TINY.but(rule="infopro", options={"head": "0c1f", "contrast": True}),
    "man": TINY,
}


@pytest.fixture(scope="module")
def data():
    return TINY.load_data()


def trained(recipe, data=None):
    run = recipe.prepare(data or recipe.load_data())
    for _ in run:
        pass
    return run


def weights(run):
    return copy.deepcopy(run.net.state_dict())


def equal(a, b):
    """Bit for bit, BatchNorm statistics and EMA included."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- determinism ---


@pytest.mark.parametrize("rule", RULES)
def test_same_recipe_gives_the_same_weights(rule):
    torch.manual_seed(1)
    first = weights(trained(RULES[rule]))
    torch.manual_seed(2)
    assert equal(first, weights(trained(RULES[rule])))


def test_augmented_recipe_repeats_too():
    flipping = dataclasses.replace(TINY.load_data(), augment=Augment(2, flip=True))
    recipe = TINY.but(augment=True)
    first = weights(trained(recipe, flipping))
    assert equal(first, weights(trained(recipe, flipping)))
    assert not equal(first, weights(trained(TINY, flipping)))


def test_seed_rules_weights_data_and_order(data):
    other = TINY.but(seed=1)
    assert not torch.equal(data.train.images, other.load_data().train.images)
    start, other_start = weights(TINY.prepare(data)), weights(other.prepare(data))
    assert not torch.equal(start["blocks.0.0.0.weight"], other_start["blocks.0.0.0.weight"])
    run = TINY.prepare(data)
    run.recipe = other  # the same weights and images, another order
    losses, other_losses = (torch.stack([step.losses for step in r]) for r in (TINY.prepare(data), run))
    assert not torch.equal(losses, other_losses)


def test_seed_is_the_only_source_of_chance():
    before = torch.random.get_rng_state()
    run = TINY.but(data="digits", data_options={"train_size": 60}).prepare()
    assert torch.equal(before, torch.random.get_rng_state())
    for _ in run:
        pass
    block_table(run)
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_leaves_shared_data_alone(data):
    parts = (data.train, data.val, data.test)
    before = [(split.images.clone(), split.labels.clone()) for split in parts]
    first = weights(trained(TINY, data))
    trained(RULES["infopro"], data)
    for split, (images, labels) in zip(parts, before, strict=True):
        assert torch.equal(split.images, images) and torch.equal(split.labels, labels)
    assert equal(first, weights(trained(TINY, data)))


@pytest.mark.parametrize("rule", RULES)
def test_one_optimizer_for_each_block_gives_the_same_weights(data, rule):
    recipe = RULES[rule]
    assert equal(weights(trained(recipe, data)), weights(trained(recipe.but(per_block=True), data)))


def test_ema_update_after_the_step_gives_other_weights(data):
    before, after = (weights(trained(TINY.but(ema_update=when), data)) for when in ("before", "after"))
    assert not equal(before, after)


# --- a run ---


@pytest.mark.parametrize("batch, epochs, steps", [(60, 1, 1), (20, 2, 6), (25, 1, 2), (31, 2, 2)])
def test_length_is_the_number_of_steps(data, batch, epochs, steps):
    run = TINY.but(batch=batch, epochs=epochs).prepare(data)
    assert len(run) == steps
    assert [step.index for step in run] == list(range(steps))


def test_steps_have_the_losses_of_all_blocks_and_the_schedule(data):
    run = TINY.but(epochs=3, lr=0.2, warmup=1).prepare(data)
    steps = list(run)
    assert all(step.losses.shape == (3,) and step.losses.isfinite().all() for step in steps)
    rates = [0.01, 0.1 * (1 + math.cos(math.pi * 2 / 3)), 0.0]  # start of the warm-up, then the cosine
    assert [step.lr for step in steps] == pytest.approx([rate for rate in rates for _ in range(3)])


def test_prepare_trains_nothing(data):
    run, again = TINY.prepare(data), TINY.prepare(data)
    iter(run)  # no step is taken until it is asked for
    assert equal(weights(run), weights(again))


def test_bp_is_one_block_measured_at_k_places(data):
    run = TINY.but(rule="bp", options={}, K=8).prepare(data)
    assert run.net.K == 1 and run.measured_net.K == 8
    assert run.measured_net.layers == run.net.layers  # shared: measuring sees what was trained
    x = torch.rand(2, 3, 16, 16)
    run.net.eval()
    assert torch.equal(run.measured_net.eval()(x), run.net(x))


def test_local_rules_are_measured_as_they_are(data):
    run = TINY.prepare(data)
    assert run.net.K == 3 and run.measured_net is run.net


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


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"K": 0}, "K=0 blocks"),
        ({"K": 10}, r"choose 1\.\.9"),
        ({"rule": "bp", "options": {}, "K": 10}, r"choose 1\.\.9"),
        ({"rule": "mann"}, "did you mean 'man'"),
        ({"options": {"decay": 2}}, "decay=2"),
        ({"options": {"lam_x": 1}}, "takes no option"),
        ({"network": "labb", "widths": None}, "did you mean 'lab'"),
        ({"widths": (4, 6)}, "widths"),
        ({"batch": 61}, r"choose 1\.\.60"),
        ({"warmup": -1}, "warmup=-1"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(data, changes, message):
    with pytest.raises(ValueError, match=message):
        TINY.but(**changes).prepare(data)


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


@pytest.mark.parametrize("name", LAB)
def test_lab_recipe_can_be_prepared(data, name):
    run = LAB[name].but(batch=20).prepare(data)
    assert run.measured_net.K == 8 and len(run) == 18


# --- where to cut ---


def test_recipe_cuts_where_it_says(data):
    run = TINY.but(at=(1, 4), K=3).prepare(data)
    assert [len(block) for block in run.net.blocks] == [1, 3, 5]
    assert len(TINY.but(K=1, at=()).prepare(data).net.blocks) == 1
    even = [len(block) for block in TINY.but(K=3).prepare(data).net.blocks]
    by_bytes = [len(block) for block in TINY.but(K=3, balance="memory").prepare(data).net.blocks]
    assert even == [3, 3, 3] and by_bytes != even and sum(by_bytes) == 9


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


def test_place_outside_the_network_is_refused_before_training(data):
    with pytest.raises(ValueError, match=r"at=\[4, 9\].*1\.\.8"):
        TINY.but(at=(4, 9)).prepare(data)


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
            "data_options": OPTIONS,
            "epochs": st.integers(1),
            "batch": st.integers(1),
            "lr": st.floats(1e-9, 1e9),
            "warmup": st.integers(),
            "momentum": st.floats(0, 0.999),
            "weight_decay": st.floats(0, 1e9),
            "per_step": st.booleans(),
            "augment": st.booleans(),
            "seed": st.integers(),
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
        ("", "isn't JSON"),
        ("{", "isn't JSON"),
        ("[" * 100_000, "isn't JSON"),
        ("[1, 2]", r"a recipe is \{\.\.\.\} in JSON, not \[1, 2\]"),
        ("null", "not null"),
        ('{"epoch": 3}', "no field 'epoch': did you mean 'epochs'"),
        ('{"zzz": 3}', "no field 'zzz': choose from rule, K"),
        ('{"K": "8"}', 'K="8": give a whole number'),
        ('{"K": true}', "K=true: give a whole number"),
        ('{"K": 2.0}', "K=2.0: give a whole number"),
        ('{"lr": "fast"}', "lr=.*: give a number"),
        ('{"bf16": 1}', "bf16=1: give true or false"),
        ('{"rule": null}', "rule=null: give text"),
        ('{"options": []}', "options=.*names with values"),
        ('{"widths": [4, "6"]}', "widths=.*whole numbers, or null"),
        ('{"at": 3}', "at=3: give a list"),
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
def test_option_that_json_does_not_know_is_said(value):
    with pytest.raises(ValueError, match="can't be written as JSON"):
        Recipe(options={"head": value}).to_json()


# --- devices ---


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == pick_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_device_that_is_not_there(device):
    with pytest.raises(ValueError, match="choose auto, cpu or cuda"):
        pick_device(device)


# --- the table ---


def missing(table, column):
    """The blocks that have no number there."""
    return table.loc[table[column].isna(), "block"].tolist()


@pytest.mark.parametrize(
    "rule, no_own_head, no_bytes",
    [("bp", [1, 2], [1, 2]), ("dgl", [], []), ("infopro", [], []), ("contrast", [1, 2], []), ("man", [], [])],
)
def test_table_has_a_row_for_each_block(data, rule, no_own_head, no_bytes):
    table = block_table(trained(RULES[rule], data))
    assert table.columns.tolist() == ["block", "own_head", "linear_probe", "saved_mib"]
    assert table["block"].tolist() == [1, 2, 3]
    assert missing(table, "own_head") == no_own_head
    assert missing(table, "saved_mib") == no_bytes
    assert table["linear_probe"].between(0, 100).all()
    assert table["own_head"].dropna().between(0, 100).all() and (table["saved_mib"].dropna() > 0).all()


def test_last_own_head_is_the_test_accuracy(data):
    run = trained(TINY, data)
    run.net.eval()
    with torch.no_grad():
        right = (run.net(data.test.images.float() / 255).argmax(1) == data.test.labels).float().mean()
    assert block_table(run)["own_head"].iloc[-1] == pytest.approx(100 * right.item())


def test_bp_saves_more_than_any_block(data):
    whole = block_table(RULES["bp"].prepare(data))["saved_mib"].iloc[-1]
    assert whole > block_table(RULES["dgl"].but(options={"head": "0c1f"}).prepare(data))["saved_mib"].max()


@pytest.mark.parametrize("rule", ["bp", "man"])
def test_measuring_changes_nothing(data, rule):
    run = trained(RULES[rule], data)
    before, modes = weights(run), [module.training for module in run.net.modules()]
    first = block_table(run)
    assert equal(before, weights(run)) and modes == [module.training for module in run.net.modules()]
    assert all(parameter.grad is None for parameter in run.net.parameters())
    assert first.equals(block_table(run))


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_loop_that_was_left_goes_on_where_it_stopped(stop):
    recipe = Recipe(rule="man", K=3, epochs=2, batch=50, data_options={"train_size": 150, "test_size": 50})
    whole, parts = recipe.prepare(device="cpu"), recipe.prepare(device="cpu")
    steps = [step.index for step in whole]
    for step in parts:
        if step.index + 1 == stop:
            break
    assert parts.done == stop
    assert [step.index for step in parts] == steps[stop:]
    for a, b in zip(whole.net.state_dict().values(), parts.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert list(parts) == []


def test_data_on_another_device_is_said():
    data = Recipe().load_data(device="cpu")
    with pytest.raises(ValueError, match="device='nonsense'"):
        Recipe().prepare(data, device="nonsense")


def test_bf16_runs_save_fewer_bytes():
    small = {"K": 3, "epochs": 1, "data_options": {"train_size": 200, "test_size": 100}}
    tables = [block_table(Recipe(bf16=bf16, **small).prepare(device="cpu")) for bf16 in (False, True)]
    assert (tables[1].saved_mib < 0.75 * tables[0].saved_mib).all()
