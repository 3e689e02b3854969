"""Checkpoints: the same gradients and statistics with less kept."""

import copy

import pytest
import torch

from mankit.measure import SavedBytes, checkpointed_bytes
from mankit.networks import build_network
from mankit.rules import local_net
from mankit.scaling.checkpointing import checkpointed
from mankit.training import local_step, make_optimizer, train


def net_and_batch(K=1):
    torch.manual_seed(0)
    layers, classifier = build_network("lab")
    net = local_net(layers, classifier, "bp" if K == 1 else "dgl", K, image_shape=(3, 8, 8)).double()
    return net, torch.rand(6, 3, 8, 8, dtype=torch.float64), torch.randint(10, (6,))


@pytest.mark.parametrize("K", [1, 3])
def test_checkpoints_leave_gradients_and_statistics_as_they_are(K):
    plain, x, y = net_and_batch(K)
    recomputed = checkpointed(copy.deepcopy(plain))
    for net in (plain, recomputed):
        h = net.normalize(x)
        for block, head in zip(net.blocks, net.heads, strict=True):
            h, _ = local_step(block, head, h, x, y)
    gradients = [[p.grad for p in net.parameters()] for net in (plain, recomputed)]
    assert len(gradients[0]) > 20 and all(g is not None for g in gradients[0])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), recomputed.buffers(), strict=True))


def test_checkpointed_training_gives_the_same_weights():
    plain, x, y = net_and_batch()
    recomputed = checkpointed(copy.deepcopy(plain))
    for net in (plain, recomputed):
        for _ in train(net, make_optimizer(net), [(x, y)] * 3):
            pass
    states = (net.state_dict().values() for net in (plain, recomputed))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert all(m.momentum == 0.1 for m in recomputed.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_checkpoints_keep_less_and_run_again():
    plain, x, y = net_and_batch()
    runs = []
    plain.blocks[0][4].conv1.register_forward_hook(lambda *_: runs.append(1))
    kept = {}
    for name, net in (("plain", plain), ("checkpointed", checkpointed(plain))):
        with SavedBytes([*net.parameters(), *net.buffers(), x, y]) as saved:
            local_step(net.blocks[0], net.heads[0], x, x, y)
        kept[name] = saved.bytes
    assert len(runs) == 3  # once, and twice
    assert kept["checkpointed"] < 0.5 * kept["plain"]
    assert checkpointed_bytes(plain, x, y) < 0.6 * kept["plain"]
