"""Test accuracy of the network, and of every block's own head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]  # x (B, 3, H, W) in [0, 1], y (B,) int64, on the net's device
Found = TypeVar("Found")


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Evaluation mode within the `with`; after it every submodule has the mode it had before."""
    before = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training  # not module.train(): that would also set the submodules


def each_batch(net: nn.Module, batches: Batches, measure: Callable[[Tensor, Tensor], Found]) -> list[Found]:
    """measure(x, y) of every batch, in evaluation mode and without gradients. ValueError if there is none, or for
    images that aren't floats in [0, 1], or labels that are not one whole number an image."""

    def checked(x: Tensor, y: Tensor) -> Found:
        low, high = torch.stack(x.aminmax()).tolist()  # one wait for the device
        if not x.is_floating_point() or not 0 <= low <= high <= 1:  # a nan isn't either
            raise ValueError(f"images {tuple(x.shape)} {x.dtype}: give floats in [0, 1], (batch, channels, H, W)")
        if y.shape != x.shape[:1] or y.is_floating_point():
            raise ValueError(f"labels {tuple(y.shape)} {y.dtype}: give whole numbers, one per image ({len(x)})")
        return measure(x, y)

    with eval_mode(net), torch.no_grad():
        found = [checked(x, y) for x, y in batches]
    if not found:
        raise ValueError("batches held 0 images, at least 1 is needed: a used-up generator? make it anew")
    return found


def evaluate(net: nn.Module, batches: Batches) -> float:
    """Percent of the images that the network's own output gets right.

    Raises ValueError if `batches` is empty or doesn't fit.
    """

    def right_ones(x: Tensor, y: Tensor) -> Tensor:  # -> (B,)
        scores = net(x)
        _check_labels(y, scores.shape[1])
        return scores.argmax(1) == y

    right = torch.cat(each_batch(net, batches, right_ones))  # (N,)
    return 100 * int(right.sum()) / len(right)


def block_accuracy(net: nn.Module, batches: Batches) -> list[float]:
    """Percent of the images that each block's own head gets right, first block first.

    nan for a head that has no class scores (a contrastive one): use `probe_accuracy` there.
    Raises ValueError if `batches` is empty.
    """

    def count(x: Tensor, y: Tensor) -> Tensor:  # -> (K, B)
        pairs = zip(net.heads, net.features(x), strict=True)
        scores = [head(h) if head.has_logits else None for head, h in pairs]
        for known in [each for each in scores if each is not None][-1:]:  # all heads know the same classes
            _check_labels(y, known.shape[1])
        return torch.stack([_right(each, y) for each in scores])

    right = torch.cat(each_batch(net, batches, count), dim=1)  # (K, N)
    return (100 * right.sum(1).cpu().double() / right.shape[1]).tolist()


def _right(scores: Tensor | None, y: Tensor) -> Tensor:
    """1.0 for an image whose label has the largest of the scores (B, classes), else 0.0, (B,); nan without scores."""
    return torch.full(y.shape, torch.nan, device=y.device) if scores is None else (scores.argmax(1) == y).float()


def _check_labels(y: Tensor, classes: int) -> None:
    low, high = torch.stack(y.aminmax()).tolist()  # one wait for the device
    if not 0 <= low <= high < classes:
        raise ValueError(f"labels {low}..{high}: this network has classes 0..{classes - 1}")
