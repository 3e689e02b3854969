"""Checks for lesson 02_dgl: cutting, two auxiliary heads, the isolated step, and both of measure.py."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from itertools import pairwise
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn
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
from .measure import linear_cka, ridge_probe
from .watch import Watch

__all__ = ["block_sizes", "isolated_step", "linear_cka", "pooled_head", "ridge_probe", "small_head"]


@exercise
def block_sizes(function: Callable) -> None:
    """Check block_sizes(n, K): n layers in K blocks, as even as can be, the larger blocks first."""
    cases = (23, 5), (9, 1), (9, 8), (16, 8), (16, 3), (7, 7)
    for n, K in more(cases, lambda r: (r.randint(9, 60), r.randint(2, 9))):
        sizes, case = ask(function, n, K), f"for {n} layers and K={K} you give"
        rows = isinstance(sizes, list | tuple | np.ndarray | Tensor)
        expect(rows, f"{case} a {type(sizes).__name__}: return a list of K sizes.")
        sizes = sizes.tolist() if isinstance(sizes, np.ndarray | Tensor) else list(sizes)
        case = f"{case} {sizes}"
        expect(len(sizes) == K, f"{case}: that is {len(sizes)} blocks; return one size for each of the K blocks.")
        whole = all(isinstance(size, Integral) for size in sizes)
        expect(whole, f"{case}: a size is a whole number, an int; divide with //, not /.")
        expect(sum(sizes) == n, f"{case}, which add up to {sum(sizes)}: hand out every layer once; see n % K.")
        expect(max(sizes) - min(sizes) <= 1, f"{case}: sizes may differ by 1 at most; spread the n % K extra layers.")
        expect(all(a >= b for a, b in pairwise(sizes)), f"{case}: earlier blocks get the extra layers, not later ones.")
    passed("K even blocks, every layer once, extra layers to the earlier blocks.")


@exercise
def pooled_head(function: Callable) -> None:
    """Check pooled_head(channels, classes): global average pooling, one linear layer and nothing else."""
    with seeded(0):
        head, h, gradient = _made(function)
    with torch.no_grad():
        _expect_average_of_places(head, h, "leave convolutions out: pooling and one linear layer")
        linear = close(head(-2 * h) + 2 * head(h), 3 * head(0 * h))
        expect(linear, "the head isn't linear: no ReLU and no BatchNorm here, only pooling and one linear layer.")
    _expect_all_places(gradient)
    linears = [m for m in head.modules() if isinstance(m, nn.Linear)]
    count = sum(p.numel() for p in head.parameters())
    expect(count == 6 * 4 + 4, f"a linear layer from 6 channels to 4 classes has 6 * 4 + 4 weights, your head {count}.")
    expect(
        len(linears) == 1,
        "right scores, but first weights are drawn by the kind of layer: take nn.Linear(channels, classes), "
        "so that your run starts where the library's does.",
    )
    passed("pooling and one linear layer, for features of any size; the block learns through it.")


@exercise
def small_head(function: Callable) -> None:
    """Check small_head(channels, classes): 1x1 convolution, ReLU, global average pooling, linear layer."""
    with seeded(0):
        head, h, gradient = _made(function)
    with torch.no_grad():
        expect(not close(head(h) + head(-h), 2 * head(0 * h)), "the head is linear: put a ReLU behind the convolution.")
        pooled = h.mean((2, 3), keepdim=True).expand_as(h)
        expect(
            not close(head(pooled), head(h)),
            "the head only sees each channel's mean: apply convolution and ReLU first, then pool.",
        )
        _expect_average_of_places(head, h, "use a 1x1 convolution, not a 3x3")
    expect(
        any(p.numel() == 36 for p in head.parameters()),
        "a 1x1 convolution that keeps 6 channels has 6 * 6 weights, and there is no such weight: nn.Conv2d(6, 6, 1).",
    )
    _expect_all_places(gradient)
    passed("a head for features of any size; the block learns through it.")


def _made(function: Callable) -> tuple[nn.Module, Tensor, Tensor]:
    """(the head for 6 channels and 4 classes, features, their gradient); CheckFailed for what no head may be."""
    head = ask(function, 6, 4)
    expect(isinstance(head, nn.Module), f"return a module, such as nn.Sequential(...), not {type(head).__name__}.")
    bare = not hasattr(head, "loss")
    expect(bare, "return the module from features to scores alone: the lesson puts it into a Head, with its loss.")
    head.double()
    h = normal(5, 6, 8, 8).requires_grad_()
    logits = expect_tensor(ask(head, h), (5, 4), "for features (5, 6, 8, 8) and 4 classes the output of the head")
    for shape in ((5, 6, 3, 7), (5, 6, 1, 1)):
        fits = False
        with contextlib.suppress(RuntimeError):
            fits = head(normal(*shape)).shape == (5, 4)
        expect(fits, "the head should take features of any height and width: pool globally before the linear layer.")
    with seeded(1):
        expect(
            close(head(h).detach(), logits.detach()), "the same features twice give other scores: leave dropout out."
        )
    expect(
        not any(close(total, torch.ones(5)) for total in (logits.sum(1), logits.exp().sum(1))),
        "the outputs are probabilities: leave the softmax out, F.cross_entropy has one inside.",
    )
    (gradient,) = gradients(logits.square().sum() + 0 * h.sum(), h)  # 0 * h: h is always in the graph
    expect(
        gradient.any(),
        "no gradient reaches the features: the block learns through its head, "
        "so the detach belongs at the block's INPUT, not in the head.",
    )
    _expect_free_scores(head)
    return head, h.detach(), gradient


def _expect_free_scores(head: nn.Module) -> None:
    """Raise CheckFailed where scores are cut off or squeezed, whatever the weights (drawn large, ten times)."""
    with torch.no_grad():
        scores = torch.stack([redrawn(head, seed)(normal(5, 6, 8, 8, seed=seed)) for seed in range(10)])
    least, most = scores.min(), scores.max()
    expect(
        least < 0 or most > 1, "every score lies between 0 and 1: leave the sigmoid out, cross_entropy wants scores."
    )
    expect(least < 0, "no score is ever negative: leave the ReLU behind the linear layer out.")
    expect(most > 1 or least < -1, "every score lies between -1 and 1: leave the tanh out, cross_entropy wants scores.")


def _expect_all_places(gradient: Tensor) -> None:
    """Raise CheckFailed where the gradient of the features is zero at a place: the head doesn't look there."""
    everywhere = (gradient.abs().sum((0, 1)) > 0).all()
    sentence = "some places of the feature map don't matter to your head: average over the whole height and width."
    expect(everywhere, sentence)


