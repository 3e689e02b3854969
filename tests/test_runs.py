"""Runs in a folder: whatever happens to a run, it ends with the weights that it would have had."""

import dataclasses
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from processes import ctrl_c_while_training

import mankit.runs
import mankit.training
from mankit import checkpoints
from mankit.images import Augment, Split
from mankit.recipes import Recipe, Run
from mankit.records import finished, read_run
from mankit.runs import open_run, train_in

ROOT = Path(__file__).parents[1]
TINY = Recipe(
    rule="man",
    K=3,
    options={"head": "0c1f", "decay": 0.9},
    widths=(4, 6, 8),
    epochs=3,
    batch=20,
    augment=True,
    data_options={"train_size": 60, "val_size": 30, "test_size": 50},
)
RECIPES = {
    "man": TINY,
    "bp": TINY.but(rule="bp", options={}),
    "infopro, an optimizer a block": TINY.but(rule="infopro", options={"head": "0c1f"}, per_block=True),
    "man over infopro, bf16": TINY.but(options={"base": "infopro", "head": "0c1f"}, bf16=True),
}


@pytest.fixture(scope="module")
def data():
    return dataclasses.replace(TINY.load_data(), augment=Augment(2, flip=True))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of a run of TINY that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    train_in(folder, TINY, data)
    return folder


def train_until(folder, step, data, recipe=TINY, **options):
    """Train and leave after some steps, as a kill would: nothing is saved on the way out."""
    with open_run(folder, recipe, data, **options) as kept:
        for _ in kept:
            if kept.run.done == step:
                return


def check_same(folder, other, leave_out=()):
    """The last checkpoints are equal bit for bit (but for seconds), and the logs have each epoch once."""
    a, b = ({k: v for k, v in checkpoints.load(each).items() if k not in leave_out} for each in (folder, other))
    assert a.keys() == b.keys() and a["done"] == b["done"]
    assert tensors(a) and all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))
    rows, others = ([{**row, "seconds": 0} for row in read_run(each).log] for each in (folder, other))
    assert rows == others and [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    without = [dataclasses.replace(read_run(each).summary, seconds=0) for each in (folder, other)]
    assert without[0] == without[1]


def tensors(value):
    """All tensors in nested dictionaries and lists, in their order."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for each in values for tensor in tensors(each)]


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
    run = TINY.prepare(data)
    for _ in run:
        pass
    kept = checkpoints.load(whole)["net"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in run.net.state_dict().items())


def test_training_in_a_folder_leaves_the_random_numbers_alone(data, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train_until(tmp_path, 4, data)
    train_in(tmp_path, TINY, data)
    assert torch.equal(before, torch.get_rng_state())


def test_random_numbers_go_on_too(data, tmp_path, monkeypatch):
    """A rule of a reader's own may draw some (dropout): the same ones, interrupted or not."""
    drawn, train_batch = [], mankit.training.train_batch
    monkeypatch.setattr(
        mankit.training, "train_batch", lambda *a, **k: drawn.append(torch.rand(()).item()) or train_batch(*a, **k)
    )
    train_in(tmp_path / "whole", TINY, data)
    whole, drawn[:] = drawn[:], []
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
        # torch has one state of random numbers for all threads, which mankit's own rules don't use
        check_same(tmp_path / f"side{n}", tmp_path / f"alone{n}", leave_out=["rng"])


KILLED = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from mankit.runs import open_run, train_in
from mankit.recipes import Recipe
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
    recipe = TINY.but(epochs=60, rule="man", options={"base": "infopro", "head": "0c1f"})
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    check_same(tmp_path / "parts", tmp_path / "whole")
    assert len(set(result.stdout.split())) > 2, f"no kill left a part of a run: {result.stdout}"


# --- what the folder holds ---


def test_the_folder_holds_everything(whole):
    names = {file.name for file in whole.iterdir()} - {".lock"}
    assert names == {
        "recipe.json",
        "environment.json",
        "log.jsonl",
        "checkpoint.pt",
        "checkpoint.before.pt",
        "summary.json",
    }
    record = read_run(whole)
    assert record.recipe == TINY
    assert [row["step"] for row in record.log] == [3, 6, 9]
    for row in record.log:
        assert list(row) == ["epoch", "step", "lr", "losses", "val_accuracy", "seconds"]
        assert len(row["losses"]) == 3 and 0 <= row["val_accuracy"] <= 100
    seconds = [row["seconds"] for row in record.log]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert record.environment["torch"] == torch.__version__ and record.environment["device"] == "cpu"
    assert record.environment["threads"] == 1
    revision = record.environment["git"]
    assert revision is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision)


def test_losses_are_means_over_the_epoch(data, whole):
    losses = torch.stack([step.losses for step in TINY.prepare(data)])
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
    monkeypatch.setattr(Recipe, "prepare", lambda *_: pytest.fail("prepared again"))
    assert train_in(whole, TINY, data) == read_run(whole).summary == finished(whole, TINY)


