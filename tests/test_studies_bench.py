"""Bench: what is timed is the training step, what is counted is right, and the command's table holds both."""

import re
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch
from processes import interruptible

from mankit.rules import RULES, Entry
from mankit.studies import bench as library
from mankit.studies.bench import CHECKPOINTED, bench, build, costs, methods

COLUMNS = ["method", "ratio", "ratio_low", "ratio_high", "step_ms", "images_per_s", "saved_kib", "gflops"]
TINY = {"network": "lab", "K": 3, "batch": 4, "size": 8, "rounds": 3}


def net_and_batch(K=1):
    torch.manual_seed(0)
    net = build("BP" if K == 1 else "DGL", "lab", K, size=8).double()
    return net, torch.rand(6, 3, 8, 8, dtype=torch.float64), torch.randint(10, (6,))


# --- the table ---


def test_a_row_for_each_method_with_ratios_to_bp():
    table = bench(**TINY)
    assert list(table.columns) == COLUMNS
    assert list(table["method"]) == methods()
    assert table["ratio"][0] == 1.0
    assert (table[COLUMNS[1:]] > 0).all().all()
    assert table["images_per_s"].to_numpy() == pytest.approx(4000 / table["step_ms"].to_numpy())


def test_times_are_medians_of_interleaved_rounds(monkeypatch):
    """A clock that the test turns: round 2 is ten times slower for all, InfoPro is slow once for itself."""
    order = []
    monkeypatch.setattr(library, "train", lambda net, *_, **__: iter(lambda: order.append(net) or 1, None))
    cost = dict(zip(methods(), (1.0, 1.5, 1.8, 2.0, 3.0, 5.0, 5.5, 2.5, 4.0, 1.7, 6.0), strict=True))
    nets = {}
    monkeypatch.setattr(library, "build", lambda m, *a, real=build: nets.setdefault(m, real(m, *a)))

    def seconds(run, steps, x):
        next(run)
        (method,) = (m for m, net in nets.items() if net is order[-1])
        turn = order.count(order[-1]) - 2  # the first one warms up
        slower = 10 if turn == 1 else 1
        return cost[method] * slower * (7 if method == "InfoPro" and turn == 2 else 1)

    monkeypatch.setattr(library, "seconds_a_step", seconds)
    table = bench(**TINY).set_index("method")
    assert table["ratio"].to_dict() == pytest.approx(cost)
    assert table["ratio_high"].to_dict() == pytest.approx(cost | {"InfoPro": cost["InfoPro"] * 4})  # 1, 1 and 7 times
    assert table["ratio_low"].to_dict() == pytest.approx(cost)
    assert table["step_ms"].to_dict() == pytest.approx({m: 1000 * c for m, c in cost.items()} | {"InfoPro": 21000})
    names = [m for net in order for m in methods() if nets[m] is net]
    assert names == methods() * 4


def test_counted_costs_are_the_published_ones():
    """ResNet-32: BP saves 2416 KiB and costs 0.414 GFLOPs an image; a checkpoint a layer adds a third of the work."""
    torch.manual_seed(0)
    x, y = torch.rand(8, 3, 32, 32), torch.randint(10, (8,))
    bp = build("BP", "cifar_resnet32", 1)
    plain, recomputed = costs(bp, x, y), costs(bp, x, y, checkpoints=True)
    assert plain == pytest.approx({"saved_kib": 2416, "gflops": 0.4139}, rel=0.01)
    assert recomputed["gflops"] / plain["gflops"] == pytest.approx(4 / 3, rel=0.01)
    assert recomputed["saved_kib"] / plain["saved_kib"] == pytest.approx(0.28, abs=0.03)
    half = costs(bp, x, y, bf16=True)
    assert half["saved_kib"] < 0.6 * plain["saved_kib"] and half["gflops"] == plain["gflops"]


def test_two_views_of_an_image_are_one_image():
    _, x, y = net_and_batch()
    twice, once = (build(method, "lab", 3, size=8).double() for method in ("Barlow Twins", "Greedy"))
    assert all(2 < costs(twice, x, y)[cost] / costs(once, x, y)[cost] for cost in ("saved_kib", "gflops"))


def test_costs_are_an_images_whatever_the_batch():
    net, x, y = net_and_batch()
    assert costs(net, x[:2], y[:2]) == pytest.approx(costs(net, x, y), rel=0.05)


