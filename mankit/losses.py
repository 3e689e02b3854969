"""Losses that PyTorch doesn't have."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
