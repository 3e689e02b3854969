"""Images that don't fit into memory: read from their files by processes of their own, as batches ask for them.

Order and crops come from (seed, epoch, image), so any number of processes gives the same batches, and a run that goes
on needs its step and nothing else. A file of decoded images, mapped into memory, takes the place of small ones.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import cannot_write, first_line
from .batches import Part, Plan, Split
from .draws import BOX, draw_box, generator_for
from .pictures import Files, box, centre, square, whole

A_WORKERS_IMAGES = 1000  # a process takes a second or two to start: not for fewer than this
MOST_WORKERS = 16


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Stream(Split):
    """A Split whose images stay in their files until a batch asks for them; labels lie on the CPU, batches on `device`.

    Args:
        images: the files, or what `decoded` made of them, uint8 (M, 3, size, size). rows: int64 (N,), which of them.
        boxes: see files as ImageNet's are seen: random boxes in training, else the middle. False: squares.
        workers: processes that read; 0 reads in this one; None: as many as there are cores beside this one's.
    """

    images: Files | Tensor
    rows: Tensor
    size: int
    boxes: bool = False
    device: torch.device = torch.device("cpu")
    workers: int | None = None

    def __post_init__(self) -> None:
        pass  # no image is here to be checked

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: (3, H, W)."""
        return 3, self.size, self.size

    def first(self, n: int) -> Stream:
        """The first n images, or all if there are fewer."""
        return replace(self, rows=self.rows[:n], labels=self.labels[:n])

    def to(self, device: torch.device) -> Stream:
        """The same images, for batches on another device."""
        return replace(self, device=device)

    def read(self, plan: Plan) -> Iterator[tuple[Part, Tensor]]:
        """Each part of a plan with its images, uint8 (B, 3, size, size); boxes of all views, one behind the other.

        Raises: ValueError for a file that can't be read, or when a process ended; boxes out of squares.
        """
        if plan.how is not None and plan.how.area is not None and not self.boxes:
            raise ValueError(f"area={plan.how.area}: these files were opened as squares; load('folder:PATH', area=...)")
        if isinstance(self.images, Tensor):
            return ((part, self.images[self.rows[part.rows]].to(self.device)) for part in plan)
        return zip(plan, self._loaded(plan), strict=True)

    def _loaded(self, plan: Plan) -> Iterator[Tensor]:
        workers = self._workers(len(plan.steps) * plan.batch_size)
        loader = DataLoader(
            _Views(plan),
            sampler=((part.epoch, self.rows[part.rows].tolist()) for part in plan),
            batch_size=None,  # the plan has batches already
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,  # a forked process can't live beside CUDA
            worker_init_fn=_begin,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # torch's own isn't touched: a rule may draw from it
        )
        try:
            for images in loader:
                if isinstance(images, ValueError):
                    raise images
                yield images.to(self.device, non_blocking=True)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):  # what torch says when a process is gone
                raise
            cure = "in a script, start under `if __name__ == '__main__':`; or give load(..., workers=0)"
            raise ValueError(
                f"{workers} processes can't read {self.images.root}: {first_line(error)}; {cure}"
            ) from error

    def _workers(self, images: int) -> int:
        if multiprocessing.current_process().daemon:  # it may not have children
            return 0
        if self.workers is not None:
            return self.workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(max(1, cores - 1), MOST_WORKERS, images // A_WORKERS_IMAGES)


@dataclass(frozen=True, eq=False)
class _Views(Dataset):
    """What a process reads: the images of (epoch, rows)."""

    plan: Plan

    def __getitem__(self, key: tuple[int, list[int]]) -> Tensor | ValueError:
        try:
            of_row = [self._see(key[0], row) for row in key[1]]
        except ValueError as problem:  # raised where the batch is wanted: torch would put a traceback around it
            return ValueError(*problem.args)
        return torch.stack([image for view in zip(*of_row, strict=True) for image in view])

    def _see(self, epoch: int, row: int) -> list[Tensor]:
        plan, files, size = self.plan, self.plan.split.images, self.plan.split.size
        if not plan.split.boxes:
            return [square(files.path(row), size)]
        image = whole(files.path(row))
        if plan.how is None or plan.how.area is None:
            return [centre(image, size)]
        gen = generator_for(BOX, plan.seed, epoch, row)
        return [box(image, draw_box(*image.shape[1:], plan.how.area, gen), size) for _ in range(plan.views)]


def _begin(worker: int) -> None:
    """A process begins; torch gives it one thread, and ends it within seconds of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the run ends its step, saves, and then ends this process
    atexit.register(os._exit, 0)  # a thread that still sends a batch may abort in what Python does after this


def everything(split: Split, batch_size: int = 100) -> Iterator[tuple[Part, Tensor]]:
    """All images of a split as uint8, in their order: see `read`."""
    steps = -(-len(split) // batch_size)  # rounded up
    return split.read(Plan(split, batch_size, range(steps), max(1, steps)))


def in_memory_of(stream: Stream) -> Split:
    """A stream's squares, read now; a progress bar after two seconds."""
    from tqdm import tqdm

    images = torch.empty(len(stream), *stream.shape, dtype=torch.uint8)
    with tqdm(total=len(stream), desc="reading images", delay=2, leave=False) as bar:
        for part, read in everything(stream):
            images[part.rows] = read
            bar.update(len(read))
    return Split(images, stream.labels, stream.source)


def decoded(files: Files, size: int, make: bool = False) -> Tensor | None:
    """The files' squares, uint8 (N, 3, size, size), mapped from one file beside their folder; None: there is none.

    make: write it first where it isn't there: N * 3 * size**2 bytes. Raises: ValueError where it can't be written.
    """
    everyone = torch.arange(len(files))
    crc, n_bytes = files.checksum(everyone), len(files) * 3 * size**2
    file = Path(f"{files.root}-{size}-{crc:08x}.uint8")  # of these files: with one more it has another name
    if make and not file.is_file():
        _write(Stream(images=files, rows=everyone, labels=everyone, size=size), file, n_bytes)
    if not file.is_file() or file.stat().st_size != n_bytes:
        return None
    return torch.from_file(str(file), size=n_bytes, dtype=torch.uint8).view(-1, 3, size, size)


def _write(squares: Stream, file: Path, n_bytes: int) -> None:
    from tqdm import tqdm

    part = file.with_suffix(f".{os.getpid()}")
    try:
        with open(part, "wb") as out, tqdm(total=n_bytes, unit="B", unit_scale=True, delay=2, leave=False) as bar:
            for _, images in everything(squares):
                bar.update(out.write(images.numpy()))
        part.replace(file)
    except OSError as error:
        raise cannot_write(file, error, "choose a smaller size, or hold='stream'") from error
    finally:
        part.unlink(missing_ok=True)
