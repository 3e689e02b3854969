"""A data set by its name: read or drawn, split into training, validation and test images, on one device."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import at_least, choose
from . import glyphs
from .batches import Split
from .draws import GLYPHS, Augment, balanced_order, generator_for
from .files import FILES, Found, in_memory, resize


@dataclass(frozen=True, eq=False)
class Data:
    """Three splits that share no image. mean and std are of each channel of `train`, in units of [0, 1];
    augment is what the published recipe does to this data set, or None. ValueError: label out of range."""

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augment: Augment | None

    def __post_init__(self) -> None:
        last = len(self.classes) - 1
        for part, split in (("train", self.train), ("val", self.val), ("test", self.test)):
            wrong = split.labels[(split.labels < 0) | (split.labels > last)]
            if len(wrong):
                raise ValueError(f"label {int(wrong[0])} in {part} of {self.name}: its classes are 0..{last}")


def _glyphs(*, seed: int, sizes: tuple[int | None, ...], **_) -> Found:
    counts = [usual if n is None else n for n, usual in zip(sizes, (4000, 1000, 2000), strict=True)]
    drawn = [glyphs.draw_glyphs(n, generator_for(GLYPHS, seed, part)) for part, n in enumerate(counts)]
    train, val, test = (in_memory(*images_and_labels) for images_and_labels in drawn)
    return Found(train, test, glyphs.CLASSES, val=val)


DATASETS: dict[str, Callable[..., Found]] = {"glyphs": _glyphs, **FILES}


def load(
    name: str,
    root: str | Path | None = None,
    *,
    seed: int = 0,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
    size: int | None = None,
    device: str | torch.device = "cpu",
    download: bool = False,
) -> Data:
    """Load a data set: glyphs, digits, cifar10, svhn, stl10, folder (or "folder:PATH", PATH inside root).

    root: where files are looked for; None means the environment's MANKIT_DATA, else this project's data/. For
    "folder" the folder itself, with train/<class>/*.jpg, and the same in test/ or val/ (only val/: it serves as test).
    Args:
        seed: draws the glyphs, and which training images are used and which are held out as `val`; a real test set
            never depends on it.
        train_size: how many training images, classes kept in proportion (default: all).
        val_size: how many of the training images are held out (default: the data set's usual number).
        test_size: how many test images (default: all).
        size: height and width in pixels.
        download: fetch what is missing.
    Raises: ValueError for an unknown name, missing or damaged files, impossible sizes.
    """
    kind, _, path = name.partition(":")
    choose("data", kind if kind == "folder" else name, [*DATASETS, "folder:PATH"])
    for what, n in {"train_size": train_size, "test_size": test_size, "size": size}.items():
        at_least(what, n, 1)
    at_least("val_size", val_size, 0)
    at_least("seed", seed, 0)
    base = Path(root if root is not None else os.environ.get("MANKIT_DATA") or _data_folder()).expanduser()
    sizes = train_size, val_size, test_size
    found = DATASETS[kind](root=base / path, seed=seed, sizes=sizes, size=size, download=download)
    sources = found.train, found.val or found.train, found.test
    rows_of = _rows(found, sizes, seed)
    _check_memory(sum(map(len, rows_of)), size)
    chosen = zip(sources, rows_of, strict=True)
    splits = [Split(resize(source.read(rows), size), source.labels[rows]) for source, rows in chosen]
    mean, std = channel_stats(splits[0].images)
    train, val, test = (Split(s.images.to(device), s.labels.to(device)) for s in splits)
    return Data(name, train, val, test, found.classes, mean, std, found.augment)


def _check_memory(n: int, size: int | None) -> None:
    """ValueError where n images of this size can't be held: the system would end the process without a word."""
    if size and hasattr(os, "sysconf"):
        needed, there = n * 3 * size**2, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > 0.7 * there:
            cure = "choose a smaller size, or fewer images by train_size, val_size and test_size"
            raise ValueError(
                f"size={size}: {n} images take {needed / 1e9:.0f} GB, this machine has {there / 1e9:.0f}: {cure}"
            )


def _data_folder() -> Path:
    """data/ of this project, wherever a notebook runs; data/ of the current folder for an installed package."""
    here = Path(__file__).parents[2] / "data"
    return here if here.is_dir() else Path("data")


def _rows(found: Found, sizes: tuple[int | None, ...], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows of their sources make the train, val and test splits."""
    n, (train_size, val_size, test_size) = len(found.train.labels), sizes
    test = _some("test", found.test.labels, test_size, 0)
    if found.val is not None:
        train = _some("train", found.train.labels, train_size, seed)
        return train, _some("val", found.val.labels, val_size, 0), test
    val_size = val_size if val_size is not None else found.val_size or max(1, n // 10)
    train_size = train_size if train_size is not None else n - val_size
    if train_size < 1 or train_size + val_size > n:
        cure = f"there are {n} images for both; choose fewer (val_size=0 holds nothing out)"
        raise ValueError(f"train_size={train_size} and val_size={val_size}: {cure}")
    order = balanced_order(found.train.labels, seed)  # val comes first: it is the same for any train_size
    return order[val_size : val_size + train_size], order[:val_size], test


def _some(part: str, labels: Tensor, size: int | None, seed: int) -> Tensor:
    """Rows of `size` images; without a size of all, in their own order."""
    if size is not None and size > len(labels):
        raise ValueError(f"{part}_size={size}: there are {len(labels)} {part} images; choose at most that")
    return torch.arange(len(labels)) if size in (None, len(labels)) else balanced_order(labels, seed)[:size]


def channel_stats(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, 3, H, W), in units of [0, 1], by counting."""
    counts = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(3)]).double()
    share, value = counts / counts.sum(1, keepdim=True), torch.arange(256).double() / 255
    mean = share @ value
    std = (share * (value - mean[:, None]) ** 2).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())
