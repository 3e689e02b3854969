"""Lesson 3: the checks of the contrastive loss and of the local losses."""

import torch
from exercises import Exercise
from torch.nn import functional as F

from mankit.teach.checks import infopro as check

bce = F.binary_cross_entropy_with_logits


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


def after(change, function=losses):
    """A right answer, and something more."""

    def answer(*given):
        found = function(*given)
        change(*given, found)
        return found

    return answer


def heads_twice(blocks, heads, decoders, h, *others):
    found = losses(blocks, heads, decoders, h, *others)
    heads[0](blocks[0](h))
    return found


def runs_backward_and_frees(*given):
    found = losses(*given)
    sum(found).backward()
    return found


def runs_backward(*given):
    found = losses(*given)
    sum(found).backward(retain_graph=True)
    return found


def with_loops(z, y, t=0.07):
    u, total = z / z.norm(dim=1, keepdim=True), 0.0
    for i in range(len(u)):
        others = [a for a in range(len(u)) if a != i]
        positives = [p for p in others if y[p] == y[i]]
        below = torch.stack([(u[i] @ u[a] / t).exp() for a in others]).sum()
        for p in positives:
            total = total - ((u[i] @ u[p] / t).exp() / below).log() / len(positives)
    return total / len(u)


def normalises_in_place(z, y, t=0.07):
    z /= z.norm(dim=1, keepdim=True)
    return contrastive(z, y, t)


def cuts_the_gradient(z, y, t=0.07):
    value = contrastive(z, y, t)
    return value.detach() + 0 * z.sum()


def as_a_tuple(*given):
    return tuple(losses(*given))


def by_images_first(blocks, heads, decoders, h, x, y, lam_x, lam_y):
    """All features first, then the losses."""
    features = []
    for block in blocks:
        features.append(block((features[-1] if features else h).detach()))
    rows = zip(features, heads, decoders, lam_x, lam_y, strict=True)
    return [a * bce(decoder(f), x) + b * F.cross_entropy(head(f), y) for f, head, decoder, a, b in rows]


EXERCISES = [
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
            (normalises_in_place, "changed z itself"),
            (cuts_the_gradient, "not its gradient"),
            (lambda z, y, t: contrastive(z, y, t).detach(), "the loss has no gradient"),
        ],
        right=[with_loops],
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
            (heads_twice, "blocks ran 2 times|heads ran 2 times"),
            (runs_backward, "leave backward to the caller"),
            (runs_backward_and_frees, "went backward already"),
            (after(lambda blocks, *others: blocks[0].eval()), "blocks was left in another mode"),
            (after(lambda blocks, heads, *others: heads[1].requires_grad_(False)), "switched requires_grad of heads"),
            (after(lambda *given: given[4].clamp_(max=0.5)), "changed x itself"),
            (after(lambda *given: given[6].reverse()), "changed lam_x itself"),
            (lambda *args: losses(*args) and None, "returned None"),
        ],
        right=[as_a_tuple, by_images_first],
    ),
]
