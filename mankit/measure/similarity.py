"""Linear CKA: how alike two layers' features are, up to rotation and scale.

Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited". HSIC is the unbiased
estimate HSIC_1 (Song et al. 2012), which may be averaged over minibatches (Nguyen et al. 2021, "Do Wide and
Deep Networks Learn the Same Things?"); the biased one is near 1 whenever features outnumber images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from .accuracy import Batches, eval_mode


def minibatch_cka(batches: Iterable[tuple[list[Tensor], list[Tensor]]]) -> Tensor:
    """CKA (Ka, Kb) of all pairs of layers of two networks, in float64: HSIC is averaged over batches, then divided.

    A batch holds the features (n, ...) of each network's layers, of the same n images. All batches have the same
    weight (Nguyen et al. 2021): use batches of one size, the larger the less noise. nan where a layer's features are
    constant. Raises ValueError for n < 4, unequal n, and without a batch.
    """
    sums: list[Tensor] = []  # of HSIC_1: a with b (Ka, Kb), a with itself (Ka,), b with itself (Kb,)
    for features_a, features_b in batches:
        _check(features_a, features_b)
        a = torch.stack([_centred_gram(h) for h in features_a])  # (Ka, n * n)
        b = a if features_b is features_a else torch.stack([_centred_gram(h) for h in features_b])
        n = len(features_a[0])
        terms = [term / (n * (n - 3)) for term in (a @ b.T, (a * a).sum(1), (b * b).sum(1))]
        sums = [old + new for old, new in zip(sums or (0, 0, 0), terms, strict=True)]
    if not sums:
        raise ValueError("0 batches were given, at least 1 is needed: a used-up generator? make it anew")
    ab, aa, bb = sums
    return ab / (aa[:, None] * bb[None, :]).sqrt()


def cka(a: Tensor, b: Tensor) -> Tensor:
    """Linear CKA, a float64 scalar, of features a (n, ...) and b (n, ...) of the same n images.

    1 for features equal up to rotation and scale, about 0 (and it may be below) for unrelated ones, nan if
    either is constant. Raises ValueError for n < 4 or unequal n.
    """
    return minibatch_cka([([a], [b])])[0, 0]


def block_cka(net_a: nn.Module, net_b: nn.Module, batches: Batches) -> Tensor:
    """CKA (Ka, Kb) between the blocks of two networks, or of one and the same, in evaluation mode.

    Raises ValueError if `batches` is empty or one has fewer than 4 images.
    """

    def features() -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        for x, _ in batches:
            of_a = net_a.features(x)
            yield of_a, of_a if net_b is net_a else net_b.features(x)

    with eval_mode(net_a), eval_mode(net_b), torch.no_grad():
        return minibatch_cka(features()).cpu()


def _centred_gram(h: Tensor) -> Tensor:
    """The U-centred Gram matrix of h (n, ...), flattened to (n * n,), in float64.

    The sum of the product of two of these, over n (n - 3), is HSIC_1 (Szekely & Rizzo 2014): so each layer's
    Gram matrix is made once for all pairs, and HSIC_1 of a layer with itself can't be negative.
    """
    h = h.detach().flatten(1).double()
    h = h - h[0]  # a shift changes nothing in exact arithmetic, and keeps a large mean from eating the digits
    gram = (h @ h.T).fill_diagonal_(0)
    n = len(gram)
    rows = gram.sum(1) / (n - 2)
    centred = gram - rows[:, None] - rows[None, :] + rows.sum() / (n - 1)
    return centred.fill_diagonal_(0).flatten()


def _check(features_a: list[Tensor], features_b: list[Tensor]) -> None:
    shapes = [tuple(h.shape) for h in (*features_a, *features_b)]
    if not features_a or not features_b or any(len(shape) < 2 for shape in shapes):
        raise ValueError(f"features of shapes {shapes}: each side needs tensors (n, ...), n images first")
    counts = {shape[0] for shape in shapes}
    if len(counts) > 1:
        raise ValueError(f"features of {sorted(counts)} images: pass the same images to both sides")
    if min(counts) < 4:
        raise ValueError(f"n={min(counts)} images, but unbiased HSIC needs n >= 4: use larger batches")
