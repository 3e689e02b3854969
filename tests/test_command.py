"""The command: `main` is called as the shell would call it; a few tests start a real process."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import torch
from processes import ctrl_c_while_training

from mankit.studies import Recipe, Run
from mankit.studies.papers import SECONDARY, cell, with_profile

ROOT = Path(__file__).parents[1]
SMALL = ("train", "--train-size", 200, "--epochs", 1, "--device", "cpu")


def rows_of(out):
    """The rows of a printed table, as words."""
    return [line.split() for line in out.splitlines()[2:]]


def check_one_line(result, *fragments):
    assert result.code == 2 and result.out == ""
    assert result.err.startswith("mankit: ") and result.err.count("\n") == 1 and result.err.endswith("\n")
    for fragment in fragments:
        assert fragment in result.err


# --- train ---


def test_train_prints_one_table_and_writes_the_same(mankit, tmp_path):
    result = mankit(*SMALL, "--K", 8, "-o", tmp_path / "new" / "folder")
    assert result.code == 0
    title, header, *rows, test = result.out.splitlines()
    assert test.startswith(f"test: {rows[-1].split()[1]} % from the last epoch, ")
    assert title.startswith("man on glyphs, lab, K=8, 1 epochs, seed 0: ")
    assert re.split(r"\s{2,}", header.strip()) == ["block", "own head (%)", "linear probe (%)", "saved (MiB)"]
    assert [row.split()[0] for row in rows] == [str(k) for k in range(1, 9)]
    numbers = [[float(word) for word in row.split()[1:]] for row in rows]
    assert all(0 <= own <= 100 and 0 <= probe <= 100 and saved > 0 for own, probe, saved in numbers)
    written = pd.read_csv(tmp_path / "new" / "folder" / "blocks.csv")
    assert list(written.columns) == ["block", "own_head", "linear_probe", "saved_mib"]
    shown = [[f"{block:.0f}", *(f"{value:.2f}" for value in values)] for block, *values in written.to_numpy()]
    assert shown == rows_of(result.out)[:-1]


def test_bp_has_no_own_heads_but_the_last(mankit):
    rows = rows_of(mankit(*SMALL, "--rule", "bp", "-K", 3).out)
    assert [row[1] == "-" for row in rows] == [True, True, False]
    assert [row[3] == "-" for row in rows] == [True, True, False]  # back-propagation saves for all at once
    assert "-" not in [row[2] for row in rows]


def test_table_depends_on_seed_and_decay_only(mankit):
    def table(*words):
        return rows_of(mankit(*SMALL, "-K", 3, *words).out)

    first = table("--decay", 0.9, "--seed", 1)
    torch.rand(7)  # the random numbers that others draw don't matter
    assert first == table("--decay", 0.9, "--seed", 1)
    assert first != table("--decay", 0.0, "--seed", 1)
    assert first != table("--decay", 0.9, "--seed", 2)


def test_typed_options_reach_the_run(mankit, monkeypatch):
    seen = []
    monkeypatch.setattr(Run, "__iter__", lambda run: seen.append(run) or iter(()))
    rule = ("--rule", "man", "--base", "infopro", "--lam-x", 2, "--head", "1c2f", "--branches", "ema")
    training = ("--size", 16, "--lr", 0.05, "--batch", 50, "--per-block", "--ema-update", "after")
    assert mankit(*SMALL, "-K", 3, *rule, *training).code == 0
    (run,) = seen
    head = run.net.heads[0]
    assert head.learnable_bias is None and head.base.lam_x == 2 and head.decay == 0.995
    assert run.data.train.images.shape == (200, 3, 16, 16)
    assert len(run) == 4 and len(run.optimizer) == 3 and run.recipe.lr == 0.05 and run.recipe.ema_update == "after"


@pytest.mark.parametrize(
    "words, fragments",
    [
        (["--K", 0], ["K=0", "choose 1..9"]),
        (["--K", 99], ["K=99", "choose 1..9"]),
        (["--K", 99, "--rule", "bp"], ["K=99", "choose 1..9"]),
        (["--K", "many"], ["--K"]),
        (["--rule", "mann"], ["'mann'", "did you mean 'man'"]),
        (["--data", "glyph"], ["'glyph'", "did you mean 'glyphs'"]),
        (["--network", "resnet100"], ["'resnet100'", "resnet101"]),
        (["--epoch", 1], ["--epoch ", "--epochs"]),
        (["--decay", 1.5], ["decay=1.5", "0 (copy) to 1 (frozen)"]),
        (["--rule", "dgl", "--decay", 0.9], ["'dgl'", "['decay']", "['head', 'norm']"]),
        (["--rule", "bp", "--head", "mlp"], ["'bp'", "['head']"]),
        (["--lr", -1], ["lr=-1.0", "above 0"]),
        (["--epochs", 0], ["epochs=0", "choose 1 or more"]),
        (["--batch", 0], ["batch=0", "choose 1 or more"]),
        (["--batch", 201], ["batch_size=201", "1..200"]),
        (["--head", "9z"], ["head='9z'", "'mlp'"]),
        (["--branches", "bth"], ["'bth'", "did you mean 'both'"]),
        (["--start", "zero"], ["'zero'", "random, copy"]),
        (["--base", "man"], ["'man'", "dgl or infopro"]),
        (["--ema-update", "during"], ["'during'", "before"]),
        (["--train-size", 0], ["train_size=0", "1 or more"]),
        (["--size", 0], ["size=0", "1 or more"]),
        (["--seed", -1], ["seed=-1", "0 or more"]),
        (["--threads", 0], ["--threads"]),
        (["--device", "gpu"], ["'gpu'", "auto, cpu or cuda"]),
        (["extra"], ["extra"]),
        (["--lr", "nan"], ["lr=nan", "finite"]),
        (["--rule", "infopro", "--lam-x", "-1"], ["lam_x=-1", "0.0 or more"]),
        (["--rule", "infopro", "--lam-x", "x"], ["'x'", "give numbers"]),
        (["--decay", "nan"], ["decay=nan", "0 (copy)"]),
        (["--augment", "--data", "digits"], ["augment=True", "digits has no usual crop and flip", "leave augment out"]),
        (["--size", 100_000_000], ["size=100000000", "GB", "choose a smaller size"]),
        (["--size", 20_000, "--train-size", 4000], ["size=20000", "GB", "choose a smaller size"]),
        (["--widths", "100000,1,1"], ["widths=(100000, 1, 1)", "1 to 4096"]),
        (["--seed", 10**26], ["seed=1000", "below"]),
        (["--epochs", 10**26], ["epochs=1000", "1000000000 or less"]),
        (["--device", "meta"], ["'meta'", "auto, cpu or cuda"]),
        (["--threads", 99_999_999], ["--threads", "256"]),
        (["--network", "cifar_resnet999999998"], ["depth=999999998", "1202"]),
        (["--train-size", 1, "--batch", 1], ["one class"]),
        (["--recipe", "a" * 300 + ".json"], ["File name too long", "name another"]),
        (["-o", "a" * 300], ["File name too long", "name another"]),
    ],
    ids=lambda value: " ".join(map(str, value))[:60],
)
def test_bad_input_is_one_line(mankit, words, fragments):
    check_one_line(mankit(*SMALL, *words), *fragments)


def test_missing_gpu_is_one_line(mankit, monkeypatch):
    def no_gpu(*args, **kwargs):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "empty", no_gpu)
    check_one_line(mankit(*SMALL, "--device", "cuda"), "device='cuda'", "choose auto, cpu or cuda")


def test_missing_files_are_one_line(mankit, tmp_path):
    result = mankit(*SMALL, "--data", "cifar10", "--root", tmp_path)
    check_one_line(result, str(tmp_path), "missing", "--download")


def test_folder_that_cannot_be_written_is_said_before_training(mankit, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(Run, "__iter__", lambda run: pytest.fail("trained first"))
    result = mankit(*SMALL, "-o", tmp_path / "file" / "out")
    check_one_line(result, "can't write", str(tmp_path / "file" / "out"), "-o")


def test_error_of_many_lines_is_cut_to_one(mankit, monkeypatch):
    def broken(run):
        raise ValueError("first\nsecond\nthird")

    monkeypatch.setattr(Run, "__iter__", broken)
    assert mankit(*SMALL, "-K", 2).err == "mankit: first\n"


def test_ctrl_c_prints_what_was_learnt(mankit, monkeypatch):
    whole = Run.__iter__

    def stopped(run):
        for step in whole(run):
            if step.index == 3:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(Run, "__iter__", stopped)
    result = mankit(*SMALL, "-K", 3, "--batch", 20)
    assert result.code == 130
    assert "stopped at step 4 of 10" in result.err and "Traceback" not in result.err
    assert [row[0] for row in rows_of(result.out)] == ["1", "2", "3"]


def test_ctrl_c_in_a_real_process():
    code, out, err = ctrl_c_while_training(*SMALL, "-K", "2", "--epochs", "100000")
    assert code == 130
    assert [row[0] for row in rows_of(out.decode())] == ["1", "2"]
    assert b"stopped at step" in err and b"Traceback" not in err


# --- recipes ---


def test_recipes_lists_names_blocks_and_published_values_and_what_to_expect(mankit):
    table, about = mankit("recipes", "cifar10").out.split("\n\n", 1)
    header, *rows = table.splitlines()
    assert header.split() == ["recipe", "blocks", "published"] and len(rows) == 65
    row = next(row for row in rows if row.startswith("cifar10/resnet32/dgl/K16 "))
    assert re.split(r"\s{2,}", row)[1:] == ["15", "test error 14.08† % (MAN), test error 16.21 % (InfoPro)"]
    assert next(row for row in rows if row.startswith("cifar10/resnet32/dgl-man/K2 ")).endswith(" -")
    assert all(f"{word}: " in about for word in ("Command", "Time", "Expected", "Departures"))
    everything = mankit("recipes").out.splitlines()
    assert len(everything) == 179 + 3 and "†" in everything[1]
    assert everything[-1] == about.splitlines()[-1] == SECONDARY
    assert "†" not in mankit("recipes", "memory").out  # all of it is InfoPro's
    quick = mankit("recipes", "imagenet", "--profile", "quick").out.split("\n\n")[0].splitlines()
    assert len(quick) == 13 + 1


def test_one_recipe_is_described_or_printed_as_json(mankit):
    name = "controls/resnet32/bias-only/K16"
    text = mankit("recipes", name).out
    assert "K=16 (15 blocks are built)" in text and "DGL + MAN (bias only) on CIFAR-10, ResNet-32" in text
    assert "published (CIFAR-10, ResNet-32): not found, or not reported" in text and SECONDARY not in text
    text = mankit("recipes", "controls/resnet32/both/K16", "--profile", "quick").out
    assert "DGL + MAN on glyphs, lab16, K=16" in text and text.endswith(f"{SECONDARY}\n")
    assert "published (CIFAR-10, ResNet-32): test error 9.11† % (MAN)" in text
    assert Recipe.from_json(mankit("recipes", name, "--json").out) == cell(name).recipe
    quick = mankit("recipes", name, "--json", "--profile", "quick").out
    assert Recipe.from_json(quick) == with_profile(cell(name).recipe, "quick")


@pytest.mark.parametrize(
    "words, fragments",
    [
        (["cifar"], ["study='cifar'", "did you mean 'cifar10'"]),
        (["cifar10/resnet32/dgl/K15"], ["recipe=", "did you mean 'cifar10/resnet32/dgl/K16'"]),
        (["--json"], ["name it"]),
        (["cifar10", "--json"], ["name it"]),
        (["cifar10", "--profile", "fast"], ["profile='fast'", "quick, short, paper"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_recipes_bad_input_is_one_line(mankit, words, fragments):
    check_one_line(mankit("recipes", *words), *fragments)


@pytest.fixture
def trained(monkeypatch):
    """The recipes that would have been trained."""
    seen = []
    monkeypatch.setattr(Run, "__iter__", lambda run: seen.append(run.recipe) or iter(()))
    return seen


def test_train_takes_a_recipe_by_its_name_or_file(mankit, trained, tmp_path):
    quick = with_profile(cell("controls/resnet32/twin/K16").recipe, "quick")
    assert mankit("train", "--recipe", "controls/resnet32/twin/K16", "--profile", "quick").code == 0
    (tmp_path / "mine.json").write_text(quick.but(seed=3).to_json())
    assert mankit("train", "--recipe", tmp_path / "mine.json").code == 0
    assert trained == [quick, quick.but(seed=3)]


def test_typed_options_win_over_the_recipe(mankit, trained):
    name = ("train", "--recipe", "controls/resnet32/twin/K16", "--profile", "quick")
    quick = with_profile(cell(name[2]).recipe, "quick")
    mankit(*name, "--lr", 0.4, "--seed", 2, "--decay", 0.9, "--train-size", 100)
    mankit(*name, "-K", 4)
    mankit(*name, "--rule", "infopro", "--lam-x", 2)
    mankit(*name, "--rule", "bp")
    options = {**quick.options, "decay": 0.9}
    assert trained[0] == quick.but(lr=0.4, seed=2, options=options, data_options={"train_size": 100})
    assert trained[1] == quick.but(K=4, at=None)
    assert trained[2] == quick.but(rule="infopro", options={"head": "1c2f", "lam_x": 2.0})
    assert trained[3] == quick.but(rule="bp", options={})


@pytest.mark.parametrize(
    "words, fragments",
    [
        (["--recipe", "controls/resnet32/twin"], ["recipe=", "did you mean 'controls/resnet32/twin/K16'"]),
        (["--recipe", "none.json"], ["no file none.json", "--json"]),
        (["--recipe", "controls/resnet32/twin/K16", "--profile", "fast"], ["profile='fast'"]),
        (["--profile", "quick"], ["--profile quick goes with --recipe"]),
        (["--recipe", "controls/resnet32/none/K16", "--profile", "quick", "--decay", 0.9], ["'dgl'", "['decay']"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_bad_recipe_is_one_line(mankit, words, fragments):
    check_one_line(mankit("train", *words), *fragments)


def test_recipe_file_that_is_damaged_is_one_line(mankit, tmp_path):
    (tmp_path / "bad.json").write_text('{"epoch": 3}')
    check_one_line(mankit("train", "--recipe", tmp_path / "bad.json"), "did you mean 'epochs'")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    check_one_line(mankit("train", "--recipe", tmp_path / "bad.json"), "bad.json")


# --- run ---


def write_notebook(path, *cells, kernel="python3"):
    """A notebook whose first cell holds the parameters."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook.cells[0].metadata.tags = ["parameters"]
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def tiny(tmp_path):
    return write_notebook(tmp_path / "tiny.ipynb", "K = 8\ndecay = 0.995", "print(K, decay)")


