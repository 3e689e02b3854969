"""Lesson 3: each check passes its solution, and names the mistake of each classic wrong answer."""

import numpy as np
import torch
from answers_03_core import EXERCISES as CORE
from answers_03_losses import EXERCISES as MORE
from exercises import Exercise, assert_each_check_has_its_exercise
from torch.nn import functional as F

from mankit.rules.infopro import InfoProHead, supervised_contrastive
from mankit.teach.checks import infopro as check

bce = F.binary_cross_entropy_with_logits


def by_log_of_sigmoid(s, x):
    return -(x * torch.log(torch.sigmoid(s)) + (1 - x) * torch.log(1 - torch.sigmoid(s))).mean()


def unstable_exponential(s, x):
    return (torch.log(1 + torch.exp(s)) - x * s).mean()


def clipped_probabilities(s, x):
    return F.binary_cross_entropy(torch.sigmoid(s).clamp(1e-6, 1 - 1e-6), x)


def gradient_of_max(s, x):
    """Right values, but the part that matters is detached."""
    return (F.softplus(s).detach() - x * s).mean()


def with_pen_and_paper(s, x):
    return torch.mean(s.clamp(min=0) - x * s + torch.log1p(torch.exp(-s.abs())))


def by_logsigmoid(s, x):
    return -(x * F.logsigmoid(s) + (1 - x) * F.logsigmoid(-s)).mean()


def by_soft_margin(s, x):
    return F.softplus(-s).mul(x).add(F.softplus(s).mul(1 - x)).sum() / s.numel()


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
            (lambda s, x: F.binary_cross_entropy(s.sigmoid(), x), "don't clip probabilities"),
            (lambda s, x: bce(s, x, reduction="sum"), "the loss is a sum: take the mean"),
            (lambda s, x: bce(s, x, reduction="none"), r"should have shape \(\), but it has shape \(4, 3, 5, 5\)"),
            (lambda s, x: bce(x, s), "logits and image are swapped"),
            (lambda s, x: -bce(s, x), "the sign is wrong"),
            (lambda s, x: (s.sigmoid() - x).square().mean(), r"is it log\(1 \+ e\^s\) - x s"),
            (lambda s, x: bce(s, x).detach(), "the loss has no gradient"),
            (gradient_of_max, r"the gradient should be \(sigmoid\(s\) - x\)"),
            (bce, "write the formula out"),
            (torch.nn.BCEWithLogitsLoss(), "write the formula out"),
            (lambda s, x: with_pen_and_paper(s.mul_(1), x.mul_(0.5)), "changed x itself"),
            (lambda s, x: None, "returned None"),
            (lambda s, x: bce(s, x).item(), "should be a tensor, but it is float"),
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
    assert_each_check_has_its_exercise(check, EXERCISES + MORE + CORE)


def test_the_library_passes_the_same_checks():
    check.contrastive_loss(supervised_contrastive)
    check.infopro_loss(InfoProHead.loss)
