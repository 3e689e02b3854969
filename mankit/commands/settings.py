"""The options of `mankit train`: a Recipe's fields, the rules' options and the data's, with what their docstrings say.

A rule that is new in RULES, or a reader's own (`--rule FILE.py:NAME`), has its options here without a line of code.
"""

from __future__ import annotations

import inspect
import json
import re
import runpy
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import typer

from ..errors import choose, first_line


def own_rule(word: str) -> str:
    """Put the reader's rule that `FILE.py:NAME` names into RULES; its name there. Any other word stays as it is."""
    found = re.fullmatch(r"((?:--\w+=)?)(.+\.py):(\w+)", word)
    if found is None:
        return word
    from ..rules import RULES

    option, file, name = found.groups()
    try:
        functions = {known: value for known, value in runpy.run_path(file).items() if inspect.isfunction(value)}
    except Exception as error:  # the reader's own code
        raise ValueError(f"{file}: {type(error).__name__}: {first_line(error)}") from error
    choose("rule", name, functions)
    RULES[name] = functions[name]
    return option + name


def settings() -> Iterator[inspect.Parameter]:
    """A parameter for each setting of a recipe, as Typer reads them; the defaults are the lab's."""
    from ..images import load
    from ..rules import RULES, help_of, options_of
    from ..studies.recipe import LAB_SETTINGS, Recipe, data_options

    found = [(p, "", Recipe, "The recipe") for p in inspect.signature(Recipe, eval_str=True).parameters.values()]
    first = {name: (option, rule) for rule in reversed(RULES) for name, option in options_of(rule).items()}
    for name, (option, rule) in first.items():
        takers = ", ".join(each for each in RULES if name in options_of(each))
        found.append((option, f"{takers}: ", rule, "Options of a rule"))
    found += [(p, "", load, "The data") for p in data_options().values()]
    for setting, of, source, panel in found:
        if setting.name not in ("options", "data_options"):
            default = LAB_SETTINGS.get(setting.name, setting.default)
            said = of + help_of(source).get(setting.name, "")
            yield _option(setting.replace(default=default), said, panel)


def _option(setting: inspect.Parameter, said: str, panel: str) -> inspect.Parameter:
    """A setting as Typer wants it: a flag, a number or text; several numbers are text too, as in 5,0.5."""
    from ..rules import RULES, name_of

    default, kinds, more = setting.default, _kinds(setting), {"rich_help_panel": panel}
    kind = kinds[0] if len(kinds) == 1 and kinds[0] in (bool, int, float) else str
    origins = [get_origin(each) for each in kinds]
    if tuple in origins:
        more |= {"metavar": "NUMBER,...", "parser": _numbers}
        default = None if default is None else re.sub("[() ]", "", str(default))
    if Literal in origins:
        more["metavar"] = "|".join(get_args(kinds[0]))
    if Callable in origins:
        said += f" {', '.join(RULES)}, or a function of your own, FILE.py:NAME."
        default = name_of(default)
    words = [f"--{setting.name}", f"-{setting.name}"] if len(setting.name) == 1 else []
    return setting.replace(annotation=Annotated[kind | None, typer.Option(*words, help=said, **more)], default=default)


def _kinds(setting: inspect.Parameter) -> list[object]:
    """What a value may be, None aside: [int] of int | None, and of Annotated[int, ...]."""
    kind = type(setting.default) if setting.annotation is setting.empty else setting.annotation
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    united = get_args(kind) if get_origin(kind) in (Union, UnionType) else [kind]
    return [each for each in united if each is not NoneType]


def _numbers(text: str) -> object:
    """'5' -> 5, '5,0.5' and '(5, 0.5)' -> (5, 0.5); '5,' makes a tuple of one number."""
    try:
        numbers = [json.loads(number) for number in text.strip("()[] ,").split(",")]
    except ValueError:
        raise ValueError(f"{text!r}: give numbers, as in 5 or 5,0.5") from None
    return tuple(numbers) if "," in text else numbers[0]
