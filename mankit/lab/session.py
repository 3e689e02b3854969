"""A watched run in a thread of its own: it can be started, paused, stepped and stopped from any other."""

from __future__ import annotations

import threading
import time
import traceback
import weakref

import torch

from ..studies import Recipe
from ..teach.endless import BrokenOff, break_off
from .watch import History, Live, Own, Watched, watch


class Session:
    """One watched run. Only one trains at a time: starting one stops the others, so a cell that is run again leaves
    none behind.

    state: 'ready', 'running', 'paused', 'stopped', 'done' or 'failed'. history: the newest copy, None before the first;
    heard: when it came.
    """

    _all: weakref.WeakSet[Session] = weakref.WeakSet()

    def __init__(self, recipe: Recipe, device: str = "auto", own: Own | None = None) -> None:
        self.recipe, self.live = recipe, Live()
        self.state, self.error, self.version = "ready", "", 0
        self.history: History | None = None
        self.watched: Watched | None = None
        self._how, self.heard = dict(device=device, own=own), time.monotonic()
        self._changed = threading.Condition()
        self._single = 0  # single steps that were asked for
        self._stop_asked = False
        self.thread = threading.Thread(target=self._work, daemon=True, name="mankit training")
        Session._all.add(self)

    @classmethod
    def stop_all(cls, but: Session | None = None) -> None:
        """Stop every session (but one) of this Python process."""
        for session in list(cls._all):
            if session is not but:
                session.stop()

    @property
    def over(self) -> bool:
        """Has it ended? Asked of its state, since a thread that is about to start isn't alive either."""
        return self.state in ("stopped", "done", "failed")

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
        """End the run after the step that is being made, or in it where it doesn't end; it can't go on."""
        with self._changed:
            if self.state in ("running", "paused") and not self._stop_asked:
                self._stop_asked = True
                break_off(self.thread, lambda: self.state in ("running", "paused"))
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the thread to end."""
        if self.thread.ident:
            self.thread.join(timeout)

    def _go(self, state: str, single: int) -> None:
        Session.stop_all(but=self)
        with self._changed:
            first = self.state == "ready"
            if self.over:
                return  # a new run is a new session
            self.state, self._single = state, single
            self._changed.notify_all()
        if first:
            self.thread.start()

    def _work(self) -> None:
        torch.set_num_threads(1)  # of this thread: faster for small networks, and the numbers of `mankit train`
        try:
            for watched in watch(self.recipe, self.live, **self._how):
                self.watched = watched
                self._publish()
                if not self._may_go_on():
                    break
            self._end("stopped" if self._stop_asked else "done")
        except BrokenOff:
            self._end("stopped")
        except Exception:  # whatever happens in training is shown, and the panel stays usable
            self.error = traceback.format_exc()
            self._end("failed")

    def _publish(self) -> None:
        self.history = self.watched.history.copy()  # one assignment: a reader has the old or the new one
        self.version, self.heard = self.version + 1, time.monotonic()

    def _may_go_on(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.state == "running" or self._single or self._stop_asked)
            self._single = 0
            return not self._stop_asked

    def _end(self, state: str) -> None:
        with self._changed:
            self.state = state
            self.version += 1
