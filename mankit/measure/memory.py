"""Memory of training: the bytes that autograd keeps for the backward pass.

Counted on any device from `saved_tensors_hooks`, so a CPU shows what a GPU would need for activations.
Not counted: weights, gradients, optimizer state and an operation's own workspace.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils.parametrize import cached, is_parametrized
from torch.optim import Optimizer


class SavedBytes(saved_tensors_hooks):
    """`with SavedBytes(exclude) as saved:` counts in `saved.bytes` what the forward passes within save.

    A storage counts once, however many operations save it or views of it. `exclude`: tensors whose storage
    is there anyway, such as parameters and images.
    """

    def __init__(self, exclude: Iterable[Tensor] = ()) -> None:
        super().__init__(self._pack, lambda tensor: tensor)
        self.bytes = 0
        # The storages themselves, not only addresses: a freed address would be used again and counted once.
        self._seen = {storage.data_ptr(): storage for storage in (t.untyped_storage() for t in exclude)}

    def __enter__(self) -> SavedBytes:
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._seen.clear()

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen[storage.data_ptr()] = storage
            self.bytes += storage.nbytes()
        return tensor.detach()  # the tensor itself would hold its own graph: a cycle, never freed


def saved_bytes(net: nn.Module, x: Tensor, y: Tensor) -> list[int]:
    """Bytes saved for backward by each block with its head and loss, on the batch x (B, 3, H, W), y (B,).

    Blocks run one after the other and free their graph, as in local learning; K=1 is back-propagation.
    The input that a block gets from the one before counts, the batch and the network's own tensors don't.
    Runs on a copy in training mode: the network and its BatchNorm statistics stay as they were.
    """
    return _saved(copy.deepcopy(net).train(), x, y)


def _saved(net: nn.Module, x: Tensor, y: Tensor, weights: Sequence[Tensor] = ()) -> list[int]:
    h = net.normalize(x)
    exclude, counts = [*net.parameters(), *net.buffers(), *weights, x, y, h], []
    for block, head in zip(net.blocks, net.heads, strict=True):
        with SavedBytes(exclude) as saved:
            h = block(h.detach())
            loss = head.loss(h, x, y)
        counts.append(saved.bytes)
        h = h.detach()
        del loss  # the block's graph goes here, before the next one is built
    return counts


def kept_bytes(
    net: nn.Module, optimizers: Sequence[Optimizer], x: Tensor, y: Tensor, batch_step: Callable[..., object]
) -> dict[str, int]:
    """Bytes of a network's weights (and buffers), gradients, optimizer state and activations, from one real step.

    `batch_step(net, optimizers, x, y)` trains a copy, such as `training.train_batch`. Gradients are counted when an
    optimizer steps: with one for each block, the largest block's. Activations are the largest block's `saved_bytes`;
    of a parametrized weight (a sparse one, say) they leave out the dense copy that PyTorch's own kernels work with.
    """
    net, optimizers = copy.deepcopy((net, list(optimizers)))  # together: the copies belong to each other
    gradients: list[int] = []
    for optimizer in optimizers:
        optimizer.register_step_pre_hook(lambda *_: gradients.append(_bytes(p.grad for p in net.parameters())))
    batch_step(net.train(), optimizers, x, y)
    state = [value for each in optimizers for of_one in each.state.values() for value in of_one.values()]
    kept = {"weights": _bytes([*net.parameters(), *net.buffers()]), "gradients": max(gradients)}
    kept["optimizer"] = _bytes(value for value in state if isinstance(value, Tensor))
    with cached():  # a parametrized weight is formed once, here, and not counted
        dense = [module.weight for module in net.modules() if is_parametrized(module, "weight")]
        return kept | {"activations": max(_saved(net, x, y, dense))}


def _bytes(tensors: Iterable[Tensor | None]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def checkpointed_bytes(net: nn.Module, x: Tensor, y: Tensor, every: int = 1) -> int:
    """Peak bytes of back-propagation with a checkpoint every so many layers (Chen et al. 2016, sublinear memory).

    The forward pass keeps only each segment's input; the backward pass, from the last segment to the first,
    runs one again and needs what that saves on top of the inputs up to there. Classifier and loss are
    the last segment. Left out as in `saved_bytes`. Raises ValueError unless the network has K=1 block.
    """
    check_one_block(net)
    net = copy.deepcopy(net).train()
    h, layers = net.normalize(x), list(net.blocks[0])
    exclude = [*net.parameters(), *net.buffers(), x, y, h]
    segments = [nn.Sequential(*layers[i : i + every]) for i in range(0, len(layers), every)]
    kept, peak = 0, 0  # kept: the inputs of the segments so far, without the images
    for segment in [*segments, lambda h: net.heads[0].loss(h, x, y)]:
        with SavedBytes([*exclude, h]) as saved:
            output = segment(h)
        peak = max(peak, kept + saved.bytes)
        h = output.detach().requires_grad_()
        kept += h.untyped_storage().nbytes()
    return peak


def best_checkpoints(net: nn.Module, x: Tensor, y: Tensor) -> tuple[int, int]:
    """The least of `checkpointed_bytes` over segments of 1, 2, 3, ... layers, and the layers in a segment there."""
    return min((checkpointed_bytes(net, x, y, every), every) for every in range(1, len(net.blocks[0]) + 1))


def layer_bytes(layers: Sequence[nn.Module], image_shape: tuple[int, int, int]) -> list[int]:
    """Bytes that each layer of a flat list saves for its backward, for two blank images (C, H, W)."""
    like = next(layers[0].parameters())
    h, counts = torch.zeros(2, *image_shape, device=like.device, dtype=like.dtype), []
    for layer in layers:
        layer = copy.deepcopy(layer).eval()  # BatchNorm saves the same tensors, and no statistics move
        with SavedBytes(exclude=[h, *layer.parameters(), *layer.buffers()]) as saved:
            out = layer(h)
        counts.append(saved.bytes)
        h = out.detach()
    return counts


def check_one_block(net: nn.Module) -> None:
    """ValueError unless the network is one block: checkpointing is measured for back-propagation."""
    if len(net.blocks) != 1:
        raise ValueError(f"K={len(net.blocks)} blocks, but checkpointing is measured for K=1: cut with K=1")
