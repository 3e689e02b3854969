"""Studies: a run as data (recipe), built (run), kept in a folder (kept), and many runs as a study of the papers.

Files go one way: recipe <- run <- kept <- study; report reads what they left. papers/: the experiments; bench: costs.
"""

from .kept import KeptRun, open_run, train_in
from .recipe import LAB, Recipe, lab_recipe
from .record import Record, Summary, read_run
from .run import Run, block_table, load_data, pick_device, train_all

__all__ = [
    "LAB",
    "KeptRun",
    "Recipe",
    "Record",
    "Run",
    "Summary",
    "block_table",
    "lab_recipe",
    "load_data",
    "open_run",
    "pick_device",
    "read_run",
    "train_all",
    "train_in",
]
