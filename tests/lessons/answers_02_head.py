"""Lesson 2's checks of two auxiliary heads."""

import functools

from exercises import Exercise
from torch import nn

from mankit.heads import Head, conv_head
from mankit.teach.checks import dgl as check


def body(C, classes, *, conv=None, pool=None, last=()):
    """The right head, with another convolution or pooling, or something behind it."""
    conv = nn.Conv2d(C, C, 1) if conv is None else conv
    pool = pool or [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(conv, nn.ReLU(), *pool, nn.Linear(C, classes), *last)


class Sum(nn.Module):
    def forward(self, h):
        return h.sum((2, 3))


class Mean(nn.Module):
    def forward(self, h):
        return h.mean(-1)


class Written(nn.Module):
    """The right head as a class, the convolution as a linear layer over the channels."""

    def __init__(self, C, classes):
        super().__init__()
        self.mix, self.score = nn.Linear(C, C), nn.Linear(C, classes)

    def forward(self, h):
        return self.score(self.mix(h.movedim(1, -1)).relu().mean((1, 2)))


def linear_head(C, classes):
    return nn.Sequential(nn.Conv2d(C, C, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, classes))


def pools_first(C, classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(C, C, 1), nn.ReLU(), nn.Flatten(), nn.Linear(C, classes))


def flattens(C, classes):
    return nn.Sequential(nn.Conv2d(C, C, 1), nn.ReLU(), nn.Flatten(), nn.Linear(C * 64, classes))


class Detached(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, h):
        return self.head(h.detach())


class Corner(nn.Module):
    def forward(self, h):
        return h[:, :, 0, 0]


# --- pooled_head ---


def pooled(C, classes, *, before=(), pool=None, between=(), last=()):
    """The right head, with another pooling or something between its parts."""
    pool = pool or [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*before, *pool, *between, nn.Linear(C, classes), *last)


def with_(**parts):
    """The head with some parts of its own, made for its number of channels."""
    return lambda C, classes: pooled(C, classes, **{name: [make(C) for make in row] for name, row in parts.items()})


class PooledWritten(nn.Module):
    def __init__(self, C, classes):
        super().__init__()
        self.score = nn.Linear(C, classes)

    def forward(self, h):
        return self.score(h.mean((2, 3)))


class ScoresFirst(PooledWritten):
    """The scores of each place, and then their mean: the same."""

    def forward(self, h):
        return self.score(h.flatten(2).mT).mean(1)


def scores_by_convolution(C, classes):
    return nn.Sequential(nn.Conv2d(C, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


EXERCISES = [
    Exercise(
        "pooled_head",
        check.pooled_head,
        wrong=[
            (lambda C, classes: nn.Sequential(nn.Flatten(), nn.Linear(C * 64, classes)), "any height and width"),
            (lambda C, classes: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Linear(C, classes)), "stopped with|shape"),
            (with_(last=[lambda C: nn.Softmax(1)]), "leave the softmax out"),
            (with_(last=[lambda C: nn.LogSoftmax(1)]), "leave the softmax out"),
            (with_(last=[lambda C: nn.ReLU()]), "no score is ever negative"),
            (with_(last=[lambda C: nn.Sigmoid()]), "leave the sigmoid out"),
            (with_(last=[lambda C: nn.Tanh()]), "leave the tanh out"),
            (with_(between=[lambda C: nn.ReLU()]), "isn't linear: no ReLU"),
            (with_(before=[lambda C: nn.ReLU()]), "isn't linear: no ReLU"),
            (with_(between=[lambda C: nn.BatchNorm1d(C, affine=False)]), "isn't linear: .* no BatchNorm"),
            (with_(between=[lambda C: nn.Dropout()]), "leave dropout out"),
            (with_(pool=[lambda C: nn.AdaptiveMaxPool2d(1), lambda C: nn.Flatten()]), "the largest value"),
            (with_(pool=[lambda C: Sum()]), "take the mean over places, not the sum"),
            (with_(pool=[lambda C: Corner()]), "some places of the feature map don't matter"),
            (with_(before=[lambda C: nn.Conv2d(C, C, 3, padding=1)]), "leave convolutions out"),
            (with_(before=[lambda C: nn.Conv2d(C, C, 1)]), r"6 \* 4 \+ 4 weights, your head 70"),
            (with_(between=[lambda C: nn.Linear(C, C)]), r"6 \* 4 \+ 4 weights, your head 70"),
            (scores_by_convolution, "take nn.Linear"),
            (lambda C, classes: Detached(pooled(C, classes)), "the detach belongs at the block's INPUT"),
            (lambda C, classes: pooled(C, C), r"should have shape \(5, 4\)"),
            (lambda C, classes: pooled, "return a module"),
            (lambda C, classes: Head(pooled(C, classes)), "from features to scores alone"),
            (lambda C, classes: pooled(C, classes) and None, "returned None"),
        ],
        right=[
            PooledWritten,
            ScoresFirst,
            lambda C, classes: pooled(C, classes, pool=[nn.Flatten(2), Mean()]),
            functools.partial(conv_head, spec="0c1f"),
        ],
    ),
    Exercise(
        "small_head",
        check.small_head,
        wrong=[
            (flattens, "any height and width"),
            (lambda C, classes: body(C, classes, last=[nn.Softmax(1)]), "leave the softmax out"),
            (lambda C, classes: body(C, classes, last=[nn.LogSoftmax(1)]), "leave the softmax out"),
            (linear_head, "put a ReLU behind"),
            (pools_first, "only sees each channel's mean"),
            (lambda C, classes: Detached(body(C, classes)), "the detach belongs at the block's INPUT"),
            (lambda C, classes: body(C, classes, pool=[Corner()]), "some places of the feature map don't matter"),
            (lambda C, classes: body(C, C), r"should have shape \(5, 4\)"),
            (lambda C, classes: body, "return a module"),
            (lambda C, classes: body(C, classes, last=[nn.Dropout()]), "leave dropout out"),
            (lambda C, classes: body(C, classes, last=[nn.ReLU()]), "no score is ever negative"),
            (lambda C, classes: body(C, classes, last=[nn.Sigmoid()]), "between 0 and 1: leave the sigmoid out"),
            (lambda C, classes: body(C, classes, last=[nn.Tanh()]), "between -1 and 1: leave the tanh out"),
            (lambda C, classes: body(C, classes, conv=nn.Identity()), r"has 6 \* 6 weights, and there is no such"),
            (lambda C, classes: body(C, classes, conv=nn.Conv2d(C, C, 1, groups=C)), r"has 6 \* 6 weights"),
            (lambda C, classes: body(C, classes, conv=nn.Conv2d(C, C, 3, padding=1)), "1x1 convolution, not a 3x3"),
            (lambda C, classes: body(C, classes, pool=[Sum()]), "take the mean over places, not the sum"),
            (
                lambda C, classes: body(C, classes, pool=[nn.AdaptiveMaxPool2d(1), nn.Flatten()]),
                "the largest value of each channel",
            ),
            (
                lambda C, classes: nn.Sequential(nn.Conv2d(C, 1, 1), *body(1, classes)[1:]),
                r"keeps 6 channels has 6 \* 6 weights",
            ),
        ],
        right=[Written, lambda C, classes: body(C, classes, pool=[nn.Flatten(2), Mean()])],
    ),
]