def printed(path):
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def test_run_executes_with_other_parameters(mankit, tmp_path):
    cells = ("K = 8\ndecay = 0.995", "assert K == 4 and decay == 0.9\nprint('K is', K, 'and decay', decay)")
    notebook = write_notebook(tmp_path / "tiny.ipynb", *cells, kernel="a-kernel-of-another-machine")
    before = notebook.read_bytes()
    result = mankit("run", notebook, "-p", "K", 4, "-p", "decay", 0.9, "-o", tmp_path / "out")
    copy = tmp_path / "out" / "tiny-K4-decay0.9.ipynb"
    assert result.code == 0 and result.out == f"{copy}\n"
    assert printed(copy) == "K is 4 and decay 0.9\n"
    assert notebook.read_bytes() == before


def test_failing_cell_gives_code_1_and_keeps_the_copy(mankit, tmp_path):
    cells = ("K = 8", "print('so far')", "raise ValueError('no\\nway')", "print('never')")
    notebook = write_notebook(tmp_path / "fails.ipynb", *cells)
    result = mankit("run", notebook, "-o", tmp_path / "out")
    copy = tmp_path / "out" / "fails.ipynb"
    assert result.code == 1 and result.out == "" and "Traceback" not in result.err
    assert result.err.splitlines()[-1] == f"mankit: cell 3 failed: ValueError: no; see {copy}"
    assert printed(copy) == "so far\n"


