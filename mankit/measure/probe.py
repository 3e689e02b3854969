"""Linear probes: how much of the class a linear read-out finds in each block's features.

Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes". The read-out
is a ridge classifier, not SGD: a closed form, so two calls give the same number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .accuracy import Batches, each_batch


def block_features(net: nn.Module, batches: Batches) -> tuple[list[Tensor], Tensor]:
    """Globally averaged features of every block, K tensors (N, C), and the labels (N,), all on the CPU.

    Raises ValueError if `batches` is empty.
    """

    def pool(x: Tensor, y: Tensor) -> list[Tensor]:
        return [y.cpu(), *(F.adaptive_avg_pool2d(h, 1).flatten(1).cpu() for h in net.features(x))]

    labels, *features = (torch.cat(parts) for parts in zip(*each_batch(net, batches, pool), strict=True))
    return features, labels


def linear_probe(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor, alpha: float = 1.0
) -> float:
    """Percent of the test labels that a ridge classifier, fitted to the training features, gets right.

    Features (N, D) are standardised with the training set's mean and deviation; `alpha` is the ridge
    penalty on the weights. Raises ValueError for alpha <= 0 or fewer than two classes in the training labels.
    """
    from sklearn.linear_model import RidgeClassifier  # here, as it takes a second: only probes wait for it
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if alpha <= 0:
        raise ValueError(f"alpha={alpha}, but the ridge penalty must be positive: try 1.0")
    classes = len(train_labels.unique())
    if classes < 2:
        raise ValueError(f"train_labels hold {classes} classes, at least 2 are needed: pass more data")
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=alpha))
    probe.fit(train_features.double().cpu().numpy(), train_labels.cpu().numpy())
    return 100 * float(probe.score(test_features.double().cpu().numpy(), test_labels.cpu().numpy()))


def probe_accuracy(net: nn.Module, train_batches: Batches, test_batches: Batches) -> list[float]:
    """Linear-probe test accuracy in percent of every block's features, first block first.

    Errors as in `block_features` and `linear_probe`.
    """
    train_features, train_labels = block_features(net, train_batches)
    test_features, test_labels = block_features(net, test_batches)
    for block, features in enumerate(train_features, start=1):
        if not features.isfinite().all():
            raise ValueError(
                f"the features of block {block} hold nan or infinity: training diverged, choose a lower lr"
            )
    pairs = zip(train_features, test_features, strict=True)
    return [linear_probe(train, train_labels, test, test_labels) for train, test in pairs]
