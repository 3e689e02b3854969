"""A reader's run beside the library's: equal to the last bit, or the step, block and tensor at which they part."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mankit.heads import Head
from mankit.rules import dgl
from mankit.rules.man import MomentumHead, man
from mankit.studies import Recipe, Run, load_data
from mankit.teach.lockstep import Beside, beside
from mankit.training import local_step, train_batch

DGL = Recipe(
    rule="dgl",
    K=3,
    options={"head": "0c1f"},
    widths=(4, 6, 8),
    batch=10,
    epochs=2,
    data_options={"train_size": 40, "val_size": 20, "test_size": 20},
)
MAN = DGL.but(rule="man", options={"head": "0c1f", "decay": 0.9})


@pytest.fixture(scope="module")
def data():
    return load_data(DGL)


def with_step(step, data, recipe=DGL):
    """A run that trains with a reader's own step."""
    run = Run(recipe, data)
    run.batch_step = functools.partial(train_batch, step=step)
    return run


def with_head(kind, data):
    """A run of MAN whose heads are a reader's."""

    def mine(place, *, decay=0.9):
        head = man(place, base=functools.partial(dgl.dgl, head="0c1f"), decay=decay)
        return kind(head.base, head.learnable_bias, head.ema, decay)

    return Run(MAN.but(rule=mine, options={"decay": 0.9}), data)


# --- steps ---


def in_another_style(block, head, h, x, y):
    features = block(h.detach().clone())
    loss = head.loss(features, x, y)
    parameters = [*block.parameters(), *head.parameters()]
    for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        p.grad = gradient
    return features.detach(), loss.detach()


def test_a_right_step_in_another_style_stays_equal_to_the_last_bit(data):
    both = beside(with_step(in_another_style, data), Run(DGL, data), steps=8)
    assert both.parting is None and both.steps == 8
    assert str(both) == f"\u2714 Equal bit for bit so far (8 steps, {both.tensors} tensors)." and both.tensors > 50


def doubled_loss(block, head, h, x, y):
    return stepped(block, head, block(h.detach()), x, y, factor=2)


def stepped(block, head, features, x, y, factor=1, retain=False):
    loss = factor * head.loss(features, x, y)
    loss.backward(retain_graph=retain)
    return features.detach(), loss.detach()


def attached(block, head, h, x, y):
    features = block(h)
    loss = head.loss(features, x, y)
    loss.backward(retain_graph=True)
    return features, loss.detach()


def twice(block, head, h, x, y):
    block(h.detach())
    return stepped(block, head, block(h.detach()), x, y)


def in_eval_mode(block, head, h, x, y):
    block.eval()
    return stepped(block, head, block(h.detach()), x, y)


def backward_twice(block, head, h, x, y):
    features, loss = stepped(block, head, block(h.detach()), x, y, retain=True)
    F.cross_entropy(head(block.eval()(h.detach())), y).backward()
    block.train()
    return features, loss


def no_backward(block, head, h, x, y):
    features = block(h.detach())
    return features.detach(), head.loss(features, x, y).detach()


def moves_weights(block, head, h, x, y):
    result = stepped(block, head, block(h.detach()), x, y)
    with torch.no_grad():
        next(block.parameters()).mul_(0.99)
    return result


