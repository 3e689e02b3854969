"""Lesson 1: each check passes its solution, and names the mistake of each classic wrong answer."""

import numpy as np
import torch
from answers_01_net import EXERCISES as NET
from exercises import Exercise, assert_each_check_has_its_exercise

from mankit.teach.checks import backprop as check


def relu_in_place(h, d_h):
    d_h[h <= 0] = 0
    return d_h


def divisors(n):
    return [K for K in range(1, n + 1) if n % K == 0]


def peak(n, a, c, K):
    return K * a + n // K * c


def with_weights(widths, batch):
    weights = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    return 4 * (batch * sum(widths[:-1]) + weights)


def scales_in_place(x, W, d_s):
    d_b = d_s.sum(0)
    d_x, d_W = d_s @ W, d_s.T @ x
    d_s /= len(d_s)
    return d_x, d_W, d_b


def by_autograd(x, W, d_s):
    x, W = x.clone().requires_grad_(), W.clone().requires_grad_()
    return [*torch.autograd.grad(x @ W.T, (x, W), d_s), d_s.sum(0)]


def by_einsum(x, W, d_s):
    return torch.einsum("bo,oi->bi", d_s, W), torch.einsum("bo,bi->oi", d_s, x), d_s.sum(dim=0)


def masked(h, d_h):
    d_a = torch.zeros_like(d_h)
    d_a[h > 0] = d_h[h > 0]
    return d_a


def takes_layers_away(layers):
    kept = peak = 0
    while layers:
        input_bytes, inside = layers.pop(0)
        kept, peak = kept + input_bytes, max(peak, kept + input_bytes + inside)
    return peak


def by_numpy(layers):
    inputs, insides = np.array(layers).T
    return (inputs.cumsum() + insides).max()


def by_loop(n, a, c):
    best = 1
    for K in divisors(n):
        if K * a + n * c / K < best * a + n * c / best:
            best = K
    return best


EXERCISES = [
    Exercise(
        "linear_backward",
        check.linear_backward,
        wrong=[
            (lambda x, W, d_s: (d_s @ W, x.T @ d_s, d_s.sum(0)), "d_W has the shape of W.T"),
            (lambda x, W, d_s: (d_s @ W, d_s.T @ x, d_s), "d_b still has a row for each example"),
            (lambda x, W, d_s: (d_s @ W, d_s.T @ x, d_s.mean(0)), "d_b is 1/B .* don't average"),
            (lambda x, W, d_s: (d_s @ W, d_s.T @ x / len(x), d_s.sum(0)), "d_W is 1/B .* don't average"),
            (lambda x, W, d_s: (d_s @ W.T, d_s.T @ x, d_s.sum(0)), "stopped with RuntimeError"),
            (lambda x, W, d_s: (x @ W.T, d_s.T @ x, d_s.sum(0)), r"d_x should have shape \(5, 3\)"),
            (lambda x, W, d_s: (-d_s @ W, d_s.T @ x, d_s.sum(0)), "d_x has the right shape but not"),
            (lambda x, W, d_s: d_s @ W, "return three tensors"),
            (scales_in_place, "your function changed d_s itself"),
            (lambda x, W, d_s: None, "returned None: is its `return` missing"),
            (lambda x, W, d_s: (d_s.T @ x, d_s @ W, d_s.sum(0)), "d_x should have shape"),
            (lambda x, W, d_s: (d_s @ W, d_s.T @ x, d_s.sum()), "d_b should have shape"),
        ],
        right=[by_autograd, by_einsum],
    ),
    Exercise(
        "relu_backward",
        check.relu_backward,
        wrong=[
            (lambda h, d_h: d_h * (h >= 0), "every gradient came through"),
            (lambda h, d_h: (h > 0).double(), "multiply it by d_h"),
            (lambda h, d_h: h * d_h, "d_h times the output"),
            (lambda h, d_h: d_h.relu(), "the mask comes from h"),
            (lambda h, d_h: (d_h * (h > 0)).relu(), "pass d_h on where h > 0"),
            (lambda h, d_h: d_h[h > 0], "should have shape"),
            (relu_in_place, "changed d_h itself"),
            (lambda h, d_h: torch.where(h > 0, d_h, h).neg(), "aren't autograd's"),
            (lambda h, d_h: h.relu_(), "d_h times the output|aren't autograd's|changed"),
        ],
        right=[masked],
    ),
    Exercise(
        "mlp_kept_bytes",
        check.mlp_kept_bytes,
        wrong=[
            (lambda widths, batch: batch * sum(widths[:-1]), "numbers, not bytes"),
            (lambda widths, batch: 4 * sum(widths[:-1]), "multiply by the batch"),
            (lambda widths, batch: 4 * batch * sum(widths), "the last output is counted"),
            (lambda widths, batch: 4 * batch * sum(widths[1:-1]), "the input is missing"),
            (lambda widths, batch: 4 * batch * (2 * sum(widths[:-1]) - widths[0]), "hidden layer counts twice"),
            (with_weights, "the weights are counted"),
            (lambda widths, batch: 7, "a linear layer keeps its input"),
            (lambda widths, batch: None, "returned None: is its `return` missing"),
            (lambda widths, batch: 8 * batch * sum(widths[:-1]), "a linear layer keeps its input"),
        ],
        right=[lambda widths, batch: torch.tensor(widths[:-1]).sum() * batch * 4],
    ),
    Exercise(
        "checkpoint_peak",
        check.checkpoint_peak,
        wrong=[
            (lambda layers: sum(a + b for a, b in layers), "that is plain back-propagation"),
            (lambda layers: sum(a for a, _ in layers) + max(b for _, b in layers), "later layers are gone"),
            (lambda layers: max(a + b for a, b in layers), "inputs of earlier layers wait too"),
            (lambda layers: sum(a for a, _ in layers), "the inside is missing"),
            (lambda layers: max(b for _, b in layers), "the inputs are missing"),
            (lambda layers: sum(a for a, _ in layers) + layers[-1][1], "take the largest"),
            (takes_layers_away, "changed layers itself"),
        ],
        right=[by_numpy],
    ),
    Exercise(
        "best_segments",
        check.best_segments,
        wrong=[
            (lambda n, a, c: round(n**0.5), r"sqrt\(n\) is the rule for a = c only"),
            (lambda n, a, c: round((n * c / a) ** 0.5), "doesn't divide n"),
            (lambda n, a, c: n, "compare the peaks of all divisors"),
            (lambda n, a, c: min(peak(n, a, c, K) for K in divisors(n)), "return the K that gives it"),
            (lambda n, a, c: max(divisors(n), key=lambda K: (-peak(n, a, c, K), K)), "return the smaller"),
            (lambda n, a, c: divisors(n), "should be a number, not list"),
        ],
        right=[by_loop],
    ),
]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + NET)
