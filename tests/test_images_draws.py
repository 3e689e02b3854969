"""What is drawn at random about images: balanced orders, and crops that are those of the padded image."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import gen, noise, rows_of
from torch.nn.functional import pad as torch_pad

from mankit.images import Augment, augment
from mankit.images.draws import balanced_order


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 10**9))
def test_every_beginning_of_a_balanced_order_is_balanced(labels, seed):
    labels = torch.tensor(labels)
    order = balanced_order(labels, seed)
    assert order.sort().values.tolist() == list(range(len(labels)))
    share = torch.bincount(labels).double() / len(labels)
    for n in range(1, len(labels) + 1):
        counts = torch.bincount(labels[order[:n]], minlength=len(share))
        assert (counts - n * share).abs().max() < len(share) + 1  # each class may be early or late by one


def all_views(image, how):
    """Every crop and flip of one image, by padding: the slow, plain way."""
    padded = torch_pad(image.float()[None], (how.pad,) * 4, mode=how.mode)[0].to(image.dtype)
    h, w = image.shape[1:]
    crops = [padded[:, i : i + h, j : j + w] for i in range(2 * how.pad + 1) for j in range(2 * how.pad + 1)]
    return rows_of(crops) | (rows_of([c.flip(2) for c in crops]) if how.flip else set())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.sampled_from(["reflect", "constant"]), st.booleans(), st.integers(0, 10**6))
def test_every_view_is_a_crop_of_the_padded_image(pad, mode, flip, seed):
    image, how = noise(1, 6, seed)[0], Augment(pad, mode, flip)
    views = augment(image.expand(200, -1, -1, -1), how, gen(seed))
    possible = all_views(image, how)
    assert views.shape == (200, 3, 6, 6) and views.dtype == torch.uint8
    assert rows_of(views) <= possible
    assert len(rows_of(views)) > 0.5 * min(len(possible), 200)


def test_each_image_has_its_own_draw():
    copies = noise(1, 32).expand(64, -1, -1, -1)
    how = Augment(4, "reflect", flip=True)
    views = augment(copies, how, gen())
    assert len(rows_of(views)) > 32
    assert torch.equal(views, augment(copies, how, gen()))
    assert not torch.equal(views, augment(copies, how, gen(1)))
    assert torch.equal(augment(copies.float(), how, gen()), views.float())


def test_no_augmentation_changes_nothing():
    images = noise(5)
    assert torch.equal(augment(images, Augment(), gen()), images)
    assert torch.equal(augment(images, None, gen()), images)


def test_impossible_augmentation():
    with pytest.raises(ValueError, match="pad=8, images 8 x 8: choose less than 8"):
        augment(noise(2, 8), Augment(8), gen())
    with pytest.raises(ValueError, match="pad=-1"):
        Augment(-1)
    with pytest.raises(ValueError, match="'wrap'.*reflect"):
        Augment(1, "wrap")
