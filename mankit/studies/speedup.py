"""How much faster two processes train than one, beside the bound that their blocks set: run it by torchrun.

torchrun --standalone --nproc-per-node 2 -m mankit.studies.speedup RULE

Rounds of one process and of all follow each other; a round takes as long as its slowest process. CPU time holds on a
busy machine, but knows no waiting. The bound is all blocks' time over that of the slowest process's blocks, and for
wall time less what a round takes to fill the pipeline: size - 1 steps.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import sys
import time

import torch
import torch.distributed as dist

from ..scaling.torchrun import joined
from ..training import train, train_batch
from .recipe import lab_recipe
from .run import Run

ROUNDS, STEPS = 9, 16


def main(rule: str) -> None:
    """Time one recipe, and let process 0 print a line."""
    torch.set_num_threads(1)
    recipe = lab_recipe(rule=rule, network="lab16", train_size=2000, val_size=20, test_size=20)
    with joined("blocks") as team:
        one, many = (Run(recipe, device="cpu", team=each) for each in (None, team))
        ways = [_steps(run, step) for run, step in ((one, train_batch), (many, team.batch_step))]
        rows = [
            [_seconds(steps, way == 1 or team.rank == 0) for way, steps in enumerate(ways)] for _ in range(ROUNDS + 1)
        ]
        every = [None] * team.size
        dist.all_gather_object(every, (rows[1:], sum(team.seconds[i] for i in team.own)))  # the first round warms up
    if team.rank == 0:
        balance = sum(cost for _, cost in every) / max(cost for _, cost in every)
        for kind, (name, filled) in enumerate((("CPU time", 1.0), ("wall time", STEPS / (STEPS + team.size - 1)))):
            slowest = [max(rows[r][1][kind] for rows, _ in every) for r in range(ROUNDS)]
            found = statistics.median(every[0][0][r][0][kind] / slowest[r] for r in range(ROUNDS))
            bound = balance * filled
            print(f"{rule}, {team.size} processes, {name}: {found:.2f} of {bound:.2f}, which is {found / bound:.2f}")


def _steps(run: Run, step: object) -> object:
    how = functools.partial(step, ema_update=run.recipe.ema_update)
    return train(run.net, run.optimizer, itertools.cycle([next(run.feed())]), batch_step=how)


def _seconds(steps: object, works: bool) -> tuple[float, float]:
    """CPU and wall time of some steps of this process, begun together with the others."""
    dist.barrier()
    cpu, wall = time.process_time(), time.perf_counter()
    if works:
        for _ in itertools.islice(steps, STEPS):
            pass
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main(sys.argv[1])
