"""Blockwise Barlow Twins: the published numbers, views that meet BatchNorm alone, a classifier that only reads."""

import numpy as np
import pytest
import torch
from test_oracles import MEAN, ORACLES, STD, close, starts, summary

from mankit.images import Augment, batches, load
from mankit.networks import Normalize, small_resnet
from mankit.rules import RULES, bases, local_net
from mankit.rules.barlow import TwinHead
from mankit.studies import Recipe, Run, block_table
from mankit.training import make_optimizer, train

SMALL = {"expand": 6, "project": 5}


def published_name(name):
    """The oracle's name of one of our tensors."""
    kind, i, *tail = name.split(".")
    if kind == "normalize" or tail[-1] == "num_batches_tracked":
        return None
    if kind == "blocks":
        n = (0, 3, 5)[int(i)] + int(tail[0])
        return f"stem.{('conv', 'bn')[int(tail[1])]}.{tail[2]}" if n == 0 else ".".join([f"units.{n - 1}", *tail[1:]])
    at = int(tail[1])
    return ".".join([f"aux.{i}", *(("expand", str(at)) if at < 5 else ("projector", str(at - 5))), *tail[2:]])


def two_views(seed):
    g = torch.Generator().manual_seed(seed)
    first, r = (torch.rand(8, 3, 32, 32, generator=g, dtype=torch.float32).double() for _ in range(2))
    return torch.cat([first, 0.7 * first.flip(-1) + 0.3 * r]), (torch.arange(8) % 4).repeat(2)


def test_reproduces_the_published_implementation():
    oracle = np.load(ORACLES / "barlow_k3.npz")
    net = local_net(*small_resnet((2, 2, 2), (16, 32, 64)), "barlow", at=[3, 5], expand=64, project=96).double()
    net.heads[-1] = net.heads[-1].head  # the oracle has no classifier
    net.normalize = Normalize(MEAN, STD, dtype=torch.float64)
    ours = {published_name(name): tensor for name, tensor in net.state_dict().items() if published_name(name)}
    for name, tensor in starts(oracle, ours).items():
        ours[name].copy_(tensor)

    g = torch.Generator().manual_seed(7)  # the loss alone, and its gradient on both views
    maps = [torch.rand(8, 16, 32, 32, generator=g, dtype=torch.float32).double().requires_grad_() for _ in range(2)]
    alone = TwinHead(net.heads[0].body, 0.0051, 0.0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    loss = alone.train().loss(torch.cat(maps), None, None)
    loss.backward()
    np.testing.assert_allclose(loss.item(), oracle["head/loss"], rtol=1e-9)
    for view, at in zip(maps, ("head/grad1", "head/grad2"), strict=True):
        grad = view.grad.numpy()
        expected = oracle[at] if oracle[at].shape == grad.shape else None
        ours_now = grad if expected is not None else summary(view.grad)
        np.testing.assert_allclose(ours_now, oracle[at], rtol=0, atol=1e-9 * np.abs(oracle[at]).max())
    net.load_state_dict(before)
    net.zero_grad()

    optimizer, gradients = make_optimizer(net, lr=0.1, momentum=0.9, weight_decay=1e-4), {}
    read = lambda *_: gradients.update({published_name(n): p.grad for n, p in net.named_parameters()})  # noqa: E731
    optimizer.register_step_pre_hook(read)
    compared = 0
    for t, step in enumerate(train(net, optimizer, [two_views(0), two_views(1)], channels_last=False)):
        np.testing.assert_allclose(step.losses.numpy(), oracle[f"step{t}/losses"], rtol=1e-9)
        for key in oracle:
            prefix, _, name = key.partition(f"step{t}/")[2].partition("/")
            if prefix in ("grad", "state"):
                close(summary((gradients if prefix == "grad" else ours)[name]), oracle[key], key)
                compared += 1
    assert compared == sum("/grad/" in key or "/state/" in key for key in oracle) > 100
    with torch.no_grad():
        features = net.eval().features(two_views(99)[0][:8])[-1].mean((2, 3)).numpy()
    np.testing.assert_allclose(features, oracle["eval/features"], rtol=0, atol=1e-9 * np.abs(features).max())


def test_each_view_meets_batchnorm_alone(make_net, make_batch):
    net, (x, y) = make_net("barlow", K=2, **SMALL), make_batch(n=8)
    list(train(net, make_optimizer(net, 0.0), [(x, y)]))
    joint = net.blocks[0][0][1].running_mean.clone()
    other = make_net("barlow", K=2, **SMALL)
    with torch.no_grad():
        for view in other.normalize(x).chunk(2):
            other.train().blocks[0](view)
    assert torch.allclose(joint, other.blocks[0][0][1].running_mean, rtol=1e-12)


def test_the_classifier_only_reads(make_net, make_batch):
    net, (x, y) = make_net("barlow", K=2, **SMALL), make_batch()
    grads = []
    for labels in (y, (y + 1) % 4):
        net.zero_grad()
        h = net.train().features(net.normalize(x))[-1].detach()
        out = net.blocks[1](net.blocks[0](x))
        net.heads[-1].loss(out, x, labels).backward()
        grads.append([p.grad.clone() for p in net.blocks[1].parameters()])
        assert h.shape == out.shape and net.heads[-1].body[-1].weight.grad.abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))  # labels don't reach the block


