"""A split of a data set, and batches of it: in an order and with crops that depend on seed and epoch only."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import at_least
from .draws import EPOCH, Augment, crop, draw_crops, generator_for


class Part(NamedTuple):
    """One batch of a plan: rows (B,) of the split, in the epoch, and for each view what its crops are, (B, 3)."""

    epoch: int
    rows: Tensor
    draws: list[Tensor]


@dataclass(frozen=True)
class Plan:
    """Which images every batch has, and how they are cropped: from (seed, epoch) alone, so any step can be the first.

    It holds no state: each `iter(plan)` gives the same parts again.
    """

    split: Split
    batch_size: int
    steps: range
    per_epoch: int
    seed: int = 0
    how: Augment | None = None
    views: int = 1
    shuffle: bool = False

    def __iter__(self) -> Iterator[Part]:
        n, how = len(self.split), self.how
        for step in self.steps:
            epoch, i = divmod(step, self.per_epoch)
            if i == 0 or step == self.steps[0]:  # an epoch's draws at once: one copy to the device
                gen = generator_for(EPOCH, self.seed, epoch)
                order = torch.randperm(n, generator=gen) if self.shuffle else torch.arange(n)
                order = order.to(self.split.labels.device)
                views = [] if how is None else [draw_crops(n, how, gen) for _ in range(self.views)]
                views = [draws.to(self.split.device) for draws in views]
            chosen = slice(i * self.batch_size, (i + 1) * self.batch_size)
            yield Part(epoch, order[chosen], [draws[chosen] for draws in views])


@dataclass(frozen=True, eq=False)
class Split:
    """images uint8 (N, 3, H, W) and labels int64 (N,), on one device. ValueError where they do not fit.

    source: a checksum of the files that they were read from, where there are files.
    """

    images: Tensor
    labels: Tensor
    source: int | None = None

    def __post_init__(self) -> None:
        shape, labels = tuple(self.images.shape), self.labels
        if len(shape) != 4 or shape[1] != 3 or self.images.dtype != torch.uint8:
            raise ValueError(f"images are {self.images.dtype} {shape}: give uint8 (N, 3, H, W), 0 to 255")
        if labels.shape != shape[:1] or labels.dtype != torch.int64:
            raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}: give int64 ({shape[0]},)")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images {self.shape} on {self.device})"

    @property
    def device(self) -> torch.device:
        """Where batches lie."""
        return self.images.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: (3, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def checksums(self) -> tuple[int, int]:
        """Of the images (or the names of the files that they come from), and of the labels."""
        return checksum(self.images) if self.source is None else self.source, checksum(self.labels)

    def first(self, n: int) -> Split:
        """The split's first n images, or all if there are fewer."""
        return replace(self, images=self.images[:n], labels=self.labels[:n])

    def to(self, device: torch.device) -> Split:
        """The same images on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def read(self, plan: Plan) -> Iterator[tuple[Part, Tensor]]:
        """Each part of a plan of this split, with its images as uint8 (B, 3, H, W). ValueError: boxes out of files."""
        if plan.how is not None and plan.how.area is not None:
            raise ValueError(f"area={plan.how.area}: boxes are cut out of files; load('folder:PATH', area=...)")
        return ((part, self.images[part.rows]) for part in plan)


def checksum(values: Tensor) -> int:
    """CRC-32 of a tensor's bytes."""
    return zlib.crc32(values.cpu().contiguous().numpy())


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
    plan = Plan(split, batch_size, range(first_step, total), per_epoch, seed, augment, views, shuffle)
    return _cropped(split.read(plan), plan)


def _cropped(parts: Iterator[tuple[Part, Tensor]], plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
    """Crop and flip what was read, on its device, and only there make it float."""
    for part, images in parts:
        if plan.how is not None:
            by_view = images.chunk(plan.views) if len(images) > len(part.rows) else [images] * plan.views
            images = torch.cat([crop(each, plan.how, draws) for each, draws in zip(by_view, part.draws, strict=True)])
        yield images.float() / 255, plan.split.labels[part.rows].to(images.device).repeat(plan.views)
