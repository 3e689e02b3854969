"""The command `mankit`: what each of its words does is in mankit/commands. Thin: it reads options and prints."""

from __future__ import annotations

import re
import sys
import warnings

import typer
from typer.exceptions import TyperException

from .commands.bench import bench
from .commands.inputs import first_line
from .commands.notebooks import lab, run, student
from .commands.recipes import recipes
from .commands.reproduce import reproduce
from .commands.sweep import sweep
from .commands.train import train

app = typer.Typer(
    help="A teaching kit for supervised local learning: back-propagation, DGL, InfoPro and MAN.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (lab, run, student, train, recipes, reproduce, sweep, bench):
    app.command()(command)


def main() -> None:
    """Run the command; bad input gives one line and exit code 2, Ctrl-C exit code 130."""
    warnings.formatwarning = lambda message, *_, **__: f"mankit: {message}\n"
    try:
        sys.exit(app(_joined(sys.argv[1:]), standalone_mode=False))
    except typer.Abort:  # Ctrl-C where no command looks after it
        sys.exit(130)
    except TyperException as error:
        message = error.format_message()
    except (ValueError, OSError) as error:
        message = str(error)
    if message:  # there is none where the help was printed instead
        print(f"mankit: {first_line(message)}", file=sys.stderr)
    sys.exit(2)


def _joined(arguments: list[str]) -> list[str]:
    """`-p K 8` (as papermill writes it) becomes `-p K=8`, the one form that Typer can repeat; so does `-g K 2,4`."""
    joined, rest = [], iter(arguments)
    for word in rest:
        option = {"--parameter": "-p", "--grid": "-g"}.get(word, word)
        if option in ("-p", "-g"):
            word = next(rest, "")
            if "=" not in word:
                value = next(rest, "--none")
                if re.match("--?[A-Za-z]", value):  # the next option, and not a negative number
                    example = "K 8" if option == "-p" else "K 2,4,8"
                    raise ValueError(f"{option} {word}: give a name and a value, as in {option} {example}")
                word += f"={value}"
            word = option + word
        joined.append(word)
    return joined


if __name__ == "__main__":
    main()
