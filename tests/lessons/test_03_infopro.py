"""Lesson 3: each check passes its solution, and names the mistake of each classic wrong answer."""

import warnings

import pytest
import torch
from exercises import Exercise, answer, assert_check_is_right
from torch.nn import functional as F

from mankit.rules.infopro import supervised_contrastive
from mankit.teach.checks import infopro as check

bce = F.binary_cross_entropy_with_logits


# --- reconstruction_loss: logits, x ---


def by_log_of_sigmoid(z, x):
    return -(x * torch.log(torch.sigmoid(z)) + (1 - x) * torch.log(1 - torch.sigmoid(z))).mean()


def unstable_exponential(z, x):
    return (torch.log(1 + torch.exp(z)) - x * z).mean()


def clipped_probabilities(z, x):
    return F.binary_cross_entropy(torch.sigmoid(z).clamp(1e-6, 1 - 1e-6), x)


def gradient_of_max(z, x):
    """Right values, but the part that matters is detached."""
    return (F.softplus(z).detach() - x * z).mean()


# --- contrastive_loss: z, y, temperature ---


def contrastive(
    z,
    y,
    temperature=0.07,
    *,
    self_below=False,
    self_positive=False,
    mean_inside=False,
    average=True,
    normalise=True,
    singles=1,
):
    """The right loss, with one thing changed."""
    z = F.normalize(z, dim=1) if normalise else z
    itself = torch.eye(len(z), dtype=torch.bool)
    s = z @ z.T / temperature
    log_p = s - (s if self_below else s.masked_fill(itself, -torch.inf)).logsumexp(1, keepdim=True)
    positive = (y[:, None] == y[None, :]) & (~itself | self_positive)
    if mean_inside:
        return -(log_p.exp().masked_fill(~positive, 0).sum(1) / positive.sum(1)).log().mean()
    count = positive.sum(1).clamp(min=singles) if average else 1
    return -(log_p.masked_fill(~positive, 0).sum(1) / count).mean()


# --- local_losses: blocks, heads, decoders, h, x, y, lam_x, lam_y ---


def losses(
    blocks,
    heads,
    decoders,
    h,
    x,
    y,
    lam_x,
    lam_y,
    *,
    enter=torch.Tensor.detach,
    leave=lambda h: h,
    picture=lambda h: h,
    target=lambda h, x: x,
    swap=False,
):
    """The right losses, with one thing changed."""
    found = []
    if swap:
        lam_x, lam_y = lam_y, lam_x
    for i, block in enumerate(blocks):
        before = enter(h)
        h = leave(block(before))
        rebuilt = bce(decoders[i](picture(h)), target(before, x))
        found.append(lam_x[i] * rebuilt + lam_y[i] * F.cross_entropy(heads[i](h), y))
    return found


def with_(function, **change):
    return lambda *args: function(*args, **change)


def detach(h):
    return h.detach()


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
            (lambda z, x: bce(z, x).item(), "should be a tensor, but it is float"),
        ],
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
        ],
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
        ],
    ),
    Exercise(
        "contrastive_loss",
        check.contrastive_loss,
        wrong=[
            (with_(contrastive, self_below=True), "the denominator counts image i itself"),
            (with_(contrastive, self_positive=True, self_below=True), "an image is its own positive"),
            (with_(contrastive, self_positive=True), "an image is its own positive"),
            (with_(contrastive, normalise=False), "depends on the length of z: normalise"),
            (with_(contrastive, average=False), r"divide each image's sum by \|P\(i\)\|"),
            (with_(contrastive, mean_inside=True), "is the sum over positives outside the logarithm"),
            (with_(contrastive, singles=0), "an image alone in its class gives nan"),
            (lambda z, y, t: -contrastive(z, y, t), "the sign is wrong"),
            (lambda z, y, t: len(z) * contrastive(z, y, t), "the loss is a sum over the images"),
            (lambda z, y, t: contrastive(z, y, 0.07), "divided by the temperature"),
        ],
    ),
    Exercise(
        "local_losses",
        check.local_losses,
        wrong=[
            (with_(losses, enter=lambda h: h), "block 2's loss changed block 1's gradients: detach the INPUT"),
            (with_(losses, leave=detach), "block 1's loss gives block 1 no gradient: its output was detached"),
            (with_(losses, picture=detach), "block 1 misses a part of its gradient"),
            (with_(losses, target=lambda before, x: before), "block 1's loss rebuilds the block's input"),
            (with_(losses, swap=True), r"is it lam_x\[i\] \* reconstruction \+ lam_y\[i\]"),
            (lambda *args: sum(losses(*args)), "return a list with one loss for each block"),
            (lambda *args: [loss.detach() for loss in losses(*args)], "has no gradient at all"),
        ],
    ),
]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_check_knows_right_from_wrong(exercise, capsys):
    assert_check_is_right("03_infopro", exercise, capsys)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_check_is_quiet_and_leaves_the_random_numbers_alone(exercise):
    state, solution = torch.get_rng_state(), answer("03_infopro", exercise.name, solved=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exercise.check(solution)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_library_passes_the_same_checks():
    check.contrastive_loss(supervised_contrastive)
    check.reconstruction_loss(bce)
