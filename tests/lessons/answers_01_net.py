"""The check of lesson 1's core, the backward pass of a whole small network, on many answers."""

import torch
from exercises import Exercise
from torch.nn import functional as F

from mankit.teach.checks.backprop import net_backward


def backward(x, y, W1, b1, W2, b2, *, mean=True, label=1, mask=True, sign=1, second=lambda a: a.relu()):
    a = x @ W1.T + b1
    s = a.relu() @ W2.T + b2
    d_s = sign * (s.softmax(1) - label * F.one_hot(y, 3)) / (len(x) if mean else 1)
    d_a = d_s @ W2 * ((a > 0) if mask else 1)
    return d_a.T @ x, d_a.sum(0), d_s.T @ second(a), d_s.sum(0)


def with_a_loop(x, y, W1, b1, W2, b2):
    """One example after the other."""
    total = [torch.zeros_like(w) for w in (W1, b1, W2, b2)]
    for example, label in zip(x, y, strict=True):
        a = W1 @ example + b1
        d_s = (W2 @ a.clamp(min=0) + b2).softmax(0)
        d_s[label] -= 1
        d_a = W2.T @ d_s * (a > 0)
        parts = torch.outer(d_a, example), d_a, torch.outer(d_s, a.clamp(min=0)), d_s
        total = [t + part / len(x) for t, part in zip(total, parts, strict=True)]
    return total


def by_autograd(x, y, *weights):
    W1, b1, W2, b2 = leaves = [w.clone().requires_grad_() for w in weights]
    F.cross_entropy((x @ W1.T + b1).relu() @ W2.T + b2, y).backward()
    return [leaf.grad for leaf in leaves]


def turned(*given):
    d_W1, d_b1, d_W2, d_b2 = backward(*given)
    return d_W1.T, d_b1, d_W2, d_b2


def second_turned(*given):
    d_W1, d_b1, d_W2, d_b2 = backward(*given)
    return d_W1, d_b1, d_W2.T, d_b2


def mean_twice(*given):
    return [gradient / len(given[0]) for gradient in backward(*given)]


def by_the_pieces(x, y, W1, b1, W2, b2):
    """With the functions of exercises 1 and 2."""

    def linear(x, W, d_s):
        return d_s @ W, d_s.T @ x, d_s.sum(dim=0)

    h = F.relu(x @ W1.T + b1)
    d_s = F.softmax(h @ W2.T + b2, dim=1)
    d_s[torch.arange(len(x)), y] -= 1
    d_h, d_W2, d_b2 = linear(h, W2, d_s / len(x))
    _, d_W1, d_b1 = linear(x, W1, d_h * (h > 0))
    return [d_W1, d_b1, d_W2, d_b2]


def moves_the_weights(x, y, W1, b1, W2, b2):
    answer = backward(x, y, W1, b1, W2, b2)
    W1 -= 0.1 * answer[0]
    return answer


def with_(function, **change):
    return lambda *given: function(*given, **change)


EXERCISES = [
    Exercise(
        "net_backward",
        net_backward,
        wrong=[
            (with_(backward, mean=False), "d_b2 is B times too large"),
            (with_(backward, label=0), "d_b2: 1 is missing at the label"),
            (with_(backward, sign=-1), "d_b2: the sign is wrong"),
            (with_(backward, mask=False), "d_b1: ReLU's mask is missing"),
            (with_(backward, second=lambda a: a), "d_W2: the input of the second layer is h"),
            (mean_twice, "d_b2 is B times too small"),
            (lambda *given: [g.sum() for g in backward(*given)], r"d_b2 should have shape \(3,\)"),
            (second_turned, "d_W2 has the shape of its weight's transpose"),
            (turned, "d_W1 has the shape of its weight's transpose"),
            (by_autograd, "right, but by autograd"),
            (moves_the_weights, "changed W1 itself"),
            (lambda *given: backward(*given)[:2], "return four tensors"),
            (lambda *given: None, "returned None"),
        ],
        right=[backward, with_a_loop, by_the_pieces],
    )
]
