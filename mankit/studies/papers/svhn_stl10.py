"""SVHN and STL-10 with ResNet-110: test error by the number of blocks K.

Command: mankit reproduce svhn_stl10 --profile quick --jobs 2
Time: quick 6 minutes on 2 CPU cores; by their FLOPs, short 50 minutes and paper 11 hours on a large GPU.
Expected: published at K=16 by InfoPro, in percent: SVHN BP 3.1, DGL 5.6, InfoPro 5.1; STL-10 BP 22.3, DGL 27.7,
    InfoPro 26.1 (and 21.3 at K=4, below BP). MAN's numbers for these data sets were not found.
Departures: 'quick' has small digits in place of SVHN and few glyphs in place of STL-10.
"""

from __future__ import annotations

from .published import LAB16, DataSet, grid

SVHN = DataSet(
    "svhn",
    "SVHN",
    {
        "paper": {"epochs": 160, "batch": 1024, "lr": 0.8, "data_options": {"val_size": 1000}},
        "short": {"epochs": 10, "batch": 512, "lr": 0.4, "data_options": {}},
        "quick": {**LAB16, "data": "digits", "data_options": {}, "epochs": 6},
    },
)
STL10 = DataSet(
    "stl10",
    "STL-10",
    {
        "paper": {"epochs": 160, "batch": 128, "lr": 0.1, "data_options": {"val_size": 500}},
        "short": {"epochs": 40, "batch": 128, "lr": 0.1, "data_options": {}},
        "quick": {**LAB16, "data": "glyphs", "data_options": {"train_size": 1500}, "epochs": 8},
    },
)
CELLS = [
    *grid("svhn_stl10", SVHN, "resnet110", (2, 4, 8, 16), (1, 4, 16)),
    *grid("svhn_stl10", STL10, "resnet110", (2, 4, 8, 16), (1, 4, 16)),
]
