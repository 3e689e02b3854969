"""What a training step costs: back-propagation, checkpointed or not, and the local rules, measured in one run."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .blocks import LocalNet
from .measure import checkpointed_bytes, checkpointed_flops, cuda_peak, flops, peak_saved_bytes
from .networks import build_network
from .rules import local_net
from .scaling.compiling import compiled_step
from .training import Step, make_optimizer, train, train_batch

CHECKPOINTED = "checkpointed BP"
METHODS = ("BP", CHECKPOINTED, "DGL", "InfoPro", "MAN")


class Checkpointed(nn.Module):
    """A layer that keeps only its input, and runs again when the backward pass needs the rest.

    Same gradients, less memory, a third more work (Chen et al. 2016, sublinear memory). BatchNorm's running
    statistics move in the first run only, as without a checkpoint.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, h: Tensor) -> Tensor:  # as the layer's
        return checkpoint(self.layer, h, use_reentrant=False, preserve_rng_state=False, context_fn=self._contexts)

    def _contexts(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _still_statistics(self.layer)  # around the first run, around the second


@contextmanager
def _still_statistics(layer: nn.Module) -> Iterator[None]:
    norms = [m for m in layer.modules() if isinstance(m, _BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # new = 1 * old + 0 * batch
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


def checkpointed(net: LocalNet) -> LocalNet:
    """The same network (layers and heads are shared) with a checkpoint at every layer of every block."""
    blocks = [nn.Sequential(*(Checkpointed(layer) for layer in block)) for block in net.blocks]
    return LocalNet(blocks, list(net.heads), net.normalize)


def build(method: str, network: str, K: int, head: str = "2c2f", size: int = 32) -> LocalNet:
    """The network of one of METHODS, for 10 classes: the local rules in K blocks, all with the same `head`.

    InfoPro adds its decoder, MAN is the published one: two look-ahead branches under InfoPro's head and decoder.
    Raises: ValueError for a network, K or head that don't fit.
    """
    rules = {"DGL": ("dgl", {}), "InfoPro": ("infopro", {}), "MAN": ("man", {"base": "infopro"})}
    layers, classifier = build_network(network)
    if method not in rules:
        net = local_net(layers, classifier, "bp", 1, image_shape=(3, size, size))
        return checkpointed(net) if method == CHECKPOINTED else net
    rule, options = rules[method]
    return local_net(layers, classifier, rule, K, image_shape=(3, size, size), head=head, **options)


def bench(
    network: str = "cifar_resnet32",
    K: int = 16,
    batch: int = 128,
    rounds: int = 9,
    *,
    steps: int = 1,
    head: str = "2c2f",
    size: int = 32,
    device: str = "cpu",
    bf16: bool = False,
    compile: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> pd.DataFrame:
    """Time the training step of all METHODS in turn, `rounds` times, on random images: a row for each.

    Each round times `steps` steps of every method one after the other, so that a machine that is slower for a
    while is so for all. Columns: method; ratio, step time over BP's of the same round; step_ms, milliseconds (both
    medians over the rounds); images_per_s; saved_kib and gflops (see `costs`); on CUDA peak_kib, the most KiB an
    image that a step allocates on top of weights and optimizer state (activations, gradients, workspaces).

    Args:
        size: of the images. bf16, compile: see `training.train`; checkpoints stay uncompiled.
        progress: wraps the rounds, for instance tqdm.
    Raises: ValueError for numbers that don't fit.
    """
    for name, value, least in (("rounds", rounds, 1), ("steps", steps, 1), ("batch", batch, 2), ("size", size, 1)):
        if value < least:
            raise ValueError(f"{name}={value}: choose {least} or more")
    x, y = torch.rand(batch, 3, size, size, device=device), torch.randint(10, (batch,), device=device)
    nets = {method: build(method, network, K, head, size).to(device) for method in METHODS}
    table = _counted(nets, x, y, bf16)
    plain = functools.partial(train_batch, bf16=bf16)
    how = {m: compiled_step(bf16=bf16) if compile and m != CHECKPOINTED else plain for m in METHODS}
    runs = {m: train(net, make_optimizer(net), itertools.repeat((x, y)), None, how[m]) for m, net in nets.items()}
    for run in runs.values():
        _seconds(run, 2, x)  # a first step allocates, compiles and chooses its algorithms
    if x.is_cuda:
        table["peak_kib"] = [_peak_bytes(run, x) / batch / 2**10 for run in runs.values()]
    seconds = pd.DataFrame([{m: _seconds(run, steps, x) for m, run in runs.items()} for _ in progress(range(rounds))])
    table.insert(1, "ratio", seconds.div(seconds["BP"], axis=0).median().to_numpy())
    table.insert(2, "step_ms", 1000 * seconds.median().to_numpy())
    table.insert(3, "images_per_s", 1000 * batch / table["step_ms"])
    return table


def _counted(nets: dict[str, LocalNet], x: Tensor, y: Tensor, bf16: bool) -> pd.DataFrame:
    """A row of `costs` for each method."""
    rows = []
    for method in nets:
        recomputes = method == CHECKPOINTED  # counted on BP's net: a hook can't see what runs again
        counted = costs(nets["BP" if recomputes else method], x, y, bf16, checkpoints=recomputes)
        rows.append({"method": method, **counted})
    return pd.DataFrame(rows)


def costs(net: LocalNet, x: Tensor, y: Tensor, bf16: bool = False, checkpoints: bool = False) -> dict[str, float]:
    """What needs no clock: saved_kib, kept for the backward pass (the largest block), and gflops, both an image.

    checkpoints: of the network as it would be with a checkpoint at every layer (K=1 only).
    """
    count_bytes, count_flops = (checkpointed_bytes, checkpointed_flops) if checkpoints else (peak_saved_bytes, flops)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        saved = count_bytes(net, x, y)
    few = x[:4]  # FLOPs are proportional to the images
    return {"saved_kib": saved / len(x) / 2**10, "gflops": count_flops(net, few, y[:4]) / len(few) / 1e9}


def _seconds(run: Iterator[Step], steps: int, x: Tensor) -> float:
    """Time of one training step on the device of x."""
    _wait(x)
    begun = time.perf_counter()
    for _ in range(steps):
        next(run)
    _wait(x)
    return (time.perf_counter() - begun) / steps


def _peak_bytes(run: Iterator[Step], x: Tensor) -> int:
    before = torch.cuda.memory_allocated(x.device)
    with cuda_peak() as peak:
        next(run)
        _wait(x)
    return peak.bytes - before


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
