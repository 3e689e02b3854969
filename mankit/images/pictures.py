"""Files of pictures, a folder a class: as centred squares, whole, or as a random box, always RGB and upright."""

from __future__ import annotations

import functools
import io
import os
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import first_line

if TYPE_CHECKING:
    from PIL import Image

BAD = OSError, SyntaxError, ValueError, RuntimeError  # what a decoder raises for a damaged file
CENTRE = 224 / 256  # of a picture's shorter side, what a test sees of it, as published for ImageNet


@dataclass(frozen=True, eq=False)
class Files:
    """Files in a folder. names: their paths in it, as bytes (N, longest), uint8: processes share one tensor."""

    root: str
    names: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> str:
        """Where a file is."""
        return os.path.join(self.root, os.fsdecode(self.names[row].numpy().tobytes().rstrip(b"\0")))

    def checksum(self, rows: Tensor) -> int:
        """CRC-32 of the names of some of the files (reading a million images for it would take half an hour)."""
        return zlib.crc32(self.names[rows].numpy())


def list_classes(root: Path) -> tuple[tuple[str, ...], dict[str, tuple[Files, Tensor]]]:
    """The classes of root, and for each of train, val and test that is there its files and labels, int64 (N,).

    Raises: ValueError where there are no images, or not the same classes in each.
    """
    from torchvision.datasets import ImageFolder

    where, there = f"folder {root.absolute()}", [part for part in ("train", "val", "test") if (root / part).is_dir()]
    if "train" not in there or len(there) == 1:
        cure = "give train/<class>/*.jpg, and the same in test/ or val/ (by root= or folder:PATH)"
        raise ValueError(f"{where} has {there or 'no train/, val/ or test/'}: {cure}")
    classes, found = None, {}
    for part in there:
        try:
            listed = ImageFolder(str(root / part))
        except OSError as problem:  # a class without an image, or no class at all
            raise ValueError(f"{where}: {problem}") from problem
        classes = classes or listed.classes
        if odd := set(listed.classes) ^ set(classes):
            raise ValueError(f"{where}: {sorted(odd)} not in both train/ and {part}/; add or remove these classes")
        names = np.array([os.fsencode(os.path.relpath(path, root / part)) for path, _ in listed.samples])
        names = torch.from_numpy(names.view(np.uint8).reshape(len(names), -1))
        found[part] = Files(str((root / part).absolute()), names), torch.tensor(listed.targets)
    return tuple(classes), found


def square(path: str, size: int) -> Tensor:
    """The largest centred square of a file, resized: uint8 (3, size, size). ValueError: it can't be read."""
    from PIL import Image, ImageOps

    image = _upright(path)
    how = Image.Resampling.BOX if size <= min(image.size) else Image.Resampling.BILINEAR
    return torch.from_numpy(np.array(ImageOps.fit(image, (size, size), how))).permute(2, 0, 1)


def whole(path: str) -> Tensor:
    """All of a file, uint8 (3, H, W). Plain JPEGs by torchcodec where it is installed: the same pixels, sooner."""
    from PIL import Image

    if decode := fast_decoder():
        with suppress(*BAD):  # what is wrong with the file, PIL says below
            data = Path(path).read_bytes()
            with Image.open(io.BytesIO(data)) as header:
                plain = header.format == "JPEG" and header.mode in ("RGB", "L")
            if plain:
                return decode(data, mode="RGB")
    return torch.from_numpy(np.array(_upright(path))).permute(2, 0, 1)


def centre(image: Tensor, size: int) -> Tensor:
    """What a test sees of uint8 (3, H, W): the shorter side to size / CENTRE (224: 256), then the middle."""
    from torchvision.transforms.v2 import functional

    return functional.center_crop(functional.resize(image, [round(size / CENTRE)], antialias=True), [size, size])


def box(image: Tensor, place: tuple[int, int, int, int], size: int) -> Tensor:
    """A box (top, left, height, width) of uint8 (3, H, W), as (3, size, size)."""
    from torchvision.transforms.v2 import functional

    return functional.resized_crop(image, *place, [size, size], antialias=True)


@functools.cache
def fast_decoder() -> Callable[..., Tensor] | None:
    """torchcodec's decoder of images, or None: then one line on stderr says why."""
    try:
        from torchcodec.decoders import decode_image
    except Exception as error:  # not there, of another torch, without its libraries: a loader raises many things
        if torch.utils.data.get_worker_info() is None:
            cure = "PIL decodes, which is slower; install the extra 'stream' with the newest torch"
            print(f"mankit: torchcodec: {first_line(error)}: {cure}", file=sys.stderr)
        return None
    return decode_image


def _upright(path: str) -> Image.Image:
    """A file as PIL's RGB image, turned as its camera was held."""
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
            return image.convert("RGB")
    except (*BAD, Image.DecompressionBombError) as problem:
        raise ValueError(f"can't read the image {path} ({problem}): replace or remove it") from problem
