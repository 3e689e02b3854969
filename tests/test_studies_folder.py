"""Files of a run: whatever happens to the disk or the process, the last good checkpoint is there."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from kept_runs import TINY, check_same, train_until

from mankit.studies import folder as files
from mankit.studies.kept import open_run, train_in

ROOT = Path(__file__).parents[1]


def test_folder_in_use_is_said(data, tmp_path):
    with open_run(tmp_path, TINY, data):
        with pytest.raises(ValueError, match=f"{tmp_path} is in use by another process: wait for it"):
            train_in(tmp_path, TINY, data)
    train_in(tmp_path, TINY, data)  # and it is free again


def test_a_killed_process_lets_go_of_the_folder(data, tmp_path):
    plain = TINY.but(augment=False)  # glyphs have no crops of their own
    code = (
        f"from mankit.studies import open_run, Recipe; import os, signal\nwith open_run({str(tmp_path)!r}, "
        f"Recipe.from_json({plain.to_json()!r}), device='cpu'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    train_in(tmp_path, plain, data)


def check_line_and_checkpoint(folder, data, match):
    """A run that fails with a line, and whose last good checkpoint is there when the cause has gone."""
    with pytest.raises(ValueError, match=match) as problem:
        train_in(folder, TINY, data)
    assert "\n" not in str(problem.value)
    assert files.load(folder)["done"] == 3
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
        patched.setattr(files.os, function, fails)
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
    assert files.load(tmp_path)["done"] == 6
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
