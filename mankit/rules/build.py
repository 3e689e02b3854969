"""The rules by name, their options, and a network cut into blocks with the heads of one of them.

A rule is a function that looks at a `Place` and returns a head; its options are keyword-only parameters. To add one,
write such a function and give it a line in RULES: `RULES["mine"] = Entry(mine, "My rule")`.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..blocks import LocalNet, cut, shapes_behind
from ..errors import choose
from ..heads import Head, Place, Rule, Shape
from ..networks import Layers, Normalize
from .auglocal import auglocal
from .barlow import ProbedHead, barlow
from .dgl import dgl, greedy
from .infopro import infopro
from .lls import lls
from .man import man
from .manpp import manpp
from .predsim import predsim


class Entry(NamedTuple):
    """A rule: its function, and its name in plots and tables. one_block: it trains the network in one piece.
    unlabelled: it needs no labels, so the last block has a head too, and the classifier is a probe."""

    build: Rule
    label: str
    one_block: bool = False
    unlabelled: bool = False


def bp(place: Place) -> Head:
    """Back-propagation: one block, so no auxiliary head at all."""
    raise ValueError("rule 'bp' trains one block: choose K=1 (net.recut(K) measures it at K places)")


ONE_BLOCK = "bp"  # what every other rule is compared with
RULES: dict[str, Entry | Rule] = {
    ONE_BLOCK: Entry(bp, "BP", one_block=True),
    "greedy": Entry(greedy, "Greedy"),
    "dgl": Entry(dgl, "DGL"),
    "infopro": Entry(infopro, "InfoPro"),
    "man": Entry(man, "MAN"),
    "manpp": Entry(manpp, "MAN++"),
    "predsim": Entry(predsim, "PredSim"),
    "auglocal": Entry(auglocal, "AugLocal"),
    "lls": Entry(lls, "LLS"),
    "barlow": Entry(barlow, "Barlow Twins", unlabelled=True),
}


def entry_of(rule: str | Rule) -> Entry:
    """The entry of a rule by its name or function; one that isn't in RULES, or has no label there, gets its name."""
    if callable(rule):
        known = [entry for entry in map(entry_of, RULES) if entry.build is rule]
        return known[0] if known else Entry(rule, rule.__name__)
    choose("rule", rule, RULES)
    found = RULES[rule]
    return found if isinstance(found, Entry) else Entry(found, rule)


def name_of(rule: str | Rule) -> str:
    """A rule's name in RULES. Raises: ValueError for a function that isn't there."""
    if not callable(rule):
        return rule
    for name in RULES:
        if entry_of(name).build is rule:
            return name
    raise ValueError(f"the rule {rule.__name__} has no name yet: give it one, RULES['{rule.__name__}'] = ...")


def options_of(rule: str | Rule, base: str | Rule | None = None) -> dict[str, inspect.Parameter]:
    """A rule's options by name, with their defaults and types; one over a `base` takes those of its base too."""
    signature = inspect.signature(entry_of(rule).build, eval_str=True)
    own = {p.name: p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    return options_of(base or own["base"].default) | own if "base" in own else own


def help_of(rule: str | Rule) -> dict[str, str]:
    """What each of a rule's own options is, from the `Args:` of its docstring."""
    text = inspect.getdoc(entry_of(rule).build) or ""
    lines = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", text.partition("Args:")[2], re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in lines}


def bases() -> list[str]:
    """The names of the rules that another may be built over: with auxiliary heads, labels, and no base of their own."""
    entries = {name: entry_of(name) for name in RULES}
    built = {name: entry.build for name, entry in entries.items() if not (entry.one_block or entry.unlabelled)}
    return [name for name, build in built.items() if "base" not in inspect.signature(build).parameters]


def bind(rule: str | Rule, options: Mapping[str, object]) -> Rule:
    """The rule with its options; what only the rule below it (`base`) takes is bound to that one.

    Raises: ValueError for an option that the rule doesn't take, or a base that can't be one.
    """
    build, base = entry_of(rule).build, options.get("base")
    if isinstance(base, str):
        choose("base", base, bases())
    if wrong := sorted(set(options) - set(options_of(rule, base))):
        name, allowed = entry_of(rule).build.__name__, sorted(options_of(rule, base)) or "none"
        raise ValueError(f"rule '{name}' takes no option {wrong}: choose from {allowed}")
    own = inspect.signature(build).parameters
    chosen = {name: value for name, value in options.items() if name in own}
    if "base" in own:
        others = {name: value for name, value in options.items() if name not in own}
        chosen["base"] = bind(base or own["base"].default, others)
    return functools.partial(build, **chosen)


def local_net(
    layers: Layers,
    classifier: nn.Module,
    rule: str | Rule = "dgl",
    K: int | None = None,
    *,
    at: Sequence[int] | None = None,
    costs: Sequence[float] | None = None,
    classes: int = 10,
    image_shape: Shape = (3, 32, 32),
    normalize: Normalize | None = None,
    generator: torch.Generator | None = None,
    **options: object,
) -> LocalNet:
    """Cut a network into blocks (see `cut`) and give each block but the last the head of a rule.

    Args:
        rule: a name in RULES or a function; options: that rule's own (see `options_of`).
        classes: how many the classifier tells apart. image_shape: (C, H, W) of the images.
        normalize: the network's first, fixed step. generator: of the heads' weights, see `init_weights`.
    Raises: ValueError, with the names or numbers that are allowed.
    """
    build = bind(rule, options)
    blocks = cut(layers, K, at, costs=costs)
    *shapes, logits = shapes_behind([*blocks, classifier], image_shape)
    if logits != (classes,):
        raise ValueError(f"classes={classes}, but the classifier's output is {logits}: hand in the right number")
    heads, last, done = [], max(1, len(blocks) - 2), 0
    for i, block in enumerate(blocks if entry_of(rule).unlabelled else blocks[:-1]):
        done += len(block)
        depth = min(i / last, 1.0)
        heads.append(build(Place(shapes[i], layers[done:], depth, classes, done - 1, len(layers), generator)))
    heads.append(ProbedHead(heads.pop(), classifier) if entry_of(rule).unlabelled else Head(classifier))
    like = next(classifier.parameters())  # new heads go where the network already is
    return LocalNet(blocks, heads, normalize, classes).to(like.device, like.dtype)