def test_git_revision_of_a_package_that_is_no_clone(monkeypatch, tmp_path):
    monkeypatch.setattr("mankit.records.__file__", str(tmp_path / "site-packages" / "mankit" / "records.py"))
    from mankit.records import environment

    assert environment(torch.device("cpu"))["git"] is None


# --- the test images are read once ---


def test_test_images_are_read_once_after_training(data, tmp_path, monkeypatch):
    read = []

    def noted(run, split):
        read.append((split, run.done))
        return accuracy(run, split)

    accuracy = mankit.runs.accuracy
    monkeypatch.setattr(mankit.runs, "accuracy", noted)
    train_in(tmp_path, TINY, data)
    train_in(tmp_path, TINY, data)
    assert [done for split, done in read if split is data.val] == [3, 6, 9]
    assert [done for split, done in read if split is data.test] == [9, 9]  # last weights, best weights


def test_best_epoch_is_chosen_on_validation_images(data, tmp_path):
    """Validation labels that nothing can learn, so that the best epoch is hardly the last."""
    labels = torch.randint(10, (30,), generator=torch.Generator().manual_seed(3))
    odd = dataclasses.replace(data, val=Split(data.val.images, labels))
    recipe, nets = TINY.but(epochs=6), {}
    with open_run(tmp_path, recipe, odd) as kept:
        for _ in kept:
            if kept.run.done % 3 == 0:
                nets[kept.run.done // 3] = {name: value.clone() for name, value in kept.run.net.state_dict().items()}
        summary = kept.finish()
    values = [row["val_accuracy"] for row in kept.log]
    assert summary.val_best == max(values) and summary.best_epoch == values.index(max(values)) + 1 < 6
    run = recipe.prepare(odd)
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
    assert checkpoints.load(tmp_path)["done"] == 5
    assert signal.getsignal(signal.SIGINT) is before
    train_in(tmp_path, TINY, data)
    check_same(tmp_path, whole)


def test_second_ctrl_c_stops_at_once(data, tmp_path):
    with pytest.raises(KeyboardInterrupt) as stop, open_run(tmp_path, TINY, data) as kept:
        for _ in kept:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
    assert str(stop.value) == "" and not (tmp_path / "checkpoint.pt").exists()


def test_ctrl_c_in_a_real_process(tmp_path, mankit):
    words = ["train", "-K", "2", "--train-size", "200", "--batch", "20", "--device", "cpu", "--epochs"]
    long = [*words, "1000", "-o", str(tmp_path / "long")]
    code, out, err = ctrl_c_while_training(*long, cwd=ROOT)
    assert code == 130 and out == b""
    line = err.decode().splitlines()[-1]
    assert re.fullmatch(r"mankit: stopped at step \d+ of 10000, saved in .*/long: start it again to go on", line)
    assert checkpoints.load(tmp_path / "long")["done"] > 0


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
    monkeypatch.setattr(Recipe, "prepare", lambda *_: pytest.fail("prepared again"))
    assert mankit(*words, tmp_path / "parts").out.splitlines()[1:] == expected
    check_same(tmp_path / "parts", tmp_path / "whole")


# --- what may go wrong ---


def test_another_recipe_in_the_folder_is_refused_by_its_fields(mankit, data, whole):
    other = TINY.but(epochs=4, options={"head": "0c1f", "decay": 0.5})
    for use in (train_in, finished):
        with pytest.raises(ValueError, match=r"another run \(options .*0\.9.* there and .*0\.5.* here, epochs 3 "):
            use(whole, other)
    result = mankit("train", "--rule", "dgl", "-o", whole)
    assert result.code == 2 and result.err.count("\n") == 1 and "rule man there and dgl here" in result.err
    assert read_run(whole).recipe == TINY


def test_folder_in_use_is_said(data, tmp_path):
    with open_run(tmp_path, TINY, data):
        with pytest.raises(ValueError, match=f"{tmp_path} is in use by another process: wait for it"):
            train_in(tmp_path, TINY, data)
    train_in(tmp_path, TINY, data)  # and it is free again


def test_a_killed_process_lets_go_of_the_folder(data, tmp_path):
    code = (
        f"from mankit.runs import open_run, Recipe; import os, signal\nwith open_run({str(tmp_path)!r}, "
        f"Recipe.from_json({TINY.to_json()!r}), device='cpu'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    train_in(tmp_path, TINY, data)


def check_line_and_checkpoint(folder, data, match):
    """A run that fails with a line, and whose last good checkpoint is there when the cause has gone."""
    with pytest.raises(ValueError, match=match) as problem:
        train_in(folder, TINY, data)
    assert "\n" not in str(problem.value)
    assert checkpoints.load(folder)["done"] == 3
    assert not list(folder.glob("*.new")) and not list(folder.glob(".*.new"))


def test_full_disk_is_a_line_and_keeps_the_last_checkpoint(data, tmp_path, whole):
    """A real limit: no file of this process may become longer than 20,000 bytes."""
    resource = pytest.importorskip("resource")
    train_until(tmp_path, 4, data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        check_line_and_checkpoint(tmp_path, data, "can't write .*checkpoint.pt .*: make room, or choose another")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    train_in(tmp_path, TINY, data)
    check_same(tmp_path, whole)


@pytest.mark.parametrize("number", [28, 30], ids=["ENOSPC", "EROFS"])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_disk_that_fails_is_a_line_and_keeps_the_last_checkpoint(data, tmp_path, whole, monkeypatch, number, function):
    train_until(tmp_path, 4, data)

    def fails(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.os, function, fails)
        check_line_and_checkpoint(tmp_path, data, f"can't write .*{os.strerror(number)}.*: make room")
    train_in(tmp_path, TINY, data)
    check_same(tmp_path, whole)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_a_line(mankit, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ValueError, match="can't write to"):
            train_in(tmp_path / "run", TINY)
        result = mankit("train", "-o", tmp_path / "run")
        assert result.code == 2 and result.err.count("\n") == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_place_of_the_folder_is_a_line(tmp_path, data):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="can't write to .*file.*choose another folder"):
        train_in(tmp_path / "file", TINY, data)


def truncate(content):
    return content[: len(content) // 2]


def flip_a_bit(content):
    """Of a number in the largest tensor: torch alone wouldn't notice."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        numbers = parts.read(max(parts.infolist(), key=lambda part: part.file_size))
    place = content.index(numbers) + len(numbers) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES = [truncate, flip_a_bit, lambda content: b"", lambda content: b"not a checkpoint" * 100]


@pytest.mark.parametrize("damage", DAMAGES, ids=["truncated", "a bit", "empty", "other"])
def test_damaged_checkpoint_gives_way_to_the_one_before(data, tmp_path, whole, damage):
    train_until(tmp_path, 7, data)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match="checkpoint.pt is damaged: going on from the one before"):
        train_in(tmp_path, TINY, data)
    check_same(tmp_path, whole)


@pytest.mark.parametrize("damage", DAMAGES, ids=["truncated", "a bit", "empty", "other"])
def test_damaged_for_good_is_a_line_with_the_cure(data, tmp_path, damage):
    train_until(tmp_path, 4, data)  # one epoch, so that there is none before
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="checkpoint.pt is damaged .*: remove .* to begin this run anew") as problem:
        train_in(tmp_path, TINY, data)
    assert "\n" not in str(problem.value)


def test_killed_between_two_names_finds_the_one_before(data, tmp_path, whole):
    train_until(tmp_path, 7, data)
    (tmp_path / "checkpoint.before.pt").unlink()
    (tmp_path / "checkpoint.pt").rename(tmp_path / "checkpoint.before.pt")
    assert checkpoints.load(tmp_path)["done"] == 6
    train_in(tmp_path, TINY, data)
    check_same(tmp_path, whole)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_runs_no_code(data, tmp_path):
    train_until(tmp_path, 4, data)
    torch.save({"done": Evil(tmp_path / "ran")}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="damaged"):
        train_in(tmp_path, TINY, data)
    assert not (tmp_path / "ran").exists()


def test_checkpoint_of_another_network_is_a_line(data, tmp_path):
    train_until(tmp_path, 4, data)
    (tmp_path / "recipe.json").write_text(TINY.but(widths=(4, 6, 9)).to_json())
    with pytest.raises(ValueError, match="no checkpoint of this run: remove"):
        train_in(tmp_path, TINY.but(widths=(4, 6, 9)), data)


def test_run_that_diverges_is_a_line(data, tmp_path):
    with pytest.raises(ValueError, match=r"block \d has loss (nan|inf) in epoch \d: choose lr below 1e\+20"):
        train_in(tmp_path, TINY.but(lr=1e20, epochs=6), data)


@pytest.mark.parametrize("name", ["recipe.json", "summary.json", "environment.json", "log.jsonl"])
@pytest.mark.parametrize("text", ["{", '{"epochs": 3}', '{"K": "x"}'])
def test_damaged_file_is_named(whole, tmp_path, name, text):
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_text(text)
    if name in ("environment.json", "log.jsonl") and text != "{" or (name, text) == ("recipe.json", '{"epochs": 3}'):
        return  # it can be read; what it says is the reader's business
    with pytest.raises(ValueError, match=re.escape(name)):
        read_run(tmp_path)


def test_a_folder_without_a_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="no run in .*recipe.json"):
        read_run(tmp_path)


def test_recipe_that_cannot_be_built_leaves_no_run(data, tmp_path):
    with pytest.raises(ValueError, match="K=99"):
        train_in(tmp_path, TINY.but(K=99), data)
    assert not (tmp_path / "recipe.json").exists()
    train_in(tmp_path, TINY, data)


def test_json_in_the_folder_is_plain(whole):
    for name in ("recipe.json", "environment.json", "summary.json"):
        json.loads((whole / name).read_text(), parse_constant=lambda text: pytest.fail(text))  # no NaN
    assert all(math.isfinite(loss) for row in read_run(whole).log for loss in row["losses"])
