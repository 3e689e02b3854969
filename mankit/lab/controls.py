"""The live panel's controls: labelled widgets, and the recipe that they stand for."""

from __future__ import annotations

import functools
import html
import json
import shlex
from collections.abc import Callable
from typing import get_args

import anywidget
import ipywidgets as w
import traitlets
from torch import nn

from ..blocks import cut
from ..charts.looks import COLORS
from ..images import DATASETS
from ..networks import build_network
from ..recipes import Recipe
from ..rules import RULES, entry_of, options_of
from ..rules.man import Branches
from .figure import block_color

NETWORKS = ("lab", "lab16", "cifar_resnet20", "cifar_resnet32")
# 1 - decay falls in steps of 1, 2, 5: evenly spaced on -log10(1 - decay), and both ends are exact
DECAYS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)
SMALL = {"train_size": 4000, "size": 16}  # of photographs, so that a run takes a minute on a laptop
WIDTH, LABEL = "330px", {"description_width": "120px"}


@functools.lru_cache
def units(network: str) -> int:
    """How many layers (stem and residual units) a network has: its largest K."""
    return len(build_network(network, 10)[0])


class Controls:
    """Widgets for the fields of a recipe. What a widget can't show (batch, head, ...) stays as in `recipe`."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe, options = recipe, recipe.options
        lam_x, lam_y = (_weight(name, options.get(name, 1.0)) for name in ("lam_x", "lam_y"))
        self.rule = _choice(
            "Rule", [(entry_of(name).label, name) for name in RULES], recipe.rule, "How the blocks are trained"
        )
        self.K = w.IntSlider(
            recipe.K,
            1,
            max(recipe.K, units(recipe.network)),
            description="Blocks K",
            **_look(),
            tooltip="Into how many gradient-isolated blocks the network is cut (1: plain BP)",
        )
        self.base = _choice(
            "MAN over",
            [(entry_of(n).label, n) for n in ("greedy", "dgl", "infopro")],
            options.get("base", "dgl"),
            "The rule whose loss is taken on the look-ahead",
        )
        self.branches = _choice(
            "MAN's branches",
            list(zip(("both (MAN)", "bias only", "EMA only", "twin: two trained"), get_args(Branches), strict=True)),
            options.get("branches", "both"),
            "MAN, or one of its controls",
        )
        self.decay = w.SelectionSlider(
            options=[(_decay_name(d), d) for d in sorted({*DECAYS, float(options.get("decay", 0.995))})],
            value=float(options.get("decay", 0.995)),
            description="EMA decay",
            **_look(),
            tooltip="How slowly the EMA follows the next layer; may be moved while it trains",
        )
        self.lam_x = w.FloatSlider(
            lam_x,
            min=0,
            max=max(5, lam_x),
            step=0.25,
            description="\u03bb\u2081 (image)",
            tooltip="InfoPro: weight of the reconstruction of the image",
            **_look(),
        )
        self.lam_y = w.FloatSlider(
            lam_y,
            min=0,
            max=max(5, lam_y),
            step=0.25,
            description="\u03bb\u2082 (class)",
            tooltip="InfoPro: weight of the classification",
            **_look(),
        )
        names = [name for name in DATASETS if name != "folder"]
        self.data = _choice(
            "Data",
            names + [recipe.data] * (recipe.data not in names),
            recipe.data,
            "glyphs and digits need no download; photographs are made small (16 x 16)",
        )
        self.network = _choice(
            "Network",
            list(dict.fromkeys([*NETWORKS, recipe.network])),
            recipe.network,
            "lab: 9 layers, lab16: 16; the ResNets are slow without a GPU",
        )
        self.epochs = w.BoundedIntText(
            recipe.epochs, 1, 400, description="Epochs", tooltip="Passes over the data", **_look()
        )
        self.lr = w.FloatLogSlider(
            recipe.lr,
            base=10,
            min=-3,
            max=0.5,
            step=0.05,
            description="Learning rate",
            readout_format=".3f",
            tooltip="The highest; it warms up and falls again",
            **_look(),
        )
        self.seed = w.BoundedIntText(
            recipe.seed, 0, 9999, description="Seed", **_look(), tooltip="Of the weights, the data and their order"
        )
        self.strip = w.HTML(layout=w.Layout(margin="4px 0"))
        self._kept_options = {name: v for name, v in recipe.options.items() if name not in self._by_option()}
        self._columns = w.HBox(
            [
                w.VBox([self.rule, self.K, self.data, self.network, self.epochs, self.lr, self.seed]),
                w.VBox([self.base, self.branches, self.decay, self.lam_x, self.lam_y]),
            ],
            layout=w.Layout(flex_flow="row wrap", align_items="flex-start"),
        )
        self.box = w.VBox([self._columns, self.strip])
        for widget in self.all():
            widget.observe(self._fit, "value")
        self._fit()

    def all(self) -> list[w.Widget]:
        """Every widget that has a value."""
        plain = [self.rule, self.K, self.data, self.network, self.epochs, self.lr, self.seed]
        return plain + list(self._by_option().values())

    def _by_option(self) -> dict[str, w.Widget]:
        return {
            "base": self.base,
            "branches": self.branches,
            "decay": self.decay,
            "lam_x": self.lam_x,
            "lam_y": self.lam_y,
        }

    @property
    def recipe(self) -> Recipe:
        """What the controls stand for now."""
        rule, allowed = self.rule.value, options_of(self.rule.value, self.base.value)
        chosen = {**self._kept_options, **{name: widget.value for name, widget in self._by_option().items()}}
        data, sizes = self.data.value, self._recipe.data_options
        if data != self._recipe.data:
            sizes = SMALL if data in ("cifar10", "svhn", "stl10") else {}
        return self._recipe.but(
            rule=rule,
            K=self.K.value,
            options={name: v for name, v in chosen.items() if name in allowed},
            network=self.network.value,
            data=data,
            data_options=sizes,
            epochs=self.epochs.value,
            lr=self.lr.value,
            seed=self.seed.value,
        )

    def _fit(self, change: object = None) -> None:
        """Show what the rule takes, let K go as far as the network does, draw the cut."""
        self.K.max = units(self.network.value)  # a larger value goes down with it
        allowed = options_of(self.rule.value, self.base.value)
        for name, widget in self._by_option().items():
            widget.disabled = name not in allowed
            widget.layout.display = "" if name in allowed else "none"
        if self.rule.value == "man" and self.branches.value in ("bias", "twin"):
            self.decay.disabled = True  # there is no EMA that follows
        self.strip.value = cut_strip(units(self.network.value), self.K.value, self.rule.value)

    def on_change(self, do: Callable[[], None]) -> None:
        """Call `do` after any control was moved."""
        for widget in self.all():
            widget.observe(lambda change: do(), "value")


class CopyButton(anywidget.AnyWidget):
    """A button that puts `text` on the reader's clipboard, in the reader's own browser.

    It also says how wide the panel is on the page, in pixels (plotly's widget doesn't look), and how many views of
    it the page has: none once its cell or notebook is closed.
    """

    _esm = """
    let views = 0;  // of this page
    export default { render({ model, el }) {
        const button = document.createElement("button");
        const name = "Copy as command";
        button.className = "jupyter-button lm-Widget jupyter-widgets";
        button.style.width = "auto";
        button.textContent = name;
        button.title = "Copies the mankit train command that makes this run, number for number";
        button.onclick = async () => {
            await navigator.clipboard.writeText(model.get("text"));
            button.textContent = "Copied";
            setTimeout(() => { button.textContent = name; }, 1500);
        };
        el.appendChild(button);
        const observer = new ResizeObserver(([entry]) => {
            model.set("width", Math.round(entry.contentRect.width));
            model.save_changes();
        });
        requestAnimationFrame(() => observer.observe(el.closest(".jp-OutputArea-output") ?? document.body));
        const count = by => {
            views += by;
            model.set("views", views);
            model.save_changes();
        };
        count(+1);
        return () => { observer.disconnect(); count(-1); };  // the cell or the notebook was closed
    } }
    """
    text = traitlets.Unicode("").tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    views = traitlets.Int(0).tag(sync=True)


def cut_strip(count: int, K: int, rule: str) -> str:
    """The network's layers in a row, coloured and numbered by block, as HTML."""
    cells, sizes = [], [len(block) for block in cut([nn.Identity()] * count, K)]
    for k, size in enumerate(sizes):
        style = (
            f"flex:{size};background:{block_color(k, K)};color:white;text-align:center;"
            "border-radius:4px;padding:3px 0;font-size:12px;text-shadow:0 0 3px black,0 0 3px black"
        )
        cells.append(f'<div style="{style}" title="block {k + 1}: {size} of {count} layers">{k + 1}</div>')
    text = f"{count} layers (stem + {count - 1} units) in K = {K} block{'s' * (K > 1)}"
    text += " (BP: where it is measured; the gradient passes)" if rule == "bp" else ": no gradient passes a gap"
    return (
        f'<div role="img" aria-label="{text}: {", ".join(map(str, sizes))} layers" style="max-width:680px">'
        f'<div style="display:flex;gap:6px">{"".join(cells)}</div>'
        f'<div style="font-size:12px;color:var(--jp-ui-font-color1, inherit)">{text}</div></div>'
    )


