"""The live panel: choose a rule, K and the EMA's decay, press Start, and watch every block while it trains.

    from mankit import lab
    lab.panel()

Where nobody can press a button (papermill, nbval, nbconvert) the same cell trains a short run to its end and leaves
one ordinary figure and its summary in words.
"""

from __future__ import annotations

import threading
import time

import ipywidgets as w
from IPython.display import display

from ..heads import Rule
from ..studies import Recipe
from ..studies.recipe import LAB_SETTINGS, lab_recipe
from . import figure
from .controls import Controls, as_papermill, command, folded, parameters
from .page import CopyButton, is_live
from .session import Session
from .still import Still

REDRAW = 0.3  # seconds between two pictures: many more, and messages to the page pile up
PATIENCE = 2.0  # seconds to wait for a page to say that it has drawn the last picture


def panel(
    rule: str | Rule = LAB_SETTINGS["rule"],
    K: int = 8,
    *,
    short_epochs: int = 3,
    device: str = "auto",
    live: bool | None = None,
    **settings: object,
) -> Panel | Still:
    """A live panel with these settings to begin with; the last line of a cell shows it.

    Args:
        rule: its name, or a function of your own. settings: those of `mankit train` and of `Recipe.of`, such as data,
            epochs, lr, seed and the rule's options. The learning rate moves at every step, since short runs would
            lose a whole epoch to a rate of 0 otherwise; the network has 9 layers ('lab'), or 16 for a larger K.
        short_epochs: epochs of the run where there is no live page.
        live: buttons or an ordinary figure? None: the environment's MANKIT_LIVE (1 or 0); without that, buttons
            where a Jupyter server started this kernel for a page, which papermill, nbval and nbconvert don't do.
    Raises: ValueError for settings that don't fit together.
    """
    usual = {"per_step": True, "network": "lab" if K <= 9 else "lab16"}
    recipe = lab_recipe(rule=rule, K=K, **{**usual, **settings})
    if is_live(live):
        return Panel(recipe, device)
    return Still(recipe.but(epochs=min(recipe.epochs, short_epochs)), device)


