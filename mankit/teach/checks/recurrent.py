"""Checks of lesson 8: an LSTM's step, what a window reaches and keeps, and the cuts in time and in depth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from unittest.mock import Mock

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from .base import (
    all_close,
    ask,
    close,
    exercise,
    expect,
    expect_number,
    expect_tensor,
    gradients,
    more,
    normal,
    passed,
    redrawn,
    seeded,
)
from .truncated import truncated_step
from .watch import Watch

__all__ = ["kept_bytes", "local_frames", "lstm_step", "reach", "truncated_step"]


@exercise
def lstm_step(function: Callable) -> None:
    """Check (h, c) of one step, and its gradients, against the cell's own."""
    with seeded(0):
        cell = redrawn(nn.LSTMCell(4, 3).double(), seed=1)
    v, h, c = (normal(5, n, seed=n + i).requires_grad_() for i, n in enumerate((4, 3, 3)))
    right = copy.deepcopy(cell)(v, (h, c))
    with Watch(cell=cell, v=v, h=h, c=c) as watch:
        answer = ask(function, cell, v, (h, c))
    expect(
        not watch.passes and "lstm_cell" not in watch.called, "write the step from the cell's four weights yourself."
    )
    pair = isinstance(answer, tuple | list) and len(answer) == 2
    expect(pair, "return two things: the new h and the new c.")
    watch.expect_untouched()
    new_h, new_c = (expect_tensor(t, (5, 3), f"the new {name}") for t, name in zip(answer, "hc", strict=True))
    expect(not (close(new_h.detach(), right[1].detach())), "this is (c, h): return h first, then c.")
    wrong = _near_misses(cell, v.detach(), h.detach(), c.detach())
    for sentence, value in wrong.items():
        expect(not close(new_c.detach(), value), sentence)
    expect(
        close(new_c.detach(), right[1].detach()),
        "wrong c: it is f * c + i * g, with f the second gate of the cell's order.",
    )
    expect(
        not close(new_h.detach(), (right[0] / right[1].tanh() * right[1]).detach()),
        "h is o * tanh(c): the tanh is missing.",
    )
    expect(close(new_h.detach(), right[0].detach()), "c is right, but not h: it is o * tanh(c), with the NEW c.")
    push = normal(5, 3, seed=9)
    wanted = gradients(right[0] + right[1], v, h, c, push=push)
    got = gradients(new_h + new_c, v, h, c, push=push)
    expect(all_close(got, wanted), "right values, but not all gradients arrive at v, h and c: detach nothing here.")
    passed("the gates i, f, g, o, in this order; c is carried by f, and h = o * tanh(c).")


def _near_misses(cell: nn.LSTMCell, v: Tensor, h: Tensor, c: Tensor) -> dict[str, Tensor]:
    """What c becomes by the usual mistakes, and the sentence for each."""
    bare = v @ cell.weight_ih.T + h @ cell.weight_hh.T
    s = bare + cell.bias_ih + cell.bias_hh
    i, f, g, o = s.chunk(4, dim=1)
    fed = i.sigmoid() * g.tanh()
    less = [(bare + b).chunk(4, dim=1) for b in (0, cell.bias_ih, cell.bias_hh)]
    biases = [b[1].sigmoid() * c + b[0].sigmoid() * b[2].tanh() for b in less]
    order = "the four gates stand in PyTorch's order in the weights' rows: i, f, g, o"
    found = {"g is a candidate, not a gate: it goes through tanh.": f.sigmoid() * c + i.sigmoid() * g.sigmoid()}
    found |= {"the old c is gone: c becomes f * c + i * g.": fed, "the forget gate f is missing.": c + fed}
    found |= {f"{order} (yours: i, f, o, g).": f.sigmoid() * c + i.sigmoid() * o.tanh()}
    found |= {f"{order} (yours: f, i, g, o).": i.sigmoid() * c + f.sigmoid() * g.tanh()}
    for name, value in zip(("both biases are", "bias_hh is", "bias_ih is"), biases, strict=True):
        found[f"{name} missing: an LSTM of PyTorch adds bias_ih and bias_hh."] = value
    return {sentence: value.detach() for sentence, value in found.items()}


