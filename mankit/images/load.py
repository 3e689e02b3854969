"""A data set by its name: read or drawn, split into training, validation and test images, on one device."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import at_least, choose, within
from . import glyphs
from .batches import Split
from .draws import GLYPHS, Augment, balanced_order, generator_for
from .files import FILES, USUAL_SIZE, Found, Source, in_memory, resize
from .pictures import fast_decoder
from .stream import Stream, decoded, everything, in_memory_of

HOLD = Literal["auto", "memory", "mapped", "stream"]
MEAN_OF = 10_000  # training images, where they come from files
ROOM = 0.7  # of what is free: a network needs some too
AT_ONCE = 1000  # images that a stream holds: batches that wait, and those that are measured


@dataclass(frozen=True, eq=False)
class Data:
    """Three splits that share no image. mean and std are of each channel of `train` (of a folder: of its first 10,000),
    in units of [0, 1]; augment is what the published recipe does to this data set, or None.

    Raises: ValueError for a label out of range.
    """

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
    area: float | None = None,
    device: str | torch.device = "cpu",
    download: bool = False,
    hold: HOLD = "auto",
    workers: int | None = None,
) -> Data:
    """Load a data set: glyphs, digits, cifar10, svhn, stl10, folder (or "folder:PATH", PATH inside root).

    root: where files are looked for; None means the environment's MANKIT_DATA, else this project's data/. For
    "folder" the folder itself, with `train/<class>/*.jpg`, and the same in test/ or val/ (`val` alone serves as test).
    Args:
        seed: draws the glyphs, and which training images are used and which are held out as `val`; a real test set
            never depends on it.
        train_size: how many training images, classes kept in proportion (default: all).
        val_size: how many of the training images are held out (default: the data set's usual number).
        test_size: how many test images (default: all).
        size: height and width in pixels.
        area: of a folder's images, see them as ImageNet's are: in training a random box of at least this share of the
            picture (0.08 as published; with `augment`), else the middle. None: the largest centred square.
        download: fetch what is missing.
        hold: where a folder's squares are, which changes no number: in 'memory'; 'mapped', in a file of decoded images
            beside them, made once; or as a 'stream', in their own files. 'auto': the first of them that is there and
            has room, and a line on stderr if that isn't memory. Boxes (area) are always streamed.
        workers: processes that read a stream, see `Stream`.
    Raises: ValueError for an unknown name, missing or damaged files, impossible sizes.
    """
    kind, _, path = name.partition(":")
    choose("data", kind if kind == "folder" else name, [*DATASETS, "folder:PATH"])
    least = {"train_size": (train_size, 1), "test_size": (test_size, 1), "size": (size, 1)}
    for what, (n, low) in {**least, "val_size": (val_size, 0), "seed": (seed, 0), "workers": (workers, 0)}.items():
        at_least(what, n, low)
    choose("hold", hold, get_args(HOLD))
    if area is not None:
        within("area", area, 0.01, 1)
    if kind != "folder" and (area is not None or hold not in ("auto", "memory")):
        raise ValueError(f"area={area}, hold={hold!r}: {name} is no folder of files; leave them out")
    base = Path(root if root is not None else os.environ.get("MANKIT_DATA") or _data_folder()).expanduser()
    sizes = train_size, val_size, test_size
    found = DATASETS[kind](root=base / path, seed=seed, sizes=sizes, size=size, area=area, download=download)
    sources = found.train, found.val or found.train, found.test
    chosen = list(zip(sources, _rows(found, sizes, seed), strict=True))
    device = torch.device(device)
    if kind == "folder":
        opened = _open_folder(chosen, size or USUAL_SIZE, area is not None, hold, device, workers)
    else:
        _check_memory(sum(len(rows) for _, rows in chosen), size or 0, device)
        opened = [Split(resize(source.images[rows], size), source.labels[rows]) for source, rows in chosen]
    some = opened[0].first(MEAN_OF if kind == "folder" else len(opened[0]))
    mean, std = channel_stats(images for _, images in everything(some))
    return Data(name, *(split.to(device) for split in opened), found.classes, mean, std, found.augment)


def _open_folder(
    chosen: list[tuple[Source, Tensor]], size: int, boxes: bool, hold: HOLD, device: torch.device, workers: int | None
) -> list[Split]:
    """A folder's splits, of sources and rows of them, held as `hold` says or as there is room for."""
    if boxes and hold not in ("auto", "stream"):
        raise ValueError(f"hold={hold!r}: boxes (area) are cut out of the files anew each time; leave hold out")
    n = sum(len(rows) for _, rows in chosen)
    needed, free = n * 3 * size**2, free_memory(device)
    if hold == "auto":
        mapped = not boxes and all(decoded(source.images, size) is not None for source, _ in chosen)
        hold = "memory" if needed <= ROOM * free and not boxes else "mapped" if mapped else "stream"
    _check_memory(n if hold == "memory" else min(n, AT_ONCE), size, device)
    if hold != "memory":
        where = "a file of decoded ones" if hold == "mapped" else "their files"
        what = f"{n:,} images of {size} pixels take {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free"
        print(f"mankit: {what}: they are read from {where} as they are needed", file=sys.stderr)
    if boxes:
        fast_decoder()  # says why, where there is none
    splits = []
    for source, rows in chosen:
        files, labels = source.images, source.labels[rows]
        images = None if hold == "stream" else decoded(files, size, make=hold == "mapped")
        held = {"labels": labels, "rows": rows, "source": files.checksum(rows), "boxes": boxes, "workers": workers}
        stream = Stream(images=files if images is None else images, size=size, **held)
        splits.append(in_memory_of(stream) if hold == "memory" else stream)
    return splits


def free_memory(device: torch.device) -> int:
    """Bytes that are free on this machine, in its container if that has a limit, and on the device."""
    import psutil

    free, group = psutil.virtual_memory().available, Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # no such limit, or 'max'
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(stat["inactive_file"]) - int(stat["active_file"])
        free = min(free, int((group / "memory.max").read_text()) - used)
    return min(free, torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free


def _check_memory(n: int, size: int, device: torch.device) -> None:
    """ValueError where n images of this size can't be held: the system would end the process without a word."""
    needed, free = n * 3 * size**2, free_memory(device)
    if needed > ROOM * free:
        what = f"{n:,} images take {needed / 1e9:.0f} GB, of {free / 1e9:.0f} that are free on this machine"
        cure = "choose a smaller size, fewer images by train_size, val_size and test_size, or hold='stream' of a folder"
        raise ValueError(f"size={size}: {what}: {cure}")


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


def channel_stats(images: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of parts uint8 (N, 3, H, W), in units of [0, 1], by counting."""
    counts = sum(
        torch.stack([torch.bincount(part[:, c].flatten(), minlength=256) for c in range(3)]) for part in images
    )
    counts = counts.cpu().double()
    share, value = counts / counts.sum(1, keepdim=True), torch.arange(256).double() / 255
    mean = share @ value
    std = (share * (value - mean[:, None]) ** 2).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())
