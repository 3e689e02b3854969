"""The live panel: choose a rule, K and the EMA's decay, press Start, and watch every block while it trains."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable

import ipywidgets as w
from IPython.display import display

from ..studies import Recipe
from ..teach.endless import long_step
from . import figure
from .controls import Controls, as_papermill, command, folded, labelled
from .page import CopyButton, Plots
from .session import Session
from .watch import Own

REDRAW = 0.3  # seconds between two pictures: many more, and messages to the page pile up
PATIENCE = 2.0  # seconds to wait for a page to say that it has drawn the last picture


class Panel:
    """Controls, buttons, plots and a summary; one run at a time. Its callbacks only set flags, so any thread may
    run them: training happens in the session's thread, drawing in a second one.
    """

    def __init__(self, recipe: Recipe, device: str = "auto", own: Own | None = None) -> None:
        Session.stop_all()  # a cell that is run again leaves no training behind
        self._how, self.kept = dict(device=device, own=own), None
        self.session = Session(recipe, **self._how)
        self.controls = Controls(recipe)
        self.figure = Plots(figure.picture(figure.chart_of(None)), on_closed=lambda: self.session.stop())
        self._drawing, self._sent = threading.Lock(), 0.0
        self._make_widgets()
        self._lay_out()
        self.controls.on_change(self._settings_moved)
        self.controls.options["decay"].observe(self._decay_moved, "value")
        self._settings_moved()

    def _make_widgets(self) -> None:
        self.start = _button("Start", "Train with these settings; again: pause, and go on", self._start)
        self.step = _button("Step", "One training step, then pause", self._step)
        self.stop = _button("Stop", "End this run", lambda: self.session.stop())
        self.reset = _button("Reset", "End this run and empty the plots", self._reset)
        self.keep = _button("Keep this run to compare", "Draw it beside the next run", self._keep)
        words = "A linear read-out of each block's features, or the block's own auxiliary network (BP has none)"
        measures = [(name, measure) for measure, name in figure.MEASURES.items()]
        self.probe = labelled(w.Dropdown, "Accuracy by", words, options=measures, value="probe")
        self.probe.observe(lambda change: self._draw(), "value")
        self.progress = labelled(w.IntProgress, "Step", "Of this run", value=0, max=1)
        self.status, self.error, self.summary = (w.HTML() for _ in range(3))
        self.code = w.Textarea(disabled=True, rows=5, description="Command", layout=w.Layout(width="100%"))
        self.copy = CopyButton(source=self.code.model_id)

    def _lay_out(self) -> None:
        """Controls beside plots, so that a slider and what answers it are seen together; below, what unfolds."""
        wrap = w.Layout(flex_flow="row wrap")
        buttons = w.HBox([self.start, self.step, self.stop, self.reset, self.keep], layout=wrap)
        left = w.VBox([buttons, self.status, self.error, self.controls.box, self.probe, self.progress])
        right = w.VBox([*_fold("The network as it is cut", self.controls.picture), self.figure])
        top = w.HBox([left.add_class("mankit-controls"), right.add_class("mankit-right")], layout=wrap)
        words = _fold("The plots in words", self.summary)
        code = _fold("This run as a command", w.VBox([self.code, self.copy]))
        self.box = w.VBox([top, *words, *code]).add_class("mankit-panel")

    def _ipython_display_(self) -> None:
        display(self.box)

    @property
    def recipe(self) -> Recipe:
        """The settings as they stand, for the next Start."""
        return self.controls.recipe

    def close(self) -> None:
        """Stop the run and take the panel off the page."""
        self.session.stop()
        self.box.close()

    # --- buttons ---

    def _start(self) -> None:
        if self.session.state == "running":
            self.session.pause()
        else:
            self._ready().start()
        self._tell()

    def _step(self) -> None:
        self._ready().step()
        self._tell()

    def _reset(self) -> None:
        self.session.stop()
        self.session, self.kept = Session(self.recipe, **self._how), None
        with self._drawing:
            self.figure.show(figure.picture(figure.chart_of(None)))
            self.summary.value = ""
        self._tell()

    def _keep(self) -> None:
        self.kept = self.session.history
        self._draw()

    def _ready(self) -> Session:
        """The session to go on with, or a new one with the settings as they stand, and a thread that draws it."""
        if self.session.state not in ("running", "paused"):
            self.session = Session(self.recipe, **self._how)
            self.error.value = ""
            threading.Thread(target=self._pump, args=(self.session,), daemon=True, name="mankit drawing").start()
        return self.session

    # --- controls ---

    def _decay_moved(self, change: object) -> None:
        self.session.live.decay = change["new"]

    def _settings_moved(self) -> None:
        recipe = self.recipe
        self.code.value = f"{command(recipe)}\nmankit run NOTEBOOK {as_papermill(recipe)}"
        self._tell()

    # --- what is shown ---

    def _pump(self, session: Session) -> None:
        """Draw a session until it ends: the newest state, and the next one when the page has drawn this one."""
        drawn, due, told = -1, 0.0, 0.0
        while session is self.session:
            ended, version = session.over, session.version
            heard = self.figure.drawn == self.figure.sent or time.monotonic() - self._sent > PATIENCE
            if version != drawn and (ended or heard and time.monotonic() >= due):
                self._draw()
                drawn, due = version, time.monotonic() + REDRAW * (session.history is not None)
            elif ended:
                return
            elif long_step(time.monotonic() - max(session.heard, told)):
                self._tell()
                told = time.monotonic()
            time.sleep(0.05)

    def _draw(self) -> None:
        history = self.session.history
        with self._drawing:
            if history is not None:
                self._sent = time.monotonic()
                chart = figure.chart_of(history, self.kept, self.probe.value)
                self.figure.show(figure.picture(chart, run=id(self.session)))
                self.summary.value = chart.words
            self._tell()

    def _tell(self) -> None:
        """Say what state the run is in, and name the buttons for it."""
        session, state = self.session, self.session.state
        self.start.description = {"running": "Pause", "paused": "Go on"}.get(state, "Start")
        self.stop.disabled = state not in ("running", "paused")
        self.keep.disabled = session.history is None
        where = later = light = ""
        if (history := session.history) is not None:
            self.progress.max, self.progress.value = history.total, history.step
            where, light = f", step {history.step} of {history.total}", html.escape(history.beside)
            later = f" {figure.caution(history, self.kept)}"
        later += long_step(time.monotonic() - session.heard) * (state == "running")
        if state in ("running", "paused") and self._differs():
            later += " <b>The settings were changed: they count from the next Start on (Stop first).</b>"
        self.status.value = f'<div role="status">{state.capitalize()}{where}.{later} <b>{light}</b></div>'
        if state == "failed":
            self.error.value = folded(session.error)

    def _differs(self) -> bool:
        """Do the controls stand otherwise than in the run, but for the decay, which acts at once?"""
        settings = [recipe.settings() | {"decay": None} for recipe in (self.recipe, self.session.recipe)]
        return settings[0] != settings[1]


def _button(name: str, tooltip: str, do: Callable[[], None]) -> w.Button:
    button = w.Button(description=name, tooltip=tooltip, layout=w.Layout(width="auto", flex="1 1 auto"))
    button.on_click(lambda _: do())
    return button


def _fold(title: str, content: w.Widget) -> list[w.Widget]:
    """A line that a reader unfolds, and what it shows then: page.css hides that until then."""
    line = w.HTML(f"<details><summary>{title}</summary></details>").add_class("mankit-fold")
    return [line, content.add_class("mankit-folded")]
