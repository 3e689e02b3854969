"""The options of `mankit train`: a Recipe's fields, the rules' options and the data's, with what their docstrings say.

A rule that is new in RULES, or a reader's own (`--rule FILE.py:NAME`), has its options here without a line of code.
"""

from __future__ import annotations

import inspect
import json
import re
import runpy
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import typer

from ..errors import choose


def own_rule(word: str) -> str:
    """Put the reader's rule that `FILE.py:NAME` names into RULES; its name there. Any other word stays as it is."""
    found = re.fullmatch(r"((?:--\w+=)?)(.+\.py):(\w+)", word)
    if found is None:
        return word
    from ..rules import RULES

    option, file, name = found.groups()
    functions = {known: value for known, value in runpy.run_path(file).items() if inspect.isfunction(value)}
    choose("rule", name, functions)
    RULES[name] = functions[name]
    return option + name


def settings() -> Iterator[inspect.Parameter]:
    """A parameter for each setting of a recipe, as Typer reads them."""
    from ..images import load
    from ..rules import RULES, help_of, options_of
    from ..studies.recipe import LAB_OPTIONS, Recipe, data_options

    for name, field in inspect.signature(Recipe, eval_str=True).parameters.items():
        if name not in ("options", "data_options"):
            yield _option(field, help_of(Recipe).get(name, ""), "The recipe")
    first = {name: (rule, option) for rule in reversed(RULES) for name, option in options_of(rule).items()}
    for name, (rule, option) in first.items():
        of = ", ".join(each for each in RULES if name in options_of(each))
        option = option.replace(default=LAB_OPTIONS.get(name, option.default))
        yield _option(option, f"{of}: {help_of(rule).get(name, '')}", "Options of a rule")
    for name, option in data_options().items():
        yield _option(option, help_of(load).get(name, ""), "The data")


def _option(setting: inspect.Parameter, said: str, panel: str) -> inspect.Parameter:
    """A setting as Typer wants it: a flag, a number or text; several numbers are text too, as in 5,0.5."""
    from ..rules import name_of

    default, kinds, more = setting.default, _kinds(setting), {"help": said, "rich_help_panel": panel}
    kind = kinds[0] if len(kinds) == 1 and kinds[0] in (bool, int, float) else str
    if tuple in map(get_origin, kinds):
        more |= {"metavar": "NUMBER,...", "parser": _numbers}
        default = ",".join(map(str, default)) if isinstance(default, tuple) else default
    if get_origin(kinds[0]) is Literal:
        more["metavar"] = "|".join(get_args(kinds[0]))
    if callable(default):  # a rule, below another one
        default = name_of(default)
    words = [f"--{setting.name}", f"-{setting.name}"] if len(setting.name) == 1 else []
    return setting.replace(annotation=Annotated[kind | None, typer.Option(*words, **more)], default=default)


def _kinds(setting: inspect.Parameter) -> list[object]:
    """What a value may be, None aside: [int] of int | None, and of Annotated[int, ...]."""
    kind = type(setting.default) if setting.annotation is setting.empty else setting.annotation
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    united = get_args(kind) if get_origin(kind) in (Union, UnionType) else [kind]
    return [each for each in united if each is not NoneType]


def _numbers(text: str) -> object:
    """'5' -> 5, '5,0.5' and '(5, 0.5)' -> (5, 0.5); '5,' makes a tuple of one number."""
    numbers = [json.loads(number) for number in text.strip("()[] ").split(",") if number]
    return tuple(numbers) if "," in text else numbers[0]
