"""What a test of mankit.scaling.engine does in a process of its own: a module that imports little."""

from mankit.studies import Recipe, study
from mankit.studies.papers import Cell

SIZES = {"train_size": 60, "val_size": 20, "test_size": 50}
FEW = Recipe("dgl", 2, {"head": "0c1f"}, widths=(4, 6, 8), epochs=2, batch=20, per_step=True, data_options=SIZES)
LONG = FEW.but(epochs=15)
CELLS = [  # with four seeds each
    Cell(f"tiny/K{recipe.K}", "controls", "CIFAR-10", "ResNet-32", "DGL", recipe.K, recipe, ())
    for recipe in (LONG, FEW.but(K=3))
]


def train(out):
    """Eight runs by two workers."""
    study.cells = lambda *_: CELLS
    study.train_study("controls", seeds=4, jobs=2, out=out)
