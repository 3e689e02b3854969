"""Runs: the same recipe gives the same numbers, and nothing outside changes by it."""

import copy
import dataclasses
import math

import pytest
import torch
from test_studies_recipe import TINY

from mankit.images import Augment, Split
from mankit.studies import LAB, Recipe, Run, block_table, load_data, pick_device
from mankit.studies.run import while_finite
from mankit.training import Step

RULES = {
    "bp": TINY.but(rule="bp", options={}),
    "dgl": TINY.but(rule="dgl", options={"head": "mlp"}),
    "infopro": TINY.but(rule="infopro", options={"head": "0c1f"}),
    "contrast": TINY.but(rule="infopro", options={"head": "0c1f", "contrast": True}),
    "man": TINY,
}


@pytest.fixture(scope="module")
def data():
    return load_data(TINY)


def trained(recipe, data=None):
    run = Run(recipe, data or load_data(recipe))
    for _ in run:
        pass
    return run


def weights(run):
    return copy.deepcopy(run.net.state_dict())


def equal(a, b):
    """Bit for bit, BatchNorm statistics and EMA included."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("rule", RULES)
def test_same_recipe_gives_the_same_weights(rule):
    torch.manual_seed(1)
    first = weights(trained(RULES[rule]))
    torch.manual_seed(2)
    assert equal(first, weights(trained(RULES[rule])))


def test_augmented_recipe_repeats_too():
    flipping = dataclasses.replace(load_data(TINY), augment=Augment(2, flip=True))
    recipe = TINY.but(augment=True)
    first = weights(trained(recipe, flipping))
    assert equal(first, weights(trained(recipe, flipping)))
    assert not equal(first, weights(trained(TINY, flipping)))


def test_seed_rules_weights_data_and_order(data):
    other = TINY.but(seed=1)
    assert not torch.equal(data.train.images, load_data(other).train.images)
    start, other_start = weights(Run(TINY, data)), weights(Run(other, data))
    assert not torch.equal(start["blocks.0.0.0.weight"], other_start["blocks.0.0.0.weight"])
    run = Run(TINY, data)
    run.recipe = other  # the same weights and images, another order
    losses, other_losses = (torch.stack([step.losses for step in r]) for r in (Run(TINY, data), run))
    assert not torch.equal(losses, other_losses)


def test_seed_is_the_only_source_of_chance():
    before = torch.random.get_rng_state()
    run = Run(TINY.but(data="digits", data_options={"train_size": 60}))
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


@pytest.mark.parametrize("batch, epochs, steps", [(60, 1, 1), (20, 2, 6), (25, 1, 2), (31, 2, 2)])
def test_length_is_the_number_of_steps(data, batch, epochs, steps):
    run = Run(TINY.but(batch=batch, epochs=epochs), data)
    assert len(run) == steps
    assert [step.index for step in run] == list(range(steps))


def test_steps_have_the_losses_of_all_blocks_and_the_schedule(data):
    run = Run(TINY.but(epochs=3, lr=0.2, warmup=1), data)
    steps = list(run)
    assert all(step.losses.shape == (3,) and step.losses.isfinite().all() for step in steps)
    rates = [0.01, 0.1 * (1 + math.cos(math.pi * 2 / 3)), 0.0]  # start of the warm-up, then the cosine
    assert [step.lr for step in steps] == pytest.approx([rate for rate in rates for _ in range(3)])


def test_prepare_trains_nothing(data):
    run, again = Run(TINY, data), Run(TINY, data)
    iter(run)  # no step is taken until it is asked for
    assert equal(weights(run), weights(again))


def test_bp_is_one_block_measured_at_k_places(data):
    run = Run(TINY.but(rule="bp", options={}, K=8), data)
    assert run.net.K == 1 and run.measured_net.K == 8
    assert run.measured_net.layers == run.net.layers  # shared: measuring sees what was trained
    x = torch.rand(2, 3, 16, 16)
    run.net.eval()
    assert torch.equal(run.measured_net.eval()(x), run.net(x))


def test_local_rules_are_measured_as_they_are(data):
    run = Run(TINY, data)
    assert run.net.K == 3 and run.measured_net is run.net


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
        ({"options": {"decay": math.nan}}, "decay=nan"),
        ({"options": {"decay": -0.1}}, "decay=-0.1"),
        ({"rule": "infopro", "options": {"lam_x": math.nan}}, "lam_x=nan: choose 0.0 or more"),
        ({"rule": "infopro", "options": {"lam_y": (1.0, math.inf)}}, "lam_y=inf"),
        ({"rule": "infopro", "options": {"lam_x": -1.0}}, "lam_x=-1.0"),
        ({"rule": "man", "options": {"base": "infopro", "lam_x": (-1, 1)}}, "lam_x=-1"),
        ({"options": {"decay": "x"}}, "decay='x': choose a valid number"),
        ({"options": {"base": [1]}}, "choose from .*greedy, dgl, infopro"),
        ({"lr": math.nan}, "lr=nan"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 10**26}, "seed=1000.*below"),
        ({"epochs": 10**26}, "epochs=.*or less"),
        ({"data_options": {"siz": 8}}, "did you mean 'size'"),
        ({"data_options": {"size": "8"}}, "size='8': choose a valid integer"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(data, changes, message):
    with pytest.raises(ValueError, match=message):
        Run(TINY.but(**changes), data)


@pytest.mark.parametrize("name", LAB)
def test_lab_recipe_can_be_prepared(data, name):
    run = Run(LAB[name].but(batch=20), data)
    assert run.measured_net.K == 8 and len(run) == 18


def test_recipe_cuts_where_it_says(data):
    run = Run(TINY.but(at=(1, 4), K=3), data)
    assert [len(block) for block in run.net.blocks] == [1, 3, 5]
    assert len(Run(TINY.but(K=1, at=()), data).net.blocks) == 1
    even = [len(block) for block in Run(TINY.but(K=3), data).net.blocks]
    by_bytes = [len(block) for block in Run(TINY.but(K=3, balance="memory"), data).net.blocks]
    assert even == [3, 3, 3] and by_bytes != even and sum(by_bytes) == 9


def test_place_outside_the_network_is_refused_before_training(data):
    with pytest.raises(ValueError, match=r"at=\[4, 9\].*1\.\.8"):
        Run(TINY.but(at=(4, 9)), data)


@pytest.mark.parametrize("rule", RULES)
def test_a_loss_that_is_no_number_stops_at_its_step(data, rule):
    done = []
    with pytest.raises(
        ValueError, match=r"rule .+, block \d of \d has loss (nan|inf) at step \d+: choose lr below 1e\+20"
    ):
        for step in Run(RULES[rule].but(lr=1e20, epochs=20), data):
            assert step.losses.isfinite().all()
            done.append(step)
    assert len(done) < 10


def test_a_gpu_is_read_seldom_and_the_first_bad_step_is_named():
    class OnGpu(torch.Tensor):
        is_cuda = True

    def steps(bad):
        for i in range(120):
            losses = torch.full((2,), math.nan if i >= bad else 1.0)
            yield Step(i, losses.as_subclass(OnGpu), 0.1)

    for bad, seen in ((60, 99), (0, 49), (110, 119), (200, 120)):
        passed = []
        try:
            for step in while_finite(steps(bad), TINY, 120):
                passed.append(step)
        except ValueError as error:
            assert f"block 1 of 2 has loss nan at step {bad + 1}:" in str(error)
        assert len(passed) == seen


def test_one_class_and_an_unknown_crop_are_said_before_training(data):
    one = dataclasses.replace(data, train=Split(data.train.images[:30], torch.zeros(30, dtype=torch.int64)))
    with pytest.raises(ValueError, match="one class"):
        Run(TINY, one)
    with pytest.raises(ValueError, match="digits has no usual crop and flip; leave augment out"):
        Run(TINY.but(data="digits", data_options={"train_size": 60}, augment=True))


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == pick_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    assert pick_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "meta", "xpu", "cpu:99999999999999999999"])
def test_device_that_is_not_there(device):
    with pytest.raises(ValueError, match="choose auto, cpu or cuda"):
        pick_device(device)


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
    whole = block_table(Run(RULES["bp"], data))["saved_mib"].iloc[-1]
    assert whole > block_table(Run(RULES["dgl"].but(options={"head": "0c1f"}), data))["saved_mib"].max()


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
    whole, parts = Run(recipe, device="cpu"), Run(recipe, device="cpu")
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
    data = load_data(Recipe(), device="cpu")
    with pytest.raises(ValueError, match="device='nonsense'"):
        Run(Recipe(), data, device="nonsense")


def test_bf16_runs_save_fewer_bytes():
    small = {"K": 3, "epochs": 1, "data_options": {"train_size": 200, "test_size": 100}}
    tables = [block_table(Run(Recipe(bf16=bf16, **small), device="cpu")) for bf16 in (False, True)]
    assert (tables[1].saved_mib < 0.75 * tables[0].saved_mib).all()
