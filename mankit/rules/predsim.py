"""PredSim: images of one class shall look alike to a block, and a linear layer shall name the class.

Nøkland, Eidnes: "Training Neural Networks with Local Error Signals", ICML 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import at_least, within
from ..heads import Head, Place, Shape, Share
from ..networks import init_weights


def predsim(
    place: Place, *, beta: Share = 0.99, limit: int = 512, zero_start: bool = False, norm: bool = False
) -> Head:
    """PredSim: beta * similarity matching + (1 - beta) * cross-entropy. The defaults are AugLocal's version of it.

    Args:
        beta: weight of the similarity, 0 ("pred" alone) to 1 ("sim" alone: the linear layer learns nothing).
        limit: T, how many numbers pooling may leave to the linear layer (the original: 4096, VGG8b 2048).
        zero_start: start the linear layer's weights at zero, as in the original.
        norm: BatchNorm before the linear layer (not published).
    """
    within("beta", beta, 0, 1)
    at_least("limit", limit, 1)
    channels = place.shape[0]
    with torch.device("meta"):  # the constructors' own draws are skipped
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        pool, inputs = pooling(place.shape, limit)
        end = [nn.BatchNorm1d(inputs)] if norm else []
        body = nn.Sequential(pool, nn.Flatten(), *end, nn.Linear(inputs, place.classes))
    head = init_weights(PredSimHead(conv, body, beta), place.generator)
    if zero_start:
        nn.init.zeros_(head.body[-1].weight)
    return head


def pooling(shape: Shape, limit: int) -> tuple[nn.Module, int]:
    """Average pooling that leaves `limit` numbers at most, if it can, and how many: its kernel doubles until then."""
    channels, height, width = shape
    kh = kw = 1
    while channels * -(-height // kh) * -(-width // kw) > limit and kh < height:  # -(-a // b): a / b, rounded up
        kh *= 2
        if channels * -(-height // kh) * -(-width // kw) > limit:
            kw *= 2
    rows, columns = -(-height // kh), -(-width // kw)
    padding = (kh * (rows - height // kh) // 2, kw * (columns - width // kw) // 2)
    return nn.AvgPool2d((kh, kw), padding=padding), channels * rows * columns


def similarity(a: Tensor) -> Tensor:
    """The cosine similarity of every two rows, each minus its mean: (B, D) -> (B, B) in [-1, 1].

    Features (B, C, H, W) are first the standard deviation of each channel over its pixels, (B, C).
    """
    if a.dim() == 4:
        a = a.std((2, 3)) if a.shape[1] > 3 and a.shape[2] > 1 else a.flatten(1)
    a = a - a.mean(1, keepdim=True)
    a = a / (1e-8 + a.norm(dim=1, keepdim=True))
    return (a @ a.T).clamp(-1, 1)


class PredSimHead(Head):
    """`beta * mean((S(conv(h)) - S(Y))^2) + (1 - beta) * cross-entropy`: S is `similarity`, Y one-hot labels."""

    def __init__(self, conv: nn.Module, body: nn.Module, beta: float) -> None:
        super().__init__(body)
        self.conv, self.beta = conv, beta

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        logits = self(h)
        wanted = similarity(F.one_hot(y, logits.shape[1]).to(h))  # (B, classes) -> (B, B): 1 in one class
        alike = F.mse_loss(similarity(self.conv(h)), wanted)
        return self.beta * alike + (1 - self.beta) * F.cross_entropy(logits, y)
