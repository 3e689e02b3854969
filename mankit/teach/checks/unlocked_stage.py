"""Check of lesson 9's core: the step of a process that has some of a network's blocks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import all_close, ask, close, exercise, expect, expect_number, normal, passed, seeded
from .watch import Watch

LR = 0.5
LAST = "the last head's next block is in another process, and its after_step is called for you: leave it out."


class _Head(nn.Module):
    """A head whose loss looks at the images, too, as a decoder does; it notes when it is told to follow."""

    def __init__(self) -> None:
        super().__init__()
        self.logits, self.guess, self.told = nn.Linear(4, 3), nn.Linear(4, 4), []
        self.average = self.decay = None

    def forward(self, h: Tensor) -> Tensor:
        return self.logits(h)

    def loss(self, h: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(h), y) + F.mse_loss(self.guess(h), x)

    def after_step(self, next_block: nn.Module) -> None:
        self.told.append((next_block, [p.detach().clone() for p in next_block.parameters()]))


class _Stage(nn.Module):
    """Three blocks with heads in float64, which note what comes and what goes."""

    K = 3

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()) for _ in range(self.K))
        self.blocks = nn.ModuleList(layers)
        self.heads = nn.ModuleList(_Head() for _ in range(self.K))
        self.received, self.asked, self.sent = None, [], []

    def normalize(self, x: Tensor) -> Tensor:
        self.asked.append(x)
        return self.received

    def send(self, h: Tensor) -> None:
        self.sent.append(h.detach().clone() if isinstance(h, Tensor) else h)

    def begin(self, received: Tensor) -> None:
        """The next batch: nothing has come or gone yet."""
        self.received, self.asked, self.sent = received, [], []
        for head in self.heads:
            head.told = []


@dataclass
class _Done:
    """What a step leaves: the losses, each block's features, and the weights, blocks first."""

    losses: list[Tensor]
    features: list[Tensor]
    weights: list[Tensor]
    start: list[Tensor] = field(default_factory=list)


def _step(stage: _Stage, x: Tensor, y: Tensor, isolated: bool = True, images: Tensor | None = None) -> _Done:
    """What the step of a copy leaves; isolated=False: the gradient passes. images: what the heads get for x."""
    stage = copy.deepcopy(stage)
    h, losses, features = stage.received, [], []
    for block, head in zip(stage.blocks, stage.heads, strict=True):
        h = block(h.detach() if isolated else h)
        features.append(h)
        losses.append(head.loss(h, x if images is None else images, y))
    weights = list(stage.parameters())
    slopes = torch.autograd.grad(sum(losses), weights)
    after = [(p - LR * g).detach() for p, g in zip(weights, slopes, strict=True)]
    return _Done([v.detach() for v in losses], [h.detach() for h in features], after, [p.detach() for p in weights])


@exercise
def stage_step(function: Callable) -> None:
    """Check what a stage's step takes, sends and returns, whom it tells to follow, and the weights; two batches."""
    with seeded(0):
        stage = _Stage().double()
    optimizer, before = torch.optim.SGD(stage.parameters(), lr=LR), None
    for batch in range(2):
        x, y = normal(6, 4, seed=batch + 1), (torch.arange(6) + batch) % 3
        stage.begin(normal(6, 4, seed=batch + 5))
        right, others = _step(stage, x, y), (_step(stage, x, y, False), _step(stage, x, y, images=stage.received))
        with Watch(blocks=stage.blocks, heads=stage.heads, received=stage.received, x=x, y=y) as watch:
            answer = ask(function, stage, [optimizer], x, y)
        _expect_messages(stage, x, right)
        watch.expect_untouched("blocks parameters", "blocks buffers", "heads parameters")
        _expect_followed(stage, right)
        _expect_losses(answer, right, others[1])
        _expect_weights(list(stage.parameters()), right, others[0], before)
        watch.expect_one_pass("blocks", "heads")
        before = right
    passed("input taken, features sent, losses local, heads told, weights moved: nothing waits for a gradient.")


