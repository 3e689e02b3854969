"""Training that can be watched: a run, a BP run beside it, and what is measured of both. No widget, plot or thread."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..images import Data, Split, batches
from ..measure import best_checkpoints, block_accuracy, block_cka, ema_distance, probe_accuracy, saved_bytes
from ..rules import ONE_BLOCK, entry_of
from ..studies import Recipe, Run, load_data
from ..studies.steps import LossSum
from ..teach.lockstep import Beside, Own
from ..training import Step

POINTS = 160  # most points of a curve: when there are more, every second one goes, so that hours take no memory
MEASURE, SIMILAR = 400, 200  # images for accuracy and for CKA: a tenth of a second on one core of a laptop


@dataclass(frozen=True)
class Point:
    """What was measured after `step` steps: a number for each of the K blocks."""

    step: int
    loss: list[float]  # the mean since the point before; nan at step 0
    own_head: list[float]  # percent of validation images
    probe: list[float]
    bp_probe: list[float]  # the same of the BP network of the same seed, empty without one
    ema_distance: list[float]


@dataclass
class History:
    """A run as it is drawn: its points so far and what was measured last. Numbers only, so it can be copied."""

    recipe: Recipe
    K: int
    total: int  # steps
    every: int  # steps between two points
    memory: list[float]  # MiB of one batch: of each block (one for BP); then of BP, and of BP checkpointed
    step: int = 0
    decay: float | None = None  # the EMA's now; None without one
    beside: str = ""  # a reader's own code beside the library's: equal so far, or where they part
    changes: list[tuple[int, float]] = field(default_factory=list)  # (step, new decay) of changes in mid-run
    points: list[Point] = field(default_factory=list)
    cka: list[list[float]] = field(default_factory=list)
    cka_to_bp: list[list[float]] = field(default_factory=list)

    def copy(self) -> History:
        """A copy that further training doesn't change."""
        return replace(self, changes=list(self.changes), points=list(self.points))

    def curve(self, what: str) -> list[list[float]]:
        """K curves over the points: 'loss', 'own_head', 'probe', 'bp_probe' or 'ema_distance'."""
        rows = [point.__dict__[what] for point in self.points]
        return [list(column) for column in zip(*rows, strict=True)]


@dataclass
class Live:
    """What may change in mid-run. Any thread may write it; `watch` reads it before each step."""

    decay: float | None = None  # None: as the recipe says
    measure_now: bool = False


@functools.lru_cache(maxsize=4)
def _load(name: str, seed: int, options: tuple[tuple[str, object], ...], device: str) -> Data:
    return load_data(Recipe(data=name, seed=seed, data_options=dict(options)), device=device)


class Watched:
    """A run, beside it a BP network of the same seed that takes the same steps, and what is measured of both.

    own: the reader's code, to be compared with the library's. points: about how many times it is measured.
    """

    def __init__(self, recipe: Recipe, device: str = "auto", own: Own | None = None, points: int = 24) -> None:
        data = _load(recipe.data, recipe.seed, tuple(sorted(recipe.data_options.items())), device)
        bp = Run(recipe.but(rule=ONE_BLOCK, options={}), data)  # for memory, and to compare with
        self.run = Run(recipe, data)
        self.both = own and Beside(own.trains(self.run), Run(recipe.changed(rule=own.beside or recipe.rule), data))
        self.bp = None if entry_of(recipe.rule).one_block else bp
        self._fit, self._see = (_first(split, MEASURE) for split in (data.train, data.val))
        self._losses = LossSum()
        x, y = _first(data.train, recipe.batch)
        saved = [
            *saved_bytes(self.run.net, *next(self.run.feed())),
            *saved_bytes(bp.net, x, y),
            best_checkpoints(bp.net, x, y)[0],
        ]
        self.history = History(
            recipe,
            K=self.run.measured_net.K,
            total=len(self.run),
            every=max(1, len(self.run) // points),
            memory=[count / 2**20 for count in saved],
            decay=next((head.decay for head in self.run.net.heads if head.decay is not None), None),
        )

    def __iter__(self) -> Iterator[Step]:
        """Train, a step at a time, and take in the losses, which stay on the device."""
        for step in (mine for mine, _ in self.both) if self.both else self.run:
            self._losses.add(step)
            self.history.step, self.history.beside = step.index + 1, str(self.both or "")
            yield step

    def measure(self) -> None:
        """Measure every block on validation images: the test images are never looked at here."""
        net, see, history = self.run.measured_net, [self._see], self.history
        similar = [(self._see[0][:SIMILAR], self._see[1][:SIMILAR])]
        bp = self.bp.measured_net if self.bp else None
        losses = self._losses.take()
        losses = [float("nan")] * (history.K - len(losses)) + losses  # BP has one loss, its last block's
        history.points.append(
            Point(
                history.step,
                losses,
                own_head=block_accuracy(net, see),
                probe=probe_accuracy(net, [self._fit], see),
                bp_probe=probe_accuracy(bp, [self._fit], see) if bp else [],
                ema_distance=ema_distance(net),
            )
        )
        history.cka = block_cka(net, net, similar).tolist()
        history.cka_to_bp = block_cka(net, bp, similar).tolist() if bp else []
        if len(history.points) > POINTS:
            history.points, history.every = history.points[::2], history.every * 2

    def set_decay(self, decay: float | None) -> None:
        """Change the EMA's decay, if there is an EMA and the decay is another one."""
        history = self.history
        if decay is not None and history.decay not in (None, decay):
            for run in (self.run, self.both.library) if self.both else (self.run,):
                run.net.set_decay(decay)
            history.decay = decay
            history.changes.append((history.step, decay))


def watch(recipe: Recipe, live: Live | None = None, **how: object) -> Iterator[Watched]:
    """Train a recipe step by step, measured at step 0 and then at some points: yields after each step.

    live: what another thread may change meanwhile. how: see `Watched`. Raises: ValueError as `Run` does.
    """
    live = live or Live()
    watched = Watched(recipe, **how)
    watched.measure()
    yield watched
    bp_steps = iter(watched.bp) if watched.bp else itertools.repeat(None)
    watched.set_decay(live.decay)
    for step, _ in zip(watched, bp_steps, strict=False):
        if watched.history.step % watched.history.every == 0 or step.index + 1 == len(watched.run) or live.measure_now:
            live.measure_now = False
            watched.measure()
        yield watched
        watched.set_decay(live.decay)  # before the next step


def _first(split: Split, n: int) -> tuple[Tensor, Tensor]:
    """The first n images of a split (or all, if there are fewer), as training sees them."""
    return next(batches(split, min(n, len(split)), shuffle=False))