@pytest.mark.parametrize(
    "step, block, what, hint",
    [
        (doubled_loss, 1, "loss", "forward"),
        (attached, 1, "gradient", "detach"),
        (backward_twice, 1, "gradient", "ran twice"),
        (no_backward, 1, "gradient", "backward"),
        (in_eval_mode, 1, "loss", "forward"),
        (twice, 1, "BatchNorm statistic", "more than once"),
        (moves_weights, 1, "parameter", "what else changes"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_wrong_step_parts_at_once_and_says_where_to_look(step, block, what, hint, data):
    both = beside(with_step(step, data), Run(DGL, data), steps=3)
    assert (both.parting.step, both.parting.block, both.parting.what) == (1, block, what)
    assert hint in both.parting.hint
    assert str(both).startswith(f"\u2718 They part at step 1, block {block}: the {what}")


# --- heads ---


class OtherStyle(MomentumHead):
    def look_ahead(self, h):
        return torch.add(self.learnable_bias(h), self.ema(h))


class OtherOrder(MomentumHead):
    def look_ahead(self, h):
        return self.ema(h) + self.learnable_bias(h)  # the gradients of h are added in another order


class NoEMA(MomentumHead):
    def look_ahead(self, h):
        return self.learnable_bias(h)


class WrongDecay(MomentumHead):
    def after_step(self, next_block):
        with torch.no_grad():
            for e, n in zip(self.ema.parameters(), next_block[0].parameters(), strict=True):
                e.lerp_(n, self.decay)


class BuffersToo(MomentumHead):
    def after_step(self, next_block):
        super().after_step(next_block)
        for e, n in zip(self.ema.buffers(), next_block[0].buffers(), strict=True):
            e.copy_(n)


@pytest.mark.parametrize(
    "head, what, hint",
    [
        (OtherStyle, None, ""),
        (OtherOrder, "gradient", "rounding"),
        (NoEMA, "loss", "forward"),
        (WrongDecay, "EMA", "decay"),
        (BuffersToo, "EMA's statistic", "only parameters"),
    ],
)
def test_a_readers_head_is_compared_too(head, what, hint, data):
    both = beside(with_head(head, data), Run(MAN, data), steps=4)
    if what is None:
        assert both.parting is None
    else:
        assert (both.parting.step, both.parting.block, both.parting.what) == (1, 1, what)
        assert hint in both.parting.hint


class OtherNames(nn.Module):
    """Pool and linear layer, as the library's head, under names of its own."""

    def __init__(self, body):
        super().__init__()
        self.scores = body[-1]

    def forward(self, h):
        return self.scores(h.mean((2, 3)))


def test_a_head_may_call_its_layers_otherwise(data):
    def mine(place):
        return Head(OtherNames(dgl.greedy(place).body))

    both = beside(Run(DGL.but(rule=mine, options={}), data), Run(DGL, data), steps=3)
    assert both.parting is None or "rounding" in both.parting.hint  # the mean is taken in another way
    assert both.parting is None or both.parting.step > 0  # the weights at the start are the same


def test_a_step_may_give_its_loss_as_a_plain_number(data):
    def step(*given):
        features, loss = local_step(*given)
        return features, loss.item()

    assert beside(with_step(step, data), Run(DGL, data), steps=3).parting is None


# --- what else there is ---


def test_other_weights_at_the_start_are_said_before_the_first_step(data):
    other = Run(DGL.but(seed=1), data)
    both = Beside(other, Run(DGL, data))
    assert both.parting.step == 0 and both.parting.block == 1 and both.parting.tensor == "blocks.0.0.0.weight"
    assert "before the first step" in str(both) and "generator" in str(both)


def test_another_network_has_a_tensor_that_is_missing(data):
    both = Beside(Run(DGL.but(options={"head": "0c2f"}), data), Run(DGL, data))
    assert "isn't there in one of the two" in str(both) or "differs" in str(both)
    assert both.parting.step == 0


def test_a_late_difference_is_found_when_it_comes(data):
    calls = []

    def late(block, head, h, x, y):
        calls.append(1)
        factor = 1.5 if len(calls) == 3 * 3 + 2 else 1  # block 2 in the fourth step
        return stepped(block, head, block(h.detach()), x, y, factor)

    both = beside(with_step(late, data), Run(DGL, data), steps=8)
    assert (both.parting.step, both.parting.block, both.parting.what) == (4, 2, "loss")
    assert "weights were equal before" in both.parting.hint and both.steps == 8


def test_comparing_changes_no_number(data):
    alone = Run(DGL, data)
    for _ in alone:
        pass
    both = Beside(Run(DGL, data), Run(DGL, data))
    for _ in both:
        pass
    assert both.parting is None and both.steps == len(alone)
    state = both.mine.net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in alone.net.state_dict().items())
    assert not both.mine.optimizer._optimizer_step_pre_hooks  # nothing stays behind


def test_an_optimizer_a_block_is_compared_too(data):
    recipe = DGL.but(per_block=True)
    assert beside(Run(recipe, data), Run(recipe, data), steps=4).parting is None
    found = beside(with_step(no_backward, data, recipe), Run(recipe, data), steps=2).parting
    assert (found.step, found.block, found.what) == (1, 1, "gradient")


def test_what_the_readers_code_raises_comes_through(data):
    def broken(block, head, h, x, y):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        beside(with_step(broken, data), Run(DGL, data))
