"""Training that can be watched, paused and changed while it runs: no widget and no plot here.

`watch` is a generator of training steps that measures as it goes; `Session` drives it in a thread.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..images import Data, Split, batches
from ..measure import block_accuracy, block_cka, checkpointed_bytes, ema_distance, probe_accuracy, saved_bytes
from ..recipes import Recipe, Run
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
    memory: dict[str, list[float]]  # MiB of one batch: 'blocks' (K, or 1 for BP), 'BP', 'BP, checkpointed'
    step: int = 0
    decay: float | None = None  # the EMA's now; None without one
    changes: list[tuple[int, float]] = field(default_factory=list)  # (step, new decay) of changes in mid-run
    points: list[Point] = field(default_factory=list)
    cka: list[list[float]] = field(default_factory=list)
    cka_to_bp: list[list[float]] = field(default_factory=list)

    def copy(self) -> History:
        """A copy that further training doesn't change."""
        return replace(self, changes=list(self.changes), points=list(self.points))

    def curve(self, what: str) -> list[list[float]]:
        """K curves over the points: 'loss', 'own_head', 'probe', 'bp_probe' or 'ema_distance'."""
        rows = {
            "loss": [p.loss for p in self.points],
            "own_head": [p.own_head for p in self.points],
            "probe": [p.probe for p in self.points],
            "bp_probe": [p.bp_probe for p in self.points],
            "ema_distance": [p.ema_distance for p in self.points],
        }[what]
        return [list(column) for column in zip(*rows, strict=True)]


class Live:
    """What may change in mid-run. Any thread may write it; `watch` reads it before each step."""

    def __init__(self) -> None:
        self.decay: float | None = None  # None: as the recipe says
        self.measure_now = False


@functools.lru_cache(maxsize=4)
def _load(name: str, seed: int, options: tuple[tuple[str, object], ...], device: str) -> Data:
    return Recipe(data=name, seed=seed, data_options=dict(options)).load_data(device=device)


