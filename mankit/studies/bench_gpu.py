"""What a step costs on a GPU by the way it is executed: first whether they are equal, then time and memory.

mankit bench --gpu     (about eight minutes; on a CPU the same with nothing compiled and no graph, to try it)
"""

from __future__ import annotations

import copy
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor

from ..blocks import LocalNet
from ..errors import at_least
from ..measure import kept_bytes
from ..scaling.compiling import compiled_step
from ..scaling.graphs import GraphedStep
from ..training import BatchStep, make_optimizer, train, train_batch
from .bench import build, peak_bytes, seconds_a_step, views_of

LIMIT = 420  # seconds, after which no other method is begun
WARM = 6  # steps that compile, choose algorithms and record
BF16 = functools.partial(train_batch, bf16=True)


def ways(on_gpu: bool) -> dict[str, Callable[[], BatchStep]]:
    """How a step can be executed, by name. tf32: float32 in which a GPU rounds the factors of products."""
    plain = {"eager, bf16": lambda: BF16, "graph, bf16": lambda: GraphedStep(BF16, record=on_gpu)}
    compiled = {
        "compiled, bf16": lambda: compiled_step(bf16=True),
        "graph over compiled, bf16": lambda: GraphedStep(compiled_step(bf16=True)),
        "reduce-overhead, bf16": lambda: compiled_step(bf16=True, mode="reduce-overhead"),
    }
    tf32 = {"eager, tf32": lambda: train_batch, "graph, tf32": lambda: GraphedStep(train_batch, record=on_gpu)}
    return plain | (compiled if on_gpu else {}) | tf32


def bench_gpu(
    methods: Sequence[str],
    network: str = "cifar_resnet32",
    K: int = 16,
    batch: int = 128,
    rounds: int = 9,
    *,
    steps: int = 10,
    head: str = "2c2f",
    size: int = 32,
    device: str = "cuda",
    limit: float = LIMIT,
) -> Iterator[pd.DataFrame]:
    """Time all `ways` of each method in turn, `rounds` times `steps` steps on random images; yields a table a method.

    Columns: method, way; step_ms (median) and images_per_s; ratio, over the first way's of the same round (median);
    apart, see `difference`; counted_kib an image: what the largest block keeps for its backward pass, and gradients;
    peak_kib an image: the most that an eager bf16 step allocates; reserved_mib: what torch holds of the GPU (the last
    two are nan on a CPU).

    Args:
        methods: labels of rules. limit: seconds after which no other method is begun.
    Raises: ValueError as `bench`.
    """
    for name, value, least in (("rounds", rounds, 1), ("steps", steps, 1), ("batch", batch, 2), ("size", size, 1)):
        at_least(name, value, least)
    begun = time.perf_counter()
    x, y = torch.rand(batch, 3, size, size, device=device), torch.randint(10, (batch,), device=device)
    for method in methods:
        if time.perf_counter() - begun > limit:
            return

        def make(method: str = method) -> LocalNet:
            return build(method, network, K, head, size).to(device)

        apart, memory = difference(make, x, y), _memory(make, x, y)
        table = _timed(make, x, y, rounds, steps).assign(apart=apart, **memory)
        table.insert(0, "method", method)
        yield table


def difference(make: Callable[[], LocalNet], x: Tensor, y: Tensor, decay: float = 0.5) -> float:
    """How far the graph is from the eager step: the largest difference of a weight or a statistic after ten steps.

    In float32; lr moves at each step, and the heads' decay changes after the seventh.
    Raises: ValueError where BatchNorm has counted other batches.
    """
    nets = [make()]
    nets.append(copy.deepcopy(nets[0]))
    for net, step in zip(nets, (train_batch, GraphedStep(record=x.is_cuda)), strict=True):
        batches = itertools.repeat(views_of(net, x, y), 10)
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            for done in train(net, make_optimizer(net), batches, lambda i: 0.01 + 0.002 * i, step):
                for each in net.heads if done.index == 6 else ():
                    if hasattr(each, "decay"):
                        each.decay = decay
    eager, graphed = (net.state_dict() for net in nets)
    for name in eager:
        if name.endswith("num_batches_tracked") and not torch.equal(eager[name], graphed[name]):
            raise ValueError(f"{name} is {int(graphed[name])} with the graph, {int(eager[name])} without it")
    return max(float((eager[name] - graphed[name]).abs().max()) for name in eager)


def _timed(make: Callable[[], LocalNet], x: Tensor, y: Tensor, rounds: int, steps: int) -> pd.DataFrame:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True  # torch's choice for convolutions
    runs = {}
    for name, way in ways(x.is_cuda).items():
        net = make()
        runs[name] = train(net, make_optimizer(net), itertools.repeat(views_of(net, x, y)), batch_step=way())
        seconds_a_step(runs[name], WARM, x)
    seconds = pd.DataFrame([{n: seconds_a_step(run, steps, x) for n, run in runs.items()} for _ in range(rounds)])
    ms, ratio = 1000 * seconds.median(), seconds.div(seconds.iloc[:, 0], axis=0).median()
    table = pd.DataFrame({"step_ms": ms, "images_per_s": 1000 * len(x) / ms, "ratio": ratio})
    return table.rename_axis("way").reset_index()


def _memory(make: Callable[[], LocalNet], x: Tensor, y: Tensor) -> dict[str, float]:
    """Of the eager bf16 step, in KiB an image: what is counted, and what the GPU says."""
    net = make()
    batch, optimizer = views_of(net, x, y), make_optimizer(net)
    with torch.autocast(x.device.type, torch.bfloat16):
        kept = kept_bytes(net, [optimizer], *batch, BF16)
    found = {"counted_kib": (kept["activations"] + kept["gradients"]) / len(x) / 2**10}
    if not x.is_cuda:
        return found | {"peak_kib": float("nan"), "reserved_mib": float("nan")}
    run = train(net, optimizer, itertools.repeat(batch), batch_step=BF16)
    seconds_a_step(run, WARM, x)
    found["peak_kib"] = peak_bytes(run, x) / len(x) / 2**10
    return found | {"reserved_mib": torch.cuda.memory_reserved(x.device) / 2**20}
