"""Short films of drawn glyphs, with a label that needs memory over a known time.

Each frame shows a glyph. One frame of a film has a yellow edge: the label is the glyph in it, and it is asked for
`lag` frames later. The frames between tell nothing, so credit has to travel exactly `lag` frames, by construction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import at_least
from .glyphs import DRAWINGS, GLYPH, SIZE, balanced, everywhere, glyph_shapes, ground, noisy, paint

GLYPHS = tuple(DRAWINGS)  # the five classes, "box", "square", ...
SIDE = SIZE - GLYPH + 1  # places in a row
JITTER = 1  # a glyph's corner is up to so many pixels from the middle: time is what is difficult here, not seeing
MARK = (255, 255, 0)  # the edge's colour, yellow


def draw_films(n: int, length: int, lag: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw n films: uint8 (n, length, 3, 16, 16), their labels int64 (n,), and which frame is marked, int64 (n,).

    The question comes at frame `marked + lag`, which is inside the film: marked is 0..length-1-lag. The pairs of label
    and marked frame are balanced to within one film. Everything is drawn from `generator`, on the CPU.
    Raises ValueError for a lag below 1, and for a length that leaves no room for it.
    """
    at_least("lag", lag, 1)
    at_least("length", length, lag + 1, f"choose lag + 1 = {lag + 1} frames or more")
    pairs = balanced(n, len(GLYPHS) * (length - lag), generator)
    labels, marked = pairs % len(GLYPHS), pairs // len(GLYPHS)
    shown = torch.randint(len(GLYPHS), (n, length), generator=generator)
    shown[torch.arange(n), marked] = labels
    glyphs = everywhere(glyph_shapes())  # (5, places, 16, 16)
    corner = SIDE // 2 - JITTER + torch.randint(2 * JITTER, (n * length, 2), generator=generator)
    places = corner[:, 0] * SIDE + corner[:, 1]  # `everywhere` goes row by row
    canvas = paint(ground(n * length, generator), glyphs[shown.flatten(), places], generator)
    frames = noisy(canvas, generator).unflatten(0, (n, length))
    row = torch.arange(n)
    frames[row, marked] = torch.where(edge(), torch.tensor(MARK, dtype=torch.uint8)[:, None, None], frames[row, marked])
    return frames, labels, marked


def edge() -> Tensor:
    """The mark as a mask: the outermost pixels, bool (16, 16)."""
    mask = torch.ones(SIZE, SIZE, dtype=torch.bool)
    mask[1:-1, 1:-1] = False
    return mask
