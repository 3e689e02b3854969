"""A recipe: everything that makes one run, in one frozen record. Data only: `Run` builds what it says.

On one machine, on the CPU with one thread, the same recipe gives the same numbers to the last bit.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import allowed, choose
from ..heads import Rule
from ..images import load
from ..rules import RULES, bind, name_of, options_of

Count = Annotated[int, Field(ge=1, le=10**9)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Recipe:
    """One run: a rule, a network, its data and how to train. The defaults are the lab's: minutes on a laptop.

    Args:
        rule: a name in RULES, or a function like those there.
        options: the rule's own, see `mankit.rules`.
        K: number of blocks; for 'bp' only at how many places the net is measured.
        network: lab, lab16, cifar_resnet32, resnet101, ...
        widths: of the network's stages (lab and lab16).
        data: glyphs, digits, cifar10, svhn, stl10 or folder:PATH.
        data_options: for `mankit.images.load` (train_size, size, ...).
        epochs: passes over the training images.
        batch: images in a batch.
        lr: the highest learning rate (the lab's is 0.1); SGD with Nesterov momentum and cosine decay.
        warmup: epochs in which the learning rate rises.
        momentum: of SGD.
        weight_decay: of SGD.
        per_step: move the learning rate at every step instead of every epoch (as published).
        augment: the data set's usual random crop and flip.
        seed: of the weights, the data and their order.
        bf16: autocast to bfloat16.
        per_block: an optimizer for each block, which steps at once.
        ema_update: MAN's EMA reads the next block before (as published) or after the optimizer's step.
        compile: compile each block; where that fails it says why, and goes on.
        at: the K - 1 places to cut, instead of K blocks of as many units each: see `mankit.cut`.
        balance: blocks of as many 'units' each, or the largest block's 'memory' as small as possible.
    Raises: ValueError for a value of the wrong type or outside its range.
    """

    rule: str | Rule = "dgl"
    K: int = 8
    options: dict[str, object] = field(default_factory=dict)
    network: str = "lab"
    widths: tuple[int, ...] | None = None
    data: str = "glyphs"
    data_options: dict[str, object] = field(default_factory=dict)
    epochs: Count = 6
    batch: Count = 100
    lr: Annotated[Finite, Field(gt=0)] = 0.1
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 1
    momentum: Annotated[Finite, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Finite, Field(ge=0)] = 5e-4
    per_step: bool = False
    augment: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    bf16: bool = False
    per_block: bool = False
    ema_update: Literal["before", "after"] = "before"
    compile: bool = False
    at: tuple[int, ...] | None = None
    balance: Literal["units", "memory"] = "units"

    def __post_init__(self) -> None:
        for name, kind in _kinds().items():
            object.__setattr__(self, name, _checked(name, self.__dict__[name], kind))
        self._check_options()
        with contextlib.suppress(ValueError):  # a function is kept by its name, once it has one
            object.__setattr__(self, "rule", name_of(self.rule) if callable(self.rule) else self.rule)
        if self.at is not None and len(self.at) != self.K - 1:
            raise ValueError(f"at={self.at} makes {len(self.at) + 1} blocks, but K={self.K}: give K - 1 places to cut")

    def _check_options(self) -> None:
        """Types of options; names and values are checked by the rule, which may not be known here."""
        takes = dict(data_options())
        for name in self.data_options:
            choose("data option", name, takes)
        if self.options and (callable(self.rule) or self.rule in RULES):
            takes |= options_of(self.rule, self.options.get("base"))
        for name, value in (self.options | self.data_options).items():
            kind = takes[name].annotation if name in takes else inspect.Parameter.empty
            if name != "base" and kind is not inspect.Parameter.empty and get_origin(kind) is not Literal:
                _checked(name, value, _adapter(kind))

    def to_json(self) -> str:
        """The recipe as JSON, a field a line.

        Raises: ValueError where an option is nothing that JSON knows, or the rule is a function without a name.
        """
        values = asdict(self) | {"rule": name_of(self.rule) if callable(self.rule) else self.rule}
        try:
            lines = [f'  "{name}": {json.dumps(value, allow_nan=False)}' for name, value in values.items()]
        except (TypeError, ValueError) as error:
            raise ValueError(f"this recipe can't be written as JSON: {error}; use numbers, text and lists") from error
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe that `to_json` wrote; fields left out keep their defaults.

        Raises: ValueError for text that isn't JSON, a field that doesn't exist, a wrong type or value.
        """
        try:
            values = TypeAdapter(dict[str, object]).validate_json(text)
        except ValidationError as error:
            raise ValueError(
                f"no recipe in JSON, {allowed(error.errors())}: see `mankit recipes NAME --json` for one"
            ) from None
        for name in values:
            choose("field", name, _kinds())
        return cls(**values)

    @classmethod
    def read(cls, file: str | Path) -> Recipe:
        """The recipe in a JSON file. Raises: ValueError where there is none, or it is damaged."""
        if not Path(file).is_file():
            raise ValueError(f"no file {file}: `mankit recipes NAME --json` prints a recipe to save there")
        try:
            return cls.from_json(Path(file).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    @classmethod
    def of(cls, **settings: object) -> Recipe:
        """The recipe of flat settings: fields, the rule's options and the data's options, by their names.

        `Recipe.of(rule="man", K=4, decay=0.9, base="infopro", lam_x=1.0, train_size=2000)`. A data option that is
        None is left out. Raises: ValueError for a name that fits none (with the nearest ones), or that fits two.
        """
        rule = settings.get("rule", cls.rule)
        groups = _groups(rule, settings.get("base"))
        of_rules = {name for each in (rule, *RULES) for name in options_of(each)}
        bind(rule, {name: value for name, value in settings.items() if name in of_rules - {*groups[0], *groups[2]}})
        for name in settings:
            choose("setting", name, [known for group in groups for known in group])
        plain, options, of_data = ({n: v for n, v in settings.items() if n in group} for group in groups)
        return cls(**plain, options=options, data_options={n: v for n, v in of_data.items() if v is not None})

    def settings(self) -> dict[str, object]:
        """One flat dict of fields, the rule's options and the data's options: what `of` takes."""
        plain, _, _ = _groups(self.rule, self.options.get("base"))
        return {name: self.__dict__[name] for name in plain} | self.options | self.data_options

    def but(self, **changes: object) -> Recipe:
        """The same recipe with some fields changed."""
        return replace(self, **changes)

    def changed(self, **settings: object) -> Recipe:
        """The same recipe with some of its flat settings changed; what doesn't fit them any more is left out.

        That is: options that another rule or base doesn't take, and places to cut where K or the network is another.
        Raises: ValueError for a setting that fits none.
        """
        takes = options_of(settings.get("rule", self.rule), settings.get("base", self.options.get("base")))
        left_out = set(self.options) - set(takes) if {"rule", "base"} & settings.keys() else set()
        kept = {name: value for name, value in self.settings().items() if name not in left_out}
        if {"K", "network"} & settings.keys():
            kept["at"] = None
        return Recipe.of(**kept | settings)


def setting_names(rule: str | Rule, base: str | Rule | None = None) -> set[str]:
    """The names that `Recipe.of` takes for a rule: fields, the rule's options and the data's."""
    return {name for group in _groups(rule, base) for name in group}


@functools.cache
def data_options() -> dict[str, inspect.Parameter]:
    """The data options of a recipe by name: what `mankit.images.load` takes beyond seed and place."""
    place = ("name", "root", "seed", "device", "download", "hold", "workers")
    return {n: p for n, p in inspect.signature(load, eval_str=True).parameters.items() if n not in place}


def _groups(rule: str | Rule, base: str | None) -> tuple[list[str], list[str], list[str]]:
    """The names of fields, of the rule's options and of data options. Raises ValueError where a name is in two."""
    plain = [each.name for each in fields(Recipe) if each.name not in ("options", "data_options")]
    options, of_data = list(options_of(rule, base)), list(data_options())
    if twice := sorted(set(options) & {*plain, *of_data}):
        raise ValueError(f"rule {rule!r} has options {twice}, which a recipe has too: give them other names")
    return plain, options, of_data


@functools.cache
def _kinds() -> dict[str, TypeAdapter]:
    """What checks a field's value, by the field's name."""
    return {name: _adapter(kind) for name, kind in get_type_hints(Recipe, include_extras=True).items()}


def _adapter(kind: object) -> TypeAdapter:
    """What checks a value's type: True is no number, 2.0 no whole number."""
    return TypeAdapter(kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True))


def _checked(name: str, value: object, kind: TypeAdapter) -> object:
    value = _with_tuples(value)
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name}={repr(value)[:40]}: {allowed(error.errors())}") from None