class Panel:
    """Controls, buttons, plots and a summary; one run at a time. Its callbacks only set flags, so any thread may
    run them: training happens in the session's thread, drawing in a second one.
    """

    def __init__(self, recipe: Recipe, device: str = "auto") -> None:
        Session.stop_all()  # a cell that is run again leaves no training behind
        self._device, self.kept = device, None
        self.session = Session(recipe, device=device)
        self.controls = Controls(recipe)
        self.figure = figure.empty_figure(figure.LiveFigure)
        self._drawing, self._acked, self._sent = threading.Lock(), threading.Event(), 0.0
        self._acked.set()
        self._make_widgets()
        self.controls.on_change(self._settings_moved)
        self.controls.options["decay"].observe(self._decay_moved, "value")
        self._settings_moved()
        self._tell()

    def _make_widgets(self) -> None:
        self.start = _button("Start", "play", "Train with these settings; again: pause, and go on", self._start)
        self.step = _button("Step", "step-forward", "One training step, then pause", self._step)
        self.stop = _button("Stop", "stop", "End this run", lambda: self.session.stop())
        self.reset = _button("Reset", "refresh", "End this run and empty the plots", self._reset)
        self.keep = _button("Keep this run to compare", "thumb-tack", "Draw it beside the next run", self._keep)
        self.probe = w.ToggleButtons(
            options=[("own head", False), ("linear probe", True)],
            description="Accuracy by",
            tooltips=["of each block's own auxiliary network", "of a linear read-out of the block's features"],
            style={"button_width": "100px", "description_width": "90px"},
            layout=w.Layout(width="330px"),
        )
        self.probe.observe(lambda change: self._draw(), "value")
        self.progress = w.IntProgress(0, 0, 1, description="Step", layout=w.Layout(width="330px"))
        self.status, self.error, self.summary = (w.HTML() for _ in range(3))
        self.copy = CopyButton()
        self.copy.observe(self._fit_width, "width")
        self.copy.observe(self._closed, "views")
        self.code = w.Textarea(
            disabled=True,
            description="As a command",
            rows=5,
            layout=w.Layout(width="680px"),
            style={"description_width": "120px"},
        )
        wrap = w.Layout(flex_flow="row wrap")
        self.box = w.VBox(
            [
                self.controls.box,
                w.HBox([self.start, self.step, self.stop, self.reset, self.keep], layout=wrap),
                w.HBox([self.progress, self.probe], layout=wrap),
                *(self.status, self.error, self.figure, self.summary),
                w.HBox([self.code, self.copy], layout=wrap),
            ]
        )

    def _ipython_display_(self) -> None:
        display(self.box)

    @property
    def recipe(self) -> Recipe:
        """The settings as they stand, for the next Start."""
        return self.controls.recipe

    @property
    def command(self) -> str:
        """The `mankit train` command of the same run."""
        return command(self.recipe)

    @property
    def parameters(self) -> dict[str, object]:
        """The settings as parameters of a notebook."""
        return parameters(self.recipe)

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
        self.session, self.kept = Session(self.recipe, device=self._device), None
        with self._drawing:
            figure.clear(self.figure)
        self._tell()

    def _keep(self) -> None:
        self.kept = self.session.history
        self._draw()

    def _ready(self) -> Session:
        """The session to go on with, or a new one with the settings as they stand, and a thread that draws it."""
        if self.session.state not in ("running", "paused"):
            self.session = Session(self.recipe, device=self._device)
            self.error.value = ""
            threading.Thread(target=self._pump, args=(self.session,), daemon=True, name="mankit drawing").start()
        return self.session

    # --- controls ---

    def _decay_moved(self, change: object) -> None:
        self.session.live.decay = change["new"]

    def _settings_moved(self) -> None:
        recipe = self.recipe
        self.copy.text = command(recipe)
        self.code.value = f"{self.copy.text}\nmankit run NOTEBOOK {as_papermill(recipe)}"
        self._tell()

    # --- what is shown ---

    def _closed(self, change: object) -> None:
        if self.copy.views == 0:  # nobody sees it any more
            self.session.stop()

    def _fit_width(self, change: object) -> None:
        if self.copy.width > 0:  # 0 while the panel is hidden
            with self._drawing:
                self.figure.layout.width = min(1200, max(460, self.copy.width))

    def _pump(self, session: Session) -> None:
        """Draw a session until it ends: the newest state, and the next one when the page has drawn this one."""
        drawn, due = -1, 0.0
        while session is self.session:
            ended, version = not session.alive and session.state != "ready", session.version
            heard = self._acked.is_set() or time.monotonic() - self._sent > PATIENCE
            if version != drawn and (ended or heard and time.monotonic() >= due):
                self._draw()
                drawn, due = version, time.monotonic() + REDRAW * (session.history is not None)
            elif ended:
                return
            time.sleep(0.05)

    def _draw(self) -> None:
        history = self.session.history
        with self._drawing:
            if history is not None:
                self._acked.clear()
                self._sent = time.monotonic()
                figure.draw(self.figure, history, self.kept, self.probe.value)
                self.figure.on_edits_completed(self._acked.set)
                self.summary.value = f'<div role="status">{figure.summary(history, self.kept, self.probe.value)}</div>'
            self._tell()

    def _tell(self) -> None:
        """Say what state the run is in, and name the buttons for it."""
        session, state = self.session, self.session.state
        self.start.description = {"running": "Pause", "paused": "Go on"}.get(state, "Start")
        self.start.icon = "pause" if state == "running" else "play"
        self.stop.disabled = state not in ("running", "paused")
        self.keep.disabled = session.history is None
        if session.history is not None:
            self.progress.max, self.progress.value = session.history.total, session.history.step
        later = ""
        if state in ("running", "paused") and self._differs():
            later = " <b>The settings were changed: they count from the next Start on (Stop first).</b>"
        where = f", step {session.history.step} of {session.history.total}" if session.history else ""
        self.status.value = f'<div role="status">{state.capitalize()}{where}.{later}</div>'
        if state == "failed":
            self.error.value = folded(session.error)

    def _differs(self) -> bool:
        """Do the controls stand otherwise than in the run, but for the decay, which acts at once?"""
        return _without_decay(self.recipe) != _without_decay(self.session.recipe)


def _without_decay(recipe: Recipe) -> Recipe:
    return recipe.but(options={name: value for name, value in recipe.options.items() if name != "decay"})


def _button(name: str, icon: str, tooltip: str, do: object) -> w.Button:
    button = w.Button(description=name, icon=icon, tooltip=tooltip, layout=w.Layout(width="auto", min_width="90px"))
    button.on_click(lambda _: do())
    return button
