"""Lesson 7: the check of a step of two views."""

import torch
from exercises import Exercise, then

from mankit.teach.checks import barlow as check


def step(
    block,
    head,
    h,
    x,
    y,
    *,
    detach=True,
    split=lambda h: h.chunk(2),
    put=torch.cat,
    times=1,
    out=lambda h: h.detach(),
    loss_of=None,
    attached=False,
):
    views = split(h.detach() if detach else h)
    h = put([block(view) for view in views])
    loss = loss_of(head, h, x, y) if loss_of else head.loss(h, x, y)
    for _ in range(times):
        loss.backward(retain_graph=True)
    return out(h), loss if attached else loss.detach()


def changed(**how):
    return lambda *given: step(*given, **how)


def joint_pass(block, head, h, x, y):
    h = block(h.detach())
    loss = head.loss(h, x, y)
    loss.backward()
    return h.detach(), loss.detach()


def joint_features_only(block, head, h, x, y):
    _, loss = step(block, head, h, x, y)
    return block(h.detach()).detach(), loss


def joint_loss_only(block, head, h, x, y):
    out = torch.cat([block(view) for view in h.detach().chunk(2)]).detach()
    return out, joint_pass(block, head, h, x, y)[1]


def one_view_learns(block, head, h, x, y):
    first, second = h.detach().chunk(2)
    with torch.no_grad():
        fixed = block(second)
    h = torch.cat([block(first), fixed])
    loss = head.loss(h, x, y)
    loss.backward()
    return h.detach(), loss.detach()


def once_more(block, head, h, x, y):
    _, loss = step(block, head, h, x, y)
    return torch.cat([block(view) for view in h.detach().chunk(2)]).detach(), loss


def second_view_first(block, head, h, x, y):
    first, second = h.detach().chunk(2)
    behind, before = block(second), block(first)
    h = torch.cat([before, behind])
    loss = head.loss(h, x, y)
    loss.backward()
    return h.detach(), loss.detach()


def by_halves(block, head, h, x, y):
    n = len(h) // 2
    first, second = block(h[:n].detach()), block(h[n:].detach())
    both = torch.cat((first, second), dim=0)
    loss = head.loss(both, x, y)
    torch.autograd.backward(loss)
    return [both.data, loss.item()]


def layer_by_layer(block, head, h, x, y):
    outs = []
    for view in torch.split(h.detach().clone(), len(h) // 2):
        for layer in block:
            view = layer(view)
        outs.append(view)
    loss = head.loss(torch.vstack(outs), x, y)
    loss.backward()
    return torch.vstack(outs).detach(), loss.detach()


EXERCISES = [
    Exercise(
        "two_view_step",
        check.two_view_step,
        wrong=[
            (joint_pass, "in one pass, so BatchNorm mixed them"),
            (joint_features_only, "in one pass, so BatchNorm mixed them"),
            (joint_loss_only, "the loss is that of one joint pass"),
            (changed(detach=False), "detach the INPUT of the block"),
            (changed(times=0), "call backward on the local loss"),
            (changed(times=2), "twice those of the loss: call backward once"),
            (changed(split=lambda h: (h[::2], h[1::2])), "the block's of the two halves of h"),
            (changed(split=lambda h: h.chunk(2)[::-1]), "come out in the other order"),
            (changed(out=lambda h: h.chunk(2)[0].detach()), "the features of one view"),
            (changed(out=lambda h: h), r"return h.detach\(\)"),
            (changed(attached=True), r"return loss.detach\(\)"),
            (changed(loss_of=lambda head, h, x, y: head(h).square().mean()), "the loss isn't head.loss"),
            (changed(loss_of=lambda head, h, x, y: head.loss(h.flip(0), x, y)), "the loss isn't head.loss"),
            (changed(loss_of=lambda head, h, x, y: head.loss(h.detach(), x, y)), "through both views"),
            (one_view_learns, "it must reach the block through both views"),
            (once_more, "the block ran 4 times"),
            (second_view_first, "the first view and then the second"),
            (lambda *given: step(*given)[1], "return two things"),
            (lambda *given: None, "returned None"),
            (then(step, lambda block, head, *others: (block.zero_grad(), head.zero_grad())), "leave zero_grad to"),
            (then(step, lambda block, *others: block.eval()), "block was left in another mode"),
        ],
        right=[step, by_halves, layer_by_layer],
    )
]
