"""Cut a network into gradient-isolated blocks, and keep blocks and heads together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from .heads import Head, MomentumHead
from .measure.memory import SavedBytes
from .networks import Normalize


def cut(
    layers: Sequence[nn.Module],
    K: int | None = None,
    at: Sequence[int] | None = None,
    *,
    balance: str = "units",
    image_shape: tuple[int, int, int] = (3, 32, 32),
) -> list[nn.Sequential]:
    """Cut a flat list of layers into K consecutive blocks. `cut(layers, 1)` is plain back-propagation.

    Args:
        K: number of blocks, 1..len(layers).
        at: instead of K, the K - 1 places to cut, as positions in the list: at=[2, 5] gives
            layers[:2], layers[2:5], layers[5:].
        balance: 'units': as many layers in each block, earlier blocks get one more where K doesn't divide;
            'memory': the largest block, in bytes saved for backward (measured, without heads), as small as possible.
        image_shape: (C, H, W) for balance='memory'.
    Raises: ValueError for a K or places that don't fit. The layers are shared, not copied.
    """
    n = len(layers)
    if (K is None) == (at is None):
        raise ValueError(f"K={K} and at={at}: give one of the two")
    if balance not in ("units", "memory"):
        raise ValueError(f"balance='{balance}': choose 'units' or 'memory'")
    if at is not None:
        ends = list(at)
        if any(b <= a for a, b in pairwise([0, *ends, n])):
            raise ValueError(f"at={ends}: places to cut must rise and lie in 1..{n - 1} (stem + {n - 1} units)")
    elif type(K) is not int or not 1 <= K <= n:
        raise ValueError(f"K={K} blocks, but this network has {n} units (stem + {n - 1}): choose 1..{n}")
    elif balance == "memory":
        ends = _even_ends(_layer_bytes(layers, image_shape), K)
    else:
        size, extra = divmod(n, K)
        ends = list(accumulate(size + (i < extra) for i in range(K)))[:-1]
    return [nn.Sequential(*layers[a:b]) for a, b in pairwise([0, *ends, n])]


def _layer_bytes(layers: Sequence[nn.Module], image_shape: tuple[int, int, int]) -> list[int]:
    """Bytes that each layer saves for its backward, for two images."""
    like = next(layers[0].parameters())
    h, costs = torch.zeros(2, *image_shape, device=like.device, dtype=like.dtype), []
    modes = [m.training for layer in layers for m in layer.modules()]
    for layer in layers:
        layer.eval()  # eval mode: BatchNorm saves the same tensors but its statistics stay as they are
        with SavedBytes(exclude=[h, *layer.parameters(), *layer.buffers()]) as saved:
            out = layer(h)
        costs.append(saved.bytes)
        h = out.detach()
    for m, mode in zip((m for layer in layers for m in layer.modules()), modes, strict=True):
        m.training = mode
    return costs


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


class LocalNet(nn.Module):
    """K blocks and K heads. `heads[-1]` is the network's own classifier, the others are auxiliary.

    `forward` and `features` are the plain network: nothing is detached there. Isolation is the business of
    training (`mankit.training.local_step`), which hands each block a detached input.
    """

    def __init__(self, blocks: Sequence[nn.Module], heads: Sequence[Head], normalize: Normalize | None = None) -> None:
        super().__init__()
        if len(blocks) != len(heads) or not blocks:
            raise ValueError(f"{len(blocks)} blocks and {len(heads)} heads: give one head for each block")
        self.normalize = normalize or Normalize()
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
        return LocalNet(blocks, [NoHead() for _ in blocks[1:]] + [self.heads[-1]], self.normalize)

    def set_decay(self, decay: float) -> None:
        """Change the EMA's decay in every head that has one; takes effect at the next step.

        Raises: ValueError if decay isn't in [0, 1] or no head has an EMA.
        """
        followers = [head for head in self.heads if isinstance(head, MomentumHead) and head.follows]
        if not followers:
            raise ValueError(f"decay={decay}: this network has no EMA; build it with rule 'man' and K > 1")
        for head in followers:
            head.decay = decay


class NoHead(Head):
    """A place holder where a network is only measured: it has no logits and can't be trained."""

    has_logits = False

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        raise ValueError("this block has no head (recut() is for measuring): build the network with a rule")
