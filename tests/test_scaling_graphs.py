"""The step as one graph: what can be seen without a GPU. tests/test_studies_bench_gpu.py compares it on one."""

import copy

import pytest
import torch

from mankit import local_net
from mankit.networks import build_network
from mankit.scaling.graphs import WARM_UP, Fast, GraphedStep, _fixed
from mankit.training import make_optimizer, train, train_batch


def prepared(rule="man", fused=True, per_block=False):
    """A small network with its optimizers, fused as on a GPU; two calls give equal ones."""
    draw = torch.Generator().manual_seed(0)
    layers, classifier = build_network("lab", generator=draw)
    net = local_net(layers, classifier, rule, 4, image_shape=(3, 16, 16), generator=draw)
    optimizers = make_optimizer(net, per_block=per_block)
    optimizers = optimizers if per_block else [optimizers]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = fused, False
    return net, optimizers


def feed(n):
    draw = torch.Generator().manual_seed(1)
    for _ in range(n):
        yield torch.rand(8, 3, 16, 16, generator=draw), torch.randint(10, (8,), generator=draw)


def trained(step, per_block=False, n=8):
    net, optimizers = prepared(per_block=per_block)
    losses = []
    for done in train(net, optimizers, feed(n), lambda i: 0.01 * (i + 1), step):
        losses.append(done.losses)
        if done.index == 5:
            for head in net.heads[:-1]:
                head.decay = 0.5
    return net, optimizers, torch.stack(losses)


@pytest.mark.parametrize("per_block", [False, True])
def test_with_fixed_tensors_the_numbers_are_the_same(per_block):
    net, optimizers, losses = trained(GraphedStep(record=False), per_block)
    plain, plain_optimizers, plain_losses = trained(train_batch, per_block)
    assert torch.allclose(losses, plain_losses, atol=1e-6)
    for name, value in plain.state_dict().items():
        assert torch.allclose(net.state_dict()[name].double(), value.double(), atol=1e-6), name
    # what a checkpoint holds: numbers, no tensor of this step's
    assert [g["lr"] for o in optimizers for g in o.param_groups] == [
        g["lr"] for o in plain_optimizers for g in o.param_groups
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="here a step can be recorded")
def test_where_nothing_can_be_recorded_it_says_so_once_and_goes_on(capsys):
    step = GraphedStep()
    _, _, losses = trained(step)
    said = capsys.readouterr().err
    assert said.startswith("CUDA graph: ") and said.count("\n") == 1 and "training goes on without" in said
    assert step.steps == 8 and step.recorded == 0 and not step.record
    assert torch.allclose(losses, trained(train_batch)[2], atol=1e-6)


def test_what_a_graph_would_not_see_is_noticed():
    net, optimizers = prepared()
    for _ in train(net, optimizers, feed(2)):
        pass
    before = _fixed(net, optimizers)
    assert before == _fixed(net, optimizers)
    optimizers[0].param_groups[0]["lr"] = 0.5  # a tensor in the graph: no change
    net.load_state_dict(net.state_dict())  # in place
    assert before == _fixed(net, optimizers)
    seen = {before}
    net.heads[0].decay = 0.25
    seen.add(_fixed(net, optimizers))
    optimizers[0].param_groups[0]["momentum"] = 0.5
    seen.add(_fixed(net, optimizers))
    there = copy.deepcopy(optimizers[0].state_dict())  # as from a checkpoint: other tensors, while the old ones live
    optimizers[0].load_state_dict(there)
    seen.add(_fixed(net, optimizers))
    assert len(seen) == 4


def test_fast_says_what_it_chose(capsys, monkeypatch):
    monkeypatch.setattr("mankit.scaling.graphs.compiled_step", lambda **how: train_batch)  # compiling takes a minute
    net, optimizers = prepared()
    losses = [done.losses for done in train(net, optimizers, feed(WARM_UP), batch_step=Fast().batch_step)]
    assert capsys.readouterr().err == "fast: compiled blocks; a CUDA graph needs a GPU\n"
    other, optimizers = prepared()
    assert torch.equal(torch.stack(losses), torch.stack([s.losses for s in train(other, optimizers, feed(WARM_UP))]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_is_recorded_again_where_the_decay_changes():
    step = GraphedStep()
    net, optimizers = prepared()
    net.cuda()
    optimizers = [make_optimizer(net)]
    batches = ((x.cuda(), y.cuda()) for x, y in feed(10))
    for done in train(net, optimizers, batches, batch_step=step):
        if done.index == 6:
            for head in net.heads[:-1]:
                head.decay = 0.5
    assert step.recorded == 2
