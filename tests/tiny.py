"""Stand-ins for the tests of mankit.measure: the least with blocks, heads, normalize and features."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock


class PoolHead(nn.Module):
    """Global average pool + linear, cross-entropy."""

    has_logits, average = True, None

    def __init__(self, channels: int, classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, h):
        return self.linear(h.mean((2, 3)))

    def loss(self, h, x, y):
        return F.cross_entropy(self(h), y)


class TinyNet(nn.Module):
    """A network of blocks: `channels` are the widths that the blocks end with."""

    def __init__(self, blocks, channels, heads=None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ModuleList(heads or [PoolHead(c) for c in channels])

    def normalize(self, x):
        return (x - 0.5) / 0.25

    def features(self, x):
        h, out = self.normalize(x), []
        for block in self.blocks:
            h = block(h)
            out.append(h)
        return out

    def forward(self, x):
        return self.heads[-1](self.features(x)[-1])


def conv_net(widths=(4, 6, 8), seed=0):
    """One block of conv + BatchNorm + ReLU a width."""
    torch.manual_seed(seed)
    pairs = zip((3, *widths), widths, strict=False)
    blocks = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairs]
    return TinyNet(blocks, widths)


def batch(n=16, size=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, size, size, generator=generator), torch.randint(0, 10, (n,), generator=generator)


def resnet32(cuts):
    """CIFAR's ResNet-32, 16 layers (stem + 15 units) cut before those in `cuts`: () is back-propagation."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    layers = [nn.Sequential(*stem)]
    width, ends = 16, [16]
    for new in [16] * 5 + [32] * 5 + [64] * 5:
        shortcut = None if new == width else nn.Sequential(nn.Conv2d(width, new, 1, 2, bias=False), nn.BatchNorm2d(new))
        layers.append(BasicBlock(width, new, 1 if new == width else 2, shortcut))
        width = new
        ends.append(new)
    edges = [0, *cuts, 16]
    blocks = [nn.Sequential(*layers[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    return TinyNet(blocks, [ends[b - 1] for b in edges[1:]])
