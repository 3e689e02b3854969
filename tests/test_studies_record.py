"""What a run's folder says, read."""

import json
import math
import re

import pytest
import torch
from kept_runs import TINY

from mankit.studies.kept import train_in
from mankit.studies.record import environment, finished, read_run


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


def test_git_revision_of_a_package_that_is_no_clone(monkeypatch, tmp_path):
    file = tmp_path / "site-packages" / "mankit" / "studies" / "record.py"
    monkeypatch.setattr("mankit.studies.record.__file__", str(file))
    assert environment(torch.device("cpu"))["git"] is None


def test_another_recipe_in_the_folder_is_refused_by_its_fields(mankit, data, whole):
    other = TINY.but(epochs=4, options={"head": "0c1f", "decay": 0.5})
    for use in (train_in, finished):
        with pytest.raises(ValueError, match=r"another run \(options .*0\.9.* there and .*0\.5.* here, epochs 3 "):
            use(whole, other)
    result = mankit("train", "--rule", "dgl", "-o", whole)
    assert result.code == 2 and result.err.count("\n") == 1 and "rule man there and dgl here" in result.err
    assert read_run(whole).recipe == TINY


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


def test_json_in_the_folder_is_plain(whole):
    for name in ("recipe.json", "environment.json", "summary.json"):
        json.loads((whole / name).read_text(), parse_constant=lambda text: pytest.fail(text))  # no NaN
    assert all(math.isfinite(loss) for row in read_run(whole).log for loss in row["losses"])
