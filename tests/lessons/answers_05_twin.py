"""Lesson 5: the check of the reader's own control, the twin: as MAN, but the second branch is trained."""

import copy
from dataclasses import replace

import torch
from exercises import Exercise
from torch import nn

from mankit.heads import Head
from mankit.networks import init_weights
from mankit.rules import RULES
from mankit.teach.checks import study as check

DGL, MAN = RULES["dgl"].build, RULES["man"].build


class Pair(Head):
    """Two branches under a base, and what may be wrong with each part."""

    def __init__(self, base, learnable_bias, ema):
        nn.Module.__init__(self)
        self.base, self.learnable_bias, self.ema = base, learnable_bias, ema

    def ahead(self, h):
        return self.learnable_bias(h) + self.ema(h)

    def forward(self, h):
        return self.base(self.ahead(h))

    def loss(self, h, x, y):
        return self.base.loss(self.ahead(h), x, y)


def twin(kind=Pair, change=lambda made: None, start=MAN):
    """A rule of MAN's parts, one of them changed before they are put together."""

    def own_rule(place, *, base=DGL):
        made = start(place, base=base)
        made.ema.requires_grad_(True)
        change(made)
        return kind(made.base, made.learnable_bias, made.ema)

    return own_rule


def sees(ahead):
    """A head whose base sees something else than the sum."""
    return type("Sees", (Pair,), {"ahead": ahead})


class OneInTheLoss(Pair):
    def loss(self, h, x, y):
        return self.base.loss(self.learnable_bias(h), x, y)


class OneInForward(Pair):
    def forward(self, h):
        return self.base(self.learnable_bias(h))


class PlainLoss(Pair):
    def loss(self, h, x, y):
        return nn.functional.cross_entropy(self(h), y)


class Twice(Pair):
    def loss(self, h, x, y):
        return self.base.loss((self.ahead(h) + self.ahead(h)) / 2, x, y)


class Follows(Pair):
    @torch.no_grad()
    def after_step(self, next_block):
        for mine, its in zip(self.ema.parameters(), next_block[0].parameters(), strict=True):
            mine.lerp_(its, 0.005)


class SaysAverage(Pair):
    @property
    def average(self):
        return self.ema


class OtherNames(Head):
    def __init__(self, base, first, second):
        nn.Module.__init__(self)
        self.base, self.first, self.second = base, first, second

    def forward(self, h):
        return self.base(self.first(h) + self.second(h))

    def loss(self, h, x, y):
        return self.base.loss(self.first(h) + self.second(h), x, y)


class LosesTheBase(Pair):
    def __init__(self, base, learnable_bias, ema):
        super().__init__(Head(base.body), learnable_bias, ema)


def still_an_ema(place, *, base=DGL):
    return MAN(place, base=base)


def trained_and_following(place, *, base=DGL):
    head = MAN(place, base=base)
    head.ema.requires_grad_(True)
    return head


def frozen_average(place, *, base=DGL):
    head = MAN(place, base=base, decay=1)
    head.ema.requires_grad_(True)
    return head


def no_base(place):
    return twin()(place)


def base_is_not_used(place, *, base=DGL):
    return twin()(place)


def base_at_the_block(place, *, base=DGL):
    made = MAN(place, base=base)
    return Pair(base(place), made.learnable_bias, made.ema.requires_grad_(True))


def one_twice(place, *, base=DGL):
    made = MAN(place, base=base)
    return Pair(made.base, made.learnable_bias, made.learnable_bias)


def one_copied(place, *, base=DGL):
    made = MAN(place, base=base)
    return Pair(made.base, made.learnable_bias, copy.deepcopy(made.learnable_bias))


def no_draw(place, *, base=DGL):
    made = MAN(place, base=base)
    return Pair(made.base, made.learnable_bias, copy.deepcopy(place.rest[0]))


def torchs_draws(place, *, base=DGL):
    return twin()(replace(place, generator=None), base=base)


def a_fixed_seed(place, *, base=DGL):
    return twin()(replace(place, generator=torch.Generator().manual_seed(0)), base=base)


