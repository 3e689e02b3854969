"""What is drawn at random about images: streams that never meet, balanced orders, crops and flips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import at_least, choose, within

SPLIT, EPOCH, GLYPHS, BOX = range(4)  # what a random stream is for: no two uses share one
PADDING = Literal["reflect", "constant"]  # constant pads with black
ASPECT = 3 / 4, 4 / 3  # width over height of a box, as published for ImageNet


@dataclass(frozen=True)
class Augment:
    """A random crop after padding by `pad` pixels, then a random left-right flip: of each image by itself.

    area: before that, of images that are streamed, a random box of at least this share of the file's picture.
    """

    pad: int = 0
    mode: PADDING = "reflect"
    flip: bool = False
    area: float | None = None

    def __post_init__(self) -> None:
        at_least("pad", self.pad, 0)
        if self.area is not None:
            within("area", self.area, 0.01, 1)
        choose("mode", self.mode, get_args(PADDING))


def generator_for(*key: int) -> torch.Generator:
    """A CPU generator that depends on all of the key, well mixed: near keys give unrelated numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


def draw_box(height: int, width: int, area: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """A random box in a picture: top, left, height, width; its share of the picture is `area` to 1, evenly.

    As torchvision's RandomResizedCrop draws it (Szegedy et al., "Going deeper with convolutions", CVPR 2015).
    """
    low, high = ASPECT
    logs = torch.tensor(ASPECT).log().tolist()
    for _ in range(10):
        share = torch.empty(1).uniform_(area, 1, generator=generator).item()
        aspect = torch.empty(1).uniform_(*logs, generator=generator).exp().item()
        w, h = (round(math.sqrt(height * width * share * side)) for side in (aspect, 1 / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = (int(torch.randint(free + 1, (1,), generator=generator)) for free in (height - h, width - w))
            return top, left, h, w
    w, h = min(width, round(height * high)), min(height, round(width / low))  # the largest in the middle
    return (height - h) // 2, (width - w) // 2, h, w


def balanced_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of labels int64 (N,); each beginning of it has nearly the proportions of the whole."""
    gen = generator_for(SPLIT, seed)
    shuffled = torch.randperm(len(labels), generator=gen)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]  # 0, 1, ... per class
    when = (rank + torch.rand(len(labels), generator=gen)) / counts[labels[by_class]]
    return by_class[when.argsort(stable=True)]


def augment(images: Tensor, how: Augment | None, generator: torch.Generator) -> Tensor:
    """Crop and flip each image of (B, 3, H, W) by draws of its own; any dtype. generator: of the CPU.

    ValueError: how.pad not below the images' height and width.
    """
    if how is None:
        return images
    return crop(images, how, draw_crops(len(images), how, generator).to(images.device))


def draw_crops(n: int, how: Augment, generator: torch.Generator) -> Tensor:
    """For each of n images the crop's top and left, 0..2*pad, and whether it is flipped: int64 (n, 3)."""
    corner = torch.randint(2 * how.pad + 1, (n, 2), generator=generator)
    flip = torch.randint(2 if how.flip else 1, (n, 1), generator=generator)
    return torch.cat([corner, flip], dim=1)


def crop(images: Tensor, how: Augment, draws: Tensor) -> Tensor:
    """The views of images (B, C, H, W) that draws, int64 (B, 3) of `draw_crops`, name. ValueError: see `augment`.

    Nothing is padded: a crop is a choice of rows and columns, a reflected edge is a reflected index.
    """
    (n, channels, height, width), device = images.shape, images.device
    if how.pad >= min(height, width):
        raise ValueError(f"pad={how.pad}, images {height} x {width}: choose less than {min(height, width)}")
    top, left, flip = draws[:, :, None].unbind(1)  # (B, 1) each
    rows = torch.arange(height, device=device) + top - how.pad  # (B, H), from -pad to H-1+pad
    cols = torch.arange(width, device=device) + left - how.pad  # (B, W)
    cols = torch.where(flip == 1, cols.flip(1), cols)
    image = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[:, None, None]
    row, col = _reflect(rows, height)[:, None, :, None], _reflect(cols, width)[:, None, None, :]
    views = images[image, channel, row, col]  # (B, C, H, W)
    if how.mode == "constant":
        outside = ((rows < 0) | (rows >= height))[:, :, None] | ((cols < 0) | (cols >= width))[:, None, :]
        views = views.masked_fill(outside[:, None], 0)
    return views


def _reflect(index: Tensor, size: int) -> Tensor:
    """-1, -2 -> 1, 2 and size, size + 1 -> size - 2, size - 3: what padding by reflection shows there."""
    return (size - 1) - ((size - 1) - index.abs()).abs()
