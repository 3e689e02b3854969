"""compile=True: the same training within rounding, and a line that says why where it can't be done."""

import re
import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from mankit.networks import small_resnet
from mankit.rules import local_net
from mankit.scaling.compiling import compiled_step
from mankit.studies import Recipe, Run
from mankit.training import make_optimizer, train, train_batch


def small_net(rule="dgl", **options):
    torch.manual_seed(0)
    layers, classifier = small_resnet((1, 1), (4, 6), classes=4)
    return local_net(layers, classifier, rule, 3, image_shape=(3, 8, 8), head="0c1f", classes=4, **options)


def batches(n=4):
    g = torch.Generator().manual_seed(0)
    return [(torch.rand(8, 3, 8, 8, generator=g), torch.randint(4, (8,), generator=g)) for _ in range(n)]


def losses(net, batch_step=train_batch):
    steps = train(net, make_optimizer(net, 0.05), batches(), batch_step=batch_step)
    return torch.stack([step.losses for step in steps])


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Untraceable(torch.nn.Module):
    """A loss that reads a number on the way, which can't be part of a graph."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def loss(self, h, x, y):
        loss = self.head.loss(h, x, y)
        return loss * (2 if loss.item() < -1 else 1)

    def after_step(self, next_block):
        pass


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_compiled_and_eager_training_agree_with_one_graph_a_block(capfd):
    eager, fast = small_net("man"), small_net("man")
    expected = losses(eager)
    torch.compiler.reset()
    counters.clear()
    torch.testing.assert_close(losses(fast, compiled_step()), expected, rtol=1e-3, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 3  # and none again at the second batch
    assert "uncompiled" not in capfd.readouterr().err
    statistics = zip(eager.buffers(), fast.buffers(), strict=True)  # the trial batch must leave no trace in them
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in statistics)
    assert all(p.grad is None for p in fast.parameters())


@pytest.fixture
def traced_only(monkeypatch):
    """What torch traces is run as it is: compiling it takes long."""
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile(f, backend="eager", **how))


def test_many_blocks_dont_share_torchs_limit_of_eight_versions(traced_only, capfd):
    nets = []
    for batch_step in (train_batch, compiled_step()):
        torch.manual_seed(0)
        layers, classifier = small_resnet((1,) * 10, tuple(range(4, 14)), classes=4)  # no two units alike
        nets.append(local_net(layers, classifier, "greedy", 11, image_shape=(3, 8, 8), classes=4))
        losses(nets[-1], batch_step)
    assert capfd.readouterr().err == ""
    assert same(*nets)


def test_what_cannot_be_traced_trains_uncompiled_and_says_why(traced_only, capfd):
    eager, fallen = small_net(), small_net()
    for net in (eager, fallen):
        net.heads[1] = Untraceable(net.heads[1])
    expected = losses(eager)
    got = losses(fallen, compiled_step())
    assert torch.equal(got, expected)
    assert same(eager, fallen)  # BatchNorm's statistics too: the first block's trial left no trace
    said = capfd.readouterr().err
    assert re.fullmatch(r"compile: \w+: \w.+; training goes on uncompiled\n", said)


def test_without_a_compiler_a_recipe_trains_all_the_same(capfd, monkeypatch):
    def no_compiler(*args, **how):
        raise RuntimeError("No working C++ compiler found\n\nlook here")

    monkeypatch.setattr(torch, "compile", no_compiler)
    nets = []
    for compile in (False, True):
        run = Run(Recipe("dgl", 3, epochs=1, data_options={"train_size": 200}, compile=compile), device="cpu")
        assert [step.index for step in run] == [0, 1]
        nets.append(run.net)
    assert same(*nets)
    reason = "compile: RuntimeError: No working C++ compiler found; training goes on uncompiled\n"
    assert capfd.readouterr().err == reason
