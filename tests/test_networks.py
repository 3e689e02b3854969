"""Networks: the right layers, the right sizes, clear errors."""

import copy

import pytest
import torch
from torch import nn

from mankit.networks import Normalize, build_network, cifar_resnet, imagenet_resnet, init_weights, small_resnet


def parameters(layers, classifier):
    return sum(p.numel() for module in [*layers, classifier] for p in module.parameters())


@pytest.mark.parametrize(("depth", "units"), [(20, 10), (32, 16), (110, 55)])
def test_cifar_resnets_have_the_papers_units(depth, units):
    layers, _ = cifar_resnet(depth)
    assert len(layers) == units


def test_resnet32_has_the_published_size():
    # 464,154 with option-A shortcuts (He et al.); the 1x1 shortcuts with BatchNorm add 2,752
    assert parameters(*cifar_resnet(32)) == 464_154 + 16 * 32 + 64 + 32 * 64 + 128


def test_widths_and_image_size_are_free():
    layers, classifier = small_resnet((1, 2), (5, 7), classes=3)
    for size in (8, 13):
        assert classifier(nn.Sequential(*layers)(torch.rand(2, 3, size, size))).shape == (2, 3)


def test_convolutions_start_with_he_normal_fan_out():
    layers, _ = cifar_resnet(20, generator=torch.Generator().manual_seed(0))
    weight = layers[-1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("layer", [nn.Linear(40, 900), nn.Conv2d(4, 900, 3)], ids=["linear", "convolution"])
def test_linear_weights_and_biases_are_as_pytorch_draws_them(layer):
    """Uniform within 1 / sqrt(fan in): the bounds are PyTorch's, reached and not passed, by weights and biases."""
    ours, theirs = copy.deepcopy(layer), copy.deepcopy(layer)
    theirs.reset_parameters()
    init_weights(ours, torch.Generator().manual_seed(0))
    names = ["weight", "bias"] if isinstance(layer, nn.Linear) else ["bias"]
    for mine, true in ((ours.get_parameter(name), theirs.get_parameter(name)) for name in names):
        bound = layer.weight[0].numel() ** -0.5
        assert 0.95 * bound < mine.abs().max() <= bound and 0.95 * bound < true.abs().max() <= bound
        assert mine.std().item() == pytest.approx(true.std().item(), rel=0.15)


@pytest.mark.parametrize("name", ["lab", "cifar_resnet20", "resnet18"])
def test_weights_are_drawn_from_the_generator_and_from_nothing_else(name):
    before = torch.get_rng_state()
    one, again, other = (weights_of(name, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    drawn = [n for n, (a, b) in enumerate(zip(one, other, strict=True)) if not torch.equal(a, b)]
    assert drawn == [n for n, tensor in enumerate(one) if tensor.std() > 0]  # all but BatchNorm's ones and zeros


def weights_of(name, seed):
    layers, classifier = build_network(name, 10, generator=torch.Generator().manual_seed(seed))
    return list(nn.ModuleList([*layers, classifier]).parameters())


def test_a_network_without_a_generator_draws_from_torchs_own():
    torch.manual_seed(3)
    first = build_network("lab")[0][1].conv1.weight
    torch.manual_seed(3)
    assert torch.equal(first, build_network("lab")[0][1].conv1.weight)


@pytest.mark.parametrize(
    ("name", "units"), [("resnet18", 9), ("resnet101", 34), ("resnet152", 51), ("resnext50_32x4d", 17)]
)
def test_torchvision_networks_compute_what_torchvision_computes(name, units):
    from torchvision import models

    layers, classifier = imagenet_resnet(name, classes=7)
    assert len(layers) == units
    ours = nn.Sequential(*layers, classifier).eval()
    reference = models.get_model(name, num_classes=7).eval()
    state = zip(reference.state_dict(), ours.state_dict().values(), strict=True)  # the same parts in the same order
    reference.load_state_dict(dict(state))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), reference(x))


def test_normalize_standardises():
    x = torch.rand(4, 3, 2, 2)
    out = Normalize((0.1, 0.2, 0.3), (0.5, 0.25, 1.0))(x)
    torch.testing.assert_close(out[:, 1], (x[:, 1] - 0.2) / 0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cifar_resnet(33), r"depth=33.*6n \+ 2.*nearest: 32"),
        (lambda: cifar_resnet(999_999_998), r"depth=999999998.*nearest: 1202"),
        (lambda: small_resnet((1, 1), (4, -8)), r"widths=\(4, -8\)"),
        (lambda: small_resnet((1, 0), (4, 8)), r"units=\(1, 0\)"),
        (lambda: small_resnet((1,), (4, 8)), "differ in length"),
        (lambda: small_resnet((1,), (4,), classes=0), "classes=0"),
        (lambda: build_network("resnet10"), "did you mean.*resnet101"),
        (lambda: build_network("resnet18", classes=0), "classes=0"),
        (lambda: build_network("resnet18", widths=(4, 4, 4)), "fixed widths"),
        (lambda: Normalize((0.0,), (0.0,)), "above 0"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_names_give_networks():
    assert len(build_network("lab")[0]) == 9
    assert len(build_network("cifar_resnet44")[0]) == 22
    assert build_network("lab", classes=3, widths=(2, 3, 4))[1][-1].weight.shape == (3, 4)
