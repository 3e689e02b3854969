"""The drawn films: the label is in the marked frame and nowhere else, and the question comes `lag` frames later."""

import pytest
import torch
from small_files import gen

from mankit.images import glyphs
from mankit.images.sequences import GLYPHS, MARK, draw_films, edge


def marked_frames(frames):
    """Which frames have an edge of the mark's colour: bool (n, T)."""
    return (frames[..., edge()] == torch.tensor(MARK)[:, None]).all(dim=(2, 3))


def test_films_have_one_marked_frame_and_room_for_the_question():
    frames, labels, marked = draw_films(60, 7, 3, gen())
    assert frames.shape == (60, 7, 3, 16, 16) and frames.dtype == torch.uint8
    assert torch.equal(marked_frames(frames).nonzero()[:, 1], marked)
    assert marked.min() == 0 and marked.max() + 3 == 6
    assert labels.dtype == marked.dtype == torch.int64 and labels.max() == len(GLYPHS) - 1


def test_labels_and_marked_frames_are_balanced_together():
    _, labels, marked = draw_films(63, 6, 2, gen())
    counts = torch.bincount(labels * 4 + marked, minlength=20)
    assert counts.min() == 3 and counts.max() == 4


def looked_at(frames):
    """The glyph that fits best in each frame's inside: int64 (n, T)."""
    shapes = glyphs.glyph_shapes().float()
    kernels = torch.stack([s / s.sum() - (1 - s) / (1 - s).sum() for s in shapes])[:, None]
    bright = (frames.float() / 255).amax(2).flatten(0, 1)[:, None, 2:-2, 2:-2]
    return torch.nn.functional.conv2d(bright, kernels).flatten(2).amax(2).argmax(1).unflatten(0, frames.shape[:2])


def test_the_marked_frame_tells_and_the_others_do_not():
    frames, labels, marked = draw_films(500, 4, 1, gen())
    seen = looked_at(frames)
    right = seen == labels[:, None]
    there = torch.arange(4) == marked[:, None]
    assert right[there].float().mean() > 0.9
    assert right[~there].float().mean() < 0.3  # chance is 0.2


def test_the_same_generator_draws_the_same_films():
    first, again, other = (draw_films(5, 4, 2, gen(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    "length, lag, said", [(4, 4, r"length=4: choose lag \+ 1 = 5 frames or more"), (4, 0, "lag=0: choose 1 or more")]
)
def test_a_lag_that_does_not_fit_is_said(length, lag, said):
    with pytest.raises(ValueError, match=said):
        draw_films(5, length, lag, gen())
