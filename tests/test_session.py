"""Training that is watched: the same numbers as unwatched, and it obeys at once."""

import re
import threading
import time

import pytest
import torch

from mankit import block_accuracy
from mankit.images import batches
from mankit.lab import watch as watching
from mankit.lab.session import Session
from mankit.lab.watch import Live, watch
from mankit.measure import ema_distance
from mankit.rules.man import MomentumHead
from mankit.studies import Recipe, Run, block_table, load_data

SMALL = {"train_size": 120, "val_size": 60, "test_size": 50}
MAN = Recipe(
    "man",
    3,
    {"head": "0c1f", "decay": 0.9, "base": "dgl"},
    widths=(4, 6, 8),
    data_options=SMALL,
    epochs=4,
    batch=20,
    per_step=True,
)
DGL = MAN.but(rule="dgl", options={"head": "0c1f"})
BP = MAN.but(rule="bp", options={})


def trained(recipe, change=None):
    run = Run(recipe, load_data(recipe))
    for step in run:
        if change and step.index + 1 == change[0]:
            run.net.set_decay(change[1])
    return run


def last(recipe, **options):
    *_, watched = watch(recipe, **options)
    return watched


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def assert_same_weights(net, other):
    for (name, a), b in zip(net.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# --- watch ---


@pytest.mark.parametrize("recipe", [MAN, DGL, BP], ids=lambda recipe: recipe.rule)
def test_a_watched_run_gives_the_numbers_of_an_unwatched_one(recipe):
    watched, alone = last(recipe), trained(recipe)
    assert_same_weights(watched.run.net, alone.net)
    assert block_table(watched.run).equals(block_table(alone))


def test_a_changed_decay_acts_from_the_next_step_on():
    live, step = Live(), 7
    for watched in watch(MAN, live):
        if watched.history.step == step:
            live.decay = 0.0
    assert watched.history.changes == [(step, 0.0)] and watched.history.decay == 0
    assert_same_weights(watched.run.net, trained(MAN, (step, 0.0)).net)


def test_a_decay_means_nothing_to_other_rules():
    live = Live()
    live.decay = 0.5
    assert last(DGL, live=live).history.changes == []


@pytest.mark.parametrize("recipe", [MAN, DGL, BP], ids=lambda recipe: recipe.rule)
def test_points_hold_what_the_measures_say(recipe):
    watched = last(recipe)
    history, net = watched.history, watched.run.measured_net
    assert [point.step for point in history.points] == list(range(0, 25))
    data = watched.run.data
    see = [next(batches(data.val, 60, shuffle=False))]
    assert history.points[-1].own_head == pytest.approx(block_accuracy(net, see), nan_ok=True)
    assert len(history.cka) == len(history.points[-1].probe) == 3
    assert [row[k] for k, row in enumerate(history.cka)] == pytest.approx([1.0] * 3)
    assert bool(history.cka_to_bp) == bool(history.points[-1].bp_probe) == (recipe.rule != "bp")
    assert history.points[-1].ema_distance == pytest.approx(ema_distance(net), nan_ok=True)


def test_the_bp_beside_it_is_the_bp_of_the_same_seed():
    watched = last(DGL)
    assert_same_weights(watched.bp.net, trained(BP).net)


def test_losses_are_means_between_points(monkeypatch):
    recipe = DGL.but(epochs=8)  # 48 steps: a point at every second
    losses = [step.losses for step in Run(recipe, load_data(recipe))]
    points = last(recipe).history.points
    assert points[1].step == 2
    assert points[1].loss == pytest.approx(torch.stack(losses[:2]).mean(0).tolist())
    assert points[-1].loss == pytest.approx(torch.stack(losses[-2:]).mean(0).tolist())


def test_a_long_run_keeps_few_points(monkeypatch):
    monkeypatch.setattr(watching, "POINTS", 10)
    history = last(DGL.but(epochs=8)).history
    steps = [point.step for point in history.points]
    assert len(steps) <= 10 and steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] >= 40


