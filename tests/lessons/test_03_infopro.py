"""Lesson 3: each check passes its solution, and names the mistake of each classic wrong answer."""

import numpy as np
import torch
from answers_03_losses import EXERCISES as MORE
from exercises import Exercise, assert_each_check_has_its_exercise
from torch.nn import functional as F

from mankit.rules.infopro import supervised_contrastive
from mankit.teach.checks import infopro as check

bce = F.binary_cross_entropy_with_logits


def by_log_of_sigmoid(z, x):
    return -(x * torch.log(torch.sigmoid(z)) + (1 - x) * torch.log(1 - torch.sigmoid(z))).mean()


def unstable_exponential(z, x):
    return (torch.log(1 + torch.exp(z)) - x * z).mean()


def clipped_probabilities(z, x):
    return F.binary_cross_entropy(torch.sigmoid(z).clamp(1e-6, 1 - 1e-6), x)


def gradient_of_max(z, x):
    """Right values, but the part that matters is detached."""
    return (F.softplus(z).detach() - x * z).mean()


def with_pen_and_paper(z, x):
    return torch.mean(z.clamp(min=0) - x * z + torch.log1p(torch.exp(-z.abs())))


def by_logsigmoid(z, x):
    return -(x * F.logsigmoid(z) + (1 - x) * F.logsigmoid(-z)).mean()


def by_soft_margin(z, x):
    return F.softplus(-z).mul(x).add(F.softplus(z).mul(1 - x)).sum() / z.numel()


def by_interpolation(i, K, first, last):
    return np.linspace(first, last, K - 1)[i - 1]


def centres_in_place(x):
    x -= x.mean(0)
    return x.square().mean()


def by_variance(x):
    return x.var(dim=0, correction=0).mean()


def by_mse(x):
    return F.mse_loss(x.mean(0, keepdim=True).expand_as(x), x).item()


EXERCISES = [
    Exercise(
        "reconstruction_loss",
        check.reconstruction_loss,
        wrong=[
            (by_log_of_sigmoid, "is not finite for logits of 300: never take log"),
            (unstable_exponential, "is not finite for logits of 300"),
            (clipped_probabilities, "don't clip probabilities"),
            (lambda z, x: F.binary_cross_entropy(z.sigmoid(), x), "don't clip probabilities"),
            (lambda z, x: bce(z, x, reduction="sum"), "the loss is a sum: take the mean"),
            (lambda z, x: bce(z, x, reduction="none"), r"should have shape \(\), but it has shape \(4, 3, 5, 5\)"),
            (lambda z, x: bce(x, z), "logits and image are swapped"),
            (lambda z, x: -bce(z, x), "the sign is wrong"),
            (lambda z, x: (z.sigmoid() - x).square().mean(), r"is it log\(1 \+ e\^z\) - x z"),
            (lambda z, x: bce(z, x).detach(), "the loss has no gradient"),
            (gradient_of_max, r"the gradient should be \(sigmoid\(z\) - x\)"),
            (bce, "write the formula out"),
            (torch.nn.BCEWithLogitsLoss(), "write the formula out"),
            (lambda z, x: with_pen_and_paper(z.mul_(1), x.mul_(0.5)), "changed x itself"),
            (lambda z, x: None, "returned None"),
            (lambda z, x: bce(z, x).item(), "should be a tensor, but it is float"),
        ],
        right=[with_pen_and_paper, by_logsigmoid, by_soft_margin],
    ),
    Exercise(
        "block_weight",
        check.block_weight,
        wrong=[
            (lambda i, K, first, last: first + (last - first) * (i - 1) / (K - 2), "K = 2 divides by zero"),
            (lambda i, K, first, last: first + (last - first) * (i - 1) / (K - 1), "K-1 should get `last` = 0.5"),
            (lambda i, K, first, last: first + (last - first) * i / max(K - 2, 1), "K = 2 has one auxiliary block"),
            (
                lambda i, K, first, last: first if K == 2 else first + (last - first) * i / (K - 2),
                "count from 0: i - 1",
            ),
            (lambda i, K, first, last: first if K == 2 else last + (first - last) * (i - 1) / (K - 2), "the wrong way"),
            (
                lambda i, K, first, last: first if K == 2 else first * (last / first) ** ((i - 1) / (K - 2)),
                "the steps should be equal",
            ),
            (lambda i, K, first, last: 0.5 * (first + last), "weight is `first` = 5, not 2.75"),
            (lambda i, K, first, last: None, "returned None"),
            (lambda i, K, first, last: [first, last], "the weight should be a number, not list"),
        ],
        right=[by_interpolation, lambda i, K, a, b: torch.tensor(a + (b - a) * (i - 1) / max(K - 2, 1))],
    ),
    Exercise(
        "constant_image_error",
        check.constant_image_error,
        wrong=[
            (lambda x: (x - x.mean()).square().mean(), "you used one grey for all"),
            (lambda x: (x - x.mean(dim=(0, 2, 3), keepdim=True)).square().mean(), "you used one colour for all pixels"),
            (lambda x: (x - 0.5).square().mean(), "a grey of 0.5 isn't the best image"),
            (lambda x: x.var(dim=0).mean(), "divide by N, not N - 1"),
            (lambda x: (x - x.mean(0)).square().sum(), "but the best constant image's is"),
            (lambda x: (x - x.mean(0)).square().mean(0), r"should have shape \(\)"),
            (lambda x: (x - x.mean(0)).abs().mean(), "but the best constant image's is"),
            (centres_in_place, "changed x itself"),
        ],
        right=[by_variance, by_mse],
    ),
]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + MORE)


def test_the_library_passes_the_same_check():
    check.contrastive_loss(supervised_contrastive)
