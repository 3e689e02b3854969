"""Training: one atom (`local_step`), one generator of steps (`train`). The only file that calls backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from .blocks import LocalNet
from .errors import at_least, choose
from .heads import Head

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) in [0, 1], labels (B,)
Schedule = Callable[[int], float]  # step -> learning rate
Forward = Callable[[nn.Module, Head, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
# how a step is executed: (net, optimizers, x, y) -> the K local losses (K,), detached
BatchStep = Callable[[LocalNet, Sequence[Optimizer], Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """What one step leaves: its index from 0, the K local losses (on the device), the learning rate."""

    index: int
    losses: Tensor  # (K,), detached; reading a number from it waits for the device, so do it seldom
    lr: float


def block_forward(block: nn.Module, head: Head, h: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(features, local loss) of one block on one batch: what may be compiled."""
    out = head.through(block, h) if isinstance(head, Head) else block(h)  # any module with a loss will do as a head
    return out, head.loss(out, x, y)


def local_step(
    block: nn.Module, head: Head, h: Tensor, x: Tensor, y: Tensor, bf16: bool = False, forward: Forward = block_forward
) -> tuple[Tensor, Tensor]:
    """Train one block on one batch: forward from `h.detach()`, local loss, backward AT ONCE, free.

    The detach makes the block's gradient its own; the backward at once is what saves memory: with one backward
    on the sum of all losses, every activation would be kept as long as in back-propagation.

    Args:
        h: the block's input (B, C, H, W). x: images in [0, 1]. y: labels. bf16: autocast the forward.
        forward: `block_forward`, or a compiled one.
    Returns: (features for the next block, the loss), both detached. Gradients are left in `.grad`.
    """
    with torch.autocast(h.device.type, torch.bfloat16, enabled=bf16):
        out, loss = forward(block, head, h.detach(), x, y)
    loss.backward()
    return out.detach(), loss.detach()


def train_batch(
    net: LocalNet,
    optimizers: Sequence[Optimizer],
    x: Tensor,
    y: Tensor,
    *,
    ema_update: str = "before",
    bf16: bool = False,
    forwards: Sequence[Forward] | None = None,
    step: Forward | None = None,
) -> Tensor:
    """One batch through all blocks, one after the other. Returns the K local losses (K,), detached.

    Args:
        optimizers: one for all blocks, which steps at the end, or one for each, which steps as soon as the block has
            its gradients (and drops them): the weights come out the same, since block i+1 sees features from before.
        ema_update: MAN's EMA reads the next block 'before' the optimizer's step (as published) or 'after'.
        bf16: autocast to bfloat16. forwards: a compiled `block_forward` for each block.
        step: one of your own in place of `local_step`, called as step(block, head, h, x, y).
    """
    choose("ema_update", ema_update, ("before", "after"))
    h, losses, each = net.normalize(x), [], len(optimizers) > 1
    forwards = forwards or [block_forward] * net.K
    for i, (block, head, forward) in enumerate(zip(net.blocks, net.heads, forwards, strict=True)):
        h, loss = step(block, head, h, x, y) if step else local_step(block, head, h, x, y, bf16, forward)
        losses.append(loss)
        if ema_update == "before" and i + 1 < net.K:
            head.after_step(net.blocks[i + 1])
        if each:
            _step(optimizers[i])
    if not each:
        _step(optimizers[0])
    if ema_update == "after":
        for head, next_block in zip(net.heads, net.blocks[1:], strict=False):
            head.after_step(next_block)
    return torch.stack([torch.as_tensor(loss) for loss in losses])  # a step of one's own may give a plain number


