"""MAN's ablation on CIFAR-10 with ResNet-32 at K=16, and the controls that no paper reports.

Command: mankit reproduce controls --profile quick --seeds 3 --jobs 2
Time: quick 3 minutes a seed on 2 CPU cores; by their FLOPs, short 8 minutes and paper 2.3 hours on a large GPU.
Expected: published, in percent: DGL 14.1†, EMA only 11.1†, both 9.1†.
    quick (glyphs, one seed, which can't tell them apart): DGL 38.8, EMA only 48.2, bias only 34.0, both 42.8,
    twin 41.6, frozen 42.2, copy 42.3.
Departures: every head has two convolutions, DGL's too, so that nothing but MAN's parts differs.
"""

from __future__ import annotations

from .cifar10 import CIFAR10
from .published import make

METHODS = ("none", "ema-only", "bias-only", "both", "twin", "frozen", "copy")  # by what is left of MAN
CELLS = [
    make("controls", CIFAR10, "resnet32", "bp", 1, source="MAN"),  # the ablation is MAN's
    *(make("controls", CIFAR10, "resnet32", method, 16, source="MAN") for method in METHODS),
]
