"""The panel of a lesson: live where somebody can press its buttons, else a short run and its figure.

    from mankit import lab
    lab.panel()

Where nobody can press a button (papermill, nbval, nbconvert) the same cell trains a short run to its end and leaves
one ordinary figure and its summary in words. So it does, with a line that says why, where the live panel's packages
are missing or old, as on Colab: they are loaded here when a panel is shown, and not before.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ..heads import Rule
from ..studies.recipe import LAB_SETTINGS, lab_recipe
from ..training import Forward
from .still import Still
from .watch import Own

if TYPE_CHECKING:
    from .live import Panel


def panel(
    rule: str | Rule = LAB_SETTINGS["rule"],
    K: int = 8,
    *,
    short_epochs: int = 3,
    device: str = "auto",
    live: bool | None = None,
    step: Forward | None = None,
    beside: str | None = None,
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
        step: one of your own in place of `local_step`. beside: where `rule` is a function of yours, the library's rule
            by its name. Either is trained in lock-step with the library's, and the first difference is shown.
    Raises: ValueError for settings that don't fit together.
    """
    usual = {"per_step": True, "network": "lab" if K <= 9 else "lab16"}
    recipe = lab_recipe(rule=rule, K=K, **{**usual, **settings})
    own = Own(step, beside) if step or beside else None
    if is_live(live) and not (why := lacking()):
        from .live import Panel

        return Panel(recipe, device, own)
    if is_live(live):
        print(f"The live panel needs {why}: here is the figure of a short run instead.")
    return Still(recipe.but(epochs=min(recipe.epochs, short_epochs)), device, own)


def is_live(live: bool | None = None) -> bool:
    """Is there a page whose buttons somebody can press? See `panel`."""
    if live is None and "MANKIT_LIVE" in os.environ:
        return os.environ["MANKIT_LIVE"] not in ("0", "")
    return "JPY_SESSION_NAME" in os.environ if live is None else live


def lacking() -> str:
    """What the live panel needs and doesn't find, in words; '' where it can be shown."""
    found = {}
    for name in ("ipywidgets", "anywidget"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    if int(found["ipywidgets"].partition(".")[0] or 0) >= 8 and found["anywidget"]:
        return ""
    here = " and ".join(f"{name} {number or 'missing'}" for name, number in found.items())
    return f"ipywidgets 8 and anywidget, which `pip install 'mankit[lab]'` brings (here: {here})"
