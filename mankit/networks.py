"""Networks as a flat list of layers (the stem first) and a classifier, ready to be cut into blocks.

A *layer* here is what the papers count: the stem (convolution, BatchNorm, ReLU) or one residual unit.
ResNet-32 has 16 of them, ResNet-110 has 55. The units are torchvision's own `BasicBlock` and `Bottleneck`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock

from .errors import at_least, choose

Layers = list[nn.Module]

LAB_UNITS = {"lab": (2, 3, 3), "lab16": (5, 5, 5)}  # residual units per stage; the stem is one more layer

IMAGENET_NETWORKS = tuple(
    "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d".split()
)
CIFAR_NETWORKS = ("cifar_resnet20", "cifar_resnet32", "cifar_resnet110")  # and any other 6n + 2
CURE = f"choose {', '.join(LAB_UNITS)}, cifar_resnetD (D = 6n + 2), {', '.join(IMAGENET_NETWORKS)}"


class Normalize(nn.Module):
    """Standardise images: `(x - mean) / std` per channel.

    It belongs to the network, so that everything outside (data, decoders, plots) sees images in [0, 1].
    """

    def __init__(
        self, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        if min(std) <= 0:
            raise ValueError(f"std={std}: every channel needs a value above 0")
        self.register_buffer("mean", torch.tensor(mean, dtype=dtype).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=dtype).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return (x - self.mean) / self.std


class SubsampledConv(nn.Conv2d):
    """A 1x1 convolution with a stride: take every `every`-th pixel, then convolve with stride 1. The same numbers.

    On the CPU, oneDNN (its issue 6035) writes past the end of the gradient of a strided 1x1 convolution of few
    channels in channels_last. Here there is no such convolution, whatever the CPU and the size of the image.
    """

    def __init__(self, channels: int, outputs: int, every: int) -> None:
        super().__init__(channels, outputs, 1, bias=False)
        self.every = every

    def forward(self, h: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H / every, W / every), rounded up
        return super().forward(h[:, :, :: self.every, :: self.every])


def init_weights(module: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Draw every weight in `module` anew, in the order of its parts; returns it.

    Convolutions: He normal (fan out), as published. Linear layers and all biases: uniform, as PyTorch draws them.
    A module built on the meta device, where constructors draw nothing, comes to the CPU. generator None: torch's own.
    """
    if any(p.is_meta for p in module.parameters()):
        module.to_empty(device="cpu")
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            bound = m.weight[0].numel() ** -0.5  # 1 / sqrt(fan in)
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            else:
                nn.init.uniform_(m.weight, -bound, bound, generator=generator)
            if m.bias is not None:
                nn.init.uniform_(m.bias, -bound, bound, generator=generator)
        elif isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.reset_parameters()  # draws nothing
    return module


def shortcut(before: int, width: int, stride: int) -> nn.Module | None:
    """What stands beside a residual unit: a 1x1 convolution and BatchNorm where width or size change, else nothing."""
    if stride == 1 and before == width:
        return None
    return nn.Sequential(SubsampledConv(before, width, stride), nn.BatchNorm2d(width))


def _check_widths(widths: tuple[int, ...], units: tuple[int, ...], classes: int) -> None:
    if len(widths) != len(units) or not units:
        raise ValueError(f"widths={widths} and units={units} differ in length: give one of each per stage")
    at_least("classes", classes, 1)
    for name, values in (("widths", widths), ("units", units)):
        if any(not 1 <= value <= 4096 or value != int(value) for value in values):
            raise ValueError(f"{name}={values}: choose whole numbers from 1 to 4096")


def small_resnet(
    units: tuple[int, ...], widths: tuple[int, ...], classes: int = 10, *, generator: torch.Generator | None = None
) -> tuple[Layers, nn.Module]:
    """A ResNet for small images: a 3x3 stem, then stages of basic units, halving the size between stages.

    Args:
        units: residual units per stage. widths: channels per stage. generator: of the weights, see `init_weights`.
    Returns: (layers, classifier); layers[0] is the stem, the rest one residual unit each.
    Raises: ValueError for numbers below 1. Source: He et al., CVPR 2016, section 4.2; 1x1 shortcuts.
    """
    _check_widths(widths, units, classes)
    with torch.device("meta"):  # the constructors' own draws are skipped
        layers, classifier = _small_resnet(units, widths, classes)
    init_weights(nn.ModuleList([*layers, classifier]), generator)
    return layers, classifier


def _small_resnet(units: tuple[int, ...], widths: tuple[int, ...], classes: int) -> tuple[Layers, nn.Module]:
    stem = nn.Sequential(
        nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
    )
    layers, before = [stem], widths[0]
    for stage, (count, width) in enumerate(zip(units, widths, strict=True)):
        for n in range(count):
            stride = 2 if stage > 0 and n == 0 else 1
            layers.append(BasicBlock(before, width, stride, shortcut(before, width, stride)))
            before = width
    return layers, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def cifar_resnet(
    depth: int = 32,
    widths: tuple[int, ...] = (16, 32, 64),
    classes: int = 10,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Layers, nn.Module]:
    """CIFAR ResNet of depth 6n + 2 (20, 32, 44, 56, 110, ...): a stem and 3n basic units.

    Raises: ValueError if the depth isn't 6n + 2. Source: He et al., CVPR 2016.
    """
    if depth not in range(8, 1203, 6):
        near = min(max(8, round((depth - 2) / 6) * 6 + 2), 1202)
        raise ValueError(f"depth={depth}: CIFAR ResNets have depth 6n + 2 (20, 32, 110, ... 1202); nearest: {near}")
    return small_resnet(((depth - 2) // 6,) * 3, widths, classes, generator=generator)


def imagenet_resnet(
    name: str, classes: int = 1000, *, generator: torch.Generator | None = None
) -> tuple[Layers, nn.Module]:
    """torchvision's ResNet or ResNeXt as (layers, classifier); the stem keeps its stride and max-pool.

    Raises: ValueError for a name that isn't in IMAGENET_NETWORKS.
    """
    choose("network", name, [*LAB_UNITS, *CIFAR_NETWORKS, *IMAGENET_NETWORKS], CURE)
    at_least("classes", classes, 1)
    with torch.device("meta"):
        net = models.get_model(name, weights=None, num_classes=classes)
    init_weights(net, generator)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    layers = [stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4]
    return layers, nn.Sequential(net.avgpool, nn.Flatten(), net.fc)


def build_network(
    name: str, classes: int = 10, widths: tuple[int, ...] | None = None, *, generator: torch.Generator | None = None
) -> tuple[Layers, nn.Module]:
    """(layers, classifier) by name: `lab` (9 layers, for laptops), `lab16` (16), `cifar_resnet32`, `resnet101`, ...

    generator: of the weights, see `init_weights`.
    Raises: ValueError for an unknown name (with the nearest ones), or widths for a torchvision network.
    """
    if name in LAB_UNITS:
        return small_resnet(LAB_UNITS[name], widths or (8, 16, 32), classes, generator=generator)
    if match := re.fullmatch(r"cifar_resnet(\d+)", name):
        return cifar_resnet(int(match[1]), widths or (16, 32, 64), classes, generator=generator)
    if widths and name in IMAGENET_NETWORKS:
        raise ValueError(f"widths={widths}: network '{name}' has fixed widths; leave widths out")
    return imagenet_resnet(name, classes, generator=generator)
