"""The drawn images: the class is which two glyphs, both can be found, and one alone doesn't tell."""

import torch
from small_files import gen

from mankit.images import glyphs


def test_a_class_is_two_different_glyphs_and_each_glyph_is_in_four_classes():
    assert len(set(map(frozenset, glyphs.PAIRS))) == 10
    assert torch.bincount(torch.tensor(glyphs.PAIRS).flatten()).tolist() == [4] * 5  # one leaves four classes
    assert len({shape.numpy().tobytes() for shape in glyphs.glyph_shapes()}) == 5
    for name, pair in zip(glyphs.CLASSES, glyphs.PAIRS, strict=True):
        assert name.split("+") == [list(glyphs.DRAWINGS)[i] for i in pair]


def test_both_glyphs_can_be_found_in_the_image():
    """An oracle that slides the five shapes over the image finds the pair; its best shape alone cannot."""
    images, labels = glyphs.draw_glyphs(400, gen())
    x, shapes = images.float() / 255, glyphs.glyph_shapes().float()
    bright = x.amax(1)
    # bright on the shape and dark off it
    kernels = torch.stack([s / s.sum() - (1 - s) / (1 - s).sum() for s in shapes])[:, None]
    patches = torch.nn.functional.conv2d(bright[:, None], kernels)  # (B, 5, 10, 10)
    score = patches.flatten(2).amax(2)
    found = score.topk(2).indices.sort(1).values
    truth = torch.tensor(glyphs.PAIRS)[labels]
    assert (found == truth).all(1).float().mean() > 0.7
    best = score.argmax(1)
    assert (best[:, None] == truth).any(1).float().mean() > 0.95
    assert all(len(labels[best == g].unique()) >= 4 for g in range(5))


def test_glyphs_do_not_overlap():
    places = glyphs._apart()
    side = 10
    y, x = places // side, places % side
    assert ((y[:, 0] - y[:, 1]).abs().ge(7) | (x[:, 0] - x[:, 1]).abs().ge(7)).all()
    shapes = glyphs.everywhere(torch.ones(1, 7, 7, dtype=torch.bool))[0]
    assert not (shapes[places[:, 0]] & shapes[places[:, 1]]).any()
