"""Train runs side by side, and what is left after a run: a table with a row for each block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import torch
from tqdm import tqdm

from .images import batches
from .measure import block_accuracy, probe_accuracy, saved_bytes
from .recipes import MEASURE_BATCH, Run


def train_all(runs: Iterable[Run], after_epoch: Callable[[Run, int], None] | None = None) -> None:
    """Train runs to their end under one progress bar, on a CPU two at a time (one on each of two cores).

    Each run stays strictly sequential, so its numbers are those it has alone. after_epoch(run, epoch), with
    epoch from 1, is called after each pass over the training images, for instance to measure.
    Call `torch.set_num_threads(1)` first: runs that share the cores get in each other's way otherwise.
    """
    runs = list(runs)
    on_cpu = all(not run.data.train.images.is_cuda for run in runs)
    workers = min(2, os.cpu_count() or 1) if on_cpu else 1
    with tqdm(total=sum(len(run) for run in runs), unit="step", leave=False) as bar:

        def train(run: Run) -> None:
            for step in run:
                bar.update()
                epoch, rest = divmod(step.index + 1, run.steps_per_epoch)
                if after_epoch and rest == 0:
                    after_epoch(run, epoch)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(train, runs))  # list: an exception in a run is raised here


def block_table(run: Run) -> pd.DataFrame:
    """Measure every block on the test images: one row per block.

    Columns: block (1..K); own_head, percent right of the block's own head (empty where it has none);
    linear_probe, percent right of a closed-form probe on the block's pooled features, fitted on the training
    images; saved_mib, MiB kept for the backward pass of one batch (in back-propagation all blocks at once).
    """
    data, net = run.data, run.measured_net
    train_split, test_split = (
        lambda split=split: batches(split, MEASURE_BATCH, shuffle=False) for split in (data.train, data.test)
    )
    x, y = next(batches(data.train, run.recipe.batch, seed=run.recipe.seed))
    with torch.autocast(x.device.type, torch.bfloat16, enabled=run.recipe.bf16):
        saved = saved_bytes(run.net, x, y)
    if len(saved) < net.K:  # back-propagation: one sum for all its blocks
        saved = [float("nan")] * (net.K - 1) + saved
    return pd.DataFrame(
        {
            "block": range(1, net.K + 1),
            "own_head": block_accuracy(net, test_split()),
            "linear_probe": probe_accuracy(net, train_split(), test_split()),
            "saved_mib": [b / 2**20 for b in saved],
        }
    )
