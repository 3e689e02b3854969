"""What a training step costs: back-propagation, checkpointed or not, and every local rule, measured in one run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator

import pandas as pd
import torch
from torch import Tensor

from ..blocks import LocalNet
from ..errors import at_least, choose
from ..measure import checkpointed_bytes, checkpointed_flops, flops, saved_bytes
from ..networks import build_network
from ..rules import ONE_BLOCK, RULES, entry_of, local_net, options_of
from ..scaling.checkpointing import checkpointed
from ..training import Step, make_optimizer, train
from .papers.published import MAN_BASE
from .run import batch_step

CHECKPOINTED = "checkpointed BP"


def methods() -> list[str]:
    """What is timed, by RULES' labels: BP, checkpointed BP, and every rule that trains several blocks.

    A rule without labels takes a batch as two views of half as many images.
    """
    entries = [entry_of(rule) for rule in RULES]
    bp = [entry.label for entry in entries if entry.one_block]
    return [*bp, CHECKPOINTED, *(entry.label for entry in entries if not entry.one_block)]


def build(method: str, network: str, K: int, head: str = "2c2f", size: int = 32) -> LocalNet:
    """The network of one of `methods()`, for 10 classes: the local rules in K blocks, all that choose with `head`.

    InfoPro adds its decoder, MAN is the published one: two look-ahead branches under InfoPro's head and decoder.
    Raises: ValueError for a method, network, K or head that don't fit.
    """
    rules = {entry_of(rule).label: rule for rule in RULES}
    choose("method", method, [*rules, CHECKPOINTED])
    layers, classifier = build_network(network)
    rule = rules.get(method, ONE_BLOCK)
    known = options_of(rule, MAN_BASE)
    options = {name: value for name, value in {"head": head, "base": MAN_BASE}.items() if name in known}
    blocks = 1 if entry_of(rule).one_block else K
    net = local_net(layers, classifier, rule, blocks, image_shape=(3, size, size), **options)
    return checkpointed(net) if method == CHECKPOINTED else net


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
    """Time the training step of all `methods()` in turn, `rounds` times, on random images: a row for each.

    Each round times `steps` steps of every method one after the other, so that a machine that is slower for a
    while is so for all. Columns: method; ratio, step time over BP's of the same round, with ratio_low and ratio_high
    (median and quartiles over the rounds); step_ms, milliseconds (median); images_per_s; saved_kib and gflops (see
    `costs`); on CUDA peak_kib, the most KiB an image that a step allocates on top of weights and optimizer state
    (activations, gradients, workspaces).

    Args:
        size: of the images. bf16, compile: as in a Recipe; checkpoints stay uncompiled.
        progress: wraps the rounds, for instance tqdm.
    Raises: ValueError for numbers that don't fit.
    """
    for name, value, least in (("rounds", rounds, 1), ("steps", steps, 1), ("batch", batch, 2), ("size", size, 1)):
        at_least(name, value, least)
    x, y = torch.rand(batch, 3, size, size, device=device), torch.randint(10, (batch,), device=device)
    nets = {method: build(method, network, K, head, size).to(device) for method in methods()}
    bp, *_ = nets
    # checkpointed BP is counted on BP's net: a hook can't see what runs again
    counted = {method: costs(nets[bp], x, y, bf16, True) for method in [CHECKPOINTED]}
    counted |= {method: costs(net, x, y, bf16) for method, net in nets.items() if method != CHECKPOINTED}
    table = pd.DataFrame([{"method": method, **counted[method]} for method in nets])
    runs = {}
    for method, net in nets.items():
        step = batch_step(compile and method != CHECKPOINTED, bf16=bf16)
        runs[method] = train(net, make_optimizer(net), itertools.repeat(views_of(net, x, y)), batch_step=step)
    for run in runs.values():
        seconds_a_step(run, 2, x)  # a first step allocates, compiles and chooses its algorithms
    if x.is_cuda:
        table["peak_kib"] = [peak_bytes(run, x) / batch / 2**10 for run in runs.values()]
    seconds = pd.DataFrame(
        [{m: seconds_a_step(run, steps, x) for m, run in runs.items()} for _ in progress(range(rounds))]
    )
    paired = seconds.div(seconds[bp], axis=0)
    for place, (name, share) in enumerate({"ratio": 0.5, "ratio_low": 0.25, "ratio_high": 0.75}.items(), start=1):
        table.insert(place, name, paired.quantile(share).to_numpy())
    table.insert(4, "step_ms", 1000 * seconds.median().to_numpy())
    table.insert(5, "images_per_s", 1000 * batch / table["step_ms"])
    return table


def costs(net: LocalNet, x: Tensor, y: Tensor, bf16: bool = False, checkpoints: bool = False) -> dict[str, float]:
    """What needs no clock: saved_kib, kept for the backward pass (the largest block), and gflops, both an image.

    checkpoints: of the network as it would be with a checkpoint at every layer (K=1 only).
    """
    count_flops = checkpointed_flops if checkpoints else flops
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        batch = views_of(net, x, y)
        saved = checkpointed_bytes(net, *batch) if checkpoints else max(saved_bytes(net, *batch))
    few = x[:4]  # FLOPs are proportional to the images
    gflops = count_flops(net, *views_of(net, few, y[:4])) / len(few) / 1e9
    return {"saved_kib": saved / len(x) / 2**10, "gflops": gflops}


def views_of(net: LocalNet, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A batch with as many views of each image as the rule asks for."""
    views = net.heads[0].views
    return x.repeat(views, 1, 1, 1), y.repeat(views)


def seconds_a_step(run: Iterator[Step], steps: int, x: Tensor) -> float:
    """Time of one training step on the device of x."""
    _wait_for(x)
    begun = time.perf_counter()
    for _ in range(steps):
        next(run)
    _wait_for(x)
    return (time.perf_counter() - begun) / steps


def peak_bytes(run: Iterator[Step], x: Tensor) -> int:
    """The most that a step allocates on the GPU of x, on top of what was there."""
    before = torch.cuda.memory_allocated(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    next(run)
    _wait_for(x)
    return torch.cuda.max_memory_allocated(x.device) - before


def _wait_for(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
