"""Checks of lesson 1: backward passes by hand, bytes kept for backward, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .base import CheckFailed, ask, close, exercise, expect, expect_number, expect_tensor, generator, more, passed
from .net import net_backward
from .watch import Watch

__all__ = ["best_segments", "checkpoint_peak", "linear_backward", "mlp_kept_bytes", "net_backward", "relu_backward"]


@exercise
def linear_backward(function: Callable) -> None:
    """Check (d_x, d_W, d_b) of s = x @ W.T + b against autograd, on a batch."""
    draw, sizes = generator(1), ((5, 3), (4, 3), (4,), (5, 4))
    x, W, b, d_s = (torch.randn(size, generator=draw, dtype=torch.float64) for size in sizes)
    leaves = [t.clone().requires_grad_() for t in (x, W, b)]
    right = torch.autograd.grad(leaves[0] @ leaves[1].T + leaves[2], leaves, d_s)
    with Watch(x=x, W=W, d_s=d_s) as watch:
        answer = ask(function, x, W, d_s)
    watch.expect_untouched()
    three = isinstance(answer, tuple | list) and len(answer) == 3
    expect(three, "return three tensors: d_x, d_W, d_b, in this order.")
    if isinstance(answer[1], Tensor):
        expect(
            answer[1].shape != (3, 4),
            "d_W has the shape of W.T: a gradient has the shape of what it "
            "belongs to; swap the two factors of your product.",
        )
    if isinstance(answer[2], Tensor):
        expect(
            answer[2].shape != (5, 4),
            "d_b still has a row for each example: b is added to every row, so its gradients add up over the batch.",
        )
    for name, value, true in zip(("d_x", "d_W", "d_b"), answer, right, strict=True):
        expect_tensor(value, tuple(true.shape), name)
        mean = close(value, true / len(x))
        expect(
            not mean,
            f"{name} is 1/B of the gradient: don't average over the batch; where a loss is a "
            "mean, its 1/B is in d_s already.",
        )
        expect(close(value, true), f"{name} has the right shape but not autograd's values: check its line.")
    passed("d_x, d_W and d_b are autograd's.")


@exercise
def relu_backward(function: Callable) -> None:
    """Check ReLU's backward pass from its output against autograd, with outputs of exactly 0."""
    draw = generator(2)
    for shape in ((40,), (2, 3, 4, 5)):
        a, d_h = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
        h = a.requires_grad_().relu()
        (right,) = torch.autograd.grad(h, a, d_h)
        h = h.detach()
        with Watch(h=h, d_h=d_h) as watch:
            d_a = ask(function, h, d_h)
        watch.expect_untouched()
        expect_tensor(d_a, shape, "the gradient of the input")
        expect(
            not close(d_a, d_h),
            "every gradient came through: where the output is 0 the unit was off and "
            "its gradient is 0 (is it h > 0, not h >= 0?).",
        )
        expect(not close(d_a, (h > 0).double()), "you returned ReLU's slope: multiply it by d_h.")
        expect(not close(d_a, h * d_h), "d_h times the output: ReLU's slope is 1 where it is on.")
        expect(not close(d_a, d_h.relu()), "ReLU of the gradient: the mask comes from h, not d_h.")
        expect(close(d_a, right), "the values aren't autograd's: pass d_h on where h > 0, and 0 elsewhere.")
    passed("your gradient is autograd's, and the output was enough.")


@exercise
def mlp_kept_bytes(function: Callable) -> None:
    """Check the bytes a chain of linear layers and ReLUs keeps against what autograd really saves."""
    cases = ([3, 5], 2), ([7, 11, 2], 4), ([6, 20, 9, 13, 3], 5)
    for widths, batch in more(cases, lambda r: (r.choices(range(2, 30), k=r.randint(2, 6)), r.randint(2, 9))):
        right, one = _saved_by_chain(widths, batch), 4 * batch
        with Watch(widths=widths) as watch:
            answer = ask(function, widths, batch)
        watch.expect_untouched()
        _expect_bytes(
            answer,
            right,
            f"widths {widths}, batch {batch}",
            {
                right / 4: "these are numbers, not bytes: a 32-bit float takes 4 bytes",
                right / batch: "this is one example's share: multiply by the batch",
                right + one * widths[-1]: "the last output is counted, but no layer of the chain keeps it",
                right - one * widths[0]: "the input is missing: the first linear layer keeps it",
                right + sum(4 * a * b for a, b in _pairs(widths)): "the weights are counted too: leave them out",
                right + one * sum(widths[1:-1]): "each hidden layer counts twice: a ReLU keeps its output only, "
                "and that is the next layer's input",
            },
            "a linear layer keeps its input, a ReLU its output, each tensor once",
        )
    passed("your count is what autograd keeps.")


