"""`mankit bench --gpu`: the ways to execute a training step on a GPU."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from ..errors import cannot_write


def print_ways(csv: Path | None, *, device: str, **what: object) -> None:
    """Print a table a method as soon as it is there, and add its rows to a CSV file, if one is given."""
    import torch

    from ..studies.bench import methods
    from ..studies.bench_gpu import bench_gpu
    from ..studies.recipe import LAB

    if csv:
        check_writable(csv)
    on_gpu = device.startswith("cuda")
    on = torch.cuda.get_device_name(device) if on_gpu else f"{device}: nothing is compiled and no graph recorded"
    print(", ".join(f"{name} {value}" for name, value in what.items()) + f"; {on}; torch {torch.__version__}")
    for table in bench_gpu([name for name in reversed(LAB) if name in methods()], device=device, **what):
        print(table.to_string(index=False, float_format="{:.4g}".format, na_rep="-"), flush=True)
        if csv:
            today = datetime.date.today().isoformat()
            _add(table.assign(date=today, command="mankit bench --gpu", device=on, **what), csv)
    print(
        "ratio: over the first way's, in the same round. apart: graph and eager after ten float32 steps, with a lr that"
    )
    print("changing. counted: activations and gradients. Times hold within this run only.")


def _add(table: object, csv: Path) -> None:
    """Rows below those of the file, under its columns and new ones; written as a whole or not at all."""
    import pandas as pd

    there = csv.is_file() and csv.stat().st_size
    rows = pd.concat([pd.read_csv(csv), table]) if there else table
    part = csv.with_suffix(".part")
    rows.to_csv(part, index=False)
    os.replace(part, csv)


def check_writable(file: Path) -> None:
    """ValueError, before a minute of work, where the file can't be written."""
    try:
        file.open("a").close()
    except OSError as error:
        raise cannot_write(file, error, "choose another file with --csv") from error
