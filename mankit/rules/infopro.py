"""InfoPro: a local loss that also keeps information about the image.

Wang, Ni, Song, Yang, Huang: "Revisiting Locally Supervised Learning: an Alternative to End-to-end Training", ICLR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import at_least
from ..heads import Head, Place
from ..networks import init_weights
from .dgl import small_head

Pair = tuple[float, float] | float
CONTRAST_WIDTH = 128  # outputs of the head under a contrastive loss


def infopro(
    place: Place,
    *,
    head: str = "1c2f",
    lam_x: Pair = (5.0, 0.5),
    lam_y: Pair = (0.5, 1.0),
    contrast: bool = False,
    norm: bool = False,
) -> Head:
    """InfoPro: reconstruction and classification, weights linear in the BLOCK index from first to last.

    Args:
        head: the auxiliary network, one of dgl's: mlp, or convolutions and linear layers, 0c1f ... 2c3f.
        lam_x: weight of the reconstruction, one number or (first block, last auxiliary block).
        lam_y: weight of the classification, likewise.
        contrast: supervised contrastive loss in place of cross-entropy.
        norm: BatchNorm before the head's last linear layer (not published).
    """
    body = small_head(place, head, CONTRAST_WIDTH if contrast else place.classes, norm)
    with torch.device("meta"):
        decoder = Decoder(place.shape[0])
    init_weights(decoder, place.generator)
    weights = [_blend(name, pair, place.depth) for name, pair in (("lam_x", lam_x), ("lam_y", lam_y))]
    return InfoProHead(body, decoder, *weights, contrast)


def _blend(name: str, pair: Pair, depth: float) -> float:
    first, last = pair if isinstance(pair, tuple | list) else (pair, pair)
    for weight in (first, last):
        at_least(name, weight, 0.0)
    return first * (1 - depth) + last * depth


class InfoProHead(Head):
    """`lam_x * reconstruction + lam_y * (cross-entropy or supervised contrastive)`.

    The reconstruction keeps information about the image in the features; lam_x = 0 leaves the decoder out.
    """

    def __init__(self, body: nn.Module, decoder: Decoder, lam_x: float, lam_y: float, contrast: bool = False) -> None:
        super().__init__(body)
        self.decoder, self.lam_x, self.lam_y, self.contrast = decoder, lam_x, lam_y, contrast
        self.has_logits = not contrast

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        out = self(h)
        loss = self.lam_y * (supervised_contrastive(out, y) if self.contrast else F.cross_entropy(out, y))
        if self.lam_x != 0:
            image = self.decoder(h, x.shape[-2:])
            loss = loss + self.lam_x * F.binary_cross_entropy_with_logits(image, x)
        return loss


class Decoder(nn.Module):
    """InfoPro's decoder: the image back from the features (as logits; their sigmoid is in [0, 1]).

    Bilinear upsampling to the image's size (from that size none, which would only keep a copy), 3x3 convolution to 12
    channels, BatchNorm, ReLU, 3x3 to 3. Source: Wang et al., ICLR 2021, and its code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 3, 3, padding=1),
        )

    def forward(self, h: Tensor, size: tuple[int, int]) -> Tensor:  # (B, C, h, w) -> (B, 3, H, W)
        return self.body(h if h.shape[-2:] == size else F.interpolate(h, size, mode="bilinear", align_corners=True))


def supervised_contrastive(z: Tensor, y: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss: pull images of one class together, push the others away.

    Args:
        z: embeddings (B, D), normalised here. y: labels (B,). temperature: > 0.
    Returns: the mean over the batch, a scalar; an image alone in its class adds 0.
    Source: Khosla et al., NeurIPS 2020, eq. 2 (the sum outside the logarithm), one view per image.
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: choose a value above 0 (published: 0.07)")
    with torch.autocast(z.device.type, enabled=False):  # at 1 / 0.07, bfloat16 would be too coarse
        z = F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1)
        similarity = z @ z.T / temperature  # (B, B)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_p = similarity.masked_fill(itself, -torch.inf).log_softmax(dim=1)
    positive = (y[:, None] == y[None, :]) & ~itself
    per_image = log_p.masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp(min=1)
    return -per_image.mean()
