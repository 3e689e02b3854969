"""The check of any rule of one's own; every rule of the library passes it."""

import copy

import torch
from exercises import Exercise
from torch import nn

from mankit.heads import Head
from mankit.rules import RULES, entry_of
from mankit.teach.checks.rule import any_rule


def pooled(channels, classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def plain(place):
    return Head(pooled(place.shape[0], place.classes))


class Scaled(Head):
    def __init__(self, body, change):
        super().__init__(body)
        self.change = change

    def loss(self, h, x, y):
        return self.change(super().loss, h, x, y)


def rule(change):
    return lambda place: Scaled(pooled(place.shape[0], place.classes), change)


class Ahead(Head):
    """Looks through the next block's own layer, which it doesn't hold."""

    def __init__(self, place, layer):
        (channels,) = {m.num_features for m in layer.modules() if isinstance(m, nn.BatchNorm2d)}
        super().__init__(pooled(channels, place.classes))
        self.layers = (layer,)  # a tuple: not registered

    def forward(self, h):
        return self.body(self.layers[0](h))


class Registered(Ahead):
    def __init__(self, place, layer):
        super().__init__(place, layer)
        self.layer = layer


class Following(Head):
    def after_step(self, next_block):
        with torch.no_grad():
            for p in next_block.parameters():
                p.mul_(0.9)


def freezes_the_rest(place):
    place.rest[0].requires_grad_(False)
    return plain(place)


def with_keywords(place, *, scale: float = 2.0, **others):
    return Scaled(pooled(place.shape[0], place.classes), lambda loss, h, x, y: scale * loss(h, x, y))


def no_logits(place):
    head = Scaled(pooled(place.shape[0], 16), lambda loss, h, x, y: head(h).logsumexp(1).square().mean())
    head.has_logits = False
    return head


class Bare(nn.Module):
    """A head's methods, but not what measures ask a head for."""

    def __init__(self, place):
        super().__init__()
        self.body = pooled(place.shape[0], place.classes)

    def forward(self, h):
        return self.body(h)

    def loss(self, h, x, y):
        return nn.functional.cross_entropy(self(h), y)

    def after_step(self, next_block):
        pass


def bare_module(place):
    return Bare(place)


EXERCISES = [
    Exercise(
        "any_rule",
        any_rule,
        wrong=[
            (lambda place, scale=1.0: plain(place), "`scale` can be given by its position"),
            (lambda place, *, scale: plain(place), "`scale` has no default"),
            (lambda place: pooled(place.shape[0], place.classes), "return a Head, .* not Sequential"),
            (lambda place: Head(pooled(place.shape[0], 10)), r"should have shape \(12, 4\)"),
            (lambda place: Head(nn.Sequential(nn.Flatten(), nn.Linear(384, place.classes))), "stopped with RuntimeErr"),
            (rule(lambda loss, h, x, y: loss(h.detach(), x, y)), "no gradient reaches the features"),
            (rule(lambda loss, h, x, y: 1e4 * loss(h, x, y)), "it should fall|is it a mean"),
            (rule(lambda loss, h, x, y: loss(h, x, y).expand(3)), r"should have shape \(\)"),
            (rule(lambda loss, h, x, y: loss(h, x, y) / 0), "is inf"),
            (rule(lambda loss, h, x, y: loss(h, x.mul_(0.5), y)), "changed x itself"),
            (lambda place: Ahead(place, place.rest[0]), "reaches the next block's weights"),
            (lambda place: Registered(place, place.rest[0]), "holds weights of the next block"),
            (lambda place: Following(pooled(place.shape[0], place.classes)), "changed the weights of next_block"),
            (freezes_the_rest, "switched requires_grad of rest"),
            (lambda place: None, "returned None"),
            (bare_module, "return a Head, .* not Bare"),
        ],
        right=[
            plain,
            with_keywords,
            no_logits,
            lambda place: Ahead(place, copy.deepcopy(place.rest[0])),
            *(entry_of(name).build for name in RULES if not entry_of(name).one_block),
        ],
    )
]
