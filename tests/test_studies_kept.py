"""Runs in a folder: whatever happens to a run, it ends with the weights that it would have had."""

import dataclasses
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from kept_runs import TINY, check_same, train_until
from processes import ctrl_c_while_training

import mankit.studies.kept
from mankit.images import Split
from mankit.scaling import parallel
from mankit.studies import folder as files
from mankit.studies.kept import open_run, train_in
from mankit.studies.record import finished, read_run
from mankit.studies.run import Run

ROOT = Path(__file__).parents[1]
RECIPES = {
    "man": TINY,
    "bp": TINY.but(rule="bp", options={}),
    "infopro, an optimizer a block": TINY.but(rule="infopro", options={"head": "0c1f"}, per_block=True),
    "man over infopro, bf16": TINY.but(options={"base": "infopro", "head": "0c1f"}, bf16=True),
}


# --- interrupted runs end like whole ones ---


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("every", [0, 600], ids=["each step", "each epoch"])
def test_an_interrupted_run_ends_with_the_same_weights(data, tmp_path, name, every):
    train_in(tmp_path / "whole", RECIPES[name], data)
    for step in (2, 4, 5, 9):
        train_until(tmp_path / "parts", step, data, RECIPES[name], every=every)
    train_in(tmp_path / "parts", RECIPES[name], data)
    check_same(tmp_path / "parts", tmp_path / "whole")


def test_the_folder_does_not_change_the_numbers(data, whole):
    run = Run(TINY, data)
    for _ in run:
        pass
    kept = files.load(whole)["net"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in run.net.state_dict().items())


def test_training_in_a_folder_leaves_the_random_numbers_alone(data, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train_until(tmp_path, 4, data)
    train_in(tmp_path, TINY, data)
    assert torch.equal(before, torch.get_rng_state())


def test_random_numbers_go_on_too(data, tmp_path, monkeypatch):
    """A rule of a reader's own may draw some (dropout): the same ones, interrupted or not."""
    drawn, train_batch = [], parallel.train_batch
    monkeypatch.setattr(
        parallel, "train_batch", lambda *a, **k: drawn.append(torch.rand(()).item()) or train_batch(*a, **k)
    )
    torch.manual_seed(5)
    train_in(tmp_path / "whole", TINY, data)
    whole, drawn[:] = drawn[:], []
    torch.manual_seed(5)
    train_until(tmp_path / "parts", 6, data)
    train_in(tmp_path / "parts", TINY, data)
    assert drawn == whole and len(set(drawn)) == 9


def test_runs_in_threads_have_the_numbers_they_have_alone(data, tmp_path):
    recipes = [TINY.but(seed=seed, options={**TINY.options, "decay": decay}) for seed in (0, 1) for decay in (0.0, 0.9)]
    for n, recipe in enumerate(recipes):
        train_in(tmp_path / f"alone{n}", recipe, data)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: train_in(tmp_path / f"side{n}", recipes[n], data), range(4)))
    for n in range(4):
        check_same(tmp_path / f"side{n}", tmp_path / f"alone{n}")


KILLED = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from mankit.studies import Recipe, open_run, train_in
recipe = Recipe.from_json(open("recipe.json").read())

def train(folder):
    with open_run(folder, recipe, device="cpu", every=0.02) as kept:
        for _ in kept:
            pass
        kept.finish()

