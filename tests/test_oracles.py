"""Our rules reproduce what the published implementations compute (float64, two steps, relative 1e-9).

tests/oracles/*.npz hold numbers only, recorded once from the published code (see tests/oracles/README.md).
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from mankit.networks import Normalize, small_resnet
from mankit.rules import local_net
from mankit.training import make_optimizer, train

ORACLES = Path(__file__).parent / "oracles"
INFOPRO = {"lam_x": (5.0, 0.5), "lam_y": (0.5, 1.0), "head": "1c2f"}
MAN = {"base": "infopro", "lam_x": 5.0, "lam_y": 0.5, "head": "2c2f", "decay": 0.995}
CASES = {
    "bp": ("bp", {"K": 1}, {}),
    "dgl_k7": ("dgl", {"K": 7}, {"head": "mlp"}),
    "infopro_k7": ("infopro", {"K": 7}, INFOPRO),
    "man_k3": ("man", {"at": [3, 5]}, MAN),
    "manpp_k4": ("manpp", {"at": [1, 3, 5]}, MAN | {"head": "1c2f"}),
    "manpp_dgl_k4": ("manpp", {"at": [1, 3, 5]}, {"head": "mlp512"}),
    "predsim_k4": ("predsim", {"at": [1, 3, 5]}, {"beta": 0.99, "limit": 512}),
    "auglocal_k6_d1": ("auglocal", {"at": range(1, 6)}, {"depth": 1}),
    "auglocal_k7_d2": ("auglocal", {"K": 7}, {"depth": 2}),
    "lls_k7": ("lls", {"K": 7}, {"side": 4, "tau": 1.0}),
}
MEAN, STD = ([v / 255 for v in values] for values in ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)))


def batch(t: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(t)
    return torch.rand(8, 3, 32, 32, generator=g, dtype=torch.float32).double(), torch.arange(8) % 4


def published_name(name: str, sizes: list[int], before: int) -> str | None:
    """The oracle's name of one of our tensors; None for what the oracle doesn't list.

    before: how many of our heads' modules stand, in the published code, in front of its Sequential.
    """
    kind, i, *tail = name.split(".")
    if kind == "normalize" or tail[-1] == "num_batches_tracked":
        return None
    if kind == "blocks":
        n = sum(sizes[: int(i)]) + int(tail[0])
        if n == 0:
            return f"stem.{('conv', 'bn')[int(tail[1])]}.{tail[2]}"
        return ".".join([f"units.{n - 1}", *tail[1:]])
    if int(i) == len(sizes) - 1:
        return f"classifier.{tail[-1]}"
    path = [t for t in tail if t != "base"]
    if path[0] == "body":
        path = ["head", str(int(path[1]) - before), *path[2:]]
    elif path[0] == "decoder":
        path = ["decoder", *path[2:]]
    renamed = {"learnable_bias": "bias_unit", "ema": "ema_unit", "conv": "decoder.0"}.get(path[0], path[0])
    return ".".join([f"aux.{i}", renamed, *path[1:]])


def summary(t: torch.Tensor) -> np.ndarray:
    flat = t.detach().flatten()
    return torch.cat([flat.norm()[None], flat[:8]]).numpy()


def drawn(k: int, name: str, shape: torch.Size) -> torch.Tensor:
    """The starting value of tensor number k of a file that holds a rule in place of arrays."""
    u = torch.rand(shape, generator=torch.Generator().manual_seed(1000 + k), dtype=torch.float32).double()
    if len(shape) >= 2:
        return (2 * u - 1) * (6 / u[0].numel()) ** 0.5
    constant = {"scale": 1.0, "running_mean": 0.0, "running_var": 1.0}.get(kind := name.split(".")[-1])
    if constant is not None:
        return torch.full(shape, constant, dtype=torch.float64)
    return 0.5 + u if kind == "weight" else (2 * u - 1) * 0.1


def starts(oracle: np.lib.npyio.NpzFile, ours: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What every parameter and statistic starts from, by name: arrays, or drawn by the rule and checked."""
    if "names" not in oracle:
        arrays = {key.removeprefix("init/"): oracle[key] for key in oracle if key.startswith("init/")}
        return {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}
    names = [str(name) for name in oracle["names"]]
    assert set(names) == set(ours)
    start = {name: drawn(k, name, ours[name].shape) for k, name in enumerate(names)}
    for name, tensor in start.items():
        close(summary(tensor), oracle[f"check/{name}"], name)
    return start


def close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    scale = max(abs(theirs[0]), 1e-3)  # a true zero (a bias before BatchNorm) is compared to 1e-12 absolutely
    assert np.abs(ours - theirs).max() <= 1e-9 * scale, (what, ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_reproduces_the_published_implementation(case):
    oracle = np.load(ORACLES / f"{case}.npz")
    rule, where, options = CASES[case]
    layers, classifier = small_resnet((2, 2, 2), (16, 32, 64), classes=10)
    net = local_net(layers, classifier, rule, **where, **options).double()
    net.normalize = Normalize(MEAN, STD, dtype=torch.float64)
    sizes = [len(block) for block in net.blocks]
    names = {name: published_name(name, sizes, options.get("head") == "mlp512") for name in net.state_dict()}
    ours = {published: net.state_dict()[name] for name, published in names.items() if published}
    start = starts(oracle, ours)
    assert set(ours) == set(start)
    for published, tensor in ours.items():
        tensor.copy_(start[published])

    optimizer = make_optimizer(net, lr=0.1, momentum=0.9, weight_decay=1e-4)
    gradients: dict[str, torch.Tensor] = {}
    optimizer.register_step_pre_hook(
        lambda *_: gradients.update({names[n]: p.grad for n, p in net.named_parameters() if p.requires_grad})
    )
    compared = 0
    for t, step in enumerate(train(net, optimizer, [batch(0), batch(1)], channels_last=False)):
        np.testing.assert_allclose(step.losses.numpy(), oracle[f"step{t}/losses"], rtol=1e-9)
        for key in oracle:
            prefix, _, name = key.partition(f"step{t}/")[2].partition("/")
            if prefix in ("grad", "state"):
                close(summary((gradients if prefix == "grad" else ours)[name]), oracle[key], key)
                compared += 1
        assert {f"step{t}/grad/{n}" for n in gradients} == {k for k in oracle if k.startswith(f"step{t}/grad/")}
    net.eval()
    with torch.no_grad():
        logits = net(batch(99)[0]).numpy()
    np.testing.assert_allclose(logits, oracle["eval/logits"], rtol=0, atol=1e-9 * np.abs(logits).max())
    assert compared == sum("/grad/" in k or "/state/" in k for k in oracle)
