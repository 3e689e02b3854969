"""How the processes that torchrun starts find each other, see that they are alike, and end together."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ..errors import choose
from .locked import Locked
from .parallel import PATIENCE, Data, Team
from .pipeline import Blocks

KINDS = {"data": Data, "blocks": Blocks, "locked": Locked}
GONE = "another process of this run has ended, torchrun says which; the same command goes on from the last checkpoint"


@contextmanager
def joined(
    how: str,
    device: str = "cpu",
    same: Mapping[str, object] | None = None,
    patience: timedelta = PATIENCE,
    **options: object,
) -> Iterator[Team]:
    """This process's place among those that torchrun has started: `with joined("blocks") as team: ...`

    Args:
        how: 'data', 'blocks' or 'locked', see `Data`, `Blocks`, `Locked`; options: theirs. device: 'cuda': a GPU each.
        same: what all must have alike, beside the versions of mankit and torch. patience: longest wait for a message.
    Raises: ValueError if torchrun hasn't started it, GPUs are missing, a process differs, or another one ends.
    """
    choose("parallel", how, KINDS)
    if not dist.is_torchelastic_launched():
        raise ValueError(
            f"parallel={how}: start it by torchrun --nproc-per-node 2 -m mankit train ... --parallel {how}"
        )
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    known = _end_with_the_others(int(os.environ["RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=patience)
    try:
        team = KINDS[how](patience, **options)
        versions = {"mankit (sources)": _sources(), "torch": torch.__version__, "parallel": how, "device": device}
        team.compare({name: str(value) for name, value in (versions | dict(same or {})).items()})
        yield team
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        known.set()
        late = f"no message within {patience.total_seconds():.0f} s; did every process send what the others wait for?"
        raise ValueError(f"process {dist.get_rank()}: {late if 'Timed out' in str(error) else GONE}") from error
    finally:
        dist.destroy_process_group()


def _take_gpu(index: int) -> None:
    if index >= torch.cuda.device_count():
        have = f"{torch.cuda.device_count()} GPUs for {index + 1} or more processes"
        raise ValueError(f"{have}: start one for each GPU, torchrun --nproc-per-node gpu")
    torch.cuda.set_device(index)


def _sources() -> str:
    """A checksum of mankit's files: copies of one version may differ."""
    checksum = 0
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        checksum = zlib.crc32(file.read_bytes(), checksum)
    return f"{checksum:08x}"


def _end_with_the_others(rank: int) -> threading.Event:
    """At torchrun's SIGTERM say why, in one line, and end, even while the main thread waits for a message.

    The event is for the main thread to set, where it has seen by itself that others are gone: it says so then.
    """
    known = threading.Event()
    if not hasattr(signal, "sigwait"):  # Windows ends processes itself
        return known
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads that are started from here on

    def watch() -> None:
        signal.sigwait({signal.SIGTERM})
        if known.is_set():
            time.sleep(10)  # more than the main thread needs to say it, and to end
        else:
            print(f"mankit: process {rank}: {GONE}", file=sys.stderr, flush=True)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    return known