def _expect_average_of_places(head: nn.Module, h: Tensor, cure: str) -> None:
    """Raise CheckFailed unless the head sees each place by itself, and the mean of what it sees."""
    a, b = h[:, :, :1, :1], h[:, :, 1:2, 1:2]
    most = [torch.cat(row, dim=3) for row in ((a, a, a, b), (b, a, b, b))]
    largest = close(head(most[0]), head(most[1]))
    expect(not largest, "the head sees the largest value of each channel: average over height and width, no max pool.")
    mixed = h.flatten(2)[:, :, torch.arange(64) * 27 % 64].view_as(h)  # every place but the first goes elsewhere
    expect(close(head(mixed), head(h)), f"places see their neighbours: {cure}.")
    twice = close(head(torch.cat([h, h], dim=2)), head(h))
    expect(twice, "the same features on twice the height give other scores: take the mean over places, not the sum.")


class _TinyHead(nn.Linear):
    """A head whose loss is more than cross-entropy: it looks at the image too."""

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.mean((2, 3)))

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(h), y) + (h.mean((1, 2, 3)) - x.mean((1, 2, 3))).square().mean()


@exercise
def isolated_step(function: Callable) -> None:
    """Check isolated_step(block, head, h, x, y) -> (features, loss): isolation, backward at once, no graph left."""
    with seeded(0):
        first, head = nn.Conv2d(3, 4, 3).double(), _TinyHead(5, 3).double()
        block = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)).double()
    x, y = normal(6, 3, 8, 8), torch.arange(6) % 3
    h = first(x)  # block 1's features, with block 1's graph behind them
    twin, twin_head = copy.deepcopy((block, head))  # what is right is computed on copies, before the answer runs
    out = twin(h.detach())
    right = twin_head.loss(out, x, y)
    wanted = torch.autograd.grad(right, [*twin.parameters(), *twin_head.parameters()])
    with Watch(block=block, head=head, h=h, x=x, y=y) as watch:
        answer = ask(function, block, head, h, x, y)
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "return two things: (features, loss).")
    features, loss = expect_tensor(answer[0], (6, 5, 4, 4), "the features (what the block makes of h)"), answer[1]
    watch.expect_untouched("block parameters", "head parameters", "block buffers")
    still = all_close([*block.parameters(), *head.parameters()], [*twin.parameters(), *twin_head.parameters()])
    expect(still, "the step changed the weights: leave that to the optimizer.")
    expect(close(features.detach(), out.detach()), "the features aren't block(h): return the block's output.")
    value = expect_number(loss.detach() if isinstance(loss, Tensor) else loss, "the loss")
    expect(close(value, right.detach()), "the loss isn't head.loss(features, x, y): a head knows its own loss.")
    _expect_isolated_gradients(watch, first, block, head, wanted)
    watch.expect_one_pass("block", "head")
    expect(all_close(block.buffers(), twin.buffers()), "the block's BatchNorm didn't see h once, in training mode.")
    expect(
        not features.requires_grad,
        "the returned features still hang on the block's graph, which keeps its memory: return features.detach().",
    )
    attached = isinstance(loss, Tensor) and loss.requires_grad
    expect(not attached, "the returned loss still hangs on the block's graph: return loss.detach().")
    passed("isolated, backward at once, nothing of the graph left.")


def _expect_isolated_gradients(watch: Watch, first: nn.Module, block: nn.Module, head: nn.Module, wanted: list) -> None:
    """Raise CheckFailed unless block and head have the gradients wanted in .grad, and the block before has none."""
    expect(
        first.weight.grad is None,
        "block 2's loss changed block 1's gradients: detach the INPUT of the block, not its output.",
    )
    got = [p.grad for p in (*block.parameters(), *head.parameters())]
    watch.expect_gradients(got, wanted, "block", "head")
    expect(
        any(p.grad is not None for p in head.parameters()),
        "no gradient was left in .grad: call loss.backward() inside the step, at once.",
    )
    expect(
        all(p.grad is not None for p in block.parameters()),
        "the head got a gradient, its block none: the features were detached before "
        "the loss; detach the INPUT of the block, not its output.",
    )
    right = all_close(got, wanted)
    expect(right, "the gradients in .grad aren't those of this loss: call backward once, on the loss itself.")
