"""Without a GPU: torch's `meta` device has no numbers, so whatever waits for one, or mixes two devices, fails here."""

import contextlib

import pytest
import torch

from mankit import batches, local_net, measure
from mankit.images import Augment, Split
from mankit.networks import Normalize, build_network
from mankit.rules import RULES, entry_of
from mankit.training import make_optimizer, set_lr, train_batch


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it doesn't know this device


def on_meta(rule, K=4, **options):
    layers, classifier = build_network("lab")
    K = 1 if entry_of(rule).one_block else K
    how = {"image_shape": (3, 16, 16), "normalize": Normalize((0.5,) * 3, (0.3,) * 3)}
    return local_net(layers, classifier, rule, K, **how, **options).to("meta")


def feed(views=1):
    images = torch.zeros(40, 3, 16, 16, dtype=torch.uint8, device="meta")
    split = Split(images, torch.zeros(40, dtype=torch.int64, device="meta"))
    return batches(split, 8, 2, augment=Augment(2, flip=True), views=views)


@pytest.mark.parametrize("per_block", [False, True])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_step_of_every_rule_waits_for_nothing(rule, per_block):
    net = on_meta(rule)
    optimizers = make_optimizer(net, per_block=per_block)
    optimizers = optimizers if per_block else [optimizers]
    for (x, y), ema_update in zip(feed(net.heads[0].views), ("before", "after"), strict=False):
        set_lr(optimizers, 0.05)
        losses = train_batch(net, optimizers, x, y, ema_update=ema_update)
        assert losses.device.type == "meta" and losses.shape == (net.K,)
        assert all(p.device.type == "meta" for p in net.parameters())


@pytest.mark.parametrize("options", [{"contrast": True}, {"head": "mlp"}, {"norm": True}])
def test_so_do_infopros_options(options):
    net = on_meta("infopro", **options)
    x, y = next(feed())
    assert train_batch(net, [make_optimizer(net)], x, y).device.type == "meta"


# --- measures: they give numbers, so they wait for the device, but only as often as they must ---


@pytest.fixture
def waits(monkeypatch):
    """The calls that wait for a device. Here they give zeros (a tensor of them: on the CPU), and are counted."""
    calls = []

    def counted(name, zeros):
        def wait(tensor, *args):
            if tensor.device.type == "meta":
                calls.append(name)
                tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
            return zeros(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, wait)

    for name in ("cpu", "tolist", "item", "__float__", "__int__", "__index__", "__bool__"):
        counted(name, getattr(torch.Tensor, name))
    return calls


def two_batches():
    return [batch for batch, _ in zip(feed(), range(2), strict=False)]


BATCHES, BLOCKS = 2, 4
MEASURES = {  # how often each waits: for two batches, four blocks
    "evaluate": (lambda net: measure.evaluate(net, two_batches()), 2 * BATCHES + 1),
    "block_accuracy": (lambda net: measure.block_accuracy(net, two_batches()), 2 * BATCHES + 1),
    "block_features": (lambda net: measure.block_features(net, two_batches()), (2 + BLOCKS) * BATCHES),
    "block_cka": (lambda net: measure.block_cka(net, net, two_batches()), 1),
    "block_sums": (lambda net: measure.block_sums(net, two_batches(), 10), BATCHES),
    "lda": (lambda net: measure.lda(measure.block_sums(net, two_batches(), 10)[0], 0.1), BATCHES + 1),
    "redundancy": (lambda net: measure.redundancy(net, two_batches()), BATCHES + BLOCKS),
    "ema_distance": (measure.ema_distance, BLOCKS - 1),
    "gradient_cosine": (lambda net: measure.gradient_cosine(net, *two_batches()[0]), BLOCKS),
    "saved_bytes": (lambda net: measure.saved_bytes(net, *two_batches()[0]), 0),
    "flops": (lambda net: measure.flops(net, *two_batches()[0]), 0),
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_waits_as_seldom_as_it_may_and_mixes_no_devices(name, waits):
    call, most = MEASURES[name]
    call(on_meta("man"))
    assert len(waits) <= most, waits
