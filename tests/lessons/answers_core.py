"""The checks of a method's core with the library's own signatures: a small net's backward pass, InfoPro's head."""

import functools

import torch
from exercises import Exercise
from torch import nn
from torch.nn import functional as F

from mankit.rules.infopro import Decoder, InfoProHead
from mankit.teach.checks.infopro_head import decoder, infopro_loss
from mankit.teach.checks.net import net_backward

bce = F.binary_cross_entropy_with_logits


def backward(x, y, W1, b1, W2, b2, *, mean=True, label=1, mask=True, sign=1, second=lambda a: a.relu()):
    a = x @ W1.T + b1
    z = a.relu() @ W2.T + b2
    d_z = sign * (z.softmax(1) - label * F.one_hot(y, 3)) / (len(x) if mean else 1)
    d_a = d_z @ W2 * ((a > 0) if mask else 1)
    return d_a.T @ x, d_a.sum(0), d_z.T @ second(a), d_z.sum(0)


def with_a_loop(x, y, W1, b1, W2, b2):
    """One example after the other."""
    total = [torch.zeros_like(w) for w in (W1, b1, W2, b2)]
    for example, label in zip(x, y, strict=True):
        a = W1 @ example + b1
        d_z = (W2 @ a.clamp(min=0) + b2).softmax(0)
        d_z[label] -= 1
        d_a = W2.T @ d_z * (a > 0)
        parts = torch.outer(d_a, example), d_a, torch.outer(d_z, a.clamp(min=0)), d_z
        total = [t + part / len(x) for t, part in zip(total, parts, strict=True)]
    return total


def by_autograd(x, y, *weights):
    W1, b1, W2, b2 = leaves = [w.clone().requires_grad_() for w in weights]
    F.cross_entropy((x @ W1.T + b1).relu() @ W2.T + b2, y).backward()
    return [leaf.grad for leaf in leaves]


def turned(*given):
    d_W1, d_b1, d_W2, d_b2 = backward(*given)
    return d_W1.T, d_b1, d_W2, d_b2


def moves_the_weights(x, y, W1, b1, W2, b2):
    answer = backward(x, y, W1, b1, W2, b2)
    W1 -= 0.1 * answer[0]
    return answer


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
        "net_backward",
        net_backward,
        wrong=[
            (with_(backward, mean=False), "d_b2 is B times too large"),
            (with_(backward, label=0), "d_b2: 1 is missing at the label"),
            (with_(backward, sign=-1), "d_b2: the sign is wrong"),
            (with_(backward, mask=False), "d_b1: ReLU's mask is missing"),
            (with_(backward, second=lambda a: a), "d_W2: the input of the second layer is h"),
            (turned, "d_W1 has the shape of its weight's transpose"),
            (by_autograd, "right, but by autograd"),
            (moves_the_weights, "changed W1 itself"),
            (lambda *given: backward(*given)[:2], "return four tensors"),
            (lambda *given: None, "returned None"),
        ],
        right=[backward, with_a_loop],
    ),
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
