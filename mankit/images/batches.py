"""A split of a data set, and batches of it: in an order and with crops that depend on seed and epoch only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import at_least
from .draws import EPOCH, Augment, crop, draw_crops, generator_for


@dataclass(frozen=True, eq=False)
class Split:
    """images uint8 (N, 3, H, W) and labels int64 (N,), on one device. ValueError where they do not fit."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        shape, labels = tuple(self.images.shape), self.labels
        if len(shape) != 4 or shape[1] != 3 or self.images.dtype != torch.uint8:
            raise ValueError(f"images are {self.images.dtype} {shape}: give uint8 (N, 3, H, W), 0 to 255")
        if labels.shape != shape[:1] or labels.dtype != torch.int64:
            raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}: give int64 ({shape[0]},)")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self)} images {tuple(self.images.shape[1:])} on {self.images.device})"


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Training steps in one pass: full batches only. ValueError: batch_size not in 1..len(split)."""
    if not 1 <= batch_size <= len(split):
        raise ValueError(f"batch_size={batch_size}: choose 1..{len(split)}, the number of images")
    return len(split) // batch_size


def batches(
    split: Split,
    batch_size: int,
    epochs: int = 1,
    *,
    seed: int = 0,
    augment: Augment | None = None,
    views: int = 1,
    shuffle: bool = True,
    first_step: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield x, float32 (B, 3, H, W) in [0, 1], and y, int64 (B,), on the split's device.

    Order and augmentation of epoch e depend on (seed, e) only, on any device: with first_step=s, counted over
    all epochs, the batches are those of the full run from its step s on. shuffle=True, for training, drops
    the last partial batch; shuffle=False keeps it. ValueError at the call: batch_size below 1 or,
    in training, above the number of images; first_step outside the run; two views without `augment`.
    views: of each image, by draws of their own; x and y then hold all of them, one view of the batch behind the other.
    """
    at_least("batch_size", batch_size, 1)
    at_least("views", views, 1)
    if views > 1 and augment is None:
        raise ValueError(f"views={views} without augment: they would be the same image; say how it is cropped")
    at_least("seed", seed, 0)
    per_epoch = steps_per_epoch(split, batch_size) if shuffle else -(-len(split) // batch_size)  # rounded up
    total = epochs * per_epoch
    if not 0 <= first_step <= total:
        raise ValueError(f"first_step={first_step}: choose 0..{total} ({epochs} epochs of {per_epoch} steps)")
    return _iterate(split, batch_size, range(first_step, total), per_epoch, seed, augment, views, shuffle)


def _iterate(
    split: Split,
    batch_size: int,
    steps: range,
    per_epoch: int,
    seed: int,
    how: Augment | None,
    views: int,
    shuffle: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    n, device = len(split), split.images.device
    for step in steps:
        epoch, i = divmod(step, per_epoch)
        if i == 0 or step == steps[0]:  # an epoch's draws at once: one copy to the device
            gen = generator_for(EPOCH, seed, epoch)
            order = (torch.randperm(n, generator=gen) if shuffle else torch.arange(n)).to(device)
            draws = [] if how is None else [draw_crops(n, how, gen).to(device) for _ in range(views)]
        chosen = slice(i * batch_size, (i + 1) * batch_size)
        images = split.images[order[chosen]]
        if how is not None:
            images = torch.cat([crop(images, how, of_view[chosen]) for of_view in draws])
        yield images.float() / 255, split.labels[order[chosen]].repeat(views)
