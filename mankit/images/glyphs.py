"""The default images: two small shapes on a dark ground; the class is which two. Drawn at once, no download.

A layer whose units see only one of the two shapes cannot name the class, so short-sighted training has
something to lose here, by construction.
"""

from __future__ import annotations

from itertools import combinations, product

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = 16  # pixels, height and width of an image
GLYPH = 7  # pixels, height and width of a glyph
NOISE = 0.10  # standard deviation of the Gaussian noise, on a scale of 0 to 1
BARS, BAR_LENGTH = 4, 3  # the clutter: short bars in the same bright colours, under the glyphs

DRAWINGS = {
    "box": ".#####. #.....# #.....# #.....# #.....# #.....# .#####.",  # no corners
    "square": "####### #.....# #.....# #.....# #.....# #.....# #######",
    "plus": "...#... ...#... ...#... ####### ...#... ...#... ...#...",
    "cross": "#.....# .#...#. ..#.#.. ...#... ..#.#.. .#...#. #.....#",
    "triangle": "...#... ...#... ..#.#.. ..#.#.. .#...#. .#...#. #######",
}
PAIRS = tuple(combinations(range(len(DRAWINGS)), 2))  # 10 unordered pairs of two different glyphs
CLASSES = tuple("+".join(list(DRAWINGS)[i] for i in pair) for pair in PAIRS)  # "box+square", ...


def glyph_shapes() -> Tensor:
    """The five glyphs as masks: bool (5, 7, 7), in the order of DRAWINGS."""
    return torch.tensor([[[mark == "#" for mark in row] for row in d.split()] for d in DRAWINGS.values()])


def draw_glyphs(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw n images: uint8 (n, 3, 16, 16), and their classes: int64 (n,), balanced to within one image.

    Everything is drawn from `generator` (on the CPU): the same state gives the same bytes.
    """
    labels = balanced(n, len(CLASSES), generator)
    canvas = ground(n, generator)
    glyphs, places = everywhere(glyph_shapes()), _apart()
    where = places[torch.randint(len(places), (n,), generator=generator)]  # (n, 2): a place for each of the two glyphs
    which = torch.tensor(PAIRS)[labels]  # (n, 2)
    for i in range(2):
        canvas = paint(canvas, glyphs[which[:, i], where[:, i]], generator)
    return noisy(canvas, generator), labels


def balanced(n: int, classes: int, generator: torch.Generator) -> Tensor:
    """Labels int64 (n,) in random order, as many of each class as of another, to within one."""
    return torch.arange(n)[torch.randperm(n, generator=generator)] % classes


def ground(n: int, generator: torch.Generator) -> Tensor:
    """What the glyphs stand on, float (n, 3, 16, 16) in [0, 1]: a dark, smooth background under short bright bars."""
    canvas = _background(n, generator)
    bars = everywhere(torch.ones(1, 1, BAR_LENGTH, dtype=torch.bool))[0]  # (positions, 16, 16)
    bars = torch.cat([bars, bars.transpose(1, 2)])  # lying and standing
    for _ in range(BARS):
        canvas = paint(canvas, bars[torch.randint(len(bars), (n,), generator=generator)], generator)
    return canvas


def noisy(canvas: Tensor, generator: torch.Generator) -> Tensor:
    """A finished drawing, float in [0, 1], with Gaussian noise, as uint8."""
    canvas = canvas + NOISE * torch.randn(canvas.shape, generator=generator)
    return canvas.clamp(0, 1).mul(255).round().to(torch.uint8)


def _background(n: int, generator: torch.Generator) -> Tensor:
    """Dark and smooth: 3 x 3 random colours below 0.3, blended over the image."""
    coarse = 0.3 * torch.rand(n, 3, 3, 3, generator=generator)
    return F.interpolate(coarse, size=SIZE, mode="bilinear", align_corners=True)


def paint(canvas: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Fill each image's mask, bool (n, 16, 16), with a bright colour of its own: some channel is at 1."""
    colour = torch.rand(len(canvas), 3, generator=generator)
    colour = 0.3 + 0.7 * colour / colour.amax(dim=1, keepdim=True)
    return torch.where(mask[:, None], colour[:, :, None, None], canvas)


def everywhere(shapes: Tensor) -> Tensor:
    """Each shape, bool (S, h, w), at each place inside the image, row by row: bool (S, places, 16, 16)."""
    _, h, w = shapes.shape
    corners = product(range(SIZE - h + 1), range(SIZE - w + 1))
    placed = [F.pad(shapes, (x, SIZE - w - x, y, SIZE - h - y)) for y, x in corners]
    return torch.stack(placed, dim=1)


def _apart() -> Tensor:
    """Pairs of places, numbered as `everywhere` does, where two glyphs do not overlap: int64 (pairs, 2)."""
    side = SIZE - GLYPH + 1
    place = torch.arange(side * side)
    y, x = place // side, place % side
    dy, dx = (y[:, None] - y).abs(), (x[:, None] - x).abs()
    return ((dy >= GLYPH) | (dx >= GLYPH)).nonzero()