def test_a_block_meets_one_view_at_a_time(make_net, make_batch):
    net, (x, _) = make_net("barlow", K=2, **SMALL), make_batch()
    block, (one, other) = net.blocks[0], x.chunk(2)
    for head in net.heads:  # the last block has one too
        h = head.through(block, x)
        assert torch.equal(h, torch.cat([block(one), block(other)]))
        assert not torch.allclose(h, block(x))  # statistics over both views are others


def test_noise_is_added_behind_a_block(make_net, make_batch):
    net, (x, _) = make_net("barlow", K=2, noise=0.25, **SMALL), make_batch()
    h, noisy = (torch.cat([net.blocks[0](view) for view in x.chunk(2)]), net.heads[0].through(net.blocks[0], x))
    added = [(a - b).std() / b.std() for a, b in zip(noisy.chunk(2), h.chunk(2), strict=True)]
    assert all(0.2 < share < 0.3 for share in added)


def test_two_views_of_each_image_by_draws_of_their_own():
    data = load("glyphs", train_size=40, val_size=10, test_size=10)
    how = Augment(2, "constant", flip=True)
    ((x, y), *_), (one, labels) = (
        batches(data.train, 20, augment=how, views=2),
        next(iter(batches(data.train, 20, augment=how))),
    )
    assert x.shape[0] == 40 and torch.equal(y, labels.repeat(2)) and torch.equal(x[:20], one)
    assert not torch.equal(x[:20], x[20:])
    with pytest.raises(ValueError, match="views=2 without augment"):
        batches(data.train, 20, views=2)


def test_a_run_trains_and_is_measured():
    recipe = Recipe.of(rule="barlow", K=3, epochs=1, train_size=100, val_size=20, test_size=50, batch=25, **SMALL)
    run = Run(recipe)
    steps = list(run)
    assert len(steps) == 4 and all(step.losses.shape == (3,) for step in steps)
    table = block_table(run)
    assert table["own_head"].isna().tolist() == [True, True, False] and table["linear_probe"].notna().all()


def test_no_rule_is_built_over_it():
    assert "barlow" in RULES and "barlow" not in bases()


@pytest.mark.parametrize(
    "wrong, said", [({"expand": 0}, "expand=0"), ({"lam": -1.0}, "lam=-1"), ({"noise": float("nan")}, "noise=nan")]
)
def test_bad_values_are_refused(make_net, wrong, said):
    with pytest.raises(ValueError, match=said):
        make_net("barlow", K=2, **wrong)
