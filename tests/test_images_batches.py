"""Splits and batches of them: orders, epochs, resuming, what they refuse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import noise

from mankit.images import Augment, Split, batches, load, steps_per_epoch


def numbered(n, size=8):
    """Random images, labelled 0..n-1: a label tells which image it was."""
    return Split(noise(n, size), torch.arange(n))


@pytest.mark.parametrize(
    "images, labels",
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2).long()),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2).long()),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3).long()),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2)),
    ],
)
def test_split_refuses_what_does_not_fit(images, labels):
    with pytest.raises(ValueError, match="give "):
        Split(images, labels)


def test_an_epoch_of_training_has_each_image_at_most_once_in_a_new_order():
    split = numbered(23)
    seen = [y for _, y in batches(split, 5, epochs=2)]
    assert [len(y) for y in seen] == [5] * 8 and steps_per_epoch(split, 5) == 4
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert len(first.unique()) == len(second.unique()) == 20
    assert not torch.equal(first, second)


def test_x_is_the_image_in_0_to_1():
    split = numbered(12)
    for x, y in batches(split, 4):
        assert x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1
        assert torch.equal(x, split.images[y].float() / 255)


def test_without_shuffle_every_image_comes_once_in_order():
    split = numbered(11)
    labels = [y.tolist() for _, y in batches(split, 4, shuffle=False)]
    assert labels == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert len(list(batches(split, 50, shuffle=False))) == 1
    assert list(batches(numbered(0), 5, shuffle=False)) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 30), st.booleans(), st.integers(0, 5))
def test_a_resumed_run_is_the_tail_of_the_full_one(batch_size, epochs, first_step, shuffle, seed):
    split, how = numbered(12, 6), Augment(2, flip=True)
    options = dict(seed=seed, augment=how, shuffle=shuffle)
    full = list(batches(split, batch_size, epochs, **options))
    first_step = min(first_step, len(full))
    tail = list(batches(split, batch_size, epochs, first_step=first_step, **options))
    assert len(tail) == len(full) - first_step
    for (x, y), (x_full, y_full) in zip(tail, full[first_step:], strict=True):
        assert torch.equal(x, x_full) and torch.equal(y, y_full)


def test_order_depends_on_seed_and_epoch_only():
    split = numbered(40)

    def order(epochs, seed, **more):
        return torch.cat([y for _, y in batches(split, 10, epochs, seed=seed, **more)])

    assert torch.equal(order(1, 3), order(3, 3)[:40])
    assert torch.equal(order(2, 3), order(2, 3, augment=Augment(2)))
    assert not torch.equal(order(1, 3), order(1, 4))
    assert not torch.equal(order(2, 3)[40:], order(1, 4))  # epoch 1 of seed 3 is not epoch 0 of seed 4


def test_batches_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    list(batches(numbered(10), 5, augment=Augment(1, flip=True)))
    load("glyphs", train_size=10)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_sees_the_same_batches():
    split, how = numbered(20), Augment(2, flip=True)
    there = Split(split.images.cuda(), split.labels.cuda())
    pairs = zip(batches(split, 6, 2, augment=how), batches(there, 6, 2, augment=how), strict=True)
    for (x, y), (x_there, y_there) in pairs:
        assert x_there.is_cuda and torch.equal(x, x_there.cpu()) and torch.equal(y, y_there.cpu())


@pytest.mark.parametrize(
    "bad",
    [
        dict(batch_size=0),
        dict(batch_size=11),
        dict(batch_size=5, first_step=3),
        dict(batch_size=5, first_step=-1),
        dict(batch_size=0, shuffle=False),
        dict(batch_size=5, seed=-1),
    ],
)
def test_impossible_batches_are_refused_at_the_call(bad):
    with pytest.raises(ValueError, match="choose"):
        batches(numbered(10), **bad)
