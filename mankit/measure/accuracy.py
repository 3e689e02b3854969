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
        if not x.is_floating_point() or not 0 <= float(x.amin()) <= float(x.amax()) <= 1:  # a nan isn't either
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
    right = torch.cat(each_batch(net, batches, lambda x, y: _is_right(net(x), y)))  # (N,)
    return 100 * int(right.sum()) / len(right)


def block_accuracy(net: nn.Module, batches: Batches) -> list[float]:
    """Percent of the images that each block's own head gets right, first block first.

    nan for a head that has no class scores (a contrastive one): use `probe_accuracy` there.
    Raises ValueError if `batches` is empty.
    """

    def count(x: Tensor, y: Tensor) -> Tensor:  # -> (K, B)
        return torch.stack([_right(head, h, y) for head, h in zip(net.heads, net.features(x), strict=True)])

    right = torch.cat(each_batch(net, batches, count), dim=1)  # (K, N), on the device: no waiting for a batch
    return (100 * right.sum(1).cpu().double() / right.shape[1]).tolist()


def _right(head: nn.Module, h: Tensor, y: Tensor) -> Tensor:
    """1.0 for an image whose label the head gets right, else 0.0, (B,); nan without class scores."""
    return _is_right(head(h), y).float() if head.has_logits else torch.full(y.shape, torch.nan, device=y.device)


def _is_right(scores: Tensor, y: Tensor) -> Tensor:
    """Is the largest of the class scores (B, classes) the label's? (B,)"""
    low, high, classes = int(y.min()), int(y.max()), scores.shape[1]
    if not 0 <= low <= high < classes:
        raise ValueError(f"labels {low}..{high}: this network has classes 0..{classes - 1}")
    return scores.argmax(1) == y
