"""Streams: the same batches as from memory, from any step, with any number of processes, in flat memory."""

import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mankit.images import Augment, Split, batches, load, pictures
from mankit.images import load as load_function
from mankit.images.draws import draw_box
from mankit.images.stream import Stream, decoded
from mankit.rules import RULES
from mankit.studies.kept import open_run, train_in
from mankit.studies.papers import cell
from mankit.studies.recipe import Recipe, setting_names
from mankit.studies.run import Run, block_table

ROOT = Path(__file__).parents[1]
BOXES = dict(size=16, area=0.2, val_size=0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes, 13 + 4 random pictures, no two of one shape."""
    root, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, n in (("train", 13), ("val", 4)):
        for i in range(n):
            path = root / part / "ab"[i % 2] / f"{i}.{'png' if i == 3 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth = Image.fromarray(draw.integers(0, 256, (4, 5, 3), dtype=np.uint8))
            smooth.resize((30 + 3 * i, 40 - i), Image.Resampling.BILINEAR).save(path)
    return root


def hashes(stream, first_step=0, **how):
    how = dict(seed=5, augment=Augment(flip=True, area=0.2), **how)
    made = batches(stream, 4, epochs=3, first_step=first_step, **how)
    return list(map(hashed, made))


def hashed(batch):
    return hashlib.md5(batch[0].numpy().tobytes() + batch[1].numpy().tobytes()).hexdigest()


# --- the same batches ---


def test_a_resumed_stream_is_the_tail_of_the_full_one(photos):
    stream = load("folder", photos, **BOXES).train
    full = hashes(stream, views=2)
    assert len(full) == len(set(full)) == 9
    assert hashes(stream, 4, views=2) == full[4:] and hashes(stream, first_step=9) == []


def test_memory_mapped_and_streamed_squares_are_the_same_images(photos, capfd):
    options = dict(size=12, val_size=3)
    held, mapped, streamed = (load("folder", photos, hold=h, **options) for h in ("memory", "mapped", "stream"))
    assert type(held.train) is Split and isinstance(mapped.train.images, torch.Tensor)
    assert (held.mean, held.std, held.augment) == (streamed.mean, streamed.std, streamed.augment)
    for other in (mapped, streamed):
        assert type(other.train) is Stream and other.train.shape == held.train.shape == (3, 12, 12)
        assert other.train.checksums == held.train.checksums  # a run may go on where there is less memory
        for part in ("train", "val", "test"):
            pair = getattr(held, part), getattr(other, part)
            for (x, y), (same_x, same_y) in zip(*(batches(s, 2, shuffle=False) for s in pair), strict=True):
                assert torch.equal(x, same_x) and torch.equal(y, same_y)
        how = dict(seed=2, augment=held.augment, views=2)
        for (x, y), (same_x, same_y) in zip(*(batches(d.train, 3, 2, **how) for d in (held, other)), strict=True):
            assert torch.equal(x, same_x) and torch.equal(y, same_y)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and "decoded ones" in lines[0] and "their files as they are needed" in lines[1]


def test_the_middle_is_seen_where_nothing_is_augmented(photos):
    data = load("folder", photos, **BOXES)
    published = v2.Compose([v2.Resize(18, antialias=True), v2.CenterCrop(16)])
    (x, _), path = next(batches(data.test, 1, shuffle=False)), data.test.images.path(0)
    assert torch.equal(x[0], published(pictures.whole(path)).float() / 255)
    assert data.augment == Augment(flip=True, area=0.2)


@pytest.mark.parametrize("height, width", [(30, 40), (37, 21), (10, 200), (200, 10), (1, 1)])
def test_boxes_are_torchvisions(height, width):
    image = torch.zeros(3, height, width)
    for seed in range(30):
        torch.manual_seed(seed)
        theirs = v2.RandomResizedCrop(8, (0.08, 1)).make_params([image])
        ours = draw_box(height, width, 0.08, torch.Generator().manual_seed(seed))
        assert ours == tuple(theirs[name] for name in ("top", "left", "height", "width"))


def test_crops_depend_on_seed_epoch_image_and_view(photos):
    stream = load("folder", photos, **BOXES).train
    how = dict(augment=Augment(area=0.2), views=2)
    rounds = [torch.cat([x for x, _ in batches(stream, 13, 2, seed=seed, **how)]) for seed in (0, 0, 1)]
    assert torch.equal(rounds[0], rounds[1]) and not torch.equal(rounds[0], rounds[2])
    assert len(rounds[0].flatten(1).unique(dim=0)) == 2 * 2 * 13  # each epoch, each view


def test_reading_leaves_torchs_random_numbers_alone(photos):
    stream = load("folder", photos, **BOXES).train
    before = torch.get_rng_state()
    hashes(stream)
    assert torch.equal(before, torch.get_rng_state())


# --- decoders ---


def test_pil_takes_the_place_of_torchcodec_says_why_once_and_sees_the_same(photos, monkeypatch, capfd):
    stream = load("folder", photos, **BOXES).train
    usual = hashes(stream)
    pictures.fast_decoder.cache_clear()
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)  # importing it fails
    capfd.readouterr()
    try:
        assert hashes(stream) == hashes(stream) == usual
        (line,) = capfd.readouterr().err.splitlines()
        assert "torchcodec" in line and "PIL decodes" in line and "extra 'stream'" in line
    finally:
        pictures.fast_decoder.cache_clear()


def test_whole_pictures_are_upright_rgb_by_either_decoder(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees to the right
    half = np.zeros((16, 24, 3), np.uint8)
    half[:8] = 255
    Image.fromarray(half).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("L", (9, 9), 100).save(tmp_path / "grey.jpg")
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(tmp_path / "inks.jpg")
    Image.new("LA", (9, 9), (100, 0)).save(tmp_path / "hidden.png")
    seen = [pictures.whole(str(path)) for path in sorted(tmp_path.iterdir())]
    assert [tuple(image.shape) for image in seen] == [(3, 9, 9)] * 3 + [(3, 24, 16)]
    assert (seen[0] == 100).all() and (seen[1] == 0).all() and seen[3][:, :, 0].max() < 30
    monkeypatch.setattr(pictures, "fast_decoder", lambda: None)
    again = [pictures.whole(str(path)) for path in sorted(tmp_path.iterdir())]
    assert all(map(torch.equal, seen, again))


# --- memory, disk ---


def pretend_free(monkeypatch, n_bytes):
    module = sys.modules[load_function.__module__]
    monkeypatch.setattr(module, "free_memory", lambda device: n_bytes)


def test_what_does_not_fit_is_streamed_or_mapped_and_says_so(photos, monkeypatch, capfd):
    assert type(load("folder", photos, size=8).train) is Split and not capfd.readouterr().err
    pretend_free(monkeypatch, 17 * 3 * 20**2)  # 17 images, with no room for a network
    monkeypatch.setattr(sys.modules[load_function.__module__], "AT_ONCE", 5)
    assert type(load("folder", photos, size=20).train) is Stream
    assert "17 images of 20 pixels take 0.0 GB" in capfd.readouterr().err
    assert decoded(load("folder", photos, size=20, hold="stream").train.images, 20) is None
    load("folder", photos, size=20, hold="mapped")
    capfd.readouterr()
    assert isinstance(load("folder", photos, size=20).train.images, torch.Tensor)
    assert "a file of decoded ones" in capfd.readouterr().err
    with pytest.raises(ValueError, match="size=20: 17 images take .* are free.*fewer images.*hold='stream'"):
        load("folder", photos, size=20, hold="memory")
    with pytest.raises(ValueError, match="size=500: 5 images take"):
        load("folder", photos, size=500)
    with pytest.raises(ValueError, match="size=64: 7,000 images take .* choose a smaller size"):
        load("glyphs", size=64)


def test_a_new_picture_makes_another_file_of_decoded_ones(photos, tmp_path):
    (tmp_path / "photos").symlink_to(photos)
    files = load("folder", photos, hold="stream").train.images
    assert decoded(files, 9, make=True).shape == (13, 3, 9, 9)
    assert decoded(replace(files, names=files.names[1:]), 9) is None


CODE = """
import resource, torch
from mankit.images import batches, load
torch.set_num_threads(1)
data = load("folder", {root!r}, size=64, area=0.5, val_size=0, workers=0)
for step, (x, y) in enumerate(batches(data.train, 10, 10**6, augment=data.augment)):
    if step == {steps}:
        break
print(len(data.train), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(root, steps=30):
    done = subprocess.run([sys.executable, "-c", CODE.format(root=str(root), steps=steps)], **TEXT, check=True)
    return map(int, done.stdout.split())


TEXT = dict(capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_memory_is_flat_in_the_number_of_images(photos, tmp_path):
    for part in ("train", "val"):
        for i in range(2000):
            path = tmp_path / part / "ab"[i % 2] / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(photos / "train" / "a" / "0.jpg", path)
    (small, before), (large, after) = peak(photos), peak(tmp_path)
    assert (small, large) == (13, 2000)  # 1,987 more of 64 x 64 would be 24 MB
    assert after - before < 12  # MB


# --- processes ---

PROCESSES = """
import os, sys, time
from mankit.images import batches, load
data = load("folder", {root!r}, size=16, area=0.2, val_size=0, workers=1)
for x, y in batches(data.train, 4, 10**6, augment=data.augment):
    print("going", flush=True)
    time.sleep(0.1)
"""


def test_processes_are_spawned_from_a_line_of_python_and_end_with_a_killed_parent(photos):
    parent = psutil.Popen(
        [sys.executable, "-c", PROCESSES.format(root=str(photos))], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout.readline() == "going\n"
        started = parent.children(recursive=True)
        readers = [child for child in started if "spawn_main" in " ".join(child.cmdline())]
        assert len(readers) == 1
    finally:
        parent.kill()
        parent.wait()
    assert psutil.wait_procs(started, timeout=300)[1] == []


@pytest.mark.parametrize("workers, first_step", [pytest.param(1, 3, marks=pytest.mark.slow), (2, 4)])
def test_processes_give_the_same_batches_and_end_with_the_loop(photos, workers, first_step):
    stream = replace(load("folder", photos, **BOXES).train, workers=workers)
    full = hashes(replace(stream, workers=0))
    before = set(psutil.Process().children(recursive=True))
    made = batches(stream, 4, 100, seed=5, augment=Augment(flip=True, area=0.2), first_step=first_step)
    assert [hashed(next(made)) for _ in full[first_step:]] == full[first_step:]
    started = set(psutil.Process().children(recursive=True)) - before
    assert len(started) >= workers
    made.close()
    readers = [process for process in started if "resource_tracker" not in " ".join(_words(process))]
    assert psutil.wait_procs(readers, timeout=300)[1] == []


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended already
        return []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_named(photos, tmp_path, workers):
    for part in ("train", "val"):
        (tmp_path / part / "a").mkdir(parents=True)
        (tmp_path / part / "a" / "0.jpg").write_bytes((photos / "train" / "a" / "0.jpg").read_bytes())
    data = load("folder", tmp_path, workers=workers, **BOXES)
    (tmp_path / "train" / "a" / "0.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match="can't read the image .*a/0.jpg .*replace or remove it$"):
        next(batches(data.train, 1))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("digits", dict(area=0.1), "digits is no folder of files"),
        ("glyphs", dict(hold="stream"), "glyphs is no folder of files"),
        ("folder", dict(area=2.0), "area=2.0: choose a number from 0.01 to 1"),
        ("folder", dict(hold="disk"), "hold='disk': .*choose from auto, memory, mapped, stream"),
        ("folder", dict(area=0.1, hold="mapped"), "hold='mapped': boxes .* leave hold out"),
        ("folder", dict(workers=-1), "workers=-1: choose 0 or more"),
    ],
)
def test_what_does_not_fit_together_is_refused(photos, name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, photos, **options)


def test_boxes_out_of_squares_are_refused(photos):
    for data in (load("digits"), load("folder", photos, hold="stream")):
        with pytest.raises(ValueError, match=r"area=0.2: .*load\('folder:PATH', area=...\)"):
            batches(data.train, 2, augment=Augment(area=0.2))


# --- training ---


@pytest.fixture
def recipe(photos):
    options = dict(data=f"folder:{photos}", size=16, area=0.2, val_size=4, augment=True)
    return Recipe.of(rule="dgl", K=2, network="lab", widths=(4, 6, 8), batch=3, epochs=2, warmup=0, **options)


def test_a_run_goes_on_in_a_stream_and_is_measured_there(recipe, tmp_path):
    whole, part = Run(recipe), tmp_path / "run"
    for _ in whole:
        pass
    with open_run(part, recipe) as kept:
        for step, _ in enumerate(kept, start=1):
            if step == 4:
                break
        kept.save()
    train_in(part, recipe, table=True)
    with open_run(part, recipe) as kept:
        assert all(map(torch.equal, whole.net.state_dict().values(), kept.run.net.state_dict().values()))
    table = block_table(whole)
    assert pd.read_csv(part / "blocks.csv").own_head.tolist() == pytest.approx(table.own_head.tolist())
    assert Recipe.from_json(recipe.to_json()).data_options["area"] == 0.2


def test_where_images_are_held_is_no_part_of_a_recipe():
    assert "area" in setting_names("dgl") and not {"hold", "workers"} & setting_names("dgl")
    paper = cell("imagenet/resnet101/dgl/K2").recipe
    assert paper.augment and paper.data_options["area"] == 0.08


REAL = Path(os.environ.get("MANKIT_DATA", "no MANKIT_DATA"))


@pytest.fixture(scope="module")
def imagenette():
    return load("folder:imagenette2-224-subset", REAL, size=64, area=0.08, workers=0)


@pytest.mark.skipif(not (REAL / "imagenette2-224-subset").is_dir(), reason="MANKIT_DATA has no imagenette2-224-subset")
@pytest.mark.parametrize("K", [pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize(
    "rule", [r if r in ("man", "barlow") else pytest.param(r, marks=pytest.mark.slow) for r in RULES]
)
def test_every_rule_trains_resnet101_through_a_stream(imagenette, rule, K):
    recipe = Recipe(rule=rule, K=K, network="resnet101", data="folder", batch=4, epochs=1, augment=True)
    losses = [step.losses for step in itertools.islice(Run(recipe, imagenette), 2)]
    assert len(losses) == 2 and torch.stack(losses).isfinite().all()
