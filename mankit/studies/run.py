"""A run: what a recipe says, built; trained alone or side by side, and measured block by block."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.optim import Optimizer

from ..blocks import LocalNet
from ..images import Augment, Data, batches, load, steps_per_epoch
from ..measure import block_accuracy, layer_bytes, probe_accuracy, saved_bytes
from ..networks import Normalize, build_network
from ..rules import entry_of, local_net
from ..scaling.compiling import compiled_step
from ..scaling.parallel import Alone
from ..training import Batch, BatchStep, Step, cosine, make_optimizer, train
from .recipe import Recipe
from .steps import LossSum

if TYPE_CHECKING:
    import pandas as pd

MEASURE_BATCH = 500  # images at once where nothing is trained
PROBED = 50_000  # training images that a probe is fitted on, at most: their features are held in memory
LOOK_EVERY = 50  # steps between two looks at the losses on a GPU


class Run:
    """A recipe that is ready to train: `for step in run: ...` trains; `run.net` may be measured at any time.

    A loop that was left goes on where it stopped: the next `for step in run` starts at step `done`.

    Args:
        data: what `load_data` gave, to share it between runs; the network goes where it lies.
        device: where to load the data if none is given. Raises: ValueError if the two don't agree.
        team: the processes that train it together, see `mankit.scaling.torchrun.joined`.
    Attributes: recipe, data, net, optimizer, schedule, batch_step (change them as you like), done (steps so far),
        losses (a LossSum of them).
    """

    def __init__(
        self, recipe: Recipe, data: Data | None = None, device: str = "auto", team: Alone | None = None
    ) -> None:
        self.recipe, self.data, self.done = recipe, data or load_data(recipe, device=device), 0
        there = self.data.train.device
        if device != "auto" and torch.device(pick_device(device)).type != there.type:
            raise ValueError(f"device='{device}', but the data lies on {there}: load it there, or leave device out")
        if len(self.data.train.labels.unique()) < 2:
            raise ValueError(f"the training images of {recipe.data} have one class only: add or take more images")
        if recipe.augment and self.data.augment is None:
            raise ValueError(f"augment=True: {recipe.data} has no usual crop and flip; leave augment out")
        self.net, self.team = _network(recipe, self.data).to(there), team or Alone()
        self.team.check(self.net, recipe.batch)
        r, self.steps_per_epoch = recipe, steps_per_epoch(self.data.train, recipe.batch)
        self.optimizer = make_optimizer(self.net, r.lr, r.momentum, r.weight_decay, r.per_block)
        self.schedule = cosine(r.lr, r.epochs, self.steps_per_epoch, r.warmup, min(0.01, r.lr), r.per_step)
        self.batch_step = batch_step(r.compile, self.team, ema_update=r.ema_update, bf16=r.bf16)
        self.losses, self._gathered = LossSum(), 0  # step

    def __len__(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    def feed(self, first_step: int = 0) -> Iterator[Batch]:
        """The batches that this run trains on, with as many views of each image as its rule asks for."""
        r, data, views = self.recipe, self.data, self.net.heads[0].views
        how = data.augment if r.augment else None
        if views > 1 and how is None:
            how = Augment(2, "constant")  # a shift makes two views of any image
        return batches(data.train, r.batch, r.epochs, seed=r.seed, augment=how, views=views, first_step=first_step)

    def __iter__(self) -> Iterator[Step]:
        feed = self.feed(self.done)
        steps = train(self.net, self.optimizer, feed, self.schedule, self.batch_step, first_step=self.done)
        for step in while_finite(steps, self.recipe, self.steps_per_epoch):
            self.done = step.index + 1
            self.losses.add(step)
            yield step

    @property
    def optimizers(self) -> list[Optimizer]:
        """The one optimizer, or one for each block, as a list."""
        return self.optimizer if isinstance(self.optimizer, list) else [self.optimizer]

    def restore(self, state: dict) -> None:
        """Bring weights, optimizers, the step, sums of losses and torch's random numbers to where a checkpoint was."""
        self.net.load_state_dict(state["net"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.done = self._gathered = state["done"]
        losses, there = state["losses"], self.data.train.device
        self.losses.total = None if losses is None else losses.to(there).expand(self.net.K)
        self.losses.steps = self.done % self.steps_per_epoch
        torch.set_rng_state(state["rng"])

    def gather(self) -> None:
        """Of several processes, bring everything to the first, sums of losses too, once a step."""
        if self._gathered != self.done:
            self.team.gather(self.net, self.optimizers, self.losses.total)
            self._gathered = self.done

    @property
    def measured_net(self) -> LocalNet:
        """The network to measure per block: where one block is trained, its layers seen in the recipe's K blocks."""
        return self.net.recut(self.recipe.K) if entry_of(self.recipe.rule).one_block else self.net


def while_finite(steps: Iterable[Step], recipe: Recipe, steps_per_epoch: int) -> Iterator[Step]:
    """Pass steps on; ValueError, with rule, block, step and cure, at the first one that has a loss which is no number.

    Reading a loss waits for a GPU: there it looks back every `LOOK_EVERY` steps, and at the end of an epoch.
    """
    unread: list[Step] = []
    for step in steps:
        unread.append(step)
        done = step.index + 1
        if not step.losses.is_cuda or done % LOOK_EVERY == 0 or done % steps_per_epoch == 0:
            _check_finite(unread, recipe)
            unread.clear()
        yield step


def _check_finite(steps: list[Step], recipe: Recipe) -> None:
    losses = torch.stack([step.losses for step in steps])  # (steps, K)
    if not losses.isfinite().all():
        row, block = losses.isfinite().logical_not().nonzero()[0].tolist()
        where = f"rule {entry_of(recipe.rule).label}, block {block + 1} of {losses.shape[1]}"
        what = f"has loss {losses[row, block].item():g} at step {steps[row].index + 1}"
        raise ValueError(f"{where} {what}: choose lr below {recipe.lr:g}")


def _network(recipe: Recipe, data: Data) -> LocalNet:
    """The recipe's network with its heads, on the CPU."""
    shape, one = data.train.shape, entry_of(recipe.rule).one_block
    draw = torch.Generator().manual_seed(recipe.seed)  # the seed rules these weights, and nothing outside
    layers, classifier = build_network(recipe.network, len(data.classes), recipe.widths, generator=draw)
    net = local_net(
        layers,
        classifier,
        recipe.rule,
        1 if one else None if recipe.at else recipe.K,
        at=None if one else recipe.at or None,
        costs=layer_bytes(layers, shape) if recipe.balance == "memory" and not (one or recipe.at) else None,
        classes=len(data.classes),
        image_shape=shape,
        normalize=Normalize(data.mean, data.std),
        generator=draw,
        **recipe.options,
    )
    if one:
        net.recut(recipe.K)  # an impossible K should be said now, not after training
    return net


def load_data(recipe: Recipe, root: str | Path | None = None, device: str = "auto", download: bool = False) -> Data:
    """A recipe's data, on a device ('auto': a CUDA GPU if there is one). Raises: ValueError as `images.load`."""
    where = {"device": pick_device(device), "root": root, "download": download}
    return load(recipe.data, seed=recipe.seed, **where, **recipe.data_options)


def batch_step(compile: bool = False, team: Alone | None = None, **how: object) -> BatchStep:
    """How `train` executes a step. team: with other processes, or fast. how: ema_update, bf16, see `train_batch`."""
    team = team or Alone()
    if compile and team.size > 1:
        raise ValueError(f"compile=True with {team.size} processes: leave one out")
    alone = type(team) is Alone
    return compiled_step(**how) if compile and alone else functools.partial(team.batch_step, **how)


def pick_device(device: str = "auto") -> str:
    """'auto' is CUDA where there is a GPU, else the CPU. Raises ValueError for a device that isn't there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).tolist()  # 'meta' would make a tensor, but no numbers
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device='{device}' isn't usable here: choose auto, cpu or cuda") from error
    return device


def train_all(runs: Iterable[Run], after_epoch: Callable[[Run, int], None] | None = None) -> None:
    """Train runs to their end under one progress bar, on a CPU two at a time (one on each of two cores).

    Each run stays strictly sequential, so its numbers are those it has alone. after_epoch(run, epoch), with
    epoch from 1, is called after each pass over the training images, for instance to measure.
    Call `torch.set_num_threads(1)` first: runs that share the cores get in each other's way otherwise.
    """
    from tqdm import tqdm

    runs = list(runs)
    on_cpu = all(run.data.train.device.type != "cuda" for run in runs)
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
    images (50,000 at most); saved_mib, MiB kept for the backward pass of one batch (in back-propagation all blocks
    at once).
    """
    import pandas as pd

    data, net = run.data, run.measured_net
    train_split, test_split = (
        lambda split=split: batches(split, MEASURE_BATCH, shuffle=False)
        for split in (data.train.first(PROBED), data.test)
    )
    x, y = next(run.feed())
    with torch.autocast(x.device.type, torch.bfloat16, enabled=run.recipe.bf16):
        saved = saved_bytes(run.net, x, y)
    saved = [float("nan")] * (net.K - len(saved)) + saved  # back-propagation: one sum for all its blocks
    return pd.DataFrame(
        {
            "block": range(1, net.K + 1),
            "own_head": block_accuracy(net, test_split()),
            "linear_probe": probe_accuracy(net, train_split(), test_split()),
            "saved_mib": [b / 2**20 for b in saved],
        }
    )
