"""Lesson 4: the checks of the look-ahead and of the local step."""

import torch
from exercises import Exercise, then
from torch.nn import functional as F

from mankit.teach.checks import man as check


def weights(decay, steps):
    return [(1 - decay) * decay**j for j in range(steps)]


def bias_only_gradient(bias, ema, h):
    with torch.no_grad():
        ahead = ema(h)
    return bias(h) + ahead


def step(block, bias, ema, head, h, y, detach=True, ahead=None, back=True, out=lambda h, a: h.detach()):
    h = block(h.detach() if detach else h)
    a = ahead(bias, ema, h) if ahead else bias(h) + ema(h)
    loss = F.cross_entropy(head(a), y)
    if back:
        loss.backward()
    return out(h, a), loss.detach()


def changed(**how):
    return lambda *given: step(*given, **how)


def trains_the_ema(block, bias, ema, head, h, y):
    ema.requires_grad_(True)
    return step(block, bias, ema, head, h, y)


def by_stack(bias, ema, h):
    return torch.stack([branch(h) for branch in (ema, bias)]).sum(dim=0)


def layer_by_layer(bias, ema, h):
    a, b = h, h.clone()
    for mine, other in zip(bias, ema, strict=True):
        a, b = mine(a), other(b)
    return torch.add(a, b)


def ema_in_eval(bias, ema, h):
    ema.eval()
    a = bias(h) + ema(h)
    ema.train()
    return a


def adds_in_place(bias, ema, h):
    a = bias(h)
    a += ema(h)  # ReLU, the branch's last layer, has kept this tensor for its backward pass
    return a


def bias_detached(bias, ema, h):
    weights = {name: p.detach() for name, p in bias.named_parameters()}
    return torch.func.functional_call(bias, weights, (h,)) + ema(h)


def man_step(block, bias, ema, head, h, y, *, times=1, attached=False, keep=True):
    h = block(h.detach())
    loss = F.cross_entropy(head(bias(h) + ema(h)), y)
    for _ in range(times):
        loss.backward(retain_graph=keep)
    return h.detach(), loss if attached else loss.detach()


def block_twice(block, bias, ema, head, h, y):
    _, loss = man_step(block, bias, ema, head, h, y)
    return block(h.detach()).detach(), loss


def float_loss(*given):
    features, loss = man_step(*given)
    return [features, loss.item()]


def in_one_line(block, bias, ema, head, h, y):
    h = torch.nn.Sequential(*block)(h.detach())
    loss = -head(ema(h).add(bias(h))).log_softmax(1)[torch.arange(len(y)), y].mean()
    torch.autograd.backward(loss)
    return h.detach(), loss.data


EXERCISES = [
    Exercise(
        "look_ahead",
        check.look_ahead,
        wrong=[
            (lambda bias, ema, h: (bias(h) + ema(h)) / 2, "it is half as large"),
            (lambda bias, ema, h: bias(ema(h)), "both look at the same h"),
            (lambda bias, ema, h: bias(h), "one branch is missing"),
            (lambda bias, ema, h: h + bias(h) + ema(h), "right shape, wrong values"),
            (bias_only_gradient, "through one branch only"),
            (lambda bias, ema, h: bias(h.detach()) + ema(h.detach()), "no gradient reaches h"),
            (lambda bias, ema, h: bias(h) + ema.eval()(h), "ema was left in another mode"),
            (ema_in_eval, "right shape, wrong values"),
            (lambda bias, ema, h: bias(h) + ema.requires_grad_(True)(h), "switched requires_grad of ema"),
            (lambda bias, ema, h: bias.requires_grad_(False)(h) + ema(h), "requires_grad of learnable_bias"),
            (lambda bias, ema, h: bias(h) + ema(h) + 0 * ema(h), "ema ran 2 times"),
            (lambda bias, ema, h: ema(bias(h)), "both look at the same h"),
            (adds_in_place, "change no tensor in place that the graph still needs"),
            (bias_detached, "no gradient reaches the learnable bias's weights"),
            (lambda bias, ema, h: None, "returned None"),
        ],
        right=[by_stack, layer_by_layer],
    ),
    Exercise(
        "man_local_step",
        check.man_local_step,
        wrong=[
            (changed(detach=False), "detach the INPUT of the block"),
            (changed(ahead=bias_only_gradient), "through both branches"),
            (changed(back=False), "call backward on the local loss"),
            (changed(out=lambda h, a: a.detach()), "you return the look-ahead"),
            (changed(out=lambda h, a: h), r"return h.detach\(\)"),
            (changed(ahead=lambda bias, ema, h: bias(h)), "the loss is the cross-entropy of"),
            (trains_the_ema, "the EMA is trained now"),
            (lambda *given: step(*given)[1], "return two things"),
            (lambda *given: man_step(*given, attached=True), r"the returned loss still .* return loss.detach\(\)"),
            (lambda *given: man_step(*given, times=2), "twice those of the loss: call backward once"),
            (lambda *given: man_step(*given, times=2, keep=False), "same graph twice: call backward once"),
            (then(man_step, lambda block, bias, *others: (block.zero_grad(), bias.zero_grad())), "leave zero_grad to"),
            (then(man_step, lambda block, bias, ema, *others: ema.eval()), "ema was left in another mode"),
            (then(man_step, lambda *given: given[4].detach_()), "cut h itself off its graph"),
            (block_twice, "block ran 2 times"),
            (
                then(man_step, lambda *given: [p.data.mul_(0.9) for p in given[0].parameters()]),
                "changed the weights of",
            ),
        ],
        right=[float_loss, in_one_line],
    ),
]
