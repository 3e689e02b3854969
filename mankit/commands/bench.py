"""`mankit bench`: what a training step costs, by method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from .bench_gpu import check_writable, print_ways

NAMES = {
    "ratio": "step / BP's (quartiles)",
    "step_ms": "step (ms)",
    "images_per_s": "images/s",
    "saved_kib": "saved (KiB/image)",
    "gflops": "GFLOPs/image",
    "peak_kib": "CUDA peak (KiB/image)",
}


def bench(
    network: Annotated[str, Option(help="lab, lab16, cifar_resnet32, resnet101, ...")] = "cifar_resnet32",
    K: Annotated[int, Option("--K", "-K", help="Number of blocks of the local rules.")] = 16,
    batch: Annotated[int, Option(help="Images in a batch.")] = 128,
    rounds: Annotated[int, Option(help="How often each method is timed.")] = 9,
    head: Annotated[str, Option(help="Of every rule that has the option: mlp, or 0c1f ... 2c3f.")] = "2c2f",
    size: Annotated[int, Option(help="Height and width of the images (ImageNet networks: 224).")] = 32,
    device: Annotated[str, Option(help="auto, cpu or cuda.")] = "auto",
    bf16: Annotated[bool, Option("--bf16", help="Autocast to bfloat16.")] = False,
    compile: Annotated[bool, Option("--compile", help="Compile each block (checkpointed BP stays as it is).")] = False,
    threads: Annotated[int, Option(min=1, max=256, help="CPU threads.")] = 1,
    csv: Annotated[Path | None, Option(metavar="FILE", help="Also write the table to a CSV file.")] = None,
    gpu: Annotated[bool, Option("--gpu", help="Ways to execute a GPU's step; --csv adds rows to the file.")] = False,
) -> None:
    """Time a training step of BP, checkpointed BP and every local rule, in turn. Example: mankit bench --K 8

    Compare ratios within one run: milliseconds depend on the machine and on what else it does. About a minute on a CPU.
    """
    import torch
    from tqdm import tqdm

    from ..studies import bench as library
    from ..studies import pick_device

    torch.set_num_threads(threads)
    device = pick_device(device)
    if gpu:
        return print_ways(csv, network=network, K=K, batch=batch, rounds=rounds, head=head, size=size, device=device)
    on_gpu = device.startswith("cuda")
    if csv:
        check_writable(csv)
    what = {"network": network, "K": K, "batch": batch, "size": size, "head": head, "bf16": bf16, "compile": compile}
    how = {"rounds": rounds, "steps": 10 if on_gpu else 1, "device": device}
    try:
        table = library.bench(**what, **how, progress=lambda r: tqdm(r, unit="round", delay=0.5))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped before the end: nothing to compare; --rounds 3 is quicker") from None
    on = torch.cuda.get_device_name(device) if on_gpu else f"{device}, threads {threads}"
    extras = ", bf16" * bf16 + ", compiled" * compile
    print(f"{network}, K={K}, batch {batch}, {size}x{size}, head {head}{extras}; {on}; medians of {rounds} rounds")
    spread = [f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})" for row in table.itertuples()]
    shown = table.assign(ratio=spread).drop(columns=["ratio_low", "ratio_high"]).rename(columns=NAMES)
    print(shown.to_string(index=False, float_format=_number))
    print("step / BP's: a round's step over BP's of the same round, median and quartiles over the rounds (so not the")
    print("ratio of the two medians in ms). Times hold within this run only. Saved: the largest block's, counted.")
    if csv:
        table.assign(**what, device=on, rounds=rounds).to_csv(csv, index=False)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
