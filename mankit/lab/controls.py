"""The live panel's controls: labelled widgets, and the recipe that they stand for.

The widgets of a rule's options are made from the rule's own signature, so a new rule brings its own.
"""

from __future__ import annotations

import base64
import functools
import html
import inspect
import json
import shlex
from collections.abc import Callable
from typing import Literal, get_args, get_origin

import ipywidgets as w
from torch import nn

from .. import charts
from ..blocks import cut
from ..charts.looks import COLORS
from ..heads import Between, Rule
from ..images import DATASETS
from ..networks import build_network
from ..rules import RULES, bases, entry_of, help_of, name_of, options_of
from ..studies import Recipe
from ..studies.recipe import LAB_SETTINGS

NETWORKS = ("lab", "lab16", "cifar_resnet20", "cifar_resnet32")
# 1 - decay falls in steps of 1, 2, 5: evenly spaced on -log10(1 - decay), and both ends are exact
DECAYS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)
SMALL = {"train_size": 4000, "size": 16}  # of photographs, so that a run takes a minute on a laptop
PHOTOGRAPHS = ("cifar10", "svhn", "stl10")
MAIN = ("rule", "K", "data", "network", "epochs", "lr", "seed")


@functools.lru_cache
def units(network: str) -> int:
    """How many layers (stem and residual units) a network has: its largest K."""
    return len(build_network(network, 10)[0])


class Controls:
    """Widgets for the fields of a recipe and all rules' options. What no widget shows (batch, ...) stays as given."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        rules = {rule: entry_of(rule).label for rule in [*RULES, recipe.rule]}
        names = [(label, rule) for rule, label in rules.items()]
        self.rule = labelled(w.Dropdown, "Rule", "How blocks are trained", options=names, value=recipe.rule)
        words, top = "How many gradient-isolated blocks (1: plain BP)", max(recipe.K, units(recipe.network))
        when_let_go = dict(continuous_update=False)  # a picture is drawn for each
        self.K = labelled(w.IntSlider, "Blocks K", words, value=recipe.K, min=1, max=top, **when_let_go)
        data = dict.fromkeys([*(name for name in DATASETS if name != "folder"), recipe.data])
        words = "glyphs and digits need no download; photographs are made small"
        self.data = labelled(w.Dropdown, "Data", words, options=list(data), value=recipe.data)
        networks = dict.fromkeys([*NETWORKS, recipe.network])
        words = "lab: 9 layers, lab16: 16; ResNets want a GPU"
        self.network = labelled(w.Dropdown, "Network", words, options=list(networks), value=recipe.network)
        self.epochs = labelled(w.BoundedIntText, "Epochs", "Passes over the data", value=recipe.epochs, min=1, max=400)
        words, exponents = "The highest; it warms up and falls again", dict(base=10, min=-3, max=0.5, step=0.05)
        self.lr = labelled(w.FloatLogSlider, "Learning rate", words, value=recipe.lr, readout_format=".3f", **exponents)
        self.seed = labelled(w.BoundedIntText, "Seed", "Of weights, data and order", value=recipe.seed, min=0, max=9999)
        self.main = {name: self.__dict__[name] for name in MAIN}
        self.options = option_widgets(rules, recipe.options)
        self.picture = w.HTML()
        rule, K, *rest = self.main.values()
        grid = w.Layout(grid_template_columns="repeat(auto-fill, minmax(220px, 1fr))", grid_gap="0 8px")
        self.box = w.GridBox([rule, K, *self.options.values(), *rest], layout=grid)
        self.on_change(self._fit)
        self._fit()

    def all(self) -> list[w.Widget]:
        """Every widget that has a value."""
        return [*self.main.values(), *self.options.values()]

    def allowed(self) -> dict[str, inspect.Parameter]:
        """The options that the chosen rule takes, over the chosen base."""
        return options_of(self.rule.value, self.options["base"].value)

    @property
    def recipe(self) -> Recipe:
        """What the controls stand for now; an option at the rule's own default isn't said, unless it was given."""
        allowed = self.allowed()
        chosen = {name: self.options[name].value for name in self._recipe.options if name in allowed}
        for name, parameter in allowed.items():
            if self.options[name].value != _default(parameter):
                chosen[name] = self.options[name].value
        data, sizes = self.data.value, self._recipe.data_options
        if data != self._recipe.data:
            sizes = SMALL if data in PHOTOGRAPHS else {}
        values = {name: widget.value for name, widget in self.main.items()}
        return self._recipe.but(**values, options=chosen, data_options=sizes)

    def _fit(self) -> None:
        """Show what the rule takes, let K go as far as the network does, draw the cut."""
        self.K.max = units(self.network.value)  # a larger value goes down with it
        allowed = self.allowed()
        for name, widget in self.options.items():
            widget.disabled = name not in allowed
            widget.layout.display = "" if name in allowed else "none"
        entry = entry_of(self.rule.value)
        ahead = "decay" in allowed  # a head with a moving average looks ahead
        self.picture.value = cut_image(units(self.network.value), self.K.value, entry.label, entry.one_block, ahead)

    def on_change(self, do: Callable[[], None]) -> None:
        """Call `do` after any control was moved."""
        for widget in self.all():
            widget.observe(lambda change: do(), "value")


def option_widgets(rules: dict[str | Rule, str], given: dict[str, object]) -> dict[str, w.Widget]:
    """A widget for each option of any of the rules, with the value given, else the lab's, else the rule's own."""
    widgets: dict[str, w.Widget] = {}
    for rule in rules:
        for name, parameter in options_of(rule).items():
            usual = LAB_SETTINGS.get(name, _default(parameter))
            value = given.get(name, usual[0] if isinstance(usual, tuple) else usual)
            if name not in widgets:
                kind = type(value) if parameter.annotation is parameter.empty else parameter.annotation
                words = help_of(rule).get(name) or f"an option of {rules[rule]}"
                widgets[name] = _option(name, kind, value, words)
    return widgets


def _option(name: str, kind: object, value: object, words: str) -> w.Widget:
    """The widget that fits an option's type."""
    title = name.replace("_", " ")
    between = next((mark for mark in get_args(kind)[1:] if isinstance(mark, Between)), None)
    if name == "base":
        options = [(entry_of(base).label, base) for base in bases()]
        return labelled(w.Dropdown, title, words, options=options, value=value)
    if get_origin(kind) is Literal:
        return labelled(w.Dropdown, title, words, options=get_args(kind), value=value)
    if kind is bool:
        return labelled(w.Checkbox, title, words, value=value)
    if name == "decay":
        names = {0.0: "0 (copy)", 1.0: "1 (frozen)"}
        options = [(names.get(d, f"{d:g}"), d) for d in sorted({*DECAYS, float(value)})]
        words += " May be moved while it trains."
        return labelled(w.SelectionSlider, title, words, options=options, value=value)
    if kind is float or float in get_args(kind):
        if not isinstance(value, int | float):
            raise ValueError(f"{name}={value}: the panel has one weight for all blocks; give a number")
        low, high = between or (min(0.0, value), max(5.0, value))
        digits = ".2f" if high > 0.1 else ".4f"
        how = dict(value=value, min=low, max=high, step=(high - low) / 20, readout_format=digits)
        return labelled(w.FloatSlider, title, words, **how)
    if kind is int:
        return labelled(w.BoundedIntText, title, words, value=value, min=min(0, value), max=10**6)
    return labelled(w.Text, title, words, value=str(value), continuous_update=False)


