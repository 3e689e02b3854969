"""Lesson 4: each check passes its solution, and names the mistake of each classic wrong answer."""

import math

import numpy as np
import torch
from answers_04_step import EXERCISES as MORE
from exercises import Exercise, assert_each_check_has_its_exercise, then
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mankit.teach.checks import man as check


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


def half_life_of_tensors(decay):
    return torch.tensor(0.5, dtype=torch.float64).log() / torch.tensor(decay, dtype=torch.float64).log().abs().neg()


@torch.no_grad()
def update(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        e.mul_(decay).add_(n, alpha=1 - decay)


def by_averager(ema, layer, decay):
    with torch.no_grad():
        get_ema_multi_avg_fn(decay)(list(ema.parameters()), list(layer.parameters()), None)


def by_data(ema, layer, decay):
    for e, n in zip(ema.parameters(), layer.parameters(), strict=True):
        e.data.copy_(decay * e.data + (1 - decay) * n.data)


@torch.no_grad()
def by_names(ema, layer, decay):
    theirs = dict(layer.named_parameters())
    for name, e in ema.named_parameters():
        e += (1 - decay) * (theirs[name] - e)


def with_new_parameters(ema, layer, decay):
    ema[0].weight = torch.nn.Parameter(decay * ema[0].weight.detach() + (1 - decay) * layer[0].weight.detach())


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
            (only_names, "nothing moved at decay 0.9: .* a new tensor under an old name"),
            (sum_without_decay, "wrong values at decay 0.9"),
            (with_new_parameters, r"the EMA has new tensors now: .* \(copy_, or mul_ and add_\)"),
            (then(update, lambda ema, layer, decay: ema.eval()), "ema was left in another mode"),
            (then(update, lambda ema, layer, decay: ema.requires_grad_(True)), "switched requires_grad of ema"),
            (then(update, lambda ema, layer, decay: layer.requires_grad_(False)), "switched requires_grad of layer"),
            (then(update, lambda ema, layer, decay: layer.eval()), "layer was left in another mode"),
            (lambda ema, layer, decay: update(ema, layer, decay) if decay else None, "nothing moved at decay 0: at 0"),
            (lambda ema, layer, decay: update(ema, layer, decay or 0.9), "decay 0: 0 is a decay too"),
            (lambda ema, layer, decay: update(ema, layer, min(decay, 0.99)), "at 1 nothing may move"),
        ],
        right=[by_data, by_names, update, by_averager],
    ),
    Exercise(
        "half_life",
        check.half_life,
        wrong=[
            (lambda decay: 1 / (1 - decay), "is the time constant"),
            (lambda decay: math.log(2) / (1 - decay), "an approximation for decays near 1"),
            (lambda decay: math.log(2) / math.log(decay), "check the sign"),
            (lambda decay: math.ceil(math.log(0.5) / math.log(decay)), "don't round"),
            (
                lambda decay: math.log(0.5) / math.log(decay),
                "at decay 0 .* before any logarithm; .* stopped with ValueError",
            ),
            (lambda decay: math.log(0.5) / math.log(decay) if 0 < decay < 1 else 0, "never forgets"),
            (lambda decay: None, "returned None"),
            (lambda decay: math.log(0.5) / math.log(decay) if decay else 0, "at decay 1 .* ZeroDivisionError"),
        ],
        right=[
            lambda decay: -1 / math.log2(decay) if 0 < decay < 1 else (math.inf if decay else 0),
            half_life_of_tensors,
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
            (lambda decay, steps: weights(decay, steps), "the weight of the EMA's start is missing"),
            (lambda decay, steps: decay, "should be a tensor"),
        ],
        right=[
            lambda decay, steps: [*weights(decay, steps), decay**steps],
            lambda decay, steps: np.array([*weights(decay, steps), decay**steps]),
        ],
    ),
]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + MORE)