def test_a_rule_of_ones_own_is_timed_too(monkeypatch):
    monkeypatch.setitem(RULES, "mine", Entry(RULES["greedy"].build, "Mine"))
    assert methods() == [
        "BP",
        CHECKPOINTED,
        "Greedy",
        "DGL",
        "InfoPro",
        "MAN",
        "MAN++",
        "PredSim",
        "AugLocal",
        "LLS",
        "Barlow Twins",
        "Mine",
    ]
    assert build("Mine", "lab", 3, size=8).K == 3
    with pytest.raises(ValueError, match="method='Mina': did you mean 'Mine'"):
        build("Mina", "lab", 3)


def test_every_method_trains_what_its_name_says():
    nets = {method: build(method, "lab", 3, size=8) for method in methods()}
    assert [net.K for net in nets.values()] == [1, 1] + 9 * [3]
    heads = {method: type(net.heads[0]).__name__ for method, net in nets.items() if net.K > 1}
    assert heads == {
        "Greedy": "Head",
        "DGL": "Head",
        "InfoPro": "InfoProHead",
        "MAN": "MomentumHead",
        "MAN++": "ScaledMomentumHead",
        "PredSim": "PredSimHead",
        "AugLocal": "Head",
        "LLS": "WaveHead",
        "Barlow Twins": "TwinHead",
    }
    assert all(type(nets[method].heads[0].base).__name__ == "InfoProHead" for method in ("MAN", "MAN++"))
    assert all(type(layer).__name__ == "Checkpointed" for layer in nets[CHECKPOINTED].blocks[0])


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"batch": 1}, {"steps": 0}, {"size": 0}, {"K": 10}], ids=str)
def test_impossible_numbers_are_one_clear_line(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=rf"{name}={value}.*choose") as error:
        bench(**{**TINY, **wrong})
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_peak_is_near_the_counted_bytes():
    table = bench(batch=128, rounds=3, steps=5, device="cuda").set_index("method")
    assert table["peak_kib"]["BP"] == pytest.approx(table["saved_kib"]["BP"], rel=0.1)
    assert table["peak_kib"]["DGL"] < table["peak_kib"]["BP"]


# --- the command ---

WORDS = ("bench", "--network", "lab", "--K", 3, "--batch", 4, "--size", 8, "--rounds", 2, "--device", "cpu")


def test_command_prints_the_table_and_writes_it(mankit, tmp_path):
    result = mankit(*WORDS, "--csv", tmp_path / "bench.csv")
    assert result.code == 0
    title, header, *rows, note, more = result.out.splitlines()
    assert title == "lab, K=3, batch 4, 8x8, head 2c2f; cpu, threads 1; medians of 2 rounds"
    assert header.split()[0] == "method" and "step / BP's" in header and "GFLOPs/image" in header
    assert [re.split(r"\s{2,}", row.strip())[0] for row in rows] == methods()
    assert "median and quartiles over the rounds" in note and "within this run only" in more
    written = pd.read_csv(tmp_path / "bench.csv")
    assert list(written.columns[:8]) == COLUMNS
    assert set(written["network"]) == {"lab"} and set(written["device"]) == {"cpu, threads 1"}
    shown = [re.split(r"\s{2,}", row.strip())[1] for row in rows]
    parts = zip(written["ratio"], written["ratio_low"], written["ratio_high"], strict=True)
    assert shown == [f"{ratio:.2f} ({low:.2f} to {high:.2f})" for ratio, low, high in parts]


@pytest.mark.parametrize(
    "words, fragment",
    [
        (["--K", 99], "choose 1..9"),
        (["--rounds", 0], "rounds=0: choose 1 or more"),
        (["--head", "9z"], "head='9z'"),
        (["--network", "lap"], "did you mean 'lab'"),
        (["--device", "gpu"], "auto, cpu or cuda"),
        (["--csv", "no/such/folder/file.csv"], "can't write no/such/folder/file.csv"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(mankit, words, fragment):
    result = mankit(*WORDS, *words)
    assert result.code == 2 and result.out == "" and result.err.count("\n") == 1
    assert result.err.startswith("mankit: ") and fragment in result.err


def test_help_has_an_example(mankit):
    result = mankit("bench", "--help")
    assert result.code == 0 and "Example: mankit bench" in result.out and "--compile" in result.out


def test_ctrl_c_is_one_line_and_code_130():
    command = [sys.executable, "-m", "mankit", *map(str, WORDS[:-4]), "--rounds", "100000", "--device", "cpu"]

    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=interruptible)
    try:
        shown = b""
        while b"round" not in shown:
            shown += process.stderr.read1(100)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130 and out == b""
    assert b"stopped before the end" in err and b"Traceback" not in err
