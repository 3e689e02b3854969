"""One run on several processes, over gloo: the numbers of one process, and what happens when a process is lost."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import ranks
import torch
from filelock import FileLock
from kept_runs import TINY, check_same, train_until
from torch import nn

from mankit.blocks import LocalNet
from mankit.studies import Run, open_run, read_run, train_in
from mankit.studies.timeline import _call, timeline
from mankit.training import train_batch

by_case = pytest.mark.parametrize("case", ranks.CASES, ids=lambda case: "-".join(map(str, case)))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of what two processes have left, of every case; pytest's workers share one."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = (tmp_path_factory.mktemp("two") if alone else tmp_path_factory.getbasetemp().parent) / "ranks"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = folder.with_name("ranks-unfinished")
            train_until(made / "kept", 2, None, ranks.KEPT, device="cpu", every=0)
            ranks.on_ranks(ranks.everything, 2, made)
            made.rename(folder)
    return folder


def read(folder, kind, case):
    return torch.load(folder / f"{kind}-{'-'.join(map(str, case))}.pt")


def alone(case, dtype=torch.float32, **how):
    name, order, per = case
    return ranks.trained(
        ranks.net_of(name, dtype=dtype), functools.partial(train_batch, ema_update=order, **how), per, dtype
    )


def unequal(a, b):
    assert a.keys() == b.keys() and len(a) > 50
    return [name for name in a if not torch.equal(a[name], b[name])]


@by_case
def test_blocks_on_two_processes_are_one_process_bit_for_bit(two, case):
    assert unequal(read(two, "blocks", case), alone(case)) == []


@pytest.mark.slow
def test_blocks_on_four_processes_are_one_process_bit_for_bit(tmp_path):
    ranks.on_ranks(ranks.by_four, 4, tmp_path)
    for case in ranks.SOME:
        assert unequal(read(tmp_path, "blocks", case), alone(case)) == [], case


def in_two_parts(block, head, h, x, y):
    """`block_forward` that normalises each half of a batch by itself."""
    parts = [block(part) for part in h.chunk(2)]
    losses = [head.loss(*part) for part in zip(parts, x.chunk(2), y.chunk(2), strict=True)]
    return torch.cat(parts), sum(losses) / 2


@by_case
def test_data_on_two_processes_is_one_process_that_normalises_each_half(two, case):
    got, want = read(two, "data", case), alone(case, torch.float64, forwards=[in_two_parts] * 5)
    assert got.keys() == want.keys()
    learnt = [name for name in got if "running" not in name and "tracked" not in name]  # these are process 0's
    assert max((got[name] - want[name]).abs().max().item() for name in learnt) < 1e-12


def test_ones_own_stage_step_runs_there(two):
    assert unequal(read(two, "own", ("man", "before", False)), alone(("man", "before", False))) == []


def test_back_propagation_over_two_processes_is_back_propagation(two):
    net, got = ranks.net_of("man"), read(two, "locked", ("man", "before", False))
    whole = LocalNet([nn.Sequential(*net.layers)], [net.heads[-1]], net.normalize)
    ranks.trained(whole, train_batch)
    learnt = {name: value for name, value in net.state_dict().items() if name.startswith(("blocks", "heads.4"))}
    assert len(learnt) > 30 and all(torch.equal(value, got[name]) for name, value in learnt.items())


def test_processes_that_differ_are_refused_and_what_cannot_be_shared_out_too(two):
    for rank in (0, 1):
        differ, batch, views, blocks = torch.load(two / f"heard-{rank}.pt")
        assert differ.startswith("process 1 has lr 0.2, process 0 has 0.1: ") and "\n" not in differ
        assert batch == "batch=7: choose a multiple of 2 processes, 2 images or more for each"
        assert views.startswith("parallel=data: ") and views.endswith("choose blocks")
        assert blocks.startswith("parallel=blocks: 2 processes for 1 trained blocks")


def start(folder, recipe, how):
    """The command by torchrun, on two processes."""
    (folder.parent / "recipe.json").write_text(recipe.to_json())
    words = ["--recipe", folder.parent / "recipe.json", "--device", "cpu", "-o", folder, "--parallel", how]
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "mankit", "train", *words]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", *map(str, command)], stderr=subprocess.PIPE, text=True, env=env)


def test_when_a_process_is_killed_the_others_end_and_one_process_goes_on(tmp_path):
    recipe, folder = TINY.but(epochs=15, augment=False), tmp_path / "run"
    process = start(folder, recipe, "blocks")
    try:
        while not (folder / "log.jsonl").exists() or len(read_run(folder).log) < 2:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        others = psutil.Process(process.pid).children()
        lost = next(other for other in others if other.environ().get("RANK") == "1")
        lost.send_signal(signal.SIGKILL)
        err = process.communicate(timeout=300)[1]
    finally:
        process.kill()
    assert process.returncode == 1 and not any(other.is_running() for other in others)
    said = [line[line.index("mankit: ") :] for line in err.splitlines() if "mankit: " in line]
    assert len(said) == 1 and said[0].startswith("mankit: process 0: another process of this run has ended")
    with open_run(folder, recipe, device="cpu") as kept:
        assert 6 <= kept.done < len(kept)
    train_in(folder, recipe, device="cpu")
    train_in(tmp_path / "alone", recipe, device="cpu")
    check_same_values(folder, tmp_path / "alone")


def test_a_run_goes_on_in_mid_epoch_with_more_processes(two, tmp_path):
    train_in(tmp_path, ranks.KEPT, device="cpu")
    check_same_values(two / "kept", tmp_path)


def check_same_values(folder, other):
    """As `check_same`, with the optimizer's tensors in the order of the weights."""
    from mankit.studies import folder as files

    for each in (folder, other):
        state = files.load(each)
        for optimizer in state["optimizers"]:
            optimizer["state"] = dict(sorted(optimizer["state"].items()))
        files.save(each, state)
    check_same(folder, other)


def test_without_torchrun_or_a_folder_it_says_what_to_do(mankit, tmp_path):
    for words, cure in ((["-o", tmp_path], "torchrun --nproc-per-node 2"), ([], "-o FOLDER")):
        result = mankit("train", "--parallel", "blocks", "--device", "cpu", *words)
        assert result.code == 2 and result.err.count("\n") == 1 and cure in result.err


def test_a_timeline_says_who_computes_and_who_waits():
    recipe = TINY.but(augment=False)
    got = timeline(recipe, processes=2, steps=3)
    run = Run(recipe, device="cpu")
    losses = torch.stack([step.losses for step in itertools.islice(run, 3)])
    assert torch.equal(got.losses, losses)
    assert unequal(got.weights, run.net.state_dict()) == []
    rows = got.rows
    assert [i for own in got.blocks for i in own] == [0, 1, 2] and 1 <= got.bound <= 2
    assert len(got.cpu) == 2 and min(got.cpu) > 0
    assert set(rows.what) == {"wait", "compute", "send"} and (rows.end >= rows.begin).all() and rows.begin.min() == 0
    computed = rows[rows.what == "compute"]
    assert sorted(zip(computed.step, computed.block, strict=True)) == list(itertools.product(range(3), range(3)))
    sent, waited = (rows[(rows.what == what) & (rows.process == p)] for what, p in (("send", 0), ("wait", 1)))
    assert len(sent) == 3
    assert (sent.begin.to_numpy() <= waited.groupby("step").end.max().to_numpy()).all()  # one clock


def test_what_a_process_said_is_the_error():
    code = "import sys; sys.exit('noise\\nmankit: NameError: missing')"
    with pytest.raises(ValueError, match="^NameError: missing$"):
        _call([sys.executable, "-c", code])
