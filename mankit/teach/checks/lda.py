"""A check of lesson 7: linear discriminant analysis from sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import ask, close, exercise, expect, expect_tensor, normal, passed
from .watch import Watch


class _Sums(NamedTuple):
    """As the library's: n (C,) images of each class, h (C, D) sums of features, hh (D, D) sum of h h^T over all."""

    n: Tensor
    h: Tensor
    hh: Tensor


@exercise
def lda(function: Callable) -> None:
    """Check a classifier's weights (C, D) and biases (C,) from the sums n, h, hh of features, for two eps."""
    y = torch.arange(24).sqrt().long().clamp(max=2)  # 1, 3 and 20 images: shares differ
    y[:4] = torch.tensor([0, 0, 1, 1])
    h = normal(3, 4, seed=8)[y] + normal(24, 4, seed=9) * torch.tensor([0.5, 1.0, 2.0, 3.0])
    member = nn.functional.one_hot(y, 3).double()
    sums = _Sums(member.sum(0), member.T @ h, h.T @ h)
    for eps in (0.5, 0.01):
        with Watch(n=sums.n, h=sums.h, hh=sums.hh) as watch:
            answer = ask(function, sums, eps)
        watch.expect_untouched()
        pair = isinstance(answer, tuple | list) and len(answer) == 2
        expect(pair, "return two things: weights (classes, features) and biases (classes,).")
        flipped = isinstance(answer[0], Tensor) and answer[0].shape == (4, 3)
        expect(not flipped, "the weights are transposed: a row for each class, (C, D).")
        weights = expect_tensor(answer[0], (3, 4), "the weights of 3 classes on 4 features")
        bias = expect_tensor(answer[1], (3,), "the biases of 3 classes")
        _expect_scores(h @ weights.double().T + bias, h, sums, eps)
    passed("class means and one covariance from sums alone; as accurate as from the features themselves.")


def _expect_scores(scores: Tensor, h: Tensor, sums: _Sums, eps: float) -> None:
    """Raise CheckFailed unless these are LDA's scores (N, C), up to a number that all classes share."""
    n, images = sums.n[:, None], sums.n.sum()
    mean, overall = sums.h / n, sums.h.sum(0) / images  # (C, D), (D,)
    total = sums.hh / images - torch.outer(overall, overall)
    within = (sums.hh - mean.T @ sums.h) / images

    def expected(
        mean: Tensor = mean, s: Tensor = within, e: float = eps, prior: float = 1.0, half: float = 0.5
    ) -> Tensor:
        w = torch.linalg.solve(s + e * torch.eye(4).double(), mean.T).T
        return h @ w.T - half * (mean * w).sum(1) + prior * (sums.n / images).log()

    relative = eps * within.diagonal().mean().item()
    wrong = {
        "eps is a number by itself in your answer: it is in units of the covariance's mean diagonal.": expected(),
        "eps isn't in it: add eps times the mean diagonal to S's diagonal.": expected(e=0.0),
        "the share of each class is missing in the bias: + log(n_c / N).": expected(e=relative, prior=0.0),
        "the bias lacks the factor 1/2: log p_c - mu_c w_c / 2.": expected(e=relative, half=1.0),
        "the bias lacks mu_c w_c: log p_c - mu_c w_c / 2.": expected(e=relative, half=0.0),
        "the sign in the bias is wrong: log p_c MINUS mu_c w_c / 2.": expected(e=relative, half=-0.5),
        "S is the covariance of all images around ONE mean: take each class's own mean away.": expected(
            s=total, e=eps * total.diagonal().mean().item()
        ),
        "the mean of the features isn't taken away in S: it is (hh - sum_c n_c mu_c mu_c^T) / N.": expected(
            s=sums.hh / images, e=eps * (sums.hh / images).diagonal().mean().item()
        ),
        "S isn't divided by the number of images: it is a mean over them.": expected(
            s=within * images, e=relative * images.item()
        ),
        "the class means are sums divided by N: divide each by its own class's n_c.": expected(
            mean=sums.h / images, e=relative
        ),
    }
    right = expected(e=relative)
    for sentence, other in wrong.items():
        expect(_same(scores, right) or not _same(scores, other), sentence)
    expect(
        _same(scores, right),
        f"these aren't LDA's scores at eps={eps:g}: w_c = (S + ...)^-1 mu_c, with S within classes.",
    )


def _same(a: Tensor, b: Tensor) -> bool:
    return close(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))
