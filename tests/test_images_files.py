"""Data sets that are files: small ones in the real formats, folders of images, and how damage is named."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_files import noise, rows_of

from mankit.images import Augment, load
from mankit.images.files import resize


def test_resize_shrinks_by_averages_and_enlarges_smoothly():
    images = noise(3, 8)
    small = images.float().reshape(3, 3, 4, 2, 4, 2).mean((3, 5)).round().to(torch.uint8)
    assert torch.equal(resize(images, 4), small)
    flat = torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(resize(flat, 20), torch.full((1, 3, 20, 20), 77, dtype=torch.uint8))
    assert resize(noise(0, 8), 4).shape == (0, 3, 4, 4)


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


GREYS = np.arange(0, 256, dtype=np.uint16).repeat(4).reshape(32, 32)
UPRIGHT = np.zeros((32, 32, 3), np.uint8)
UPRIGHT[:16] = 255  # above white, below black


def read(folder, image, **how):
    path = folder / "val" / "red" / "0.png"
    path.with_suffix(".jpg").unlink()
    image.save(path, **how)
    return load("folder", folder, size=32).test.images[2].permute(1, 2, 0).numpy()  # blue 0 and 1, red 0


def test_sixteen_bits_are_scaled(folder):
    assert (read(folder, Image.fromarray(GREYS << 8))[..., 0] == GREYS).all()


def test_what_is_transparent_shows_black(folder):
    hidden = np.full((32, 32, 4), 200, np.uint8)
    hidden[:, 16:, 3], hidden[:, :16, 3] = 0, 255
    image = read(folder, Image.fromarray(hidden))
    assert (image[:, :16] == 200).all() and (image[:, 16:] == 0).all()


def test_a_camera_that_was_turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: turn it by 90 degrees to the right
    image = read(folder, Image.fromarray(UPRIGHT.swapaxes(0, 1).copy()), exif=exif)
    assert (image == UPRIGHT).all()


def test_other_colours_and_a_single_pixel(folder):
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    path = folder / "train" / "red" / "0.jpg"
    red.save(path)
    Image.new("RGB", (1, 1), (10, 20, 30)).save(folder / "train" / "red" / "1.png")
    images = load("folder", folder, size=16, val_size=0).train.images
    reddish = ((images[:, 0] > 240) & (images[:, 1] < 15) & (images[:, 2] < 15)).flatten(1).all(1)
    assert reddish.sum() == 3  # of four red ones the CMYK and two more: one is a pixel of another colour
    pixel = (images == torch.tensor([10, 20, 30]).view(3, 1, 1)).flatten(1).all(1)
    assert pixel.sum() == 1


@pytest.mark.parametrize("kind", ["film", "floats"])
def test_what_is_no_picture_is_refused_by_name(folder, kind):
    path = folder / "val" / "red" / "0.png"
    if kind == "film":
        Image.new("RGB", (8, 8)).save(path, save_all=True, append_images=[Image.new("RGB", (8, 8), "white")])
    else:
        Image.new("F", (8, 8)).save(path.with_suffix(".tif"))
    with pytest.raises(ValueError, match="red/0.(png|tif).*several frames, or floats: give one picture"):
        load("folder", folder)


def test_resizing_holds_only_a_part_as_floats():
    """The large allocations, as PyTorch counts them: floats of all images would take 4 times the result."""
    images = torch.zeros(20_000, 3, 16, 16, dtype=torch.uint8)
    with torch.profiler.profile(profile_memory=True) as seen:
        result = resize(images, 32)
    largest = max(event.self_cpu_memory_usage for event in seen.events())
    assert largest <= 1.1 * result.nbytes


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
