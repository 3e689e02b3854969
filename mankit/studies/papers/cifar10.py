"""CIFAR-10 with ResNet-32 and ResNet-110: test error by the number of blocks K.

Command: mankit reproduce cifar10 --profile quick --jobs 2
Time: quick 5 minutes on 2 CPU cores; by their FLOPs, short 10 minutes and paper 26 hours on a large GPU.
Expected: published at K=16, in percent: BP 6.4†, Greedy 24.6, DGL 14.1†, InfoPro 12.9†, DGL + MAN 9.1†,
    InfoPro + MAN 9.7†.
    quick (glyphs and one seed, so in shape only): BP 3.6, Greedy 41.3, DGL 38.8, InfoPro 38.4, DGL + MAN 42.8.
Departures: 400 epochs for all, as in MAN's code; InfoPro's own numbers are from 160.
"""

from __future__ import annotations

from .published import LAB16, DataSet, grid, make

CIFAR10 = DataSet(
    "cifar10",
    "CIFAR-10",
    {
        "paper": {"epochs": 400, "batch": 1024, "lr": 0.8, "data_options": {"val_size": 1000}},
        "short": {"epochs": 20, "batch": 512, "lr": 0.4, "data_options": {}},
        "quick": {**LAB16, "data": "glyphs", "data_options": {"train_size": 3000}, "epochs": 5},
    },
)
SMALL = {"quick": (1, 4, 16), "short": (1, 8, 16)}
CELLS = [
    *grid("cifar10", CIFAR10, "resnet32", (2, 4, 8, 16), SMALL),
    *(make("cifar10", CIFAR10, "resnet32", "infopro-star", K, profiles=("paper",)) for K in (2, 3)),
    make("cifar10", CIFAR10, "resnet32", "infopro-star", 4),
    *grid("cifar10", CIFAR10, "resnet110", (2, 4, 8, 16, 32, 55)),
]
