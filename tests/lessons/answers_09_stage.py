"""Lesson 9: the check of a stage's step."""

import torch
from exercises import Exercise

from mankit import local_step
from mankit.teach.checks import unlocked as check


def stage_step(
    stage,
    optimizers,
    x,
    y,
    *,
    take=lambda stage, x: stage.normalize(x),
    train=local_step,
    send=lambda stage, h, features: stage.send(h),
    follow="before",
    pairs=lambda stage: zip(stage.heads, stage.blocks[1:], strict=False),
    optimize=lambda o: (o.step(), o.zero_grad()),
    give=torch.stack,
    images=lambda x, h: x,
):
    """A stage's step, with one thing changed."""
    h, losses, features = take(stage, x), [], []
    for block, head in zip(stage.blocks, stage.heads, strict=True):
        h, loss = train(block, head, h, images(x, h), y)
        losses.append(loss)
        features.append(h)
    send(stage, h, features)
    if follow == "after":
        optimize(optimizers[0])
    for head, next_block in pairs(stage):
        head.after_step(next_block)
    if follow == "before":
        optimize(optimizers[0])
    return give(losses)


def changed(**how):
    return lambda *given: stage_step(*given, **how)


def twice_taken(stage, x):
    stage.normalize(x)
    return stage.normalize(x)


def sends_each(stage, h, features):
    for each in features:
        stage.send(each)


def attached(block, head, h, x, y):
    h = block(h.detach())
    loss = head.loss(h, x, y)
    loss.backward(retain_graph=True)
    return h.detach(), loss


def backward_twice(block, head, h, x, y):
    out, loss = attached(block, head, h, x, y)
    loss.backward()
    return out, loss.detach()


def block_twice(block, head, h, x, y):
    out, loss = local_step(block, head, h, x, y)
    return block(h.detach()).detach(), loss


def one_graph(stage, optimizers, x, y):
    """Not isolated: the gradient passes through the whole stage."""
    h, losses = stage.normalize(x), []
    for block, head in zip(stage.blocks, stage.heads, strict=True):
        h = block(h)
        losses.append(head.loss(h, x, y))
    sum(losses).backward()
    stage.send(h)
    for head, next_block in zip(stage.heads, stage.blocks[1:], strict=False):
        head.after_step(next_block)
    optimizers[0].step()
    optimizers[0].zero_grad()
    return torch.stack(losses).detach()


def sends_after_the_step(stage, optimizers, x, y):
    def again(stage, h, features):
        with torch.no_grad():
            optimizers[0].step()
            stage.send(stage.blocks[-1](features[-2]))

    return stage_step(stage, optimizers, x, y, send=again, optimize=lambda o: o.zero_grad())


def by_hand(stage, optimizers, x, y):
    """Another style: no local_step; features leave before the last loss goes backward; zero_grad first."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    h, losses, last = stage.normalize(x), [], len(stage.blocks) - 1
    for i in range(last + 1):
        out = stage.blocks[i](h.detach())
        if i == last:
            stage.send(out)
        loss = stage.heads[i].loss(out, x, y)
        loss.backward()
        losses.append(loss.item())
        if i:
            stage.heads[i - 1].after_step(stage.blocks[i])
        h = out
    for optimizer in optimizers:
        optimizer.step()
    return losses


def one_backward(stage, optimizers, x, y):
    """Another style: forward through all blocks first, each detached, one backward on the sum."""
    h, total = stage.normalize(x), []
    for block, head in zip(stage.blocks, stage.heads, strict=True):
        h = block(h)
        total.append(head.loss(h, x, y))
        h = h.detach()
    stage.send(h)
    torch.stack(total).sum().backward()
    [head.after_step(block) for head, block in zip(stage.heads[:-1], stage.blocks[1:], strict=True)]
    optimizers[0].step()
    optimizers[0].zero_grad(set_to_none=False)
    return torch.stack(total).detach()


EXERCISES = [
    Exercise(
        "stage_step",
        check.stage_step,
        wrong=[
            (changed(take=lambda stage, x: x), r"never takes its input: it is stage.normalize\(x\)"),
            (changed(take=twice_taken), "stage.normalize was called 2 times"),
            (changed(take=lambda stage, x: stage.normalize(2 * x)), "stage.normalize gets the images x"),
            (changed(send=lambda *_: None), "nothing was sent"),
            (changed(send=sends_each), "stage.send was called 3 times"),
            (changed(send=lambda stage, h, features: stage.send(features[0])), "goes on behind your LAST block"),
            (changed(send=lambda stage, h, features: stage.send(stage.received)), "goes on behind your LAST block"),
            (changed(send=lambda stage, h, features: stage.send(features)), "a tensor; yours got list"),
            (sends_after_the_step, "isn't what the last block gives for this batch"),
            (changed(pairs=lambda stage: []), r"heads\[0\].after_step\(blocks\[1\]\) wasn't called"),
            (changed(pairs=lambda stage: zip(stage.heads, stage.blocks, strict=True)), "the last head's next block is"),
            (changed(pairs=lambda stage: zip(stage.heads, stage.blocks[:2], strict=False)), "behind its own"),
            (changed(pairs=lambda stage: 2 * [*zip(stage.heads, stage.blocks[1:], strict=False)]), "called 2 times"),
            (changed(follow="after"), "comes before the optimizer's step"),
            (changed(give=lambda losses: torch.stack(losses).mean()), "one number for each of the stage's 3 blocks"),
            (changed(give=lambda losses: losses[-1:]), "one number for each of the stage's 3 blocks"),
            (changed(give=lambda losses: None), "returned None"),
            (changed(images=lambda x, h: h), "wrong losses"),
            (lambda stage, *given: stage_step(stage, *given, images=lambda x, h: stage.received), "in place of the im"),
            (changed(train=attached), "still hold the blocks' graphs"),
            (changed(optimize=lambda o: o.zero_grad()), "no weight moved"),
            (changed(optimize=lambda o: (o.zero_grad(), o.step())), "no weight moved"),
            (changed(optimize=lambda o: o.step()), "still holds the first one's gradients"),
            (changed(optimize=lambda o: (o.step(), o.step(), o.zero_grad())), "moved twice as far"),
            (changed(train=backward_twice), "moved twice as far"),
            (one_graph, "trains the blocks before it"),
            (changed(train=block_twice), "blocks ran 2 times"),
            (lambda stage, *given: stage_step(stage.eval(), *given), "isn't what the last block gives|another mode"),
        ],
        right=[by_hand, one_backward],
    )
]
