"""How far MAN's EMA is behind the layer that it follows."""

import torch
from torch import nn


@torch.no_grad()
def ema_distance(net: nn.Module) -> list[float]:
    """Distance of each block's EMA from the next block's first layer, in units of that layer's own size.

    `|EMA - N| / |N|` over all parameters of N, K numbers, first block first: 0 is a copy, about 1.4 what two random
    layers of one size have. nan for a block whose head has no `average` (other rules, controls, the last block).
    """
    distances = []
    for head, following in zip(net.heads, [*net.blocks[1:], None], strict=True):
        if following is None or head.average is None:
            distances.append(float("nan"))
            continue
        ema, layer = ([p.detach().flatten() for p in m.parameters()] for m in (head.average, following[0]))
        distances.append(float((torch.cat(ema) - torch.cat(layer)).norm() / torch.cat(layer).norm()))
    return distances