def test_the_distance_of_an_ema():
    net = trained(MAN.but(K=9)).net
    far = ema_distance(net)
    assert all(isinstance(head, MomentumHead) for head in net.heads[:-1])
    assert all(0 < d < 2 for d in far[:-1]) and far[-1] != far[-1]
    net.set_decay(0)
    for head, block in zip(net.heads, net.blocks[1:], strict=False):
        head.after_step(block)
    assert ema_distance(net)[:-1] == [0] * 8
    assert all(d != d for d in ema_distance(trained(DGL).net))


def test_memory_is_that_of_a_batch():
    *blocks, bp, checkpointed = last(DGL).history.memory
    assert len(blocks) == 3 and max(blocks) < bp and checkpointed < bp
    assert last(BP).history.memory == [bp, bp, checkpointed]


# --- Session ---


@pytest.fixture
def session():
    session = Session(MAN.but(epochs=400))
    yield session
    session.stop()
    session.join(20)


def test_start_pause_step_stop(session):
    assert session.state == "ready" and not session.thread.is_alive()
    session.start()
    until(lambda: session.history and session.history.step > 3)
    session.pause()
    assert session.state == "paused"
    time.sleep(0.3)
    step = session.history.step
    time.sleep(0.1)
    assert session.history.step == step
    session.step()
    until(lambda: session.history.step == step + 1)
    assert session.history.points[-1].step == step + 1  # a single step is measured
    session.start()
    until(lambda: session.history.step > step + 3)
    session.stop()
    session.join(5)
    assert session.state == "stopped"
    session.start()  # over is over
    assert session.state == "stopped" and not session.thread.is_alive()


def test_a_step_from_the_beginning_makes_one_step(session):
    session.step()
    until(lambda: session.history and session.history.step == 1)
    time.sleep(0.1)
    assert session.history.step == 1 and session.state == "paused"


def test_two_starts_train_once(session):
    for _ in range(3):
        session.start()
    until(lambda: session.history and session.history.step > 2)
    assert sum(thread.name == "mankit training" for thread in threading.enumerate()) == 1


def test_starting_one_stops_the_other(session):
    session.start()
    until(lambda: session.history is not None)
    other = Session(MAN)
    other.start()
    session.join(5)
    assert session.state == "stopped"
    other.join(60)
    assert other.state == "done"


def test_a_decay_that_is_moved_reaches_the_run(session):
    session.start()
    until(lambda: session.history and session.history.step > 1)
    session.live.decay = 0.25
    until(lambda: session.history.decay == 0.25)


def test_a_session_ends_with_the_numbers_of_mankit_train():
    session = Session(MAN)
    session.start()
    session.join(60)
    assert session.state == "done"
    assert_same_weights(session.watched.run.net, trained(MAN).net)


def test_an_exception_ends_the_session_and_is_kept():
    session = Session(MAN.but(data="folder:nowhere"))
    session.start()
    session.join(20)
    assert session.state == "failed" and "nowhere" in session.error.splitlines()[-1] and "Traceback" in session.error


def test_a_loss_that_is_no_number_ends_the_session_at_its_step():
    session = Session(MAN.but(lr=1e20))
    session.start()
    session.join(60)
    assert session.state == "failed" and session.history.step < 10
    by_loss = r"rule MAN, block \d of \d has loss (nan|inf) at step \d: choose lr below 1e\+20"
    by_features = r"the features of block \d hold nan or infinity: training diverged, choose a lower lr"
    assert re.search(f"ValueError: ({by_loss}|{by_features})", session.error)


def test_a_history_that_was_read_does_not_change(session):
    session.start()
    until(lambda: session.history and session.history.points)
    history = session.history
    step, count = history.step, len(history.points)
    until(lambda: session.history.step > step + 20)
    assert history.step == step and len(history.points) == count