def _with_tuples(value: object) -> object:
    """Lists as tuples, all the way down (copies, so that a frozen recipe shares them with nobody)."""
    if isinstance(value, dict):
        return {name: _with_tuples(each) for name, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


LAB_SETTINGS = {"rule": "man", "head": "0c1f", "base": "dgl", "decay": 0.995, "lam_x": 1.0, "lam_y": 1.0}
"""The lab's rule, and the options of rules that take them: one small head for all, and one weight in every block (a
ramp would be one more difference)."""


def lab_recipe(**settings: object) -> Recipe:
    """The lab's recipe of a rule, with some settings changed: `lab_recipe(rule="man", K=4)`."""
    settings = {"rule": LAB_SETTINGS["rule"], **settings}
    takes = options_of(settings["rule"], settings.get("base", LAB_SETTINGS["base"]))
    return Recipe.of(**{name: value for name, value in LAB_SETTINGS.items() if name in takes} | settings)


LAB: dict[str, Recipe] = {
    "BP": lab_recipe(rule="bp"),
    "DGL": lab_recipe(rule="dgl"),
    "InfoPro": lab_recipe(rule="infopro"),
    "MAN": lab_recipe(rule="man"),
    "MAN + decoder": lab_recipe(rule="man", base="infopro"),
}
"""The lab's recipes by the name that plots and tables use."""
