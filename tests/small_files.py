"""Small data sets in the real ones' own file formats. Each returns the folder that is the root."""

import hashlib
import pickle

import numpy as np
import torch
from PIL import Image


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n, size=8, seed=0):
    return torch.randint(256, (n, 3, size, size), generator=gen(seed), dtype=torch.uint8)


def rows_of(images):
    """The images as a set of bytes: which they are, in whatever order."""
    return {image.numpy().tobytes() for image in images}


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(root, monkeypatch):
    """Six batches of 20 images each, and the class names, as python pickles. Returns (root, images by file)."""
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    images = {name: noise(20, 32, seed) for seed, name in enumerate(names)}
    for name in names:
        content = {"data": images[name].numpy().reshape(20, 3072), "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}))
    sums = [[name, md5(folder / name)] for name in names]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return root, images


def write_svhn(root, monkeypatch):
    """40 training and 20 test images in Matlab's format."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    listed = {}
    for seed, (part, n) in enumerate((("train", 40), ("test", 20))):
        images = noise(n, 32, seed).permute(2, 3, 1, 0).numpy()  # height, width, channel, image
        path = root / f"{part}_32x32.mat"
        labels = (np.arange(n) % 10 + 1).astype(np.uint8)  # in the file, 10 stands for 0
        savemat(path, {"X": images, "y": labels[:, None]})
        listed[part] = ["", path.name, md5(path)]
    monkeypatch.setattr(SVHN, "split_list", listed)
    return root


def write_stl10(root, monkeypatch):
    """20 training, 10 test and 2 unlabelled images of 96 x 96, as raw bytes."""
    from torchvision.datasets import STL10

    folder = root / "stl10_binary"
    folder.mkdir()
    for part, n in (("train", 20), ("test", 10), ("unlabeled", 2)):
        noise(n, 96, n).transpose(2, 3).numpy().tofile(folder / f"{part}_X.bin")  # column by column
        (np.arange(n) % 10 + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    names = ["train_X.bin", "train_y.bin", "unlabeled_X.bin", "test_X.bin", "test_y.bin"]
    sums = [[name, md5(folder / name)] for name in names]
    monkeypatch.setattr(STL10, "train_list", sums[:3])
    monkeypatch.setattr(STL10, "test_list", sums[3:])
    return root


def write_folder(root):
    """Two classes: red and blue, as PNG and JPEG, 4 + 4 for training, 2 + 2 for val, one of them grey."""
    for part, n in (("train", 4), ("val", 2)):
        for name, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                path = root / part / name / f"{i}.{'png' if i % 2 else 'jpg'}"
                Image.new("RGB", (40 + i, 30), colour).save(path)
    Image.new("L", (20, 20), 100).save(root / "train" / "red" / "0.jpg")
    return root
