"""Two more readings of each block's pooled features: a classifier in closed form from sums, and redundancy.

LDA (linear discriminant analysis) as the head without replay of Panos et al., "First Session Adaptation", ICCV 2023;
redundancy as in Barlow Twins (Zbontar et al., ICML 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .accuracy import Batches, each_batch

EPS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # what `lda_accuracy` tries on validation images


class Sums(NamedTuple):
    """All that LDA must know of features (N, D) of C classes: what more images bring is added to it."""

    n: Tensor  # (C,) images of each class
    h: Tensor  # (C, D) sums of their features
    hh: Tensor  # (D, D) sum of h h^T over all


def block_sums(net: nn.Module, batches: Batches, classes: int) -> list[Sums]:
    """The sums of every block's pooled features, in one pass: no features are kept. In float64, on the net's device.

    Raises ValueError if `batches` is empty or doesn't fit.
    """

    def sums(x: Tensor, y: Tensor) -> list[Sums]:
        member = nn.functional.one_hot(y, classes).double()  # (B, C)
        pooled = [h.mean((2, 3)).double() for h in net.features(x)]  # (B, D) each
        return [Sums(member.sum(0), member.T @ h, h.T @ h) for h in pooled]

    per_batch = each_batch(net, batches, sums)
    return [Sums(*(sum(parts) for parts in zip(*block, strict=True))) for block in zip(*per_batch, strict=True)]


def lda(sums: Sums, eps: float) -> tuple[Tensor, Tensor]:
    """Weights (C, D), `w_c = (S + eps I)^-1 mu_c`, and biases (C,), `b_c = log p_c - mu_c w_c / 2`, of a classifier.

    mu_c are the classes' means, p_c their shares, S the covariance within classes. eps > 0: in units of S's mean
    diagonal. Raises ValueError for another eps, or a class without an image.
    """
    if not 0 < eps < float("inf"):
        raise ValueError(f"eps={eps}: choose a number above 0, such as {EPS[2]}")
    if (sums.n == 0).any():
        raise ValueError(f"no image of class {int((sums.n == 0).nonzero()[0])}: LDA needs one of each")
    mean, images = sums.h / sums.n[:, None], sums.n.sum()  # (C, D)
    within = (sums.hh - mean.T @ sums.h) / images  # (D, D)
    within = within + eps * within.diagonal().mean() * torch.eye(len(within)).to(within)
    weights = torch.linalg.solve(within, mean.T).T  # (C, D)
    return weights, (sums.n / images).log() - (mean * weights).sum(1) / 2


def lda_accuracy(
    net: nn.Module, train: Callable[[], Batches], val: Callable[[], Batches], test: Callable[[], Batches], classes: int
) -> list[float]:
    """Percent of the test images that LDA on each block's pooled features gets right, first block first.

    Fitted on `train`, with the eps of `EPS` that is best on `val`. train, val, test: called for their batches.
    """
    found = []
    on_val, on_test = pooled_features(net, val()), pooled_features(net, test())
    for block, sums in enumerate(block_sums(net, train(), classes)):
        best = max(EPS, key=lambda eps: _accuracy(lda(sums, eps), on_val, block))  # noqa: B023 (called at once)
        found.append(_accuracy(lda(sums, best), on_test, block))
    return found


def pooled_features(net: nn.Module, batches: Batches) -> tuple[list[Tensor], Tensor]:
    """Globally averaged features of every block, K tensors (N, D) in float64, and the labels (N,)."""
    parts = each_batch(net, batches, lambda x, y: [y, *(h.mean((2, 3)).double() for h in net.features(x))])
    labels, *features = (torch.cat(each) for each in zip(*parts, strict=True))
    return features, labels


def _accuracy(classifier: tuple[Tensor, Tensor], found: tuple[Sequence[Tensor], Tensor], block: int) -> float:
    (weights, bias), (features, labels) = classifier, found
    return 100 * ((features[block] @ weights.T + bias).argmax(1) == labels).double().mean().item()


def redundancy(net: nn.Module, batches: Batches) -> list[float]:
    """How alike a block's channels are: the mean square of the correlations of two different ones, 0 to 1.

    Of globally averaged features over all images; a channel that never changes counts as alike to none.
    """
    found = []
    for h in pooled_features(net, batches)[0]:
        h = h - h.mean(0)
        z = h / h.norm(dim=0).clamp(min=1e-12)  # (N, D)
        c = z.T @ z  # (D, D) correlations
        pairs = len(c) * (len(c) - 1)
        found.append(((c.square().sum() - c.diagonal().square().sum()) / pairs).item())
    return found