def _expect_messages(stage: _Stage, x: Tensor, right: _Done) -> None:
    """Raise CheckFailed unless one input was taken, and the last block's features were sent once."""
    asked, sent = len(stage.asked), len(stage.sent)
    what = "the normalised images, or what the process before has sent"
    expect(asked, f"your step never takes its input: it is stage.normalize(x), {what}.")
    expect(asked == 1, f"stage.normalize was called {asked} times: each call waits for a message, one comes a batch.")
    expect(stage.asked[0] is x or close(stage.asked[0], x), "stage.normalize gets the images x.")
    expect(sent, "nothing was sent: the next process would wait for ever. Call stage.send(h).")
    expect(sent == 1, f"stage.send was called {sent} times: one message a batch, the last block's features.")
    h = stage.sent[0]
    expect(isinstance(h, Tensor), f"stage.send gets the features, a tensor; yours got {type(h).__name__}.")
    early = any(close(h, other) for other in (stage.received, *right.features[:-1]))
    expect(not early, "the next process goes on behind your LAST block: send that one's features.")
    fine = close(h, right.features[-1])
    expect(fine, "what was sent isn't what the last block gives for this batch, with the weights before the step.")


def _expect_followed(stage: _Stage, right: _Done) -> None:
    """Raise CheckFailed unless each head but the last was told of its next block, once, and before the step."""
    *heads, last = stage.heads
    expect(not last.told, LAST)
    for i, head in enumerate(heads):
        call = f"heads[{i}].after_step(blocks[{i + 1}])"
        expect(head.told, f"{call} wasn't called: a head that follows the next block would stay where it is.")
        expect(len(head.told) == 1, f"heads[{i}].after_step was called {len(head.told)} times: once a step.")
        block, weights = head.told[0]
        expect(block is stage.blocks[i + 1], f"heads[{i}] follows the block behind its own: {call}.")
        n = len(weights)  # all blocks have as many
        fine = all_close(weights, right.start[n * (i + 1) : n * (i + 2)])
        expect(fine, f"{call} comes before the optimizer's step: MAN's EMA reads the weights from before it.")


def _expect_losses(answer: object, right: _Done, of_features: _Done) -> None:
    """Raise CheckFailed unless these are the blocks' losses, off the graph."""
    count = len(right.losses)
    rows = list(answer) if isinstance(answer, list | tuple) or isinstance(answer, Tensor) and answer.dim() else []
    got = f"one number for each of the stage's {count} blocks"
    expect(len(rows) == count, f"return the losses, {got}: torch.stack(losses).")
    attached = any(isinstance(row, Tensor) and row.requires_grad for row in rows)
    values = [expect_number(row.detach() if isinstance(row, Tensor) else row, "a loss") for row in rows]
    swapped = close(torch.tensor(values), torch.stack(of_features.losses))
    expect(not swapped, "the heads got features in place of the images: it is head.loss(h, x, y), with the batch's x.")
    fine = close(torch.tensor(values, dtype=torch.float64), torch.stack(right.losses))
    expect(fine, "wrong losses: each is head.loss(h, x, y) of the block's own features.")
    expect(not attached, "the returned losses still hold the blocks' graphs: return them detached.")


def _expect_weights(now: list[Tensor], right: _Done, whole: _Done, before: _Done | None) -> None:
    """Raise CheckFailed unless the weights moved once, by the local gradients of this batch."""
    now = [p.detach() for p in now]
    missing = "the optimizer's step is missing, or there were no gradients any more"
    expect(not all_close(now, right.start), f"no weight moved: {missing}.")
    twice = [2 * w - p for w, p in zip(right.weights, right.start, strict=True)]
    expect(not all_close(now, twice), "the weights moved twice as far: one backward and one step a batch.")
    passing = all_close(now, whole.weights)
    expect(not passing, "a block's loss trains the blocks before it: detach what goes into each block.")
    if before is not None:
        left = [w + b - s for w, b, s in zip(right.weights, before.weights, before.start, strict=True)]
        cure = "call zero_grad, or they add up"
        expect(not all_close(now, left), f"the second batch: .grad still holds the first one's gradients, {cure}.")
    expect(
        all_close(now, right.weights), "right losses, wrong weights: each block's and head's gradient is its loss's."
    )