def test_kernel_that_dies_is_one_line(mankit, tmp_path):
    notebook = write_notebook(tmp_path / "dies.ipynb", "K = 8", "import os\nos._exit(1)")
    result = mankit("run", notebook, "-o", tmp_path / "out")
    assert result.code == 1 and "Traceback" not in result.err
    assert re.fullmatch(r"mankit: Kernel died .*dies.ipynb", result.err.splitlines()[-1])


def test_values_are_read_as_json(mankit, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *args, **kwargs: calls.append(args))
    values = {"whole": 4, "real": 0.001, "below": -2, "words": "a word", "right": True, "many": [8, 16], "odd": "a=b"}
    notebook = write_notebook(tmp_path / "types.ipynb", "\n".join(f"{name} = 0" for name in values))
    pairs = ["-p", "whole", 4, "-p", "real", 1e-3, "-p", "below", -2, "-p", "words", "a word", "-p", "right", "true"]
    result = mankit("run", notebook, *pairs, "-p", "many=[8, 16]", "--parameter=odd=a=b", "-o", tmp_path)
    assert result.code == 0
    assert calls[0][2] == values
    assert Path(calls[0][1]).name == "types-whole4-real0.001-below-2-wordsaword-rightTrue-many[8,16]-odda=b.ipynb"


