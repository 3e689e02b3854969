"""A run kept in a folder: kill it anywhere and start it again, and it goes on.

    summary = train_in("runs/dgl", Recipe(rule="dgl"))   # the same call again: goes on, or reads the summary

The folder holds recipe.json, environment.json, log.jsonl (an object for each epoch), checkpoint.pt (with the weights
of the best epoch on the validation images) and, at the end, summary.json. On the CPU the weights of a run that
was interrupted are equal bit for bit to those of one that wasn't.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from ..images import Data, Split, batches
from ..measure import evaluate
from ..scaling.parallel import Alone
from ..training import Step
from . import folder as files
from .recipe import Recipe
from .record import Summary, environment, finished
from .run import MEASURE_BATCH, Run, block_table, load_data
from .steps import ctrl_c_waits

TABLE = "blocks.csv"  # in a run's folder, where it was asked for: a row for each block


def train_in(
    folder: str | Path,
    recipe: Recipe,
    data: Data | None = None,
    device: str = "auto",
    on_epoch: Callable[[dict[str, object]], None] | None = None,
    *,
    root: str | Path | None = None,
    download: bool = False,
    progress: Callable[[KeptRun], Iterable[Step]] = iter,
    table: bool = False,
    stop: threading.Event | None = None,
    team: Alone | None = None,
) -> Summary:
    """Train a recipe in a folder, or go on where it stopped; a finished run is only read.

    on_epoch: called with the log's row after each epoch. progress: wraps the steps, for instance `progress_bar`.
    table: also leave `block_table` in the folder, as blocks.csv. stop, team: as in `open_run`.
    Raises: ValueError as `open_run`; KeyboardInterrupt after a Ctrl-C, when the run is saved.
    """
    file = Path(folder) / TABLE
    if (done := finished(folder, recipe)) and (not table or _rows(file) == recipe.K):
        (team or Alone()).share(None)  # nothing to do
        return done
    with open_run(folder, recipe, data, device, root=root, download=download, stop=stop, team=team) as kept:
        for _ in progress(kept):
            if on_epoch and kept.done % kept.run.steps_per_epoch == 0:
                on_epoch(kept.log[-1])
        summary = kept.finish()
        if table:
            files.write(file, block_table(kept.run).to_csv(index=False))
    return summary


@contextlib.contextmanager
def open_run(
    folder: str | Path,
    recipe: Recipe,
    data: Data | None = None,
    device: str = "auto",
    *,
    root: str | Path | None = None,
    download: bool = False,
    every: float = 600,
    stop: threading.Event | None = None,
    team: Alone | None = None,
) -> Iterator[KeptRun]:
    """A run in a folder, ready to train on from where it stopped: `with open_run(...) as kept: for step in kept: ...`

    data, or where to load it: device, root, download. every: seconds between checkpoints inside a long epoch.
    stop: where it is set by another thread, the run is saved as after a Ctrl-C (which only a main thread hears).
    What a rule of one's own draws while it trains (dropout) comes from torch's generator: seed that to have the same
    numbers again; a run that goes on has those that it would have had.
    Raises: ValueError if the folder holds another recipe's run, can't be written, is in use, or is damaged.
    """
    folder = Path(folder)
    with files.locked(folder):
        finished(folder, recipe)
        data = data or load_data(recipe, root, device, download)
        kept = KeptRun(folder, Run(recipe, data, team=team), every, stop)
        kept.resume()
        yield kept


class KeptRun:
    """A run and its folder. Iterate to train; then `finish()`. `run.net` may be measured at any time."""

    def __init__(self, folder: Path, run: Run, every: float = 600, stop: threading.Event | None = None) -> None:
        self.folder, self.run, self.every, self.stop = folder, run, every, stop or threading.Event()
        self.team = run.team
        self.log: list[dict[str, object]] = []  # a row for each finished epoch
        self.best: dict[str, object] = {}  # epoch, val (percent) and weights of the best epoch on validation
        self.seconds = 0.0
        self._saved_at = 0  # step
        self._of = (run.recipe.to_json(), *run.data.train.checksums)  # a checkpoint is of this recipe and data only

    def __len__(self) -> int:
        return len(self.run)

    @property
    def done(self) -> int:
        """Steps so far."""
        return self.run.done

    def resume(self) -> None:
        """Bring everything to where the last checkpoint was, torch's random numbers too, in all processes."""
        run, state = self.run, files.load(self.folder)
        if state:
            if state["of"] != self._of:
                raise ValueError(f"{self.folder / files.NAME} is of another recipe or other data: remove {self.folder}")
            try:
                if state["best"]:
                    run.net.load_state_dict(state["best"]["weights"])
                run.restore(state)
                self.log, self.best, self.seconds = state["log"], state["best"], state["seconds"]
                self._saved_at = run.done
                if [row["step"] for row in self.log] != list(range(0, run.done + 1, run.steps_per_epoch))[1:]:
                    raise ValueError("the log has not a row for each epoch")
            except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
                file = self.folder / files.NAME
                raise ValueError(f"{file} is no checkpoint of this run: remove {self.folder} to begin anew") from error
        self.team.share(state or {})
        files.write(self.folder / "recipe.json", run.recipe.to_json())
        files.write(self.folder / "environment.json", json.dumps(environment(run.data.train.device), indent=2) + "\n")
        self._write_log()  # an epoch that was logged after the checkpoint will come again

    def __iter__(self) -> Iterator[Step]:
        """Train on, saving at the end of each epoch. Ctrl-C and `stop` save after the step: KeyboardInterrupt."""
        run, begun, before = self.run, time.perf_counter(), self.seconds
        last_save = begun
        with ctrl_c_waits() as asked:
            for step in run:
                self.seconds = before + time.perf_counter() - begun
                if run.done % run.steps_per_epoch == 0:
                    self._end_epoch(step)
                elif self.team.agree(time.perf_counter() - last_save >= self.every and run.losses.are_finite()):
                    self.save()
                last_save = time.perf_counter() if self._saved_at == run.done else last_save
                yield step
                if self.team.agree(bool(asked) or self.stop.is_set()):
                    self.save()
                    where = f"step {run.done} of {len(run)}, saved in {self.folder}"
                    raise KeyboardInterrupt(f"stopped at {where}: start it again to go on")

    def _end_epoch(self, step: Step) -> None:
        run = self.run
        run.gather()
        losses = run.losses.take()  # waits for the device
        epoch = run.done // run.steps_per_epoch
        val = accuracy(run, run.data.val)
        if val is not None and val > self.best.get("val", -1):
            weights = {name: tensor.detach().cpu().clone() for name, tensor in run.net.state_dict().items()}
            self.best = {"epoch": epoch, "val": val, "weights": weights}
        row = {"epoch": epoch, "step": run.done, "lr": step.lr, "losses": losses, "val_accuracy": val}
        self.log.append(row | {"seconds": round(self.seconds, 3)})
        self._write_log()
        self.save()

    def save(self) -> None:
        """Write a checkpoint, unless this step has one. Raises: ValueError where it can't be written."""
        if self._saved_at == self.done:
            return
        self.run.gather()
        state = {
            "of": self._of,
            "done": self.done,
            "net": self.run.net.state_dict(),
            "log": self.log,
            "best": self.best,
            "optimizers": [optimizer.state_dict() for optimizer in self.run.optimizers],
            "losses": self.run.losses.total,
            "rng": torch.get_rng_state(),
            "seconds": self.seconds,
        }
        files.save(self.folder, state)
        self._saved_at = self.done

    def finish(self) -> Summary:
        """Read the test images, with the last weights and the best on validation; keep and return the summary.

        Raises: ValueError before the last step.
        """
        run, best = self.run, self.best
        if run.done < len(run):
            raise ValueError(f"step {run.done} of {len(run)}: train to the end before the test images are read")
        if done := finished(self.folder, run.recipe):
            return done
        best_run = copy.copy(run)
        if best:
            best_run.net = copy.deepcopy(run.net)
            best_run.net.load_state_dict(best["weights"])
        row, there = self.log[-1], str(run.data.train.device)
        trained = run.recipe.epochs, len(run), round(self.seconds, 3), there, tuple(row["losses"]), row["val_accuracy"]
        of_best = best.get("epoch"), best.get("val"), accuracy(best_run, run.data.test) if best else None
        summary = Summary(*trained, accuracy(run, run.data.test), *of_best)
        files.write(self.folder / "summary.json", json.dumps(asdict(summary), indent=2) + "\n")
        return summary

    def _write_log(self) -> None:
        files.write(self.folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in self.log))


def _rows(table: Path) -> int:
    """How many rows a table has; 0 where it isn't there or is damaged, so that it is made anew."""
    import pandas as pd

    with contextlib.suppress(OSError, ValueError):
        return len(pd.read_csv(table))
    return 0


def accuracy(run: Run, split: Split) -> float | None:
    """Percent right of a run's network on a split; None where there are no images."""
    return evaluate(run.net, batches(split, MEASURE_BATCH, shuffle=False)) if len(split) else None
