"""Lesson 4: each check passes its solution, and names the mistake of each classic wrong answer."""

import math

import pytest
import torch
from exercises import Exercise, assert_check_is_right, assert_each_check_has_its_exercise
from torch.nn import functional as F

from mankit.teach.checks import man as check
from mankit.teach.checks.base import CheckFailed


@torch.no_grad()
def swapped(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        e.mul_(1 - decay).add_(n, alpha=decay)


@torch.no_grad()
def statistics_too(ema, layer, decay):
    for e, n in zip(ema.state_dict().values(), layer.state_dict().values(), strict=True):
        if e.is_floating_point():
            e.lerp_(n, 1 - decay)


def with_a_graph(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        e.mul_(decay).add_(n, alpha=1 - decay)


def new_tensors(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        e.data = decay * e.data + (1 - decay) * n.data


@torch.no_grad()
def moves_the_layer(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        n.mul_(1 - decay).add_(e, alpha=decay)


@torch.no_grad()
def only_names(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        e = decay * e + (1 - decay) * n  # a new tensor under an old name


@torch.no_grad()
def sum_without_decay(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        e.add_(n, alpha=1 - decay)


def weights(decay, steps):
    return [(1 - decay) * decay**j for j in range(steps)]


def bias_only_gradient(bias, ema, h):
    with torch.no_grad():
        ahead = ema(h)
    return bias(h) + ahead


def step(block, bias, ema, head, h, y, detach=True, ahead=None, back=True, out=lambda h, a: h.detach()):
    h = block(h.detach() if detach else h)
    a = ahead(bias, ema, h) if ahead else bias(h) + ema(h)
    loss = F.cross_entropy(head(a), y)
    if back:
        loss.backward()
    return out(h, a), loss.detach()


def changed(**how):
    return lambda *given: step(*given, **how)


def trains_the_ema(block, bias, ema, head, h, y):
    ema.requires_grad_(True)
    return step(block, bias, ema, head, h, y)


EXERCISES = [
    Exercise(
        "ema_update",
        check.ema_update,
        wrong=[
            (swapped, "decay and 1 - decay are swapped"),
            (statistics_too, "BatchNorm's running statistics moved too"),
            (with_a_graph, r"under torch.no_grad\(\)"),
            (new_tensors, "change its parameters in place"),
            (moves_the_layer, "changed the next layer itself"),
            (only_names, "nothing moved at decay 0.9"),
            (sum_without_decay, "wrong values at decay 0.9"),
        ],
    ),
    Exercise(
        "half_life",
        check.half_life,
        wrong=[
            (lambda decay: 1 / (1 - decay), "is the time constant"),
            (lambda decay: math.log(2) / (1 - decay), "an approximation for decays near 1"),
            (lambda decay: math.log(2) / math.log(decay), "check the sign"),
            (lambda decay: math.ceil(math.log(0.5) / math.log(decay)), "don't round"),
            (lambda decay: math.log(0.5) / math.log(decay), "stopped with ValueError"),
            (lambda decay: math.log(0.5) / math.log(decay) if 0 < decay < 1 else 0, "never forgets"),
        ],
    ),
    Exercise(
        "ema_weights",
        check.ema_weights,
        wrong=[
            (lambda decay, steps: torch.tensor(weights(decay, steps)), "the weight of the EMA's start is missing"),
            (lambda decay, steps: torch.tensor([*weights(decay, steps)[::-1], decay**steps]), "order is reversed"),
            (lambda decay, steps: torch.tensor([*weights(decay, steps), 1 - decay]), "weights that sum to 1"),
            (lambda decay, steps: torch.full((steps + 1,), 1 / (steps + 1)), "they don't give the EMA"),
            (lambda decay, steps: weights(decay, steps), "should be a tensor"),
        ],
    ),
    Exercise(
        "look_ahead",
        check.look_ahead,
        wrong=[
            (lambda bias, ema, h: (bias(h) + ema(h)) / 2, "it is half as large"),
            (lambda bias, ema, h: bias(ema(h)), "both look at the same h"),
            (lambda bias, ema, h: bias(h), "one branch is missing"),
            (lambda bias, ema, h: h + bias(h) + ema(h), "right shape, wrong values"),
            (bias_only_gradient, "through one branch only"),
            (lambda bias, ema, h: bias(h.detach()) + ema(h.detach()), "no gradient reaches h"),
        ],
    ),
    Exercise(
        "man_local_step",
        check.man_local_step,
        wrong=[
            (changed(detach=False), "detach the INPUT of the block"),
            (changed(ahead=bias_only_gradient), "through both branches"),
            (changed(back=False), "call backward on the local loss"),
            (changed(out=lambda h, a: a.detach()), "you return the look-ahead"),
            (changed(out=lambda h, a: h), r"return h.detach\(\)"),
            (changed(ahead=lambda bias, ema, h: bias(h)), "the loss is the cross-entropy of"),
            (trains_the_ema, "the EMA is trained now"),
            (lambda *given: step(*given)[1], "return two things"),
        ],
    ),
]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_check(exercise, capsys):
    assert_check_is_right("04_man", exercise, capsys)


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES)


def test_checks_draw_nothing_from_the_global_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for exercise in EXERCISES:
        wrong, sentence = exercise.wrong[0]
        with pytest.raises(CheckFailed, match=sentence):
            exercise.check(wrong)
    assert torch.equal(torch.get_rng_state(), before)