def test_path_as_a_value_stays_in_the_folder(mankit, monkeypatch, tmp_path, tiny):
    calls = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *args, **kwargs: calls.append(args))
    assert mankit("run", tiny, "-p", "K", "../../elsewhere", "-o", tmp_path / "out").code == 0
    assert Path(calls[0][1]).parent == tmp_path / "out"


@pytest.mark.parametrize(
    "words, fragments",
    [
        (["-p", "deca", 0.9], ["'deca'", "did you mean 'decay'?", "choose from K, decay"]),
        (["-p", "xyz", 0.9], ["xyz", "choose from K, decay"]),
        (["-p", "K"], ["-p K", "-p K 8"]),
        (["-p", "K", "--out", "folder"], ["-p K", "-p K 8"]),
        (["-p"], ["-p K 8"]),
        (["--K", 4], ["--K"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_bad_parameter_is_one_line(mankit, tiny, words, fragments):
    check_one_line(mankit("run", tiny, *words), *fragments)


def test_missing_notebook_is_one_line(mankit, tmp_path):
    check_one_line(mankit("run", tmp_path / "none.ipynb"), "none.ipynb", "notebooks/")
    check_one_line(mankit("run", tmp_path), str(tmp_path), "notebooks/")
    check_one_line(mankit("run"), "notebook")


NO_NOTEBOOKS = ["", "not JSON", "[1, 2]", "{}", '{"nbformat": 4, "nbformat_minor": 5, "cells": [3]}']


@pytest.mark.parametrize("text", NO_NOTEBOOKS)
@pytest.mark.parametrize("command", ["run", "student", "sweep"])
def test_what_is_not_a_notebook_is_one_line(mankit, tmp_path, command, text):
    (tmp_path / "odd.ipynb").write_text(text)
    grid = ("-g", "K", "1,2") if command == "sweep" else ()
    check_one_line(mankit(command, tmp_path / "odd.ipynb", *grid, "-o", tmp_path / "out"), "odd.ipynb isn't a notebook")


def test_memory_that_runs_out_is_one_line(mankit, monkeypatch):
    for error in (MemoryError("of 9 GB"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")):
        monkeypatch.setattr(Run, "__init__", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
        check_one_line(mankit(*SMALL), "out of memory: choose a smaller batch, size or network")
    monkeypatch.setattr(Run, "__init__", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("a mistake of ours")))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        mankit(*SMALL)


def test_a_rules_file_that_fails_is_one_line(mankit, tmp_path):
    (tmp_path / "odd.py").write_text("def mine(place):\n    pass\n1 / 0\n")
    check_one_line(
        mankit("train", "--rule", f"{tmp_path / 'odd.py'}:mine"), "odd.py: ZeroDivisionError: division by zero"
    )


def test_an_impossible_rate_of_a_study_is_one_line(mankit, tmp_path):
    for study in ("memory", "controls"):
        check_one_line(mankit("reproduce", study, "--lr", "nan", "-o", tmp_path), "lr=nan: choose 0.0 or more")


def test_run_into_a_folder_that_cannot_be_written(mankit, tiny):
    check_one_line(mankit("run", tiny, "-o", tiny / "out"), "can't write", "-o")


# --- lab ---


@pytest.fixture
def jupyter(monkeypatch):
    """What would have been called instead of JupyterLab; it gets a Ctrl-C, and leaves with code 3."""
    calls = []

    def call(command):
        calls.append(command)
        signal.raise_signal(signal.SIGINT)
        return 3

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    before = signal.getsignal(signal.SIGINT)
    yield calls
    signal.signal(signal.SIGINT, before)


def test_lab_opens_the_tour_and_leaves_ctrl_c_to_jupyterlab(mankit, jupyter):
    assert mankit("lab").code == 3
    assert jupyter == [[sys.executable, "-m", "jupyterlab", str(ROOT / "notebooks" / "00_tour.ipynb")]]


def test_lab_opens_a_notebook_by_its_whole_path(mankit, jupyter, tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    assert mankit("lab", "tiny.ipynb", "--no-browser").code == 3
    assert jupyter[0][3:] == [str(tiny.resolve()), "--no-browser"]


def test_lab_starts_for_root_too_as_in_a_container(mankit, jupyter, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    mankit("lab")
    assert jupyter[0][-1] == "--allow-root"


def test_lab_without_its_notebook_is_one_line(mankit, jupyter, tmp_path):
    check_one_line(mankit("lab", tmp_path / "none.ipynb"), "no notebook", "none.ipynb")
    assert jupyter == []


# --- help ---


@pytest.mark.parametrize(
    "words, fragments",
    [
        ([], ["Example: mankit lab", "Example: mankit run notebooks/", "train"]),
        (["lab"], ["Example: mankit lab", "default: the tour"]),
        (["run"], ["Example: mankit run notebooks/", "-p K 4", "Exit code 1"]),
        (["student"], ["Example: mankit student notebooks/"]),
        (["train"], ["Example: mankit train --rule man", "default: $MANKIT_DATA or data/", "to 1 (frozen)"]),
        (["train"], ["Exit code 130", "mankit train --recipe cifar10/resnet32/dgl-man/K16 --profile quick"]),
        (["recipes"], ["Example: mankit recipes cifar10 --profile quick", "what to expect", "svhn_stl10", "family"]),
    ],
    ids=["mankit", "lab", "run", "student", "train", "train's recipe", "recipes"],
)
def test_help_has_an_example(mankit, words, fragments):
    result = mankit(*words, "--help")
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", result.out).split())  # without the boxes and their line breaks
    assert result.code == 0
    for fragment in fragments:
        assert fragment in text


def test_no_command_prints_the_help_and_an_unknown_one_the_nearest(mankit):
    nothing = mankit()
    assert nothing.code == 2 and "train" in nothing.out and nothing.err == ""
    check_one_line(mankit("trian"), "trian", "train")


def test_the_installed_command_ends_with_one_line_and_code_2():
    command = [Path(sys.executable).with_name("mankit"), "train", "--rule", "mann"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and result.stdout == ""
    words = "mankit: rule='mann': did you mean 'man' or 'manpp'? choose from bp, greedy, dgl, infopro, man, manpp, "
    assert result.stderr.startswith(words) and result.stderr.count("\n") == 1


def test_save_keeps_the_outputs_in_the_notebook_itself(mankit, tiny, tmp_path):
    assert mankit("run", tiny, "--save", "-o", tmp_path / "out").code == 0
    saved = nbformat.read(tiny, as_version=4)
    assert any(cell.get("outputs") for cell in saved.cells)
    assert "papermill" not in saved.metadata
    check_one_line(mankit("run", tiny, "--save", "-p", "K", 4, "-o", tmp_path / "out"), "leave out -p")


def test_student_writes_the_lesson_without_its_solutions(mankit, tmp_path):
    solved = "def half(x):\n    ### BEGIN SOLUTION\n    return x / 2\n    ### END SOLUTION"
    lesson = write_notebook(tmp_path / "lesson.ipynb", "K = 8", solved, "print(half(4))")
    result = mankit("student", lesson, "-o", tmp_path / "out")
    assert result.code == 0 and result.out == f"{tmp_path / 'out' / 'lesson.ipynb'}\n"
    cells = nbformat.read(tmp_path / "out" / "lesson.ipynb", as_version=4).cells
    assert cells[1].source == 'def half(x):\n    raise NotImplementedError("your answer goes here")'
    check_one_line(mankit("student", lesson, "-o", tmp_path), "choose another folder")
    check_one_line(mankit("student", tmp_path / "none.ipynb"), "no notebook")
    assert "return x / 2" in lesson.read_text()
