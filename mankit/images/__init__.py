"""Images and labels, as tensors on the training device or streamed from files, and batches of them.

data = load("glyphs")                            # drawn at once; or digits, cifar10, svhn, stl10, folder
for x, y in batches(data.train, 100, epochs=6):  # x float (B, 3, H, W) in [0, 1], y int64 (B,)
"""

from .batches import Split, batches, steps_per_epoch
from .draws import Augment, augment
from .load import DATASETS, Data, load
from .stream import Stream

__all__ = ["DATASETS", "Augment", "Data", "Split", "Stream", "augment", "batches", "load", "steps_per_epoch"]
