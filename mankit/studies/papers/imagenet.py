"""ImageNet with ResNet-101, ResNet-152 and ResNeXt-101 in 2 and 4 blocks: top-1 and top-5 error.

Command: mankit reproduce imagenet --profile quick --jobs 2
Time: quick 3 minutes on 2 CPU cores; by their FLOPs, short 40 minutes and paper 400 days on a large GPU.
Expected: published top-1 of ResNet-101 at K=4, in percent: BP 22.0†, InfoPro 22.8†, InfoPro + MAN 21.7†.
Departures: splits weren't published: blocks of as many bytes. 'paper' reads its images from their files at each step,
    boxes and middles as published, without the colour changes that some recipes add; 'short' holds 50,000 squares of
    64 pixels in memory (or streams them); 'quick' takes small digits and ResNet-18.
"""

from __future__ import annotations

from .published import COSTS, ERRORS, LAB16, DataSet, grid

IMAGENET = DataSet(
    "folder:imagenet",
    "ImageNet",
    {
        "paper": {
            "epochs": 90,
            "batch": 128,
            "lr": 0.05,
            "data_options": {"size": 224, "val_size": 10000, "area": 0.08},
        },
        "short": {"epochs": 10, "batch": 128, "lr": 0.05, "data_options": {"size": 64, "train_size": 50000}},
        "quick": {
            **LAB16,
            "network": "resnet18",
            "data": "digits",
            "data_options": {"size": 32, "train_size": 700},
            "epochs": 4,
            "batch": 50,
        },
    },
)
ALL = (*ERRORS, *COSTS)
CELLS = [
    *grid("imagenet", IMAGENET, "resnet101", (2, 4), (1, 2, 4), metrics=ALL),
    *grid("imagenet", IMAGENET, "resnet152", (2, 4), metrics=ALL),
    *grid("imagenet", IMAGENET, "resnext101", (2, 4), metrics=ALL),
]
