"""Images that others made: from scikit-learn, or from torchvision's files."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from warnings import warn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .draws import Augment, balanced_order
from .pictures import Files, list_classes

USUAL_SIZE = 64  # pixels, of a folder's images


class Source(NamedTuple):
    """Images not yet chosen: labels int64 (N,), and the images uint8 (N, 3, H, W), or the files that have them."""

    labels: Tensor
    images: Tensor | Files


class Found(NamedTuple):
    """What a loader returns. val=None: `load` takes a validation split, of val_size images, out of train."""

    train: Source
    test: Source
    classes: tuple[str, ...]
    augment: Augment | None = None
    val: Source | None = None
    val_size: int | None = None


def resize(images: Tensor, size: int | None) -> Tensor:
    """uint8 (N, 3, H, W) -> (N, 3, size, size): by area averages to shrink, else bilinear. None: as it is."""
    if size is None or tuple(images.shape[2:]) == (size, size):
        return images.contiguous()
    how = {"mode": "area"} if size <= min(images.shape[2:]) else {"mode": "bilinear", "antialias": True}
    resized = images.new_empty(*images.shape[:2], size, size)
    for part, out in zip(images.split(1024), resized.split(1024), strict=True):  # all as floats take too much memory
        out.copy_(F.interpolate(part.float(), size=(size, size), **how).round_().clamp_(0, 255))
    return resized


def in_memory(images: np.ndarray | Tensor, labels: np.ndarray | Tensor | list[int]) -> Source:
    """Images uint8 (N, 3, H, W) and labels that are at hand."""
    return Source(torch.as_tensor(labels, dtype=torch.int64), torch.as_tensor(images))


def _digits(**_) -> Found:
    from sklearn.datasets import load_digits  # imported where used: the glyphs should not wait for it

    digits = load_digits()  # 1,797 images, 8 x 8, grey, 0..16
    grey = torch.from_numpy(digits.images).float().mul(255 / 16).round().to(torch.uint8)
    images, labels = resize(grey[:, None].expand(-1, 3, -1, -1), 16), torch.from_numpy(digits.target)
    order = balanced_order(labels, 0)  # fixed: the test set never depends on the seed
    train, test = (in_memory(images[rows], labels[rows]) for rows in (order[500:], order[:500]))
    return Found(train, test, tuple("0123456789"), val_size=297)


def _cifar10(*, root: Path, download: bool, **_) -> Found:
    from torchvision.datasets import CIFAR10

    listed = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    files = {f"{CIFAR10.base_folder}/{file}": md5 for file, md5 in listed}
    sets = _open("cifar10", files, lambda part: CIFAR10(root, part == "train", download=download), root, download)
    train, test = (in_memory(np.ascontiguousarray(s.data.transpose(0, 3, 1, 2)), s.targets) for s in sets)
    return Found(train, test, tuple(sets[0].classes), Augment(4, "reflect", flip=True))


def _svhn(*, root: Path, download: bool, **_) -> Found:
    from torchvision.datasets import SVHN

    files = {file: md5 for _, file, md5 in (SVHN.split_list["train"], SVHN.split_list["test"])}
    sets = _open("svhn", files, lambda part: SVHN(root, part, download=download), root, download)
    train, test = (in_memory(s.data, s.labels) for s in sets)
    return Found(train, test, tuple("0123456789"), Augment(2, "constant"))  # no flip: digits have no mirror


def _stl10(*, root: Path, download: bool, **_) -> Found:
    from torchvision.datasets import STL10

    files = {f"{STL10.base_folder}/{file}": md5 for file, md5 in STL10.train_list + STL10.test_list}
    sets = _open("stl10", files, lambda part: STL10(root, part, download=download), root, download)
    train, test = (in_memory(s.data, s.labels) for s in sets)
    classes = "airplane bird car cat deer dog horse monkey ship truck"
    return Found(train, test, tuple(classes.split()), Augment(4, "constant", flip=True))


def _open(name: str, files: dict[str, str], make: Callable, root: Path, download: bool) -> tuple:
    """make("train"), make("test") by torchvision, which holds each file (a path inside root) to its md5."""
    if download and (damage := _faults(root, files)["damaged or cut short (wrong checksum)"]):
        warn(f"{name}: fetching again, for {root.absolute()} has damaged {', '.join(damage)}", stacklevel=4)
    try:
        return make("train"), make("test")
    except (RuntimeError, OSError, HTTPException) as problem:
        faults = [f"{what}: {', '.join(which)}" for what, which in _faults(root, files).items() if which]
        what = f"{name} can't be read from {root.absolute()}: {'; '.join(faults) or problem}"
        cure = f"or fetch it: load({name!r}, download=True) or `mankit train --data {name} --download`"
        tried = f" (tried just now: {problem})" if download else ""
        raise ValueError(f"{what}. Point root= or MANKIT_DATA to a folder that has it, {cure}{tried}") from problem


def _faults(root: Path, files: dict[str, str]) -> dict[str, list[str]]:
    from torchvision.datasets.utils import check_integrity

    there = {file: md5 for file, md5 in files.items() if (root / file).is_file()}
    damaged = [file for file, md5 in there.items() if not check_integrity(root / file, md5)]
    sized = [f"{file} ({(root / file).stat().st_size:,} bytes)" for file in damaged]
    return {"missing": [file for file in files if file not in there], "damaged or cut short (wrong checksum)": sized}


def _folder(*, root: Path, size: int | None, area: float | None, **_) -> Found:
    classes, found = list_classes(root)
    sources = {part: Source(labels, files) for part, (files, labels) in found.items()}
    val = sources.get("val") if "test" in sources else None
    augment = (
        Augment((size or USUAL_SIZE) // 8, "reflect", flip=True) if area is None else Augment(flip=True, area=area)
    )
    return Found(sources["train"], sources.get("test") or sources["val"], classes, augment, val)


FILES: dict[str, Callable[..., Found]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "svhn": _svhn,
    "stl10": _stl10,
    "folder": _folder,
}