def _step(optimizer: Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def train(
    net: LocalNet,
    optimizer: Optimizer | Sequence[Optimizer],
    batches: Iterable[Batch],
    schedule: Schedule | None = None,
    batch_step: BatchStep = train_batch,
    *,
    channels_last: bool = True,
    first_step: int = 0,
) -> Iterator[Step]:
    """Train step by step: `for step in train(...)`, and the loop's body may look at or change anything.

    Args:
        optimizer: one for the whole net, or K of them, one per block (see `make_optimizer`).
        batches: (images in [0, 1], labels), as many as you want to train on, on the net's device.
        schedule: step -> learning rate; None keeps the optimizer's.
        batch_step: how a step is executed: `train_batch`, with options by functools.partial(train_batch, bf16=True),
            a compiled one (`mankit.scaling.compiling`), or your own.
        channels_last: the faster memory layout for convolutions.
        first_step: the index of the first step, for a run that goes on.
    Yields: a Step after each batch. Raises: ValueError for a batch or setting that doesn't fit.
    """
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    _check_optimizers(net, optimizers)
    for index, (x, y) in enumerate(batches, start=first_step):
        if index == first_step:
            check_batch(net, x, y)
            layout = torch.channels_last if channels_last and _is_safe(net, x) else torch.contiguous_format
            net.to(memory_format=layout)
        net.train()  # at each step: the loop's body may have left it in evaluation mode
        x = x.contiguous(memory_format=layout)
        lr = set_lr(optimizers, schedule(index)) if schedule else optimizers[0].param_groups[0]["lr"]
        yield Step(index, batch_step(net, optimizers, x, y), lr)


def _check_optimizers(net: LocalNet, optimizers: Sequence[Optimizer]) -> None:
    if len(optimizers) not in (1, net.K):
        raise ValueError(f"{len(optimizers)} optimizers for K={net.K} blocks: give one, or one per block")
    held = {p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for name, p in net.named_parameters():
        if p.requires_grad and p not in held:
            cure = "make it of this network, or freeze what shall stay by requires_grad_(False)"
            raise ValueError(f"the optimizer doesn't hold {name}: {cure}")


def _is_safe(net: nn.Module, x: Tensor) -> bool:
    """Can this network train in channels_last? On the CPU, oneDNN (its issue 6035) writes past the end of the gradient
    of a strided 1x1 convolution of fewer than 16 channels, at sizes that differ from CPU to CPU: so never with one.
    """
    convs = (m for m in net.modules() if isinstance(m, nn.Conv2d))
    return x.is_cuda or not any(c.kernel_size == (1, 1) and c.stride != (1, 1) and c.in_channels < 16 for c in convs)


def check_batch(net: LocalNet, x: Tensor, y: Tensor) -> None:
    """Raise a ValueError that says what is wrong with a batch: images (B, 3, H, W), labels 0..classes-1."""
    channels = next(m for m in net.modules() if isinstance(m, nn.Conv2d)).in_channels
    in_range = x.is_floating_point() and x.numel() and bool(x.min() >= 0) and bool(x.max() <= 1)  # False with a nan
    if x.dim() != 4 or x.shape[1] != channels or not in_range:
        raise ValueError(f"images {tuple(x.shape)} {x.dtype}: give floats in [0, 1], (batch, {channels}, H, W)")
    if len(x) < 2:
        raise ValueError(f"a batch of {len(x)}: BatchNorm needs at least 2 images to train on")
    if y.shape != x.shape[:1] or y.is_floating_point():
        raise ValueError(f"labels {tuple(y.shape)} {y.dtype}: give whole numbers, one per image ({len(x)})")
    classes = net.classes or int(y.max()) + 1  # a LocalNet made by hand may not say how many it has
    if not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(f"labels {int(y.min())}..{int(y.max())}: this network has classes 0..{classes - 1}")


def make_optimizer(
    net: LocalNet, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 5e-4, per_block: bool = False
) -> Optimizer | list[Optimizer]:
    """SGD with Nesterov momentum over everything trainable: one optimizer, or one per block with its head.

    On a GPU all weights are updated by one fused kernel; build it when the net is where it will train.
    """
    for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
        at_least(name, value, 0.0)
    fused = True if next(net.parameters()).is_cuda else None  # None is torch's own choice
    groups = [list(pair) for pair in zip(net.blocks, net.heads, strict=True)] if per_block else [[net]]
    optimizers = [
        SGD(
            [p for module in group for p in module.parameters() if p.requires_grad],
            lr=lr,
            momentum=momentum,
            nesterov=momentum > 0,
            weight_decay=weight_decay,
            fused=fused,
        )
        for group in groups
    ]
    return optimizers if per_block else optimizers[0]


def set_lr(optimizers: Sequence[Optimizer], lr: float) -> float:
    """Set the learning rate of every parameter group; returns it."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
    return lr


def cosine(
    lr: float, epochs: int, steps_per_epoch: int, warmup: int = 10, start: float = 0.01, per_step: bool = False
) -> Schedule:
    """Cosine decay with the published warm-up blend, as a function of the step.

    In epoch e = 1..epochs, c(e) = lr/2 (1 + cos(pi e / epochs)); the first `warmup` epochs blend from `start`
    into it: c(e) b + start (1 - b) with b = (e-1)/warmup. This is the code of InfoPro and MAN (warmup 10,
    start 0.01); note that its last epoch has learning rate 0. With per_step, e and b rise at every step
    (b = e/warmup), so that short runs don't lose their last epoch.

    Raises: ValueError for numbers that don't fit.
    """
    for name, value, least in (("epochs", epochs, 1), ("steps_per_epoch", steps_per_epoch, 1), ("warmup", warmup, 0)):
        at_least(name, value, least)
    if not 0 < lr < math.inf:
        raise ValueError(f"lr={lr}: choose a learning rate above 0")
    if epochs == 1 and not warmup and not per_step:
        raise ValueError("epochs=1 with warmup=0: the one learning rate would be 0; choose more epochs, or per_step")

    def schedule(step: int) -> float:
        e = (step + 1) / steps_per_epoch if per_step else step // steps_per_epoch + 1
        blend = min(1.0, (e if per_step else e - 1) / warmup) if warmup else 1.0
        return lr / 2 * (1 + math.cos(math.pi * e / epochs)) * blend + start * (1 - blend)

    return schedule
