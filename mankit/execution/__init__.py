"""Notebooks from outside: executed and tidied (execute), one for each cell of a grid (sweep), and their numbers.

Only what a notebook itself calls is imported here: papermill and pandas take seconds.
"""

from .results import read_results, result

__all__ = ["read_results", "result"]
