"""Data sets, their splits, augmentation, batches. Loaders read small files in the real formats."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_files import gen, noise
from torch.nn.functional import pad as torch_pad

from mankit import glyphs
from mankit.data import (
    Augment,
    Data,
    Split,
    augment,
    balanced_order,
    batches,
    channel_stats,
    load,
    resize,
    steps_per_epoch,
)

REAL = Path(os.environ.get("MANKIT_DATA", "no MANKIT_DATA"))


def numbered(n, size=8):
    """Random images, labelled 0..n-1: a label tells which image it was."""
    return Split(noise(n, size), torch.arange(n))


def rows_of(images):
    return {image.numpy().tobytes() for image in images}


# ---- Split and Data


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


@pytest.mark.parametrize("label", [-1, 3])
def test_data_names_a_label_out_of_range(label):
    good, bad = Split(noise(2), torch.tensor([0, 2])), Split(noise(2), torch.tensor([0, label]))
    with pytest.raises(ValueError, match=rf"label {label} in test of toy.*0\.\.2"):
        Data("toy", good, good, bad, ("a", "b", "c"), (0.5,) * 3, (0.5,) * 3, None)


def test_channel_stats_are_those_of_torch():
    images = noise(50)
    mean, std = channel_stats(images)
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist())


def test_resize_shrinks_by_averages_and_enlarges_smoothly():
    images = noise(3, 8)
    small = images.float().reshape(3, 3, 4, 2, 4, 2).mean((3, 5)).round().to(torch.uint8)
    assert torch.equal(resize(images, 4), small)
    flat = torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(resize(flat, 20), torch.full((1, 3, 20, 20), 77, dtype=torch.uint8))
    assert resize(noise(0, 8), 4).shape == (0, 3, 4, 4)


# ---- load: names, sizes, splits


@pytest.mark.parametrize("name, near", [("cifar", "cifar10"), ("glyph", "glyphs"), ("digits:x", "digits")])
def test_unknown_name_suggests_the_near_one(name, near):
    with pytest.raises(ValueError, match=f"did you mean {near}.*stl10"):
        load(name)


@pytest.mark.parametrize(
    "bad",
    [
        dict(train_size=0),
        dict(val_size=-1),
        dict(test_size=0),
        dict(size=0),
        dict(seed=-1),
        dict(test_size=501),
        dict(train_size=1298, val_size=0),
    ],
)
def test_impossible_sizes(bad):
    with pytest.raises(ValueError, match="choose"):
        load("digits", **bad)


def test_digits_splits():
    a, b = load("digits"), load("digits", seed=1)
    assert (len(a.train), len(a.val), len(a.test)) == (1000, 297, 500)
    assert a.train.images.shape[1:] == (3, 16, 16) and a.augment is None and len(a.classes) == 10
    assert torch.equal(a.test.images, b.test.images)
    assert not torch.equal(a.train.images, b.train.images)
    parts = [rows_of(s.images) for s in (a.train, a.val, a.test)]
    assert len(set().union(*parts)) == 1797  # all digits differ, so no image is in two splits
    for split in (a.train, a.val, a.test):
        counts = torch.bincount(split.labels, minlength=10)
        assert counts.max() - counts.min() <= 0.1 * len(split)


def test_a_smaller_train_set_is_a_part_of_the_larger_and_val_stays():
    small, large = load("digits", train_size=100), load("digits", train_size=500)
    assert torch.equal(small.train.images, large.train.images[:100])
    assert torch.equal(small.val.images, large.val.images)
    assert len(load("digits", val_size=0, train_size=1297).val) == 0
    assert len(load("digits", test_size=50).test) == 50


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


def test_sizes_are_as_asked():
    data = load("glyphs", train_size=30, val_size=20, test_size=10, size=8)
    assert [len(s) for s in (data.train, data.val, data.test)] == [30, 20, 10]
    assert data.test.images.shape == (10, 3, 8, 8)


# ---- glyphs


def test_glyphs_are_the_seeds_and_balanced():
    a, b, c = load("glyphs"), load("glyphs"), load("glyphs", seed=1)
    assert [len(s) for s in (a.train, a.val, a.test)] == [4000, 1000, 2000]
    assert torch.bincount(a.train.labels).tolist() == [400] * 10
    assert len(a.classes) == 10 and "box+cross" in a.classes
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(a, part).images, getattr(b, part).images)
        assert not torch.equal(getattr(a, part).images, getattr(c, part).images)
    parts = [rows_of(s.images) for s in (a.train, a.val, a.test)]
    assert len(set().union(*parts)) == 7000


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
    shapes = glyphs._everywhere(torch.ones(1, 7, 7, dtype=torch.bool))[0]
    assert not (shapes[places[:, 0]] & shapes[places[:, 1]]).any()


# ---- augmentation


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


# ---- batches


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


# ---- the real sets' formats, in small


def test_cifar10(cifar, monkeypatch):
    root, images = cifar
    data = load("cifar10", root)
    assert [len(s) for s in (data.train, data.val, data.test)] == [90, 10, 20]
    assert torch.equal(data.test.images, images["test_batch"])
    assert data.test.labels.tolist() == [*range(10)] * 2
    assert data.augment == Augment(4, "reflect", True) and data.classes[3] == "class 3"
    train = rows_of(torch.cat([images[f"data_batch_{i}"] for i in range(1, 6)]))
    assert rows_of(data.train.images) | rows_of(data.val.images) == train
    assert not rows_of(data.train.images) & rows_of(data.val.images)
    monkeypatch.setenv("MANKIT_DATA", str(root))
    again = load("cifar10", seed=1)
    assert torch.equal(again.test.images, data.test.images)
    assert not torch.equal(again.val.images, data.val.images)


def test_a_missing_and_a_truncated_file_are_named(cifar):
    root, _ = cifar
    folder = root / "cifar-10-batches-py"
    (folder / "data_batch_2").unlink()
    whole = (folder / "test_batch").read_bytes()
    (folder / "test_batch").write_bytes(whole[:1234])
    with pytest.raises(ValueError) as problem:
        load("cifar10", root)
    message = str(problem.value)
    assert "missing: cifar-10-batches-py/data_batch_2" in message and str(root) in message
    assert "wrong checksum" in message and "test_batch (1,234 bytes)" in message
    assert "data_batch_1" not in message
    assert "download=True" in message and "MANKIT_DATA" in message and "--download" in message
    assert "\n" not in message and isinstance(problem.value.__cause__, RuntimeError)
    assert (folder / "test_batch").stat().st_size == 1234  # nothing was fetched


def test_a_download_replaces_a_damaged_file_with_a_warning_and_fails_clearly(cifar, monkeypatch):
    from urllib.error import URLError

    from torchvision.datasets import CIFAR10

    root, _ = cifar
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(b"short")

    def no_connection(self):
        raise URLError("no route to host")

    monkeypatch.setattr(CIFAR10, "download", no_connection)
    with pytest.warns(UserWarning, match="test_batch"), pytest.raises(ValueError, match="no route to host"):
        load("cifar10", root, download=True)


def test_svhn(svhn):
    data = load("svhn", svhn, val_size=10)
    assert [len(s) for s in (data.train, data.val, data.test)] == [30, 10, 20]
    assert torch.equal(data.test.images, noise(20, 32, 1))
    assert data.test.labels.tolist() == [*range(1, 10), 0] * 2
    assert data.augment == Augment(2, "constant", False)
    (svhn / "test_32x32.mat").unlink()
    with pytest.raises(ValueError, match="svhn.*missing: test_32x32.mat"):
        load("svhn", svhn)


def test_stl10(stl10):
    data = load("stl10", stl10)
    assert [len(s) for s in (data.train, data.val, data.test)] == [18, 2, 10]
    assert torch.equal(data.test.images, noise(10, 96, 10)) and data.test.labels.tolist() == list(range(10))
    assert data.augment == Augment(4, "constant", True) and data.classes[7] == "monkey"
    assert load("stl10", stl10, size=32).test.images.shape == (10, 3, 32, 32)


# ---- folders of images


def test_folder(folder, monkeypatch):
    data = load("folder", folder)
    assert data.classes == ("blue", "red") and data.augment == Augment(8, "reflect", True)
    assert [len(s) for s in (data.train, data.val, data.test)] == [7, 1, 4]
    assert data.test.images.shape == (4, 3, 64, 64)
    brightest = data.test.images.float().mean((2, 3)).argmax(1)
    assert brightest.tolist() == [2, 2, 0, 0]  # two blue, then two red
    training = torch.cat([data.train.images, data.val.images])
    grey = [image for image in training if abs(int(image[0, 0, 0]) - 100) < 3]
    assert len(grey) == 1 and torch.equal(grey[0][0], grey[0][2])
    monkeypatch.setenv("MANKIT_DATA", str(folder.parent))
    assert torch.equal(load(f"folder:{folder.name}").test.images, data.test.images)
    assert load(f"folder:{folder}", size=24, train_size=4).train.images.shape == (4, 3, 24, 24)


def test_folder_with_a_test_folder_keeps_val_for_validation(folder):
    for name in ("red", "blue"):
        (folder / "test" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / "test" / name / "a.png")
    data = load("folder", folder, size=16)
    assert [len(s) for s in (data.train, data.val, data.test)] == [8, 4, 2]


def test_a_wide_image_keeps_its_proportions(folder):
    stripes = np.zeros((10, 40, 3), np.uint8)
    stripes[:, 15:25] = 255  # the centred square
    Image.fromarray(stripes).save(folder / "val" / "blue" / "0.png")
    (folder / "val" / "blue" / "0.jpg").unlink()
    assert (load("folder", folder, size=10).test.images[0] == 255).all()


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_an_unreadable_image_is_named(folder, keep):
    path = folder / "val" / "red" / "0.jpg"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="red/0.jpg.*replace or remove"):
        load("folder", folder)


def test_folders_that_are_not_data_sets(folder, tmp_path):
    with pytest.raises(ValueError, match="no train/.*train/<class>"):
        load("folder", tmp_path / "nowhere")
    (folder / "train" / "green").mkdir()
    with pytest.raises(ValueError, match="green"):  # a class without images
        load("folder", folder)
    Image.new("RGB", (9, 9)).save(folder / "train" / "green" / "a.png")
    with pytest.raises(ValueError, match="'green'.* not in both train/ and val/"):
        load("folder", folder)


# ---- the real thing, where it is at hand


def needs(name):
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"MANKIT_DATA has no {name}")


@needs("cifar-10-batches-py")
def test_real_cifar10():
    data = load("cifar10", val_size=0)
    assert data.train.images.shape == (50000, 3, 32, 32) and data.test.images.shape == (10000, 3, 32, 32)
    assert [255 * m for m in data.mean] == pytest.approx([125.3, 123.0, 113.9], abs=0.1)
    assert [255 * s for s in data.std] == pytest.approx([63.0, 62.1, 66.7], abs=0.1)
    assert data.classes[0] == "airplane" and torch.bincount(data.train.labels).tolist() == [5000] * 10
    small = load("cifar10", size=16, train_size=8000)
    assert small.train.images.shape == (8000, 3, 16, 16) and len(small.val) == 5000


@needs("imagenette2-224-subset")
def test_real_folder():
    data = load("folder:imagenette2-224-subset", size=32)
    assert [len(s) for s in (data.train, data.val, data.test)] == [540, 60, 200]
    assert torch.bincount(data.test.labels).tolist() == [20] * 10


def test_same_bytes_in_another_process():
    """The images belong to the seed, not to the process (no hash(), no global generator)."""
    code = (
        "import hashlib; from mankit.data import load; "
        "print(hashlib.md5(load('glyphs', train_size=50).train.images.numpy().tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    here = load("glyphs", train_size=50).train.images.numpy().tobytes()
    assert other.stdout.strip() == hashlib.md5(here).hexdigest()
