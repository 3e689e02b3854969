"""Lesson 6: the checks of LLS's waves and of its loss."""

import math

import torch
from exercises import Exercise, then
from torch.nn import functional as F

from mankit.rules import lls as library
from mankit.teach.checks import family as check


def waves(classes, length, wave=torch.sin, first=0, scale=1.0, dtype=torch.float64, ends=512):
    f = torch.linspace(50, ends, classes, dtype=dtype)
    t = torch.arange(first, length + first, dtype=dtype)
    return wave(scale * f[:, None] * t)


def one_by_one(classes, length):
    f = [50 + 462 * c / (classes - 1) for c in range(classes)]
    return torch.tensor([[math.sin(each * t) for t in range(length)] for each in f], dtype=torch.float64)


def loss(h, y, waves, side=4, tau=1.0, pool=F.adaptive_avg_pool2d, dim=1, flat=True, how="mean"):
    a = pool(h, side)
    a = F.normalize(a.flatten(1), dim=dim) if flat else F.normalize(a, dim=dim).flatten(1)
    return F.cross_entropy(a @ waves.to(a).T / tau, y, reduction=how)


def changed(**how):
    return lambda h, y, waves, side=4, tau=1.0: loss(h, y, waves, side, tau, **how)


def not_normalised(h, y, waves, side=4, tau=1.0):
    return F.cross_entropy(F.adaptive_avg_pool2d(h, side).flatten(1) @ waves.to(h).T / tau, y)


def softmax_first(h, y, waves, side=4, tau=1.0):
    a = F.normalize(F.adaptive_avg_pool2d(h, side).flatten(1))
    return F.cross_entropy((a @ waves.to(a).T / tau).softmax(1), y)


def in_64_bits(h, y, waves, side=4, tau=1.0):
    a = F.normalize(F.adaptive_avg_pool2d(h, side).flatten(1))
    return F.cross_entropy(a @ waves.T / tau, y)


def half_detached(h, y, waves, side=4, tau=1.0):
    a = F.adaptive_avg_pool2d(h, side).flatten(1)
    return F.cross_entropy(a / a.norm(dim=1, keepdim=True).detach() @ waves.to(a).T / tau, y)


def backward_too(h, y, waves, side=4, tau=1.0):
    found = loss(h, y, waves, side, tau)
    found.backward(retain_graph=True) if found.requires_grad else None
    return found


def by_logarithms(h, y, waves, side=4, tau=1.0):
    a = F.adaptive_avg_pool2d(h, (side, side)).reshape(len(h), -1)
    logits = (a / a.square().sum(1, keepdim=True).sqrt()) @ waves.to(a).t() / tau
    return -logits.log_softmax(1)[torch.arange(len(y)), y].mean()


def by_head(h, y, waves, side=4, tau=1.0):
    return library.WaveHead(waves, side, tau, 0.0, None).loss(h, h, y)


EXERCISES = [
    Exercise(
        "basis",
        check.basis,
        wrong=[
            (lambda c, n: waves(c, n, dtype=torch.float32), "Q is float32: f t reaches"),
            (lambda c, n: waves(c, n, dtype=torch.float32).double(), "something in it was rounded to 32 bits"),
            (lambda c, n: waves(c, n, torch.cos), "this is the cosine"),
            (lambda c, n: waves(c, n, first=1), "t starts at 0"),
            (lambda c, n: waves(c, n, scale=2 * math.pi), "no 2 pi"),
            (lambda c, n: waves(c, n, ends=50 + 462 * (c - 1) / c), "the ends, 50 and 512, are both in"),
            (lambda c, n: waves(c, n).sign(), "only with the option `square`"),
            (lambda c, n: waves(n, c), "should have shape"),
            (lambda c, n: waves(c, n, ends=500), "wrong values"),
            (lambda c, n: waves(c, n).requires_grad_(), "LLS trains nothing"),
            (lambda c, n: waves(c, n).tolist(), "should be a tensor"),
        ],
        right=[waves, one_by_one, library.basis],
    ),
    Exercise(
        "lls_loss",
        check.lls_loss,
        wrong=[
            (not_normalised, "the features aren't normalised"),
            (changed(dim=0), "and not over the batch"),
            (changed(flat=False), "normalise after flattening"),
            (changed(pool=F.adaptive_max_pool2d), "pooled by their maximum"),
            (changed(how="sum"), "the loss is a sum"),
            (changed(how="none"), "should have shape"),
            (lambda h, y, waves, side, tau: loss(h, y, waves, side), "tau is missing"),
            (lambda h, y, waves, side, tau: loss(h, y, waves, side, 1 / tau), "tau multiplies"),
            (softmax_first, "no softmax before it"),
            (lambda h, *given: loss(h.detach(), *given), "no gradient reaches h"),
            (half_detached, "is h detached midway"),
            (backward_too, "went backward already"),
            (in_64_bits, "a network has 32 bits, the waves 64"),
            (lambda h, y, waves, side, tau: loss(h + 1, y, waves, side, tau), "pool, flatten, length 1"),
            (then(loss, lambda h, y, waves, *how: waves.neg_()), "changed waves itself"),
            (lambda *given: None, "returned None"),
        ],
        right=[loss, by_logarithms, by_head],
    ),
]
