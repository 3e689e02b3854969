"""Images and labels as tensors that live on the training device, and batches of them.

data = load("glyphs")                            # drawn at once; or digits, cifar10, svhn, stl10, folder
for x, y in batches(data.train, 100, epochs=6):  # x float (B, 3, H, W) in [0, 1], y int64 (B,)
"""

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .sources import DATASETS, EPOCH, Augment, Found, balanced_order, generator_for, resize


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
    seed: draws the glyphs, and which training images are used and which are held out as `val`. A real test
    set never depends on it. *_size: how many images, classes kept in proportion; None means the usual number,
    val_size=0 holds nothing out. size: height and width in pixels. download: fetch what is missing.
    ValueError: unknown name, missing or damaged files, impossible sizes.
    """
    kind, colon, path = name.partition(":")
    if kind not in DATASETS or (colon and kind != "folder"):
        near = " or ".join(difflib.get_close_matches(kind, DATASETS))
        hint = f"did you mean {near}? " if near else ""
        raise ValueError(f"no data set {name!r}: {hint}choose from {', '.join(DATASETS)}, folder:PATH")
    for what, n, low in (
        ("train_size", train_size, 1),
        ("val_size", val_size, 0),
        ("test_size", test_size, 1),
        ("size", size, 1),
        ("seed", seed, 0),
    ):
        if n is not None and n < low:
            raise ValueError(f"{what}={n}: choose {low} or more")
    base = Path(root if root is not None else os.environ.get("MANKIT_DATA") or _data_folder()).expanduser()
    sizes = train_size, val_size, test_size
    found = DATASETS[kind](root=base / path, seed=seed, sizes=sizes, size=size, download=download)
    splits = []
    for source, rows in zip(
        (found.train, found.val or found.train, found.test), _rows(found, sizes, seed), strict=True
    ):
        splits.append(Split(resize(source.read(rows), size), source.labels[rows]))
    mean, std = channel_stats(splits[0].images)
    train, val, test = (Split(s.images.to(device), s.labels.to(device)) for s in splits)
    return Data(name, train, val, test, found.classes, mean, std, found.augment)


def _data_folder() -> Path:
    """data/ of this project, wherever a notebook runs; data/ of the current folder for an installed package."""
    here = Path(__file__).parents[1] / "data"
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
        raise ValueError(
            f"train_size={train_size} and val_size={val_size}: there are {n} images for both; "
            "choose fewer (val_size=0 holds nothing out)"
        )
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


def augment(images: Tensor, how: Augment | None, generator: torch.Generator) -> Tensor:
    """Crop and flip each image of (B, 3, H, W) by draws of its own; any dtype. generator: of the CPU.

    ValueError: how.pad not below the images' height and width.
    """
    if how is None:
        return images
    return _apply(images, how, _draw(len(images), how, generator).to(images.device))


def _draw(n: int, how: Augment, generator: torch.Generator) -> Tensor:
    """For each of n images the crop's top and left, 0..2*pad, and whether it is flipped: int64 (n, 3)."""
    corner = torch.randint(2 * how.pad + 1, (n, 2), generator=generator)
    flip = torch.randint(2 if how.flip else 1, (n, 1), generator=generator)
    return torch.cat([corner, flip], dim=1)


def _apply(images: Tensor, how: Augment, draws: Tensor) -> Tensor:
    """Nothing is padded: a crop is a choice of rows and columns, a reflected edge is a reflected index."""
    (n, channels, height, width), device = images.shape, images.device
    if how.pad >= min(height, width):
        raise ValueError(f"pad={how.pad}, images {height} x {width}: choose less than {min(height, width)}")
    top, left, flip = draws[:, :, None].unbind(1)  # (B, 1) each
    rows = torch.arange(height, device=device) + top - how.pad  # (B, H), from -pad to H-1+pad
    cols = torch.arange(width, device=device) + left - how.pad  # (B, W)
    cols = torch.where(flip == 1, cols.flip(1), cols)
    image = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[:, None, None]
    views = images[
        image, channel, _reflect(rows, height)[:, None, :, None], _reflect(cols, width)[:, None, None, :]
    ]  # (B, C, H, W)
    if how.mode == "constant":
        outside = ((rows < 0) | (rows >= height))[:, :, None] | ((cols < 0) | (cols >= width))[:, None, :]
        views = views.masked_fill(outside[:, None], 0)
    return views


def _reflect(index: Tensor, size: int) -> Tensor:
    """-1, -2 -> 1, 2 and size, size + 1 -> size - 2, size - 3: what padding by reflection shows there."""
    return (size - 1) - ((size - 1) - index.abs()).abs()


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
    shuffle: bool = True,
    first_step: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield x, float32 (B, 3, H, W) in [0, 1], and y, int64 (B,), on the split's device.

    Order and augmentation of epoch e depend on (seed, e) only, on any device: with first_step=s, counted over
    all epochs, the batches are those of the full run from its step s on. shuffle=True, for training, drops
    the last partial batch; shuffle=False keeps it. ValueError at the call: batch_size below 1 or,
    in training, above the number of images; first_step outside the run.
    """
    if shuffle:
        per_epoch = steps_per_epoch(split, batch_size)
    elif batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: choose 1 or more")
    else:
        per_epoch = -(-len(split) // batch_size)  # rounded up
    total = epochs * per_epoch
    if not 0 <= first_step <= total or seed < 0:
        raise ValueError(
            f"first_step={first_step}, seed={seed}: choose first_step in 0..{total} "
            f"({epochs} epochs of {per_epoch} steps) and a seed of 0 or more"
        )
    return _iterate(split, batch_size, range(first_step, total), per_epoch, seed, augment, shuffle)


def _iterate(
    split: Split, batch_size: int, steps: range, per_epoch: int, seed: int, how: Augment | None, shuffle: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    n, device = len(split), split.images.device
    for step in steps:
        epoch, i = divmod(step, per_epoch)
        if i == 0 or step == steps[0]:  # an epoch's draws at once: one copy to the device
            gen = generator_for(EPOCH, seed, epoch)
            order = (torch.randperm(n, generator=gen) if shuffle else torch.arange(n)).to(device)
            draws = None if how is None else _draw(n, how, gen).to(device)
        chosen = slice(i * batch_size, (i + 1) * batch_size)
        images = split.images[order[chosen]]
        if how is not None:
            images = _apply(images, how, draws[chosen])
        yield images.float() / 255, split.labels[order[chosen]]
