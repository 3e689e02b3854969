"""What is left after a run: a table with a row for each block."""

from __future__ import annotations

import pandas as pd

from .data import batches
from .measure import block_accuracy, probe_accuracy, saved_bytes
from .recipes import Run

MEASURE_BATCH = 500  # images at once where nothing is trained


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
