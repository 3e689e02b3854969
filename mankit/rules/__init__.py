"""One learning rule, one file, one screen. A new one is its file and a line in RULES (build.py)."""

from .build import ONE_BLOCK, RULES, Entry, bases, bind, entry_of, help_of, local_net, name_of, options_of

__all__ = ["ONE_BLOCK", "RULES", "Entry", "bases", "bind", "entry_of", "help_of", "local_net", "name_of", "options_of"]
