"""Memory of a training step of ResNet-110 on CIFAR-10: back-propagation, checkpointed or not, and InfoPro*.

Command: mankit reproduce memory
Time: 15 seconds on a CPU core in every profile: bytes are counted, nothing is trained.
Expected: published in GB: BP 9.4, checkpointed 3.9, InfoPro* 5.4, 4.2 and 3.5 at K = 2, 3 and 4. Counted bytes plus one
    constant, fitted on BP, come within 5 % of InfoPro*'s, and 12 % below the checkpointed row.
Departures: we count a checkpoint at every layer; the paper doesn't say where it has its own.
"""

from __future__ import annotations

from .cifar10 import CIFAR10
from .published import COSTS, make

METHODS = (("bp", 1), ("bp-checkpointing", 1), ("infopro-star", 2), ("infopro-star", 3), ("infopro-star", 4))
CELLS = [make("memory", CIFAR10, "resnet110", method, K, metrics=COSTS) for method, K in METHODS]