def another_layer(made):
    made.ema = nn.Sequential(*(nn.Identity() for _ in range(2)), made.ema)


def by_hand(place, *, base=DGL):
    """Without MAN: the next layer copied twice, its weights drawn anew, and the base one layer on."""
    first, second = (init_weights(copy.deepcopy(place.rest[0]), place.generator) for _ in range(2))
    with torch.no_grad():
        shape = copy.deepcopy(first)(torch.zeros(2, *place.shape)).shape[1:]
    return Pair(base(replace(place, shape=tuple(shape), rest=place.rest[1:], layer=place.layer + 1)), first, second)


def by_the_librarys_switch(place, *, base=DGL):
    head = MAN(place, base=base)
    head.ema.requires_grad_(True)
    head.twin = True
    return head


class Looks(Pair):
    """The look-ahead kept apart from the head, by hooks of nobody: a generator over the branches."""

    def ahead(self, h):
        return torch.stack([branch(h) for branch in (self.ema, self.learnable_bias)]).sum(0)


def with_options(place, *, base=RULES["greedy"].build, scale: float = 1.0, **others):
    return twin(sees(lambda self, h: scale * self.learnable_bias(h) + scale * self.ema(h)))(place, base=base)


EXERCISES = [
    Exercise(
        "own_rule",
        check.own_rule,
        wrong=[
            (lambda place: None, "returned None"),
            (lambda place, base=DGL: twin()(place, base=base), "`base` can be given by its position"),
            (no_base, "the option `base` is missing"),
            (base_is_not_used, "`base` is never called"),
            (base_at_the_block, r"called for features of shape \(6, 8, 8\)"),
            (twin(LosesTheBase), "doesn't hold what `base` gave"),
            (still_an_ema, "`ema` isn't trained"),
            (twin(change=lambda made: made.learnable_bias.requires_grad_(False)), "`learnable_bias` isn't trained"),
            (trained_and_following, "after_step moves `ema`"),
            (twin(Follows), "after_step moves `ema`"),
            (frozen_average, "still says that it has a moving average"),
            (twin(SaysAverage), "still says that it has a moving average"),
            (lambda place, *, base=DGL: MAN(place, base=base, branches="bias"), "no part `ema`"),
            (lambda place, *, base=DGL: DGL(place), "`base` is never called|no part"),
            (twin(OtherNames), "no part `learnable_bias`"),
            (twin(change=another_layer), "should be built like"),
            (twin(change=lambda made: made.ema.eval()), "`ema` is in eval mode"),
            (one_twice, "both branches are one module"),
            (one_copied, "start with the same weights"),
            (no_draw, "`ema` starts as a copy of the next layer"),
            (torchs_draws, "not from torch's own"),
            (a_fixed_seed, "another seed gives the same weights"),
            (twin(OneInTheLoss), "the loss sees one branch only"),
            (twin(sees(lambda self, h: self.ema(h))), "the loss sees one branch only"),
            (twin(sees(lambda self, h: (self.learnable_bias(h) + self.ema(h)) / 2)), "the mean of the two"),
            (twin(sees(lambda self, h: self.learnable_bias(h) - self.ema(h))), "the difference of the two"),
            (twin(sees(lambda self, h: self.learnable_bias(h) * self.ema(h))), "you multiply the two"),
            (twin(sees(lambda self, h: 1.5 * (self.learnable_bias(h) + self.ema(h)))), "isn't that of `base` on z"),
            (twin(PlainLoss), "a cross-entropy of your own"),
            (twin(Twice), "ran 2 times"),
            (twin(OneInForward), "forward and loss have to see the same z"),
            (twin(sees(lambda self, h: self.learnable_bias(h) + self.ema(h).detach())), "no gradient arrives at `ema`"),
            (twin(sees(lambda self, h: self.learnable_bias(h) + self.ema(h.detach()))), "detach neither h nor"),
        ],
        right=[twin(), twin(Looks), by_hand, by_the_librarys_switch, with_options],
    )
]
