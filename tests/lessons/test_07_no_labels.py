"""Lesson 7: each check passes its solution, and names the mistake of each classic wrong answer."""

import torch
from answers_07_step import EXERCISES as MORE
from exercises import Exercise, assert_each_check_has_its_exercise, then
from torch.nn import functional as F

from mankit.teach.checks import barlow as check

# --- cross_correlation ---


def standardised(z, *, mean=True, deviation=True, eps=1e-5, correction=0, dim=0):
    middle, spread = z.mean(dim, keepdim=True), z.var(dim, correction=correction, keepdim=True)
    return (z - middle * mean) / ((spread + eps).sqrt() if deviation else 1)


def correlation(z1, z2, *, by=None, **how):
    return standardised(z1, **how).T @ standardised(z2, **how) / (by or len(z1))


def changed(function, **how):
    return lambda *given: function(*given, **how)


def images_by_images(z1, z2):
    return standardised(z1) @ standardised(z2).T / z1.shape[1]


def statistics_detached(z1, z2):
    def fixed(z):
        return (z - z.mean(0).detach()) / (z.var(0, correction=0) + 1e-5).sqrt().detach()

    return fixed(z1).T @ fixed(z2) / len(z1)


def in_place(z1, z2):
    with torch.no_grad():
        z1 -= z1.mean(0)
    return correlation(z1, z2)


def by_batch_norm(z1, z2):
    a, b = (F.batch_norm(z, None, None, training=True) for z in (z1, z2))
    return torch.einsum("bi,bj->ij", a, b) / len(a)


def by_outer_products(z1, z2):
    a, b = (torch.nn.BatchNorm1d(z.shape[1], affine=False, dtype=z.dtype)(z) for z in (z1, z2))
    return (a[:, :, None] * b[:, None, :]).mean(0)


# --- barlow_loss ---


def loss(c, lam=0.0051, *, factor=0.024, aim=1, by_lam=True, diagonal=False, power=2):
    itself = c.diagonal()
    others = c.pow(power).sum() - (0 if diagonal else itself.pow(power).sum())
    return factor * ((itself - aim).square().sum() + (lam if by_lam else 1) * others)


def means(c, lam):
    d = len(c)
    others = c.square().sum() - c.diagonal().square().sum()
    return 0.024 * ((c.diagonal() - 1).square().mean() + lam * others / (d * (d - 1)))


def weight_on_the_diagonal(c, lam):
    itself = c.diagonal()
    return 0.024 * (lam * (itself - 1).square().sum() + c.square().sum() - itself.square().sum())


def fills_the_diagonal(c, lam):
    on = (c.diagonal() - 1).square().sum()
    with torch.no_grad():
        c.fill_diagonal_(0)
    return 0.024 * (on + lam * c.square().sum())


def by_identity(c, lam=0.0051):
    eye = torch.eye(len(c), dtype=c.dtype)
    return (0.024 * (c - eye) ** 2 * (eye + lam * (1 - eye))).sum()


def by_mask(c, lam):
    others = ~torch.eye(len(c), dtype=torch.bool)
    return 0.024 * sum((c[i, i] - 1) ** 2 for i in range(len(c))) + 0.024 * lam * c[others].norm() ** 2


# --- lda ---


def lda(sums, eps, *, own_mean=True, relative=True, prior=True, half=0.5, by_images=True, eye=True, within=True):
    images = sums.n.sum()
    mean = sums.h / (sums.n[:, None] if own_mean else images)
    overall = sums.h.sum(0) / images
    taken = {True: sums.h.T @ (sums.h / sums.n[:, None]), False: images * overall.outer(overall), None: 0}[within]
    s = (sums.hh - taken) / (images if by_images else 1)
    if eye:
        s = s + eps * (s.diagonal().mean() if relative else 1) * torch.eye(len(s)).double()
    w = torch.linalg.solve(s, mean.T).T
    return w, prior * (sums.n / images).log() - half * (mean * w).sum(1)


def all_at_once(sums, eps):
    s = sums.hh
    s -= sums.h.T @ (sums.h / sums.n[:, None])
    return lda(sums, eps)


def unbiased(sums, eps):
    images, mean = sums.n.sum(), sums.h / sums.n[:, None]
    s = (sums.hh - mean.T @ sums.h) / (images - len(mean))
    s = s + eps * s.diagonal().mean() * torch.eye(len(s)).double()
    w = torch.linalg.solve(s, mean.T).T
    return w, (sums.n / images).log() - (mean * w).sum(1) / 2


def by_inverse_around_the_middle(sums, eps):
    n, middle = sums.n[:, None], sums.h.sum(0) / sums.n.sum()
    mean = sums.h / n
    s = (sums.hh - (n * mean).T @ mean) / sums.n.sum()
    s.diagonal().add_(eps * torch.trace(s) / len(s))
    w = (mean - middle) @ torch.linalg.inv(s)
    return w, sums.n.log() - torch.einsum("cd,cd->c", w, mean + middle) / 2


