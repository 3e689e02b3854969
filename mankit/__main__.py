"""The command `mankit`: what each of its words does is in mankit/commands."""

from __future__ import annotations

import sys
import warnings

from typer.exceptions import TyperException

from .commands import call
from .errors import first_line


def main() -> None:
    """Run the command; bad input gives one line and exit code 2, Ctrl-C exit code 130."""
    warnings.formatwarning = lambda message, *_, **__: f"mankit: {message}\n"
    try:
        sys.exit(call(sys.argv[1:]))
    except TyperException as error:
        message = error.format_message()
    except ValueError as error:
        message = str(error)
    except ModuleNotFoundError as error:  # of an extra
        if (name := error.name.partition(".")[0]) == "mankit":
            raise
        message = f"{name} is missing: pip install 'mankit[lab]' brings it"
    except OSError as error:
        message = f"{str(error.filename)[:80]}: {error.strerror}; name another" if error.filename else str(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch has no class of its own for it
            raise
        message = f"out of memory: choose a smaller batch, size or network ({str(error)[-80:]})"
    if message:  # there is none where the help was printed instead
        print(f"mankit: {first_line(message)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
