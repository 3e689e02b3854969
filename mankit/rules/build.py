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
    """A rule: its function, and its name in plots and tables."""

    build: Rule
    label: str
    one_block: bool = False  # it trains the network in one piece
    unlabelled: bool = False  # the last block has a head of the rule too, and the classifier is a probe


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
    return RULES[rule] if isinstance(RULES[rule], Entry) else Entry(RULES[rule], rule)


def name_of(rule: str | Rule) -> str:
    """A rule's name in RULES. Raises: ValueError for a function that isn't there."""
    if not callable(rule):
        return rule
    if named := [name for name in RULES if entry_of(name).build is rule]:
        return named[0]
    raise ValueError(f"the rule {rule.__name__} has no name yet: give it one, RULES['{rule.__name__}'] = ...")


def options_of(rule: str | Rule, base: str | Rule | None = None) -> dict[str, inspect.Parameter]:
    """A rule's options by name, with their defaults and types; one over a `base` takes those of its base too."""
    parameters = inspect.signature(entry_of(rule).build, eval_str=True).parameters
    own = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    return options_of(base or own["base"].default) | own if "base" in own else own


def help_of(rule: str | Rule) -> dict[str, str]:
    """What each of a rule's own options is, from the `Args:` of its docstring."""
    text = inspect.getdoc(entry_of(rule).build) or ""
    lines = re.findall(r"^    (\w+): (.+(?:\n     .+)*)", text.partition("Args:")[2], re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in lines}


def bases(built: bool = False) -> list[str]:
    """The rules that another may be built over, by name: with auxiliary heads and labels; built: over a base, too."""
    with_heads = [name for name in RULES if not (entry_of(name).one_block or entry_of(name).unlabelled)]
    return [name for name in with_heads if built or "base" not in inspect.signature(entry_of(name).build).parameters]


def bind(rule: str | Rule, options: Mapping[str, object]) -> Rule:
    """The rule with its options; what only the rule below it (`base`) takes is bound to that one.

    Raises: ValueError for an option that the rule doesn't take, or a base that can't be one.
    """
    build, base = entry_of(rule).build, options.get("base")
    if isinstance(base, str):
        choose("base", base, bases(built=True))
    if wrong := sorted(set(options) - set(options_of(rule, base))):
        allowed = sorted(options_of(rule, base)) or "none"
        raise ValueError(f"rule '{build.__name__}' takes no option {wrong}: choose from {allowed}")
    own = inspect.signature(build).parameters
    chosen = {name: options[name] for name in options if name in own}
    if "base" in own:
        chosen["base"] = bind(base or own["base"].default, {name: options[name] for name in options if name not in own})
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
    build, blocks = bind(rule, options), cut(layers, K, at, costs=costs)
    *shapes, logits = shapes_behind([*blocks, classifier], image_shape)
    if logits != (classes,):
        raise ValueError(f"classes={classes}, but the classifier's output is {logits}: hand in the right number")
    heads, done, unlabelled = [], 0, entry_of(rule).unlabelled
    for i, block in enumerate(blocks if unlabelled else blocks[:-1]):
        done += len(block)
        depth = min(i / max(1, len(blocks) - 2), 1.0)
        heads.append(build(Place(shapes[i], layers[done:], depth, classes, done - 1, len(layers), generator)))
    heads.append(ProbedHead(heads.pop(), classifier) if unlabelled else Head(classifier))
    like = next(classifier.parameters())  # new heads go where the network already is
    return LocalNet(blocks, heads, normalize, classes).to(like.device, like.dtype)
