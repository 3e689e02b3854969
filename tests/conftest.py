"""Shared by all tests: one thread (numbers and times repeat), and small nets and batches."""

import pytest
import torch

from mankit.networks import small_resnet
from mankit.rules import local_net

torch.set_num_threads(1)


@pytest.fixture
def make_net():
    """`make_net('man', K=3, ...)`: a small net of 6 layers for 8x8 images and 4 classes, from a seed."""

    def make(rule="dgl", K=3, seed=0, dtype=torch.float64, **options):
        torch.manual_seed(seed)
        layers, classifier = small_resnet((2, 2, 1), (4, 6, 8), classes=4)
        return local_net(layers, classifier, rule, K, image_shape=(3, 8, 8), **options).to(dtype)

    return make


@pytest.fixture
def make_batch():
    """`make_batch(seed, n)`: n random images (n, 3, 8, 8) in [0, 1] and labels 0..3."""

    def make(seed=0, n=8, dtype=torch.float64):
        g = torch.Generator().manual_seed(seed)
        return torch.rand(n, 3, 8, 8, generator=g, dtype=dtype), torch.randint(4, (n,), generator=g)

    return make
