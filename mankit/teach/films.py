"""A film network's training step, cut in time and in depth, by the library's atom: what lesson 8 has its reader write.

A window of frames is a block of the network unrolled in time: `local_step` detaches what comes in, takes the loss,
goes backward at once and frees the graph, whether the block is a layer of the CNN or a window of an LSTM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..heads import Head
from ..measure import SavedBytes
from ..training import local_step

State = tuple[Tensor, Tensor]  # (h, c) of an LSTM


class SumHead(Head):
    """Cross-entropy of each frame, summed over frames, over the number of films: windows add up to the whole."""

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """h (B, k, D) or (B * k, D); x (B, k, ...): a window's frames; y (B * k,), -100 where nothing is asked."""
        return F.cross_entropy(self(h).reshape(len(y), -1), y, reduction="sum") / len(x)


class Window(nn.Module):
    """A recurrent network on one window: starts from the state that the window before has left, off its graph."""

    def __init__(self, see: Callable[[Tensor], Tensor], recurrent: nn.Module) -> None:
        super().__init__()
        self.see, self.recurrent, self.state = see, recurrent, None

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, k, ...) -> the recurrent network's h at each of them, (B, k, H)."""
        out, state = self.recurrent(self.see(frames), self.state)
        self.state = tuple(each.detach() for each in state)  # h and c go on, their graph doesn't
        return out


def cell_step(cell: nn.LSTMCell, v: Tensor, state: State) -> State:
    """One step of an LSTM (Hochreiter and Schmidhuber 1997), by PyTorch's own cell."""
    return cell(v, state)


def reach(k: int, lag: int, length: int) -> float:
    """The share of the marked frames 0..length-1-lag whose question, `lag` frames later, is in the same window of k."""
    marks = range(length - lag)
    return sum(mark // k == (mark + lag) // k for mark in marks) / len(marks)


def truncated_step(
    see: Callable[[Tensor], Tensor], recurrent: nn.Module, classifier: nn.Module, x: Tensor, targets: Tensor, k: int
) -> Tensor:
    """Truncated back-propagation through time in windows of k frames; gradients are left in `.grad`.

    Args:
        see: frames (B, k, ...) -> features (B, k, D). recurrent: called as nn.LSTM(batch_first=True) is.
        x: films (B, T, ...). targets: int64 (B, T), -100 where nothing is asked.
    Returns: the loss, summed over the windows, detached.
    """
    window, head = Window(see, recurrent), SumHead(classifier)
    pairs = zip(x.split(k, dim=1), targets.split(k, dim=1), strict=True)
    losses = [local_step(window, head, frames, frames, y.flatten())[1] for frames, y in pairs]
    return torch.stack(losses).sum()


def local_frames(blocks: Sequence[nn.Module], heads: Sequence[nn.Module], x: Tensor, y: Tensor) -> Tensor:
    """Features (B, k, D) of a window's frames x (B, k, 3, H, W), by blocks that learn from their own heads.

    Each block's loss asks every frame for its film's label y (B,): sum over frames, mean over films.
    """
    h, of_frames = x.flatten(0, 1), y.repeat_interleave(x.shape[1])
    for block, head in zip(blocks, heads, strict=True):
        h, _ = local_step(block, SumHead(head), h, x, of_frames)
    return h.flatten(1).unflatten(0, x.shape[:2])


def kept_bytes(forward: Callable[[], object], exclude: Iterable[Tensor]) -> int:
    """The bytes that autograd keeps of forward(), each storage once, without those that are there anyway."""
    with SavedBytes(exclude) as saved:
        forward()
    return saved.bytes
