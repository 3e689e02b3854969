"""AugLocal, PredSim and MAN++ on CIFAR-10 with ResNet-110, a block for each layer, beside BP, InfoPro and MAN.

Command: mankit reproduce family --profile quick
Time: quick 1 minute on a busy CPU core; by their FLOPs, short 30 minutes and paper 10 hours (ImageNet: 25 days) on a
    large GPU.
Expected: published at K=55, in percent: BP 5.4†, AugLocal (d = 6) 6.0†, InfoPro 13.1†, PredSim 25.1† in AugLocal's
    paper; BP 5.4†, InfoPro 13.2†, DGL + MAN 9.7† in MAN's. MAN++'s tables were not found.
    ImageNet, ResNet-101 at K=34: AugLocal 23.3†, its BP 22.7†; d = 4 is its script's for ResNet-34.
    quick (digits of 8x8 pixels and one seed: it runs, and no more): BP 4.0, InfoPro 12.8, AugLocal 5.6, PredSim 23.0,
    DGL + MAN 12.8, DGL + MAN++ 11.8, InfoPro + MAN++ 13.0.
Departures: SGD as in MAN's code for all; PredSim is AugLocal's version, since the original (Adam, wide VGGs) has no
    number for a ResNet. AugLocal's depth for ResNet-32 is its README's, d = 2. 'quick' and 'short' give InfoPro, MAN
    and MAN++ the same head; 'quick' cuts AugLocal into as many blocks as the others.
"""

from __future__ import annotations

from .cifar10 import CIFAR10
from .imagenet import IMAGENET
from .published import make

QUICK = {"network": "lab", "data": "digits", "data_options": {"size": 8}, "epochs": 3, "batch": 50}
MANPP = ("dgl-manpp", "infopro-manpp")
CELLS = [
    make("family", CIFAR10, "resnet110", "bp", 1, quick=QUICK),
    *(
        make("family", CIFAR10, "resnet110", method, 55, quick=QUICK)
        for method in ("infopro", "auglocal-d6", "predsim", "dgl-man", *MANPP)
    ),
    *(make("family", CIFAR10, "resnet32", method, 16, profiles=("paper",)) for method in ("auglocal-d2", *MANPP)),
    make("family", IMAGENET, "resnet101", "bp", 1, source="AugLocal", profiles=("paper",)),
    make("family", IMAGENET, "resnet101", "auglocal-d4", 34, profiles=("paper",)),
]
