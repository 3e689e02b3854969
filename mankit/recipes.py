"""A recipe: everything that makes one run, in one frozen record.

On one machine, on the CPU with one thread, the same recipe gives the same numbers to the last bit.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import torch
from torch.optim import Optimizer

from .blocks import LocalNet
from .images import Data, batches, load, steps_per_epoch
from .measure import layer_bytes
from .networks import Normalize, build_network
from .rules import local_net
from .scaling.compiling import compiled_step
from .training import Schedule, Step, cosine, make_optimizer, train, train_batch

MEASURE_BATCH = 500  # images at once where nothing is trained
SEEDING = threading.Lock()
"""Held while torch's one random generator is set, or draws weights: runs in several threads share it."""


@dataclass(frozen=True)
class Recipe:
    """One run: a rule, a network, its data and how to train. The defaults are the lab's: minutes on a laptop.

    Args:
        rule, K, options: see `mankit.rules`; for 'bp' K only says at how many places the net is measured.
        network: 'lab', 'cifar_resnet32', 'resnet101', ... ; data: 'glyphs', 'digits', 'cifar10', ...
        data_options: for `mankit.images.load` (train_size, size, ...).
        epochs, batch, lr, warmup (epochs), momentum, weight_decay: SGD with Nesterov momentum and cosine decay.
        per_step: the learning rate moves at every step instead of every epoch (as published).
        augment: the data set's usual random crop and flip. seed: of the weights, the data and their order.
        bf16, per_block (an optimizer for each block), ema_update, compile: see `mankit.training.train`.
        at, balance: where to cut, instead of K blocks of as many units each: see `mankit.cut`.
    Raises: ValueError for numbers that don't fit.
    """

    rule: str = "dgl"
    K: int = 8
    options: dict[str, object] = field(default_factory=dict)
    network: str = "lab"
    widths: tuple[int, ...] | None = None
    data: str = "glyphs"
    data_options: dict[str, object] = field(default_factory=dict)
    epochs: int = 6
    batch: int = 100
    lr: float = 0.1
    warmup: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    per_step: bool = False
    augment: bool = False
    seed: int = 0
    bf16: bool = False
    per_block: bool = False
    ema_update: str = "before"
    compile: bool = False
    at: tuple[int, ...] | None = None
    balance: str = "units"

    def __post_init__(self) -> None:
        for each in fields(self):  # lists, which JSON has in place of tuples, become tuples
            object.__setattr__(self, each.name, _with_tuples(self.__dict__[each.name]))
        for name, value in (("epochs", self.epochs), ("batch", self.batch)):
            if value < 1 or value != int(value):
                raise ValueError(f"{name}={value}: choose a whole number from 1 up")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr={self.lr}: choose a learning rate above 0 (the lab's is 0.1)")
        if self.ema_update not in ("before", "after"):
            raise ValueError(f"ema_update='{self.ema_update}': choose 'before' (as published) or 'after'")
        if not 0 <= self.momentum < 1 or not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"momentum={self.momentum}, weight_decay={self.weight_decay}: choose a momentum of at least 0 "
                "and below 1, and a weight decay of at least 0"
            )
        if self.balance not in ("units", "memory"):
            raise ValueError(f"balance='{self.balance}': choose 'units' or 'memory'")
        if self.at is not None and len(self.at) != self.K - 1:
            raise ValueError(f"at={self.at} makes {len(self.at) + 1} blocks, but K={self.K}: give K - 1 places to cut")

    def to_json(self) -> str:
        """The recipe as JSON, a field a line. Raises ValueError where an option is nothing that JSON knows."""
        try:
            lines = [f'  "{name}": {json.dumps(value, allow_nan=False)}' for name, value in asdict(self).items()]
        except (TypeError, ValueError) as error:
            raise ValueError(f"this recipe can't be written as JSON: {error}; use numbers, text and lists") from error
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe that `to_json` wrote; fields left out keep their defaults.

        Raises: ValueError for text that isn't JSON, a field that doesn't exist, a wrong type or value.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this recipe isn't JSON: {error}; see `mankit recipes NAME --json` for one") from error
        if not isinstance(values, dict):
            raise ValueError(f"a recipe is {{...}} in JSON, not {text.strip()[:20]}: see `mankit recipes NAME --json`")
        kinds = {each.name: each.type for each in fields(cls)}
        for name, value in values.items():
            if name not in kinds:
                near = difflib.get_close_matches(name, kinds, n=1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise ValueError(f"a recipe has no field '{name}': {hint}choose from {', '.join(kinds)}")
            fits, what = _KINDS[kinds[name]]
            if not fits(value):
                raise ValueError(f"{name}={json.dumps(value)[:40]}: give {what}")
        return cls(**values)

    def but(self, **changes: object) -> Recipe:
        """The same recipe with some fields changed."""
        return replace(self, **changes)

    def load_data(self, root: str | Path | None = None, device: str = "auto", download: bool = False) -> Data:
        """The recipe's data, on a device ('auto': a CUDA GPU if there is one)."""
        where = pick_device(device)
        return load(self.data, root, seed=self.seed, device=where, download=download, **self.data_options)

    def prepare(self, data: Data | None = None, device: str = "auto") -> Run:
        """Build the network, its heads and the optimizer; nothing is trained yet.

        data: what `load_data` gave, to share it between runs; the network goes where it lies.
        device: where to load the data if none is given. Raises: ValueError if the two don't agree.
        """
        data = data or self.load_data(device=device)
        there = data.train.images.device
        if device != "auto" and torch.device(pick_device(device)).type != there.type:
            raise ValueError(f"device='{device}', but the data lies on {there}: load it there, or leave device out")
        image_shape = tuple(data.train.images.shape[1:])
        with SEEDING, torch.random.fork_rng(devices=[]):  # the seed rules these weights, and nothing outside
            torch.default_generator.manual_seed(self.seed)
            layers, classifier = build_network(self.network, len(data.classes), self.widths)
            net = local_net(
                layers,
                classifier,
                self.rule,
                1 if self.rule == "bp" else None if self.at else self.K,
                at=None if self.rule == "bp" else self.at or None,
                costs=layer_bytes(layers, image_shape) if self.balance == "memory" and not self.at else None,
                classes=len(data.classes),
                image_shape=image_shape,
                normalize=Normalize(data.mean, data.std),
                **self.options,
            )
        if self.rule == "bp":
            net.recut(self.K)  # an impossible K should be said now, not after training
        net.to(there)
        steps = steps_per_epoch(data.train, self.batch)
        return Run(
            recipe=self,
            data=data,
            net=net,
            optimizer=make_optimizer(net, self.lr, self.momentum, self.weight_decay, self.per_block),
            schedule=cosine(self.lr, self.epochs, steps, self.warmup, min(0.01, self.lr), self.per_step),
            total=self.epochs * steps,
        )


def _with_tuples(value: object) -> object:
    """Lists as tuples, all the way down (copies, so that a frozen recipe shares them with nobody)."""
    if isinstance(value, dict):
        return {name: _with_tuples(each) for name, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _is_whole(value: object) -> bool:
    return type(value) is int  # True is an int too, and no number of blocks


def _are_whole(value: object) -> bool:
    return value is None or isinstance(value, list) and all(map(_is_whole, value))


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {  # a field's annotation: does a value from JSON fit?
    "str": (lambda value: isinstance(value, str), "text"),
    "int": (_is_whole, "a whole number"),
    "float": (lambda value: type(value) in (int, float), "a number"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "dict[str, object]": (lambda value: isinstance(value, dict), 'names with values, as in {"decay": 0.995}'),
    "tuple[int, ...] | None": (_are_whole, "a list of whole numbers, or null"),
}


@dataclass
class Run:
    """A recipe that is ready to train: `for step in run: ...` trains; `run.net` may be measured at any time.

    A loop that was left goes on where it stopped: the next `for step in run` starts at step `done`.
    """

    recipe: Recipe
    data: Data
    net: LocalNet
    optimizer: Optimizer | list[Optimizer]
    schedule: Schedule
    total: int  # steps
    done: int = 0  # steps so far

    def __len__(self) -> int:
        return self.total

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in one pass over the training images."""
        return self.total // self.recipe.epochs

    def __iter__(self) -> Iterator[Step]:
        r = self.recipe
        how = self.data.augment if r.augment else None
        feed = batches(self.data.train, r.batch, r.epochs, seed=r.seed, augment=how, first_step=self.done)
        how = {"ema_update": r.ema_update, "bf16": r.bf16}
        batch_step = compiled_step(**how) if r.compile else functools.partial(train_batch, **how)
        for step in train(self.net, self.optimizer, feed, self.schedule, batch_step, first_step=self.done):
            self.done = step.index + 1
            yield step

    @property
    def measured_net(self) -> LocalNet:
        """The network to measure per block: for 'bp', the trained layers seen in the recipe's K blocks."""
        return self.net.recut(self.recipe.K) if self.recipe.rule == "bp" else self.net


def pick_device(device: str = "auto") -> str:
    """'auto' is CUDA where there is a GPU, else the CPU. Raises ValueError for a device that isn't there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device='{device}' isn't usable here: choose auto, cpu or cuda") from error
    return device


_LAB_HEAD = {"head": "0c1f"}
_LAB_MAN = {**_LAB_HEAD, "decay": 0.995}
_LAB_LAMBDAS = {"lam_x": 1.0, "lam_y": 1.0}  # one weight in every block: a ramp would be one more difference
LAB: dict[str, Recipe] = {
    "BP": Recipe(rule="bp"),
    "DGL": Recipe(rule="dgl", options=_LAB_HEAD),
    "InfoPro": Recipe(rule="infopro", options={**_LAB_HEAD, **_LAB_LAMBDAS}),
    "MAN": Recipe(rule="man", options={**_LAB_MAN, "base": "dgl"}),
    "MAN + decoder": Recipe(rule="man", options={**_LAB_MAN, **_LAB_LAMBDAS, "base": "infopro"}),
}
"""The lab's recipes by the name that plots and tables use."""
