"""The panel where nobody can press a button: a short run and one ordinary figure."""

from __future__ import annotations

import torch
from tqdm import tqdm

from .. import charts
from ..errors import first_line
from ..studies import Recipe
from . import figure
from .watch import History, Own, watch


class Still:
    """The panel where there is no live page: a run, trained when it is displayed, and its figure."""

    def __init__(self, recipe: Recipe, device: str = "auto", own: Own | None = None) -> None:
        self.recipe, self._how = recipe, dict(device=device, own=own, points=6)  # measuring takes longest
        self.history: History | None = None

    def train(self) -> History:
        """Train to the end (once) and return what was measured."""
        if self.history is None:
            torch.set_num_threads(1)
            with tqdm(unit="step", leave=False) as bar:
                for watched in watch(self.recipe, **self._how):
                    bar.total = watched.history.total
                    bar.update(watched.history.step - bar.n)
            self.history = watched.history
        return self.history

    def _ipython_display_(self) -> None:
        try:
            charts.show(figure.chart_of(self.train()).but(width=860))
        except Exception as error:
            if not self._how["own"]:
                raise
            print(f"Your code stopped this run with {type(error).__name__}: {first_line(error)}")
