"""Shared by all tests: one thread (numbers and times repeat), small nets, batches and data sets, and the command."""

import sys
from types import SimpleNamespace

import pytest
import small_files
import torch
from hypothesis import settings

from mankit.__main__ import main
from mankit.networks import small_resnet
from mankit.rules import local_net

torch.set_num_threads(1)
settings.register_profile("no deadline", deadline=None)  # a busy machine is slow, and not wrong
settings.load_profile("no deadline")
pytest_plugins = ["kept_runs"]  # its fixtures, `data` and `whole`


@pytest.fixture
def make_net():
    """`make_net('man', K=3, ...)`: a small net of 6 layers for 8x8 images and 4 classes, from a seed."""

    def make(rule="dgl", K=3, seed=0, dtype=torch.float64, **options):
        torch.manual_seed(seed)
        layers, classifier = small_resnet((2, 2, 1), (4, 6, 8), classes=4)
        return local_net(layers, classifier, rule, K, image_shape=(3, 8, 8), classes=4, **options).to(dtype)

    return make


@pytest.fixture
def make_batch():
    """`make_batch(seed, n)`: n random images (n, 3, 8, 8) in [0, 1] and labels 0..3."""

    def make(seed=0, n=8, dtype=torch.float64):
        g = torch.Generator().manual_seed(seed)
        return torch.rand(n, 3, 8, 8, generator=g, dtype=dtype), torch.randint(4, (n,), generator=g)

    return make


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    return small_files.write_cifar10(tmp_path, monkeypatch)


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    return small_files.write_svhn(tmp_path, monkeypatch)


@pytest.fixture
def stl10(tmp_path, monkeypatch):
    return small_files.write_stl10(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path):
    return small_files.write_folder(tmp_path)


@pytest.fixture
def mankit(monkeypatch, capfd):
    """`mankit('train', '--K', 3)` -> code, out, err: as the command would leave them."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mankit", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    return call