@exercise
def checkpoint_peak(function: Callable) -> None:
    """Check the peak of a step with a checkpoint at every layer against a step played through."""
    cases = ([(8, 30)], [(8, 10), (8, 10)], [(8, 30), (4, 10), (2, 3)], [(5, 40), (9, 1), (9, 70), (3, 60)])
    for layers in more(cases, lambda r: [(r.randint(1, 9), r.randint(1, 80)) for _ in range(r.randint(2, 6))]):
        inputs, insides = zip(*layers, strict=True)
        right = _played_through(layers)
        with Watch(layers=layers) as watch:
            answer = ask(function, layers)
        watch.expect_untouched()
        _expect_bytes(
            answer,
            right,
            f"layers {layers}",
            {
                sum(inputs) + sum(insides): "that is plain back-propagation: only one inside is there at a time",
                sum(inputs) + max(insides): "when backward is at a layer, the inputs of later layers are gone",
                max(a + b for a, b in layers): "the inputs of earlier layers wait too, not only the layer's own",
                sum(inputs): "the inside is missing: the layer at hand runs again, with everything kept",
                max(insides): "the inputs are missing: they are the checkpoints",
            },
            "for each layer add the inputs up to it and its inside; take the largest",
        )
    passed("your peak is that of a step played through.")


@exercise
def best_segments(function: Callable) -> None:
    """Check the best number of equal segments against trying them all."""
    cases = (12, 9, 1), (16, 1, 1), (16, 1, 4), (12, 1, 1), (36, 1, 30), (7, 1, 1), (54, 2, 8)
    for n, a, c in more(cases, lambda r: (r.choice((24, 30, 48, 60, 64)), r.randint(1, 9), r.randint(1, 30))):
        peaks = {K: _played_through([(a, n // K * c)] * K) for K in range(1, n + 1) if n % K == 0}
        best, where = min(peaks, key=peaks.get), f"n={n}, a={a}, c={c}"
        K = expect_number(ask(function, n, a, c), "the number of segments")
        value = K not in peaks and K == peaks[best]
        expect(not value, f"{where}: {K:g} is the smallest peak: return the K that gives it.")
        expect(K in peaks, f"{where}: K={K:g} doesn't divide n, so the segments aren't equal.")
        if K != best:  # best is the first of equals
            rule = "compare the peaks of all divisors of n"
            if peaks[K] == peaks[best]:
                rule = "of two equally good ones return the smaller"
            elif K == round(n**0.5):
                rule = "sqrt(n) is the rule for a = c only"
            both = f"at K={K:g} the peak is {peaks[K]}, at K={best} it is {peaks[best]}"
            raise CheckFailed(f"{where}: {both}; {rule}.")
    passed("your K is the best of all divisors.")


def _expect_bytes(answer: Any, right: int, where: str, wrong: Mapping[float, str], rule: str) -> None:
    """Raise CheckFailed unless the answer is right: with the known mistake that gives it, or the rule."""
    answer = expect_number(answer, "the number of bytes")
    if answer != right:
        raise CheckFailed(f"{where}: you say {answer:g} bytes, it is {right}; {wrong.get(answer, rule)}.")


def _pairs(widths: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(widths, widths[1:], strict=False))


def _saved_by_chain(widths: Sequence[int], batch: int) -> int:
    """Bytes that autograd saves in a chain of linear layers with ReLU between, without the weights."""
    x, storages = torch.ones(batch, widths[0]), {}
    linears = [nn.utils.skip_init(nn.Linear, a, b) for a, b in _pairs(widths)]  # draws no random numbers
    weights = {p.untyped_storage().data_ptr() for layer in linears for p in layer.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        h = linears[0](x)
        for layer in linears[1:]:
            h = layer(h.relu())
    return sum(storage.nbytes() for address, storage in storages.items() if address not in weights)


def _played_through(layers: Sequence[tuple[int, int]]) -> int:
    """The most bytes at any moment: inputs pile up; from the last layer on an inside comes, and both go."""
    there, moments = [], []
    for input_bytes, _ in layers:
        there.append(input_bytes)
        moments.append(sum(there))
    for _, inside in reversed(layers):
        moments.append(sum(there) + inside)
        there.pop()
    return max(moments)
