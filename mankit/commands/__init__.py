"""The commands of `mankit`, a file for each: they read words, call a wing and print. The called one alone loads it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable

import typer

from .bench import bench
from .course import course
from .grade import grade
from .inputs import joined
from .lessons import lab, lessons
from .notebooks import run, student
from .recipes import recipes
from .reproduce import reproduce
from .settings import own_rule, settings
from .sweep import sweep
from .train import train


def call(words: list[str]) -> object:
    """Do what the words say, as a shell would after `mankit`; the exit code, None for 0.

    Raises: ValueError, OSError, TyperException for bad input.
    """
    for option, value in zip(words, [*words[1:], "the end"], strict=False):  # Typer makes a folder "." of ""
        if option[:1] == "-" and not value or option[:2] == "--" and option[-1] == "=":
            raise ValueError(f"{option.strip('-=')}='': an empty value; name a folder, a file, ..., or leave it out")
    words = [own_rule(word) for word in words] if words[:1] == ["train"] else joined(words)
    app = typer.Typer(
        help="A teaching kit for supervised local learning: back-propagation, DGL, InfoPro and MAN.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    made = settings() if words[:1] == ["train"] else ()  # to know them takes torch
    every = (lab, lessons, run, student, course, grade, train, recipes, reproduce, sweep, bench)
    for command in every:
        app.command()(_called(command, made if command is train else ()))
    return app(words, standalone_mode=False)


def _called(command: Callable[..., None], settings: Iterable[inspect.Parameter] = ()) -> Callable[..., None]:
    """A command as Typer wants it: with settings in place of its `**settings`, and exit code 130 at a Ctrl-C."""

    @functools.wraps(command)
    def called(**given: object) -> None:
        try:
            command(**given)
        except KeyboardInterrupt as stop:
            print(f"mankit: {stop or 'stopped'}", file=sys.stderr)
            raise typer.Exit(130) from None

    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    called.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in (*settings, *own)])
    return called