def parameters(recipe: Recipe) -> dict[str, object]:
    """A recipe as parameters of a notebook: rule, K, data, network, epochs, lr, seed and the rule's own options."""
    plain = {
        "rule": recipe.rule,
        "K": recipe.K,
        "data": recipe.data,
        "network": recipe.network,
        "epochs": recipe.epochs,
        "lr": recipe.lr,
        "seed": recipe.seed,
    }
    return {**plain, **recipe.options}


def command(recipe: Recipe) -> str:
    """The `mankit train` command that makes the same run, number for number."""
    words = ["mankit", "train"]
    values = {**parameters(recipe), **recipe.data_options, "batch": recipe.batch}
    for name, value in values.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    for name, on in (("per-step", recipe.per_step), ("augment", recipe.augment)):
        words += [f"--{name}"] * on
    return shlex.join(words)


def as_papermill(recipe: Recipe) -> str:
    """The parameters as options of `mankit run NOTEBOOK` (and of papermill)."""
    return " ".join(
        f"-p {name} {shlex.quote(v if isinstance(v, str) else json.dumps(v))}" for name, v in parameters(recipe).items()
    )


def folded(error: str) -> str:
    """A traceback as HTML: its last line, and the rest folded away."""
    last = error.strip().splitlines()[-1]
    return (
        f'<details style="color:{COLORS["red"]}"><summary><b>{html.escape(last)}</b></summary>'
        f"<pre>{html.escape(error)}</pre></details>"
    )


def _look() -> dict[str, object]:
    """Width and label of a control: a layout of its own each, since some are hidden at times."""
    return {"layout": w.Layout(width=WIDTH), "style": LABEL}


def _choice(name: str, options: list, value: object, tooltip: str) -> w.Dropdown:
    return w.Dropdown(options=options, value=value, description=name, tooltip=tooltip, **_look())


def _weight(name: str, value: object) -> float:
    if not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name}={value}: the panel has one weight for all blocks; give a number from 0 up")
    return float(value)


def _decay_name(decay: float) -> str:
    return {0.0: "0 (copy)", 1.0: "1 (frozen)"}.get(decay, f"{decay:g}")
