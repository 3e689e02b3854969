"""Images that others made: from scikit-learn, from torchvision's files, or from a folder."""

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


class Source(NamedTuple):
    """Images not yet read: labels int64 (N,), and read(rows) -> uint8 (n, 3, H, W)."""

    labels: Tensor
    read: Callable[[Tensor], Tensor]


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
    images = torch.as_tensor(images)
    return Source(torch.as_tensor(labels, dtype=torch.int64), lambda rows: images[rows])


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


def _folder(*, root: Path, size: int | None, **_) -> Found:
    from torchvision.datasets import ImageFolder

    where, there = f"folder {root.absolute()}", [part for part in ("train", "val", "test") if (root / part).is_dir()]
    if "train" not in there or len(there) == 1:
        cure = "give train/<class>/*.jpg, and the same in test/ or val/ (by root= or folder:PATH)"
        raise ValueError(f"{where} has {there or 'no train/, val/ or test/'}: {cure}")
    try:
        sets = {part: ImageFolder(str(root / part)) for part in there}
    except OSError as problem:  # a class without an image, or no class at all
        raise ValueError(f"{where}: {problem}") from problem
    classes = sets["train"].classes
    for part in there:
        if odd := set(sets[part].classes) ^ set(classes):
            raise ValueError(f"{where}: {sorted(odd)} not in both train/ and {part}/; add or remove these classes")
    found = {part: _files(s.samples, size or 64) for part, s in sets.items()}
    val = found.get("val") if "test" in there else None
    augment = Augment((size or 64) // 8, "reflect", flip=True)
    return Found(found["train"], found.get("test") or found["val"], tuple(classes), augment, val)


def _files(samples: list[tuple[str, int]], size: int) -> Source:
    """Image files that are decoded only when they are asked for; a progress bar after two seconds."""
    from tqdm import tqdm

    def read(rows: Tensor) -> Tensor:
        images = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)
        for i, row in enumerate(tqdm(rows.tolist(), desc="reading images", delay=2, leave=False)):
            images[i] = _read_image(samples[row][0], size)
        return images

    return Source(torch.tensor([label for _, label in samples]), read)


def _read_image(path: str, size: int) -> Tensor:
    """One file as RGB, uint8 (3, size, size): the largest centred square of it, resized."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if getattr(opened, "n_frames", 1) > 1 or opened.mode == "F":
                raise ValueError("several frames, or floats: give one picture of 8 or 16 bits")
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits: PIL would cut off what is above 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if "A" in image.mode or "transparency" in image.info:  # black stands behind what is transparent
                black = Image.new("RGBA", image.size, "black")
                image = Image.alpha_composite(black, image.convert("RGBA"))
            image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:  # PIL's
        raise ValueError(f"can't read the image {path} ({problem}): replace or remove it") from problem
    how = Image.Resampling.BOX if size <= min(image.size) else Image.Resampling.BILINEAR
    return torch.from_numpy(np.array(ImageOps.fit(image, (size, size), how))).permute(2, 0, 1)


FILES: dict[str, Callable[..., Found]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "svhn": _svhn,
    "stl10": _stl10,
    "folder": _folder,
}
