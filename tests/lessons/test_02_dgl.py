"""Lesson 2: each check passes its solution, and names the mistake of each classic wrong answer."""

import math

import numpy as np
import torch
from answers_02_head import EXERCISES as HEADS
from answers_02_measure import EXERCISES as MEASURES
from exercises import Exercise, assert_each_check_has_its_exercise
from torch.nn import functional as F

from mankit.teach.checks import dgl as check


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


def isolated(block, head, h, x, y):
    return no_detach(block, head, h.detach(), x, y)


def then(change):
    """The right step, and something more."""

    def step(block, head, h, x, y):
        answer = isolated(block, head, h, x, y)
        change(block, head, h)
        return answer

    return step


def runs_twice(block, head, h, x, y):
    loss = head.loss(block(h.detach()), x, y)
    loss.backward()
    return block(h.detach()).detach(), loss.detach()


def head_twice(block, head, h, x, y):
    features, loss = isolated(block, head, h, x, y)
    head(features)
    return features, loss


def backward_twice(block, head, h, x, y, keep=True):
    out = block(h.detach())
    loss = head.loss(out, x, y)
    loss.backward(retain_graph=keep)
    loss.backward()
    return out.detach(), loss.detach()


def in_place(block, head, h, x, y):
    return isolated(block, head, h.detach_(), x, y)


def in_eval(block, head, h, x, y):
    block.eval()
    answer = isolated(block, head, h, x, y)
    block.train()
    return answer


def float_loss(block, head, h, x, y):
    features, loss = isolated(block, head, h, x, y)
    return [features, loss.item()]


def by_functions(block, head, h, x, y):
    out = h.detach().clone()
    for layer in block:
        out = layer(out)
    loss = head.loss(out, x, y)
    torch.autograd.backward([loss])
    return out.data, loss.detach().numpy()


def by_grad(block, head, h, x, y):
    """Gradients taken, then put into .grad."""
    parameters = [*block.parameters(), *head.parameters()]
    out = block(h.detach())
    loss = head.loss(out, x, y)
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        p.grad = g
    return out.detach(), loss.detach()


def divided(n, K):
    size, extra = divmod(n, K)
    return [float(size + (i < extra)) for i in range(K)]


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
            (divided, "a size is a whole number"),
            (lambda n, K: np.array(divided(n, K)), "a size is a whole number"),
            (lambda n, K: str(n), "return a list of K sizes"),
        ],
        right=[
            lambda n, K: np.array([n // K + (i < n % K) for i in range(K)]),
            lambda n, K: tuple(len(part) for part in np.array_split(range(n), K)),
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
            (runs_twice, "block ran 2 times"),
            (head_twice, "head ran 2 times"),
            (backward_twice, "twice those of the loss: call backward once"),
            (lambda *given: backward_twice(*given, keep=False), "same graph twice: call backward once"),
            (in_place, r"cut h itself off its graph"),
            (then(lambda block, head, h: block.eval()), "block was left in another mode"),
            (then(lambda block, head, h: head.requires_grad_(False)), "switched requires_grad of head"),
            (then(lambda block, head, h: (block.zero_grad(), head.zero_grad())), "leave zero_grad to the caller"),
            (then(lambda block, head, h: h.data.zero_()), "changed h itself"),
            (in_eval, r"the features aren't block\(h\)"),
            (lambda *given: isolated(*given) and None, "returned None"),
        ],
        right=[float_loss, by_functions, by_grad],
    ),
]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + HEADS + MEASURES)
