"""Cut a network into gradient-isolated blocks, and keep blocks and heads together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from .heads import Head, NoHead, Shape


def cut(
    layers: Sequence[nn.Module],
    K: int | None = None,
    at: Sequence[int] | None = None,
    *,
    costs: Sequence[float] | None = None,
) -> list[nn.Sequential]:
    """Cut a flat list of layers into K consecutive blocks. `cut(layers, 1)` is plain back-propagation.

    Args:
        K: number of blocks, 1..len(layers): as many layers in each, earlier blocks get one more where K doesn't divide.
        at: instead of K, the K - 1 places to cut, as positions in the list: at=[2, 5] gives
            layers[:2], layers[2:5], layers[5:].
        costs: with K, a number for each layer (such as its bytes, see `measure.layer_bytes`): the largest sum of a
            block becomes as small as possible.
    Raises: ValueError for a K or places that don't fit. The layers are shared, not copied.
    """
    n = len(layers)
    if (K is None) == (at is None):
        raise ValueError(f"K={K} and at={at}: give one of the two")
    if at is not None:
        ends = list(at)
        if any(b <= a for a, b in pairwise([0, *ends, n])):
            raise ValueError(f"at={ends}: places to cut must rise and lie in 1..{n - 1} (stem + {n - 1} units)")
    elif type(K) is not int or not 1 <= K <= n:
        raise ValueError(f"K={K} blocks, but this network has {n} units (stem + {n - 1}): choose 1..{n}")
    elif costs is not None:
        ends = _even_ends(costs, K)
    else:
        size, extra = divmod(n, K)
        ends = list(accumulate(size + (i < extra) for i in range(K)))[:-1]
    return [nn.Sequential(*layers[a:b]) for a, b in pairwise([0, *ends, n])]


def _even_ends(costs: Sequence[int], K: int) -> list[int]:
    """Where to cut so that the largest sum of a block is smallest (dynamic programming over prefixes)."""
    n, sums = len(costs), [0, *accumulate(costs)]
    best = [(sums[m], []) for m in range(n + 1)]  # best[m]: (largest block, ends) of the first m layers
    for k in range(2, K + 1):
        best = [
            min((max(best[e][0], sums[m] - sums[e]), [*best[e][1], e]) for e in range(k - 1, m))
            if m >= k
            else (sums[n], [])
            for m in range(n + 1)
        ]
    return best[n][1]


def shapes_behind(modules: Sequence[nn.Module], shape: Shape) -> list[tuple[int, ...]]:
    """(C, H, W) behind each of some modules in a row, by sending one blank image through copies in eval mode."""
    like = next(modules[0].parameters())
    h, shapes = torch.zeros(1, *shape, device=like.device, dtype=like.dtype), []
    with torch.no_grad():
        for module in modules:
            h = copy.deepcopy(module).eval()(h)  # a copy: statistics and modes stay as they are
            shapes.append(tuple(h.shape[1:]))
    return shapes


class LocalNet(nn.Module):
    """K blocks and K heads. `heads[-1]` is the network's own classifier, the others are auxiliary.

    `forward` and `features` are the plain network: nothing is detached there. Isolation is the business of
    training (`mankit.training.local_step`), which hands each block a detached input.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        heads: Sequence[Head],
        normalize: nn.Module | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if len(blocks) != len(heads) or not blocks:
            raise ValueError(f"{len(blocks)} blocks and {len(heads)} heads: give one head for each block")
        self.normalize, self.classes = normalize or nn.Identity(), classes
        self.blocks, self.heads = nn.ModuleList(blocks), nn.ModuleList(heads)

    @property
    def K(self) -> int:
        return len(self.blocks)

    @property
    def layers(self) -> list[nn.Module]:
        """The flat list of layers, as before the cut."""
        return [layer for block in self.blocks for layer in block]

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of every block for images (B, 3, H, W) in [0, 1]: K tensors (B, C, h, w)."""
        h, out = self.normalize(x), []
        for block in self.blocks:
            h = block(h)
            out.append(h)
        return out

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, classes)
        return self.heads[-1](self.features(x)[-1])

    def recut(self, K: int) -> LocalNet:
        """The same layers (shared) in K blocks, for measuring, say, a BP network at K places.

        Its auxiliary heads are empty: only features, probes and similarity can be measured there.
        """
        blocks = cut(self.layers, K)
        return LocalNet(blocks, [NoHead() for _ in blocks[1:]] + [self.heads[-1]], self.normalize, self.classes)

    def set_decay(self, decay: float) -> None:
        """Change the EMA's decay in every head that has one; takes effect at the next step.

        Raises: ValueError if decay isn't in [0, 1] or no head has an EMA.
        """
        following = [head for head in self.heads if head.decay is not None]
        if not following:
            raise ValueError(f"decay={decay}: this network has no EMA; build it with a rule that has one, and K > 1")
        for head in following:
            head.decay = decay
