"""Who computes and who waits: a cut network trained by some processes of this machine, with the time of everything.

    told = timeline(lab_recipe(rule="man", K=8), processes=2, steps=20)    # a DataFrame: told.rows

torchrun starts the processes; there is no server, and nothing is left of them at the end.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import at_least, choose, first_line
from ..scaling.torchrun import GONE, joined
from ..training import BatchStep
from .recipe import Recipe
from .run import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Timeline:
    """What some steps on several processes left.

    rows: process, step, what (wait, compute, send), block (or none), begin and end in seconds since the first; a wait
        or a message inside a computation is a part of it.
    seconds: of each block's step, as measured before (it decides who gets which). blocks: of each process, from 0.
    cpu: seconds that each process has computed since its first step's end (the first times the blocks, too).
    losses: (steps, K). weights: of the trained network, `net.state_dict()`.
    """

    rows: pd.DataFrame
    seconds: list[float]
    blocks: list[range]
    cpu: list[float]
    losses: Tensor
    weights: dict[str, Tensor]

    @property
    def bound(self) -> float:
        """How much faster than one process these can be: the time of all blocks over that of the slowest process."""
        return sum(self.seconds) / max(sum(self.seconds[i] for i in own) for own in self.blocks)


def timeline(
    recipe: Recipe,
    processes: int = 2,
    steps: int = 20,
    how: str = "blocks",
    step: BatchStep | None = None,
    *,
    threads: int = 1,
    patience: float = 60,
) -> Timeline:
    """Train the first steps of a recipe on several processes of this machine, on CPU threads.

    Args:
        how: 'blocks' (update unlocked), or 'locked': back-propagation of the same network.
        step: a stage's step of your own, step(stage, optimizers, x, y) -> losses of its blocks, which takes its input
            from stage.normalize(x) and calls stage.send(h) once; a function of a notebook will do.
        patience: seconds that a process waits for a message, before it gives up.
    Raises: ValueError, with what a process said, where one fails.
    """
    import cloudpickle

    choose("how", how, ("blocks", "locked"))
    at_least("processes", processes, 1)
    at_least("steps", steps, 1)
    with tempfile.TemporaryDirectory() as folder:
        task = (recipe.to_json(), steps, how, step, threads, patience)
        Path(folder, "task.pickle").write_bytes(cloudpickle.dumps(task))
        command = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", __name__, folder]
        _call([sys.executable, "-m", *command])
        return _read(Path(folder), processes)


def _call(command: list[str]) -> None:
    """Run a command to its end; whatever happens, its processes end too. ValueError where it fails."""
    here = os.pathsep.join(path for path in sys.path if path)  # what can be imported here, can be there
    env = os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    words = {"encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, **words) as process:
        try:
            lines = process.communicate()[0].splitlines()
        finally:
            process.terminate()  # torchrun ends its processes; one that is gone isn't hurt
            process.wait()
    if process.returncode:
        reasons = [line for line in lines if line.startswith("mankit: ") and GONE not in line] or lines[-1:]
        raise ValueError(
            (reasons or [f"the processes ended with code {process.returncode}"])[0].removeprefix("mankit: ")
        )


def _read(folder: Path, processes: int) -> Timeline:
    import pandas as pd

    told = [torch.load(folder / f"{rank}.pt") for rank in range(processes)]
    names = ["process", "step", "what", "block", "begin", "end"]
    rows = pd.DataFrame([(rank, *row) for rank, one in enumerate(told) for row in one["rows"]], columns=names)
    rows[["begin", "end"]] -= rows["begin"].min()
    rows = rows.astype({"block": "Int64"}).sort_values(["begin", "process"], ignore_index=True)
    blocks, cpu = [range(*one["blocks"]) for one in told], [one["cpu"] for one in told]
    return Timeline(rows, told[0]["seconds"], blocks, cpu, sum(one["losses"] for one in told), told[0]["weights"])


def main(folder: Path) -> None:
    """What each process does: train the first steps, and leave what it noted in a file."""
    import cloudpickle

    recipe, steps, how, step, threads, patience = cloudpickle.loads((folder / "task.pickle").read_bytes())
    torch.set_num_threads(threads)
    noted, rows, cpu = [], [], []
    with joined(how, "cpu", patience=timedelta(seconds=patience), step=step, rows=noted) as team:
        run = Run(Recipe.from_json(recipe), device="cpu", team=team)
        losses = []
        for done in itertools.islice(run, steps):
            rows += [(done.index, *row) for row in noted]
            noted.clear()
            losses.append(done.losses)
            cpu.append(time.process_time())
        run.gather()
        left = {
            "rows": rows,
            "seconds": team.seconds,
            "blocks": (team.own.start, team.own.stop),
            "cpu": cpu[-1] - cpu[0],
        }
        weights = run.net.state_dict() if team.rank == 0 else None
        torch.save(left | {"losses": torch.stack(losses), "weights": weights}, folder / f"{team.rank}.pt")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:  # of the reader's own step, too
        own = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        print(f"mankit: {own}{first_line(error)}", file=sys.stderr, flush=True)
        sys.exit(2)
