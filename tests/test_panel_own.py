"""The reader's own code in the panel: beside the library's, with its errors, and with a loop that doesn't end."""

import functools
import time

import pytest
import torch
from lab_page import wait_for

import mankit.lab.session
from mankit.lab import panel
from mankit.lab.session import Session
from mankit.lab.watch import Own, watch
from mankit.rules.man import MomentumHead, man
from mankit.studies.recipe import lab_recipe
from mankit.teach import endless
from mankit.training import local_step

SMALL = dict(epochs=2, batch=20, widths=(4, 6, 8), data_options=dict(train_size=60, val_size=40, test_size=40))


def small(rule="dgl", K=3, **options):
    return lab_recipe(rule=rule, K=K, **options).but(**SMALL)


def in_another_style(block, head, h, x, y):
    features = block(h.detach().clone())
    loss = head.loss(features, x, y)
    torch.autograd.backward([loss])
    return features.detach(), loss.detach()


def doubled(block, head, h, x, y):
    features = block(h.detach())
    loss = 2 * head.loss(features, x, y)
    loss.backward()
    return features.detach(), loss.detach()


class Forgetful(MomentumHead):
    """A look-ahead without the moving average."""

    def look_ahead(self, h):
        return self.learnable_bias(h)


def head_of(kind, place, base, decay):
    head = man(place, base=base, decay=decay)
    return kind(head.base, head.learnable_bias, head.ema, decay)


def my_man(place, *, base="dgl", decay=0.995):
    return head_of(MomentumHead, place, base, decay)


def forgetful(place, *, base="dgl", decay=0.995):
    return head_of(Forgetful, place, base, decay)


def beside_at_the_end(recipe, own):
    *_, last = watch(recipe, own=own)
    return last.history.beside


def test_a_right_step_is_equal_to_the_last_bit():
    assert beside_at_the_end(small(), Own(in_another_style)).startswith("\u2714 Equal bit for bit so far (6 steps, ")


def test_a_wrong_step_parts_from_the_librarys():
    assert beside_at_the_end(small(), Own(doubled)).startswith("\u2718 They part at step 1, block 1: the loss")


def test_a_rule_of_the_readers_is_compared_with_the_librarys():
    options = dict(head="0c1f", decay=0.9)
    assert beside_at_the_end(small(my_man, **options), Own(beside="man")).startswith("\u2714 Equal")
    said = beside_at_the_end(small(forgetful, **options), Own(beside="man"))
    assert said.startswith("\u2718 They part at step 1, block 1: the loss")


def test_a_decay_that_is_moved_moves_in_both():
    recipe, moved = small("man", head="0c1f", decay=0.9), mankit.lab.watch.Live()
    for watched in watch(recipe, moved, own=Own(in_another_style)):
        moved.decay, history = 0.2, watched.history
    assert history.changes and history.beside.startswith("\u2714 Equal")


def test_without_a_page_the_words_say_it(capsys):
    still = panel("dgl", K=3, live=False, step=doubled, epochs=1, short_epochs=1, widths=(4, 6, 8), train_size=100)
    still._ipython_display_()
    assert "They part at step 1, block 1" in still.history.beside
    assert still.history.beside in mankit.lab.figure.summary(still.history)


@pytest.fixture
def impatient(monkeypatch):
    """Break off after a moment, and call a step long after a moment."""
    monkeypatch.setattr(mankit.lab.session, "break_off", functools.partial(endless.break_off, patience=0.3))
    monkeypatch.setattr(endless, "LONG", 0.5)


def test_an_error_in_the_readers_step_is_shown_and_the_panel_goes_on():
    def broken(block, head, h, x, y):
        raise ZeroDivisionError("mine")

    session = Session(small(), own=Own(broken))
    session.start()
    session.join(60)
    assert session.state == "failed" and "ZeroDivisionError: mine" in session.error
    again = Session(small(), own=Own(in_another_style))
    again.start()
    again.join(60)
    assert again.state == "done" and again.history.beside.startswith("\u2714")


def test_stop_ends_an_endless_loop(impatient):
    def endless_step(block, head, h, x, y):
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # a reader may catch what he likes
                pass

    live = panel("dgl", K=3, live=True, step=endless_step, epochs=1, widths=(4, 6, 8), train_size=100)
    live.start.click()
    wait_for(lambda: "an endless loop?" in live.status.value, 60, "what is said of a long step")
    live.stop.click()
    wait_for(lambda: live.session.state == "stopped", 60, "the end of the loop")
    wait_for(lambda: live.status.value.startswith('<div role="status">Stopped'), 60, "the word for it")


def test_a_step_that_ends_is_not_broken_off(impatient):
    calls = []

    def slow(block, head, h, x, y):
        time.sleep(0.05)
        calls.append(1)
        return local_step(block, head, h, x, y)

    session = Session(small(), own=Own(slow))
    session.start()
    wait_for(lambda: calls, 60, "a step")
    session.stop()
    session.join(60)
    assert session.state == "stopped" and len(calls) % 3 == 0  # after the step of all three blocks


def test_where_no_page_is_live_a_step_that_fails_is_told_and_the_notebook_goes_on(capsys):
    def fails(block, head, h, x, y):
        raise RuntimeError("shapes differ\nand more")

    settings = dict(K=3, epochs=1, batch=20, widths=(4, 6, 8), train_size=60, val_size=40, test_size=40, live=False)
    panel("dgl", step=fails, **settings)._ipython_display_()
    assert capsys.readouterr().out == "Your code stopped this run with RuntimeError: shapes differ\n"