@exercise
def reach(function: Callable) -> None:
    """Check the share of the marked frames whose question lies in the same window."""
    cases = (5, 5, 12), (6, 5, 12), (8, 3, 12), (12, 5, 12), (1, 1, 4), (20, 5, 12), (4, 3, 5)
    for k, lag, length in more(cases, lambda r: (r.randint(2, 12), r.randint(1, 6), r.randint(9, 24))):
        value = expect_number(ask(function, k, lag, length), "the share")
        marks = range(length - lag)
        right = sum(m // k == (m + lag) // k for m in marks) / len(marks)
        where = f"k = {k}, lag = {lag}, {length} frames: {right:.3g} expected, {value:.3g} found"
        expect(not (right == 0 and value > 0), f"{where}. A window of k frames spans a distance of k - 1 at most.")
        expect(not (right and close(value, right * len(marks))), f"{where}. Divide by the number of possible marks.")
        expect(not (right and close(value, 100 * right)), f"{where}. A share is between 0 and 1.")
        every = right and close(value, sum(m // k == (m + lag) // k for m in range(length)) / length)
        expect(
            not every or close(value, right), f"{where}. A mark later than length - 1 - lag has no question any more."
        )
        ragged = "Windows start at 0, k, 2k, ...; the mark's and the question's must be the same one."
        expect(close(value, right), f"{where}. {ragged}")
    passed("no mark is reached with k <= lag, each one with k >= the length, and some between.")


@exercise
def kept_bytes(function: Callable) -> None:
    """Check the bytes that autograd keeps of a forward pass: each storage once, none that is there anyway."""
    W, x = normal(6, 6, seed=1).requires_grad_(), normal(5, 6, seed=2)
    few = x.float().requires_grad_()
    cases = [(lambda: (x @ W).tanh().sum(), (W, x)), (lambda: (few * few[:2].repeat(3, 1)[:5]).exp().sum(), ())]
    cases += [(lambda: (x @ W).tanh().sigmoid().pow(2).sum(), ()), (lambda: (x @ W[:2].T).sum(), (W[:3],))]
    for forward, exclude in cases:
        counted, saved = Mock(side_effect=forward), _saved(forward)
        value, ran = expect_number(ask(function, counted, list(exclude)), "the count"), counted.call_count
        expect(ran == 1, f"forward ran {ran} times: call it once, with the hooks in place.")
        there = {t.untyped_storage().data_ptr() for t in exclude}
        storages = {t.untyped_storage().data_ptr(): t for t in saved}  # each once
        new = [t for address, t in storages.items() if address not in there]
        right = sum(t.untyped_storage().nbytes() for t in new)
        views = sum(t.nbytes for t in saved if t.untyped_storage().data_ptr() not in there)
        wrong = {"count bytes, not numbers": sum(t.untyped_storage().nbytes() / t.element_size() for t in new)}
        wrong["what is in `exclude` is there anyway"] = sum(t.untyped_storage().nbytes() for t in storages.values())
        wrong["a tensor saved twice is kept once, and so is the storage behind two views"] = views
        fine, where = close(value, right), f"{right} bytes expected, {value:g} found"
        for sentence, number in wrong.items():
            expect(fine or not close(value, number), f"{where}: {sentence}.")
        expect(fine, f"{where}: add the bytes of each storage when it is first saved, whatever its type.")
    passed("every storage that autograd keeps, once, in bytes.")


def _saved(forward: Callable) -> list[Tensor]:
    """What forward() saves for backward, as often as it is saved; alive, so that no address is used again."""
    saved: list[Tensor] = []
    with saved_tensors_hooks(lambda tensor: saved.append(tensor.detach()), lambda nothing: nothing):
        forward()
    return saved


@exercise
def local_frames(function: Callable) -> None:
    """Check the depth cut on a window: a loss of each block for each frame, features that no gradient leaves."""
    with seeded(0):
        blocks = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.Tanh()).double() for a, b in ((3, 4), (4, 5))]
        heads = [nn.Sequential(nn.Flatten(), nn.Linear(n, 4)).double() for n in (16, 5)]
    x, y = normal(3, 4, 3, 4, 4, seed=3), torch.tensor([0, 1, 3])
    twins = copy.deepcopy((blocks, heads))
    weights = [p for m in (*blocks, *heads) for p in m.parameters()]
    watched = {f"{name} {i + 1}": m for name, row in (("block", blocks), ("head", heads)) for i, m in enumerate(row)}
    wanted, v = _local(*twins, x, y.repeat_interleave(4))
    with Watch(**watched, x=x, y=y) as watch:
        answer = ask(function, blocks, heads, x, y)
    watch.expect_untouched()
    got = [p.grad for p in weights]
    expect(any(g is not None for g in got), "nothing has a gradient: call backward on each block's loss.")
    expect(all(g is not None for g in got), "a block or a head has no gradient: each block has a loss of its own.")
    watch.expect_gradients(got, wanted, *watched)
    tiled, _ = _local(*twins, x, y.repeat(4))
    expect(
        not all_close(got, tiled),
        "the labels are in another order than the frames: a film's frames lie side by side "
        "after flatten(0, 1), so y is repeat_interleave'd, not repeated.",
    )
    for n, what in ((4, "the mean over all frames"), (1 / 3, "the sum over all frames")):
        expect(
            not all_close(got, [g / n for g in wanted]),
            f"this is {what}: sum over frames, mean over films, so that windows add up.",
        )
    expect(
        not all_close(got, _local(*twins, x, y.repeat_interleave(4), isolated=False)[0]),
        "the second block's loss trains the first block too: detach what goes into a block.",
    )
    expect(
        all_close(got, wanted),
        "wrong gradients: the loss is F.cross_entropy(head(h), the film's label), of each frame.",
    )
    watch.expect_one_pass(*watched)
    shape = expect_tensor(answer, (3, 4, 5), "the features of the frames")
    expect(close(shape.detach(), v), "the features are mixed up: of film b and frame t they belong to row [b, t].")
    expect(not shape.requires_grad, "the features still hold the last block's graph: return them detached.")
    passed("each block learns from every frame by itself, and no gradient leaves it.")


def _local(
    blocks: Sequence[nn.Module], heads: Sequence[nn.Module], x: Tensor, y: Tensor, isolated: bool = True
) -> tuple[list[Tensor], Tensor]:
    """Gradients of the local losses, blocks first, then heads; and the features (B, k, D)."""
    h, losses = x.flatten(0, 1), []
    for block, head in zip(blocks, heads, strict=True):
        h = block(h.detach() if isolated else h)
        losses.append(F.cross_entropy(head(h), y, reduction="sum") / len(x))
    weights = [p for m in (*blocks, *heads) for p in m.parameters()]
    return list(torch.autograd.grad(sum(losses), weights)), h.detach().flatten(1).unflatten(0, x.shape[:2])
