"""Memory of a training step of ResNet-110 on CIFAR-10: back-propagation, checkpointed or not, and InfoPro*.

Command: mankit reproduce memory
Time: 15 seconds on a CPU core in every profile: bytes are counted, nothing is trained.
Expected: published in GB: BP 9.4, checkpointed 3.9, InfoPro* 5.4, 4.2 and 3.5 at K = 2, 3 and 4. Counted bytes plus one
    constant, fitted on BP, come within 5 % of InfoPro*'s, and 12 % below the checkpointed row.
Departures: we count a checkpoint at every layer; the paper doesn't say where it has its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from .published import COSTS, Cell, make
from .cifar10 import CIFAR10

DATA = ()


def build() -> Iterator[Cell]:
    """The cells of this study."""
    for method, K in (("bp", 1), ("bp-checkpointing", 1), *(("infopro-star", K) for K in (2, 3, 4))):
        yield make("memory", CIFAR10, "resnet110", method, K, metrics=COSTS)
