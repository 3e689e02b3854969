"""Test accuracy of the network, and of every block's own head."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]  # x (B, 3, H, W) in [0, 1], y (B,) int64, on the net's device


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Evaluation mode within the `with`; after it every submodule has the mode it had before."""
    before = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training  # not module.train(): that would also set the submodules


def evaluate(net: nn.Module, batches: Batches) -> float:
    """Percent of the images that the network's own output gets right.

    Raises ValueError if `batches` is empty.
    """
    right, total = 0, 0
    with eval_mode(net), torch.no_grad():
        for x, y in batches:
            right = right + (net(x).argmax(1) == y).sum()  # a tensor on the device: no waiting for it here
            total += len(y)
    _check_any(total)
    return 100 * int(right) / total


def block_accuracy(net: nn.Module, batches: Batches) -> list[float]:
    """Percent of the images that each block's own head gets right, first block first.

    nan for a head that has no class scores (a contrastive one): use `probe_accuracy` there.
    Raises ValueError if `batches` is empty.
    """
    right, total = 0, 0
    with eval_mode(net), torch.no_grad():
        for x, y in batches:
            pairs = zip(net.heads, net.features(x), strict=True)
            right = right + torch.stack([_count_right(head, h, y) for head, h in pairs])
            total += len(y)
    _check_any(total)
    return (100 * right.cpu().double() / total).tolist()  # the one transfer from the device


def _count_right(head: nn.Module, h: Tensor, y: Tensor) -> Tensor:
    """How many labels the head gets right, as a float on the device; nan without class scores."""
    if not head.has_logits:
        return torch.full((), torch.nan, device=h.device)
    return (head(h).argmax(1) == y).sum().float()


def _check_any(total: int) -> None:
    if total == 0:
        raise ValueError("batches held 0 images, at least 1 is needed: a used-up generator? make it anew")