class Watched:
    """A run, beside it a BP network of the same seed that takes the same steps, and what is measured of both."""

    def __init__(self, recipe: Recipe, with_bp: bool = True, device: str = "auto") -> None:
        data = _load(recipe.data, recipe.seed, tuple(sorted(recipe.data_options.items())), device)
        bp = recipe.but(rule="bp", options={}).prepare(data)  # for memory, and to compare with
        self.run: Run = recipe.prepare(data)
        self.bp = bp if with_bp and recipe.rule != "bp" else None
        self._fit, self._see = (_first(split, MEASURE) for split in (data.train, data.val))
        self._loss_sum: Tensor | None = None
        self._steps = 0
        blocks = [b / 2**20 for b in saved_bytes(self.run.net, *_first(data.train, recipe.batch))]
        of_bp = [count / 2**20 for count in _bp_bytes(bp, recipe.batch)]
        self.history = History(
            recipe,
            K=self.run.measured_net.K,
            total=len(self.run),
            every=max(1, len(self.run) // 24),
            memory={"blocks": blocks, "BP": of_bp[:1], "BP, checkpointed": of_bp[1:]},
            decay=next((head.decay for head in self.run.net.heads if head.decay is not None), None),
        )

    def add(self, step: Step) -> None:
        """Take in a training step; its losses stay on the device."""
        self._loss_sum = step.losses if self._loss_sum is None else self._loss_sum + step.losses
        self._steps += 1
        self.history.step = step.index + 1

    def measure(self) -> None:
        """Measure every block on validation images: the test images are never looked at here."""
        net, see, history = self.run.measured_net, [self._see], self.history
        similar = [(self._see[0][:SIMILAR], self._see[1][:SIMILAR])]
        bp = self.bp.measured_net if self.bp else None
        losses = [float("nan")] * history.K
        if self._loss_sum is not None:
            mean = (self._loss_sum / self._steps).tolist()
            losses = losses[: history.K - len(mean)] + mean  # BP has one loss, its last block's
            self._loss_sum, self._steps = None, 0
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
            self.run.net.set_decay(decay)
            history.decay = decay
            history.changes.append((history.step, decay))


def watch(recipe: Recipe, live: Live | None = None, with_bp: bool = True, device: str = "auto") -> Iterator[Watched]:
    """Train a recipe step by step, measured at step 0 and then about 24 times: yields after each step.

    live: what another thread may change meanwhile. with_bp: train a BP network of the same seed beside it, to
    compare with; the run's own numbers don't depend on it. Raises: ValueError as `Recipe.prepare` does.
    """
    live = live or Live()
    watched = Watched(recipe, with_bp, device)
    watched.measure()
    yield watched
    bp_steps = iter(watched.bp) if watched.bp else itertools.repeat(None)
    watched.set_decay(live.decay)
    for step, _ in zip(watched.run, bp_steps, strict=False):
        watched.add(step)
        if watched.history.step % watched.history.every == 0 or step.index + 1 == len(watched.run) or live.measure_now:
            live.measure_now = False
            watched.measure()
        yield watched
        watched.set_decay(live.decay)  # before the next step


class Session:
    """One watched run in a thread of its own, which can be started, paused, stepped and stopped from any other.

    Only one session trains at a time: starting one stops the others, so a cell that is run again leaves none behind.
    state: 'ready', 'running', 'paused', 'stopped', 'done' or 'failed'. history: the newest copy, None before the first.
    """

    _all: weakref.WeakSet[Session] = weakref.WeakSet()

    def __init__(self, recipe: Recipe, with_bp: bool = True, device: str = "auto") -> None:
        self.recipe, self.live = recipe, Live()
        self.state, self.error, self.version = "ready", "", 0
        self.history: History | None = None
        self.watched: Watched | None = None
        self.stopped_after = float("nan")  # seconds from stop() to the end of the thread's work
        self._options = (with_bp, device)
        self._changed = threading.Condition()
        self._single = 0  # single steps that were asked for
        self._stop_asked: float | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="mankit training")
        Session._all.add(self)

    @classmethod
    def stop_all(cls, but: Session | None = None) -> None:
        """Stop every session (but one) of this Python process."""
        for session in list(cls._all):
            if session is not but:
                session.stop()

    @property
    def alive(self) -> bool:
        """Is there a thread at work, or waiting to go on?"""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start, or go on after a pause."""
        self._go("running", single=0)

    def step(self) -> None:
        """One training step, measured at once; then pause."""
        self.live.measure_now = True
        self._go("paused", single=1)

    def pause(self) -> None:
        """Wait after the step that is being made."""
        with self._changed:
            if self.state == "running":
                self.state = "paused"

    def stop(self) -> None:
        """End the run after the step that is being made; it can't go on."""
        with self._changed:
            if self.state in ("running", "paused") and self._stop_asked is None:
                self._stop_asked = time.perf_counter()
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the thread to end."""
        if self._thread.ident:
            self._thread.join(timeout)

    def _go(self, state: str, single: int) -> None:
        Session.stop_all(but=self)
        with self._changed:
            first = self.state == "ready"
            if not first and self.state not in ("running", "paused"):
                return  # over: a new run is a new session
            self.state, self._single = state, single
            self._changed.notify_all()
        if first:
            self._thread.start()

    def _work(self) -> None:
        torch.set_num_threads(1)  # of this thread: faster for small networks, and the numbers of `mankit train`
        try:
            for watched in watch(self.recipe, self.live, *self._options):
                self.watched = watched
                self._publish()
                if not self._may_go_on():
                    break
            self._end("done" if self._stop_asked is None else "stopped")
        except Exception:  # whatever happens in training is shown, and the panel stays usable
            self.error = traceback.format_exc()
            self._end("failed")

    def _publish(self) -> None:
        self.history = self.watched.history.copy()  # one assignment: a reader has the old or the new one
        self.version += 1

    def _may_go_on(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.state == "running" or self._single or self._stop_asked is not None)
            self._single = 0
            return self._stop_asked is None

    def _end(self, state: str) -> None:
        with self._changed:
            self.state = state
            if self._stop_asked is not None:
                self.stopped_after = time.perf_counter() - self._stop_asked
            self.version += 1


def _first(split: Split, n: int) -> tuple[Tensor, Tensor]:
    """The first n images of a split (or all, if there are fewer), as training sees them."""
    return next(batches(split, min(n, len(split)), shuffle=False))


def _bp_bytes(bp: Run, batch: int) -> tuple[int, int]:
    x, y = _first(bp.data.train, batch)
    return saved_bytes(bp.net, x, y)[0], checkpointed_bytes(bp.net, x, y)