train("warm")  # the first run of a process is slower than the next ones
begun = time.time()
train("whole")
longest = 0.13 * (time.time() - begun)  # ten of these, on average, are two thirds of a run
kills = 0
while kills < 10:
    child = os.fork()
    if child == 0:
        train("parts")
        os._exit(0)
    time.sleep(random.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    kills += 1
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"only {kills - 1} kills hit"
    print(os.path.getsize("parts/log.jsonl") if os.path.exists("parts/log.jsonl") else 0, end=" ")
train("parts")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_ten_times_at_random_moments(tmp_path):
    recipe = TINY.but(epochs=60, augment=False, options={"base": "infopro", "head": "0c1f"})
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    check_same(tmp_path / "parts", tmp_path / "whole")
    assert len(set(result.stdout.split())) > 2, f"no kill left a part of a run: {result.stdout}"


def test_losses_are_means_over_the_epoch(data, whole):
    losses = torch.stack([step.losses for step in Run(TINY, data)])
    for row, mean in zip(read_run(whole).log, losses.reshape(3, 3, 3).mean(1), strict=True):
        assert row["losses"] == pytest.approx(mean.tolist(), rel=1e-5)


def test_each_epoch_is_told(data, tmp_path):
    rows = []
    train_in(tmp_path, TINY, data, on_epoch=rows.append)
    assert rows == read_run(tmp_path).log and len(rows) == 3


def test_an_epoch_logged_after_the_checkpoint_is_not_there_twice(data, tmp_path, whole):
    train_until(tmp_path, 4, data)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"epoch": 2, "step": 6}\n{"epoch": 3, "st')  # and a kill in the middle of a line
    train_in(tmp_path, TINY, data)
    check_same(tmp_path, whole)


def test_a_finished_run_is_only_read(data, whole, monkeypatch):
    monkeypatch.setattr(Run, "__init__", lambda *_: pytest.fail("prepared again"))
    assert train_in(whole, TINY, data) == read_run(whole).summary == finished(whole, TINY)


# --- the test images are read once ---


def test_test_images_are_read_once_after_training(data, tmp_path, monkeypatch):
    read = []

    def noted(run, split):
        read.append((split, run.done))
        return accuracy(run, split)

    accuracy = mankit.studies.kept.accuracy
    monkeypatch.setattr(mankit.studies.kept, "accuracy", noted)
    train_in(tmp_path, TINY, data)
    train_in(tmp_path, TINY, data)
    assert [done for split, done in read if split is data.val] == [3, 6, 9]
    assert [done for split, done in read if split is data.test] == [9, 9]  # last weights, best weights


def test_best_epoch_is_chosen_on_validation_images(data, tmp_path):
    """The validation labels are what the network of epoch 2 says, so the best epoch isn't the last."""
    recipe, nets, early = TINY.but(epochs=6), {}, Run(TINY.but(epochs=6), data)
    for _ in itertools.islice(early, 6):
        pass
    with torch.no_grad():
        labels = early.net.eval()(data.val.images / 255).argmax(1)
    odd = dataclasses.replace(data, val=Split(data.val.images, labels))
    with open_run(tmp_path, recipe, odd) as kept:
        for _ in kept:
            if kept.run.done % 3 == 0:
                nets[kept.run.done // 3] = {name: value.clone() for name, value in kept.run.net.state_dict().items()}
        summary = kept.finish()
    values = [row["val_accuracy"] for row in kept.log]
    assert summary.val_best == max(values) and summary.best_epoch == values.index(max(values)) + 1 == 2
    run = Run(recipe, odd)
    for epoch, expected in ((summary.best_epoch, summary.test_best_val), (6, summary.test_last)):
        run.net.load_state_dict(nets[epoch])
        run.net.eval()
        with torch.no_grad():
            right = (run.net(odd.test.images.float() / 255).argmax(1) == odd.test.labels).float().mean().item()
        assert expected == pytest.approx(100 * right)
    assert summary.val_last == values[-1]


def test_without_validation_images_there_is_no_best_epoch(data, tmp_path):
    empty = dataclasses.replace(data, val=Split(data.val.images[:0], data.val.labels[:0]))
    summary = train_in(tmp_path, TINY, empty)
    assert summary.best_epoch is summary.val_best is summary.val_last is summary.test_best_val is None
    assert 0 <= summary.test_last <= 100
    assert read_run(tmp_path).summary == summary


def test_the_test_images_wait_for_the_end(data, tmp_path):
    with open_run(tmp_path, TINY, data) as kept:
        next(iter(kept))
        with pytest.raises(ValueError, match="step 1 of 9"):
            kept.finish()


# --- Ctrl-C ---


def test_ctrl_c_saves_after_the_step_and_says_how_to_go_on(data, tmp_path, whole):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 5 of 9, saved in .*start it again to go on"):
        with open_run(tmp_path, TINY, data) as kept:
            for step in kept:
                if step.index == 4:
                    signal.raise_signal(signal.SIGINT)
    assert files.load(tmp_path)["done"] == 5
    assert signal.getsignal(signal.SIGINT) is before
    train_in(tmp_path, TINY, data)
    check_same(tmp_path, whole)


def test_second_ctrl_c_stops_at_once(data, tmp_path, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt) as stop, open_run(tmp_path, TINY, data) as kept:
        for _ in kept:
            ours = signal.getsignal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            while signal.getsignal(signal.SIGINT) is ours:  # Python takes a signal between two instructions
                time.sleep(0.01)
            signal.raise_signal(signal.SIGINT)
            time.sleep(60)
    assert str(stop.value) == "" and not (tmp_path / "checkpoint.pt").exists()


def test_ctrl_c_in_a_real_process(tmp_path, mankit):
    words = ["train", "-K", "2", "--train-size", "200", "--batch", "20", "--device", "cpu", "--epochs"]
    long = [*words, "1000", "-o", str(tmp_path / "long")]
    code, out, err = ctrl_c_while_training(*long, cwd=ROOT)
    assert code == 130 and out == b""
    line = err.decode().splitlines()[-1]
    assert re.fullmatch(r"mankit: stopped at step \d+ of 10000, saved in .*/long: start it again to go on", line)
    assert files.load(tmp_path / "long")["done"] > 0


def test_the_command_goes_on_and_then_only_reads(mankit, tmp_path, monkeypatch):
    words = ("train", "-K", 2, "--train-size", 100, "--batch", 20, "--device", "cpu", "--epochs", 2, "-o")
    expected = mankit(*words, tmp_path / "whole").out.splitlines()[1:]
    whole = Run.__iter__

    def stopped(run):
        for step in whole(run):
            if step.index == 7:
                signal.raise_signal(signal.SIGINT)
            yield step

    monkeypatch.setattr(Run, "__iter__", stopped)
    result = mankit(*words, tmp_path / "parts")
    assert result.code == 130 and result.out == "" and "stopped at step 8 of 10" in result.err
    monkeypatch.setattr(Run, "__iter__", whole)
    assert mankit(*words, tmp_path / "parts").out.splitlines()[1:] == expected
    monkeypatch.setattr(Run, "__init__", lambda *_: pytest.fail("prepared again"))
    for name in ("write", "locked"):  # a finished run in a folder that can't be written is printed too
        monkeypatch.setattr(files, name, lambda *_, **__: pytest.fail("written again"))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: pytest.fail("tried whether it can be written"))
    assert mankit(*words, tmp_path / "parts").out.splitlines()[1:] == expected
    check_same(tmp_path / "parts", tmp_path / "whole")


def test_checkpoint_of_another_network_is_a_line(data, tmp_path):
    train_until(tmp_path, 4, data)
    (tmp_path / "recipe.json").write_text(TINY.but(widths=(4, 6, 9)).to_json())
    with pytest.raises(ValueError, match="is of another recipe or other data: remove"):
        train_in(tmp_path, TINY.but(widths=(4, 6, 9)), data)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", None], ids=["empty", "no text", "half"])
def test_a_damaged_table_is_made_anew(data, tmp_path, damage):
    train_in(tmp_path, TINY, data, table=True)
    file = tmp_path / "blocks.csv"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    train_in(tmp_path, TINY, data, table=True)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("other", [{"lr": 0.05}, {"seed": 1}, {"options": {"head": "0c1f", "decay": 0.5}}], ids=str)
def test_old_weights_are_no_new_run(data, tmp_path, other):
    """Somebody removes what names the run, and starts another one in its folder."""
    train_in(tmp_path, TINY, data)
    for name in ("recipe.json", "summary.json"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="checkpoint.pt is of another recipe or other data: remove"):
        train_in(tmp_path, TINY.but(**other), data)


def test_a_checkpoint_of_other_images_is_no_checkpoint_of_this_run(data, tmp_path):
    train_until(tmp_path, 4, data)
    other = dataclasses.replace(data, train=Split(255 - data.train.images, data.train.labels))
    with pytest.raises(ValueError, match="other data"):
        train_in(tmp_path, TINY, other)


def test_run_that_diverges_is_a_line(data, tmp_path):
    with pytest.raises(ValueError, match=r"block \d of 3 has loss (nan|inf) at step \d: choose lr below 1e\+20"):
        train_in(tmp_path, TINY.but(lr=1e20, epochs=6), data)


def test_recipe_that_cannot_be_built_leaves_no_run(data, tmp_path):
    with pytest.raises(ValueError, match="K=99"):
        train_in(tmp_path, TINY.but(K=99), data)
    assert not (tmp_path / "recipe.json").exists()
    train_in(tmp_path, TINY, data)
