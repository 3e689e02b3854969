"""One learning rule, one file, one screen. A new one is its file and a line in RULES (build.py)."""

from .build import RULES, Entry, bind, entry_of, help_of, local_net, name_of, options_of

__all__ = ["RULES", "Entry", "bind", "entry_of", "help_of", "local_net", "name_of", "options_of"]
