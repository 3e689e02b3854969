"""Data sets by their name: splits, sizes, seeds, what they refuse; the real ones where they are at hand."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_files import noise, rows_of

from mankit.images import Data, Split, load
from mankit.images.load import channel_stats

REAL = Path(os.environ.get("MANKIT_DATA", "no MANKIT_DATA"))


@pytest.mark.parametrize("label", [-1, 3])
def test_data_names_a_label_out_of_range(label):
    good, bad = Split(noise(2), torch.tensor([0, 2])), Split(noise(2), torch.tensor([0, label]))
    with pytest.raises(ValueError, match=rf"label {label} in test of toy.*0\.\.2"):
        Data("toy", good, good, bad, ("a", "b", "c"), (0.5,) * 3, (0.5,) * 3, None)


def test_channel_stats_are_those_of_torch():
    images = noise(50)
    mean, std = channel_stats([images])
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist())


@pytest.mark.parametrize("name, near", [("cifar", "cifar10"), ("glyph", "glyphs"), ("digits:x", "digits")])
def test_unknown_name_suggests_the_near_one(name, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'.*stl10"):
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


def test_sizes_are_as_asked():
    data = load("glyphs", train_size=30, val_size=20, test_size=10, size=8)
    assert [len(s) for s in (data.train, data.val, data.test)] == [30, 20, 10]
    assert data.test.images.shape == (10, 3, 8, 8)


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


def test_same_bytes_in_another_process():
    """The images belong to the seed, not to the process (no hash(), no global generator)."""
    code = (
        "import hashlib; from mankit.images import load; "
        "print(hashlib.md5(load('glyphs', train_size=50).train.images.numpy().tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    here = load("glyphs", train_size=50).train.images.numpy().tobytes()
    assert other.stdout.strip() == hashlib.md5(here).hexdigest()


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
