"""Rivals of local learning where memory is short: sparse weights and low-rank weights, for back-propagation.

Both cut what weights, gradients and optimizer state take; local learning cuts what activations take. Both are
parametrizations: what is stored, and gets gradients, is small, and the dense weight is formed at each forward pass,
for PyTorch's convolutions take no other. Make the optimizer after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized, register_parametrization
from torch.optim import Optimizer

from ..blocks import LocalNet
from ..errors import choose, within


def densities(shapes: Sequence[Sequence[int]], total: float, how: str = "erk") -> list[float]:
    """The part of each convolution's weights to keep, so that `total` of all are kept.

    'uniform': the same part of each. 'erk' (Erdos-Renyi-Kernel; Evci et al., RigL, ICML 2020): in proportion to
    (c_in + c_out + kh + kw) / (c_in c_out kh kw), so small layers stay denser; where that passes 1, the others share.

    Args:
        shapes: (c_out, c_in, kh, kw) of each weight.
    Raises: ValueError for a total outside 0..1 or an unknown way.
    """
    choose("how", how, ("erk", "uniform"))
    within("total", total, 0.0, 1.0)
    if how == "uniform":
        return [total] * len(shapes)
    found, rest = [1.0] * len(shapes), list(range(len(shapes)))
    while rest:
        wanted = total * sum(map(prod, shapes)) - sum(prod(s) for i, s in enumerate(shapes) if i not in rest)
        scale = wanted / sum(sum(shapes[i]) for i in rest)
        below = [i for i in rest if scale * sum(shapes[i]) <= prod(shapes[i])]
        if below == rest:
            return [scale * sum(s) / prod(s) if i in rest else 1.0 for i, s in enumerate(shapes)]
        rest = below
    return found


class SparseWeight(nn.Module):
    """The kept values of a weight as its parameter (n,), and a bit for each place that says where they belong."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.shape = kept.shape
        places = F.pad(kept.flatten().byte(), (0, -kept.numel() % 8)).view(-1, 8)
        self.register_buffer("bits", (places << torch.arange(8)).sum(1).byte())  # eight places in a byte

    def kept(self) -> Tensor:
        """Which places hold a value: bool, of the weight's shape."""
        places = self.bits[:, None] >> torch.arange(8, device=self.bits.device) & 1
        return places.flatten()[: self.shape.numel()].view(self.shape).bool()

    def forward(self, values: Tensor) -> Tensor:  # (n,) -> (c_out, c_in, kh, kw)
        return values.new_zeros(self.shape).masked_scatter(self.kept(), values)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The values to keep of a dense weight."""
        return weight[self.kept()]


class LowRankWeight(nn.Module):
    """U diag(s) V^T of a weight (c_out, c_in * kh * kw): all `rank` singular values are parameters, and of the columns
    of U and V the first `trained`; the rest stand still until `draw_columns` draws them.

    Source: sparse spectral training (SST, Zhao et al. 2024), without its enhanced gradients and renewed decompositions.
    """

    def __init__(self, shape: torch.Size, rank: int, trained: int) -> None:
        super().__init__()
        self.shape, self.rank, self.trained = shape, rank, trained

    def forward(self, u: Tensor, s: Tensor, vt: Tensor) -> Tensor:  # -> (c_out, c_in, kh, kw)
        return (torch.cat([u, self.u_rest], 1) * s @ torch.cat([vt, self.vt_rest])).view(self.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The parameters (c_out, trained), (rank,), (trained, c_in * kh * kw) of a dense weight."""
        u, s, vt = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        r, k = self.rank, self.trained
        self.register_buffer("u_rest", u[:, k:r].clone())
        self.register_buffer("vt_rest", vt[k:r].clone())
        return u[:, :k].clone(), s[:r].clone(), vt[:k].clone()

    @torch.no_grad()
    def draw(self, u: Tensor, s: Tensor, vt: Tensor, optimizer: Optimizer, generator: torch.Generator | None) -> None:
        """Draw which columns are trained now, in proportion to s. Their momentum starts at 0, that of s stays."""
        drawn = torch.multinomial(s.abs().cpu() + 1e-12, self.trained, generator=generator)
        order = torch.tensor([*drawn, *(i for i in range(self.rank) if i not in drawn)], device=s.device)
        for first, behind, axis in ((u, self.u_rest, 1), (vt, self.vt_rest, 0)):
            whole = torch.cat([first, behind], axis).index_select(axis, order)
            first.copy_(whole.narrow(axis, 0, self.trained))
            behind.copy_(whole.narrow(axis, self.trained, self.rank - self.trained))
            optimizer.state.pop(first, None)
        state = (value for value in optimizer.state[s].values() if value.shape == s.shape)
        for of_s in (s, *state):
            of_s.copy_(of_s[order])


def sparsify(net: LocalNet, total: float, how: str = "erk", generator: torch.Generator | None = None) -> LocalNet:
    """Keep `total` of the weights of all convolutions, in place: the places are drawn once, and stay. Returns the net.

    Raises: ValueError as `densities` does.
    """
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    for conv, density in zip(convs, densities([m.weight.shape for m in convs], total, how), strict=True):
        order = torch.randperm(conv.weight.numel(), generator=generator)
        kept = (order < round(density * len(order))).view(conv.weight.shape)
        register_parametrization(conv, "weight", SparseWeight(kept).to(conv.weight.device))
    return net


def low_rank(net: LocalNet, rank: float, trained: float = 1.0) -> LocalNet:
    """The weight of every convolution as U diag(s) V^T, in place. Returns the net.

    Args:
        rank: the part of the singular values that is kept. trained: the part of their columns that is trained at once.
    Raises: ValueError for a part outside 0..1.
    """
    within("rank", rank, 0.0, 1.0)
    within("trained", trained, 0.0, 1.0)
    for conv in [m for m in net.modules() if isinstance(m, nn.Conv2d)]:
        kept = max(1, round(rank * min(conv.weight.flatten(1).shape)))
        shape = conv.weight.shape
        register_parametrization(conv, "weight", LowRankWeight(shape, kept, max(1, round(trained * kept))))
    return net


def draw_columns(net: nn.Module, optimizer: Optimizer, generator: torch.Generator | None = None) -> None:
    """Draw anew, in every weight of a `low_rank` network, which columns are trained."""
    for conv in net.modules():
        if is_parametrized(conv, "weight") and isinstance(conv.parametrizations.weight[0], LowRankWeight):
            weight = conv.parametrizations.weight
            weight[0].draw(weight.original0, weight.original1, weight.original2, optimizer, generator)