def class_by_class(sums, eps):
    images, width = float(sums.n.sum()), len(sums.hh)
    means = [h / n for n, h in zip(sums.n, sums.h, strict=True)]
    s = (sums.hh - sum(n * torch.outer(m, m) for n, m in zip(sums.n, means, strict=True))) / images
    s = s + eps * s.diagonal().mean() * torch.eye(width, dtype=s.dtype)
    weights = [torch.linalg.solve(s, m) for m in means]
    return torch.stack(weights), torch.stack(
        [torch.log(n / images) - m @ w / 2 for n, m, w in zip(sums.n, means, weights, strict=True)]
    )


EXERCISES = [
    Exercise(
        "cross_correlation",
        check.cross_correlation,
        wrong=[
            (images_by_images, r"C is \(B, B\), image against image"),
            (lambda z1, z2: len(z1) * correlation(z1, z2), "you don't divide by the number of images"),
            (changed(correlation, by=4), "divide by the number of outputs D"),
            (changed(correlation, by=5), "divide by B, not by B - 1"),
            (changed(correlation, correction=1), "the variance is over B here"),
            (changed(correlation, mean=False), "the columns keep their means"),
            (changed(correlation, deviation=False), "that is a covariance"),
            (changed(correlation, dim=1), "you standardise each image over its outputs"),
            (changed(correlation, eps=0), "an output that never changes gives nan"),
            (changed(correlation, eps=1e-8), "an output that hardly changes comes out wrong"),
            (lambda z1, z2: correlation(z2, z1), "C is transposed"),
            (lambda z1, z2: correlation(z1, z1), "that is the first view with itself"),
            (lambda z1, z2: correlation(z1, z2.detach()), "no gradient reaches the second view"),
            (lambda z1, z2: correlation(z1.detach(), z2), "no gradient reaches the first view"),
            (statistics_detached, "mean and deviation are part of the graph"),
            (in_place, "changed z1 itself"),
            (lambda z1, z2: correlation(z1, z2).diagonal(), r"should have shape \(4, 4\)"),
            (lambda z1, z2: correlation(z1, z2) ** 2, "right shape, wrong values"),
        ],
        right=[correlation, by_batch_norm, by_outer_products],
    ),
    Exercise(
        "barlow_loss",
        check.barlow_loss,
        wrong=[
            (changed(loss, factor=1), "the factor 0.024 in front is missing"),
            (changed(loss, aim=0), "the diagonal shall become 1, not 0"),
            (weight_on_the_diagonal, "lam weighs the diagonal in your loss"),
            (changed(loss, by_lam=False), "multiply it by lam"),
            (changed(loss, diagonal=True), "the diagonal is in the second sum as well"),
            (changed(loss, power=1), r"not C_ij\^2"),
            (means, "those are means"),
            (lambda c, lam: loss(c.triu(), lam), "each pair i != j counts once"),
            (lambda c, lam: loss(c), "you take another lam"),
            (fills_the_diagonal, "changed c itself"),
            (lambda c, lam: loss(c, lam).item(), "return a tensor that hangs on it"),
            (lambda c, lam: loss(c, lam).detach(), "return a tensor that hangs on it"),
            (lambda c, lam: loss(c, lam) + 1, "wrong value at lam=0.0051"),
            (lambda c, lam: loss(c, lam) - loss(c, 0) + loss(c, 0).detach(), "right value, wrong gradient"),
            (lambda c, lam: (c - 1) ** 2, "the loss should be a number"),
            (lambda c, lam: print(end=""), "returned None"),
        ],
        right=[loss, by_identity, by_mask],
    ),
    Exercise(
        "lda",
        check.lda,
        wrong=[
            (changed(lda, relative=False), "in units of the covariance's mean diagonal"),
            (changed(lda, eye=False), "eps isn't in it"),
            (changed(lda, prior=False), "the share of each class is missing"),
            (changed(lda, half=1), "the bias lacks the factor 1/2"),
            (changed(lda, half=0), "the bias lacks mu_c w_c"),
            (changed(lda, half=-0.5), "the sign in the bias is wrong"),
            (changed(lda, within=False), "of all images around ONE mean"),
            (changed(lda, within=None), "the mean of the features isn't taken away"),
            (changed(lda, by_images=False), "S isn't divided by the number of images"),
            (changed(lda, own_mean=False), "divide each by its own class's n_c"),
            (unbiased, "these aren't LDA's scores at eps=0.5"),
            (all_at_once, "changed hh itself"),
            (lambda sums, eps: lda(sums, eps)[0], "return two things"),
            (lambda sums, eps: (lda(sums, eps)[0].T, lda(sums, eps)[1]), "a row for each class"),
            (lambda sums, eps: (lda(sums, eps)[0], lda(sums, eps)[1][:, None]), r"should have shape \(3,\)"),
            (then(lda, lambda sums, eps: sums.n.div_(24)), "changed n itself"),
        ],
        right=[lda, by_inverse_around_the_middle, class_by_class],
    ),
]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + MORE)
