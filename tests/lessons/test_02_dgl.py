"""Lesson 2: each check passes its solution, and names the mistake of each classic wrong answer."""

import math
from inspect import isfunction

import pytest
import torch
from exercises import Exercise, assert_check_is_right
from torch import nn
from torch.nn import functional as F

from mankit.teach.checks import dgl as check

# --- small_head ---


def body(C, classes, *, pool=None, last=()):
    """The right head, with another pooling or something behind it."""
    pool = pool or [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(C, C, 1), nn.ReLU(), *pool, nn.Linear(C, classes), *last)


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


# --- isolated_step ---


def no_detach(block, head, h, x, y):
    out = block(h)
    loss = head.loss(out, x, y)
    loss.backward()
    return out.detach(), loss.detach()


def detaches_output(block, head, h, x, y):
    out = block(h.detach()).detach()
    loss = head.loss(out, x, y)
    loss.backward()
    return out, loss.detach()


def no_backward(block, head, h, x, y):
    out = block(h.detach())
    return out.detach(), head.loss(out, x, y)


def keeps_features(block, head, h, x, y):
    out = block(h.detach())
    loss = head.loss(out, x, y)
    loss.backward()
    return out, loss.detach()


def keeps_loss(block, head, h, x, y):
    out = block(h.detach())
    loss = head.loss(out, x, y)
    loss.backward()
    return out.detach(), loss


def own_loss(block, head, h, x, y):
    out = block(h.detach())
    loss = F.cross_entropy(head(out), y)
    loss.backward()
    return out.detach(), loss.detach()


def returns_logits(block, head, h, x, y):
    out = block(h.detach())
    loss = head.loss(out, x, y)
    loss.backward()
    return head(out).detach(), loss.detach()


def twice(block, head, h, x, y):
    no_detach(block, head, h.detach(), x, y)
    return no_detach(block, head, h.detach(), x, y)


def steps_too(block, head, h, x, y):
    answer = no_detach(block, head, h.detach(), x, y)
    torch.optim.SGD([*block.parameters(), *head.parameters()], lr=0.1).step()
    return answer


# --- ridge_probe ---


def ridge(h, y, classes, alpha, *, centred=True, mean=False):
    Y = F.one_hot(y, classes).to(h.dtype)
    middle, share = (h.mean(0), Y.mean(0)) if centred else (0 * h[0], 0 * Y[0])
    hc, Yc = h - middle, Y - share
    n = len(h) if mean else 1
    W = torch.linalg.solve(hc.T @ hc / n + alpha * torch.eye(h.shape[1], dtype=h.dtype), hc.T @ Yc / n)
    return W, share - middle @ W


def only_W(h, y, classes, alpha):
    return ridge(h, y, classes, alpha)[0]


def transposed(h, y, classes, alpha):
    W, b = ridge(h, y, classes, alpha)
    return W.T, b


# --- linear_cka ---


def similarity(a, b, *, dim=0, power=2, divide=True, root=False):
    a, b = (h - h.mean(dim, keepdim=True) if dim is not None else h for h in (a, b))
    value = (a.T @ b).norm() ** power / ((a.T @ a).norm() * (b.T @ b).norm() if divide else 1)
    return value.sqrt() if root else value


def cosine(a, b):
    a, b = (h - h.mean(0) for h in (a, b))
    width = min(a.shape[1], b.shape[1])
    return F.cosine_similarity(a[:, :width].flatten(), b[:, :width].flatten(), dim=0)


def divides_by_one(a, b):
    a, b = (h - h.mean(0) for h in (a, b))
    return (a.T @ b).norm() / (a.T @ a).norm()


EXERCISES = [
    Exercise(
        "block_sizes",
        check.block_sizes,
        wrong=[
            (lambda n, K: [n // K] * K, "hand out every layer once; see n % K"),
            (lambda n, K: [math.ceil(n / K)] * K, "which add up to"),
            (lambda n, K: [n // K] * (K - 1) + [n - n // K * (K - 1)], "spread the n % K extra layers"),
            (lambda n, K: [n // K + (i >= K - n % K) for i in range(K)], "earlier blocks get the extra layers"),
            (lambda n, K: [n / K] * K, "a size is a whole number"),
            (lambda n, K: [1] * n, "one size for each of the K blocks"),
            (lambda n, K: n // K, "return a list of K sizes"),
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
        ],
    ),
    Exercise(
        "isolated_step",
        check.isolated_step,
        wrong=[
            (no_detach, "block 2's loss changed block 1's gradients: detach the INPUT of the block, not its output"),
            (detaches_output, "the head got a gradient, its block none"),
            (no_backward, "call loss.backward.. inside the step, at once"),
            (keeps_features, "return features.detach"),
            (keeps_loss, "return loss.detach"),
            (own_loss, r"isn't head.loss\(features, x, y\)"),
            (returns_logits, "the features .* should have shape"),
            (twice, "call backward once"),
            (steps_too, "leave that to the optimizer"),
            (lambda block, head, h, x, y: block(h.detach()), "return two things"),
        ],
    ),
    Exercise(
        "ridge_probe",
        check.ridge_probe,
        wrong=[
            (lambda h, y, classes, alpha: ridge(h, y, classes, alpha, centred=False), "centre h and the one-hot"),
            (lambda h, y, classes, alpha: ridge(h, y, classes, 0.0), "alpha is missing"),
            (lambda h, y, classes, alpha: ridge(h, y, classes, alpha, mean=True), "use the SUM"),
            (lambda h, y, classes, alpha: ridge(h, y, classes, alpha**2), "W isn't the minimum"),
            (transposed, r"should have shape \(5, 3\)"),
            (only_W, "return two things"),
        ],
    ),
    Exercise(
        "linear_cka",
        check.linear_cka,
        wrong=[
            (lambda a, b: similarity(a, b, dim=None), "centre each feature"),
            (lambda a, b: similarity(a, b, dim=1), "centre each feature"),
            (lambda a, b: similarity(a, b, divide=False), "not 1: look at what you divide by"),
            (divides_by_one, "three times as large"),
            (cosine, "rotating the features"),
            (lambda a, b: similarity(a, b, root=True), "square the norm above the line only"),
            (lambda a, b: similarity(a, b) ** 2, "square the norm above the line only"),
            (lambda a, b: (a - a.mean(0)).T @ (b - b.mean(0)), "return one number"),
        ],
    ),
]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_check_is_right(exercise, capsys):
    assert_check_is_right("02_dgl", exercise, capsys)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_check_leaves_the_readers_random_numbers_alone(exercise):
    before = torch.get_rng_state()
    wrong, sentence = exercise.wrong[0]
    with pytest.raises(Exception, match=sentence):
        exercise.check(wrong)
    assert torch.equal(torch.get_rng_state(), before)


def test_there_is_a_check_for_each_exercise():
    own = {f.__name__ for f in vars(check).values() if isfunction(f) and f.__module__ == check.__name__}
    assert {exercise.name for exercise in EXERCISES} == {name for name in own if not name.startswith("_")}