def _default(parameter: inspect.Parameter) -> object:
    """An option's default as its control shows it: a rule by its name, and None (the rule chooses) as not ticked."""
    default = parameter.default
    return name_of(default) if callable(default) else False if default is None else default


@functools.lru_cache(maxsize=64)
def cut_image(count: int, K: int, label: str, one_block: bool, look_ahead: bool) -> str:
    """The lessons' picture of the cut network, as HTML, and what it says in words."""
    sizes = [len(block) for block in cut([nn.Identity()] * count, K)]
    chart = charts.cut_picture(sizes, rule=label, isolated=not one_block, look_ahead=look_ahead)
    pixels = base64.b64encode(charts.png(chart)).decode()
    return f'<img src="data:image/png;base64,{pixels}" alt="{html.escape(chart.words)}" style="max-width:520px">'


def command(recipe: Recipe) -> str:
    """The `mankit train` command that makes the same run, number for number; a line that says why there is none."""
    try:
        words = ["mankit", "train", "--rule", name_of(recipe.rule)]
    except ValueError as error:  # the reader's own, not in RULES yet
        return f"# {error}"
    usual = Recipe().settings()
    for name, value in recipe.settings().items():
        if name == "rule" or value is None or name in usual and value == usual[name] and name not in MAIN:
            continue
        option = "--" + name.replace("_", "-")
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [option] * value if isinstance(value, bool) else [option, text]
    return shlex.join(words)


def as_papermill(recipe: Recipe) -> str:
    """The main fields and the rule's own options, as `mankit run NOTEBOOK` (and papermill) takes parameters."""
    words = []
    for name, value in ({name: recipe.settings()[name] for name in MAIN} | recipe.options).items():
        words += ["-p", name, value if isinstance(value, str) else json.dumps(value, default=str)]
    return shlex.join(words)


def folded(error: str) -> str:
    """A traceback as HTML: its last line, and the rest folded away."""
    last = error.strip().splitlines()[-1]
    return (
        f'<details style="color:{COLORS["red"]}"><summary><b>{html.escape(last)}</b></summary>'
        f"<pre>{html.escape(error)}</pre></details>"
    )


def labelled(kind: type[w.Widget], name: str, words: str, **values: object) -> w.Widget:
    """A labelled control, with a layout of its own, since some are hidden at times."""
    look = {"layout": w.Layout(width="auto"), "style": {"description_width": "92px"}}
    return kind(**values, description=name, tooltip=words, **look)
