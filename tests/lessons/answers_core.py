"""The checks of a method's core with the library's own signatures: InfoPro's head."""

import functools

import torch
from exercises import Exercise
from torch import nn
from torch.nn import functional as F

from mankit.rules.infopro import Decoder, InfoProHead
from mankit.teach.checks.infopro_head import decoder, infopro_loss

bce = F.binary_cross_entropy_with_logits


def with_(function, **change):
    return lambda *given: function(*given, **change)


def loss(head, h, x, y, *, view=lambda h: h, target=lambda x: x):
    picture = bce(head.decoder(view(h), x.shape[-2:]), target(x))
    return head.lam_x * picture + head.lam_y * F.cross_entropy(head(h), y)


def swapped(head, h, x, y):
    return head.lam_y * bce(head.decoder(h, x.shape[-2:]), x) + head.lam_x * F.cross_entropy(head(h), y)


def by_softplus(head, h, x, y):
    z = head.decoder(h, tuple(x.shape[2:]))
    label = -head(h).log_softmax(1).gather(1, y[:, None]).mean()
    return (F.softplus(z) - x * z).mean().mul(head.lam_x) + head.lam_y * label


def heads_twice(head, h, x, y):
    head(h)
    return loss(head, h, x, y)


def backward_inside(head, h, x, y):
    found = loss(head, h, x, y)
    found.backward(retain_graph=True)
    return found


class Upsample(nn.Module):
    def __init__(self, channels, last=(), mode="nearest", pool=False):
        super().__init__()
        self.body, self.mode, self.pool = nn.Sequential(nn.Conv2d(channels, 3, 1), *last), mode, pool

    def forward(self, h, size):
        h = h.mean((2, 3), keepdim=True) if self.pool else h
        return self.body(F.interpolate(h, size=tuple(size), mode=self.mode))


class FixedSize(Upsample):
    def forward(self, h, size):
        return super().forward(h, (8, 8))


class Detached(Upsample):
    def forward(self, h, size):
        return super().forward(h.detach(), size)


class Grey(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.mix = nn.Conv2d(channels, 1, 1)

    def forward(self, h, size):
        return self.mix(F.interpolate(h, size=tuple(size)))


EXERCISES = [
    Exercise(
        "infopro_loss",
        infopro_loss,
        wrong=[
            (swapped, "lam_x and lam_y are swapped"),
            (lambda head, h, x, y: head.lam_y * F.cross_entropy(head(h), y), "the reconstruction is missing"),
            (lambda head, h, x, y: head.lam_x * bce(head.decoder(h, x.shape[-2:]), x), "the cross-entropy is missing"),
            (
                lambda head, h, x, y: bce(head.decoder(h, x.shape[-2:]), x) + F.cross_entropy(head(h), y),
                "the weights are missing",
            ),
            (with_(loss, view=torch.Tensor.detach), "a part of the gradient doesn't reach h"),
            (with_(loss, target=lambda x: x * 2 - 1), "see the formula"),
            (with_(loss, target=lambda x: x.mul_(0.5)), "changed x itself"),
            (lambda *given: loss(*given).detach(), "the loss has no gradient"),
            (lambda *given: loss(*given).item(), "should be a tensor"),
            (heads_twice, "head ran 2 times"),
            (backward_inside, "leave backward to the step"),
        ],
        right=[InfoProHead.loss, by_softplus],
    ),
    Exercise(
        "decoder",
        decoder,
        wrong=[
            (FixedSize, r"should have shape \(4, 3, 4, 4\)"),
            (Grey, r"should have shape \(4, 3, 8, 8\)"),
            (Detached, "no gradient reaches the features"),
            (functools.partial(Upsample, last=[nn.Sigmoid()]), "give logits"),
            (functools.partial(Upsample, last=[nn.ReLU()]), "leave the last ReLU out"),
            (lambda channels: nn.Conv2d(channels, 3, 1), "stopped with TypeError"),
            (lambda channels: None, "returned None"),
        ],
        right=[Decoder, Upsample, functools.partial(Upsample, mode="bilinear")],
    ),
]
