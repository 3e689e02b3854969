"""Studies: what is trained (again), what fails, the tables, and `mankit reproduce`."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from processes import interruptible

from mankit.studies import Recipe, read_run, report, study, train_in
from mankit.studies.papers import OURS, STUDIES, Cell, Published, cells
from mankit.studies.report import failures, read_study
from mankit.studies.study import jobs_of, train_study

ROOT = Path(__file__).parents[1]
TINY = Recipe(
    "dgl",
    2,
    {"head": "0c1f"},
    widths=(4, 6, 8),
    epochs=1,
    batch=20,
    per_step=True,
    data_options={"train_size": 60, "val_size": 20, "test_size": 50},
)
PAPER = (Published(11.5, "%", "test error", "InfoPro (ICLR 2021)", ""),)


def tiny_cell(K, recipe=TINY, method="DGL", published=PAPER):
    return Cell(f"tiny/{method}/K{K}", "controls", "CIFAR-10", "ResNet-32", method, K, recipe.but(K=K), published)


@pytest.fixture
def tiny_study(monkeypatch):
    """A study of two cells that train in a second, and one that can't."""
    found = [tiny_cell(2), tiny_cell(3), tiny_cell(2, TINY.but(data="folder:nowhere"), "broken", ())]
    for module in (study, report):
        monkeypatch.setattr(module, "cells", lambda *_: found)
    return found


def trained(seeds=1, jobs=1, out=None):
    """Train the study 'controls', and read it."""
    train_study("controls", seeds=seeds, jobs=jobs, out=out)
    return read_study("controls", seeds=seeds, out=out)


def test_a_study_trains_what_is_missing_and_shows_what_fails(tiny_study, tmp_path):
    runs = trained(2, 2, tmp_path)
    assert list(runs.status[:4]) == ["done"] * 4
    assert all(runs.status[4:].str.match("failed: .*nowhere"))
    assert failures(runs) == 2
    pd.testing.assert_frame_equal(runs, read_study("controls", seeds=2, out=tmp_path))
    kept = {job.folder / "summary.json": job for job in jobs_of("controls", "quick", 2, tmp_path)[:4]}
    written = {file: file.stat().st_mtime_ns for file in kept}
    # the same numbers as alone, and test images read from the last epoch and the best on validation
    alone = train_in(tmp_path / "alone", TINY.but(K=3, seed=1))
    row = runs[(runs.K == 3) & (runs.seed == 1)].iloc[0]
    assert (row.error_last, row.error_best_val) == (100 - alone.test_last, 100 - alone.test_best_val)
    # once more, with what was broken mended: the finished ones stay as they are
    tiny_study[2] = tiny_cell(2, TINY, "broken", ())
    again = [job.folder for job in jobs_of("controls", "quick", 2, tmp_path)[4:]]
    runs = trained(2, 1, tmp_path)
    assert failures(runs) == 0 and not any((folder / study.FAILED).exists() for folder in again)
    assert {file: file.stat().st_mtime_ns for file in kept} == written


def test_folders_keep_seeds_profiles_and_rates_apart(tmp_path):
    folders = [job.folder for lr in (None, 0.4) for job in jobs_of("cifar10", "quick", 2, tmp_path, lr)]
    assert len(set(folders)) == len(folders) == 4 * len(cells("cifar10", "quick"))
    assert all(job.recipe.lr == 0.4 for job in jobs_of("cifar10", "quick", 1, tmp_path, 0.4))
    assert jobs_of("memory") == []


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"study": "cifar"}, "cifar10"),
        ({"study": "cifar10", "profile": "fast"}, "quick"),
        ({"study": "cifar10", "seeds": 0}, "seeds=0"),
    ],
)
def test_bad_input_is_said_in_words(arguments, said):
    with pytest.raises(ValueError, match=said):
        jobs_of(**arguments)


@pytest.mark.slow  # what is killed once goes on elsewhere: tests/test_engine.py
def test_a_killed_run_is_tried_again_once_and_the_others_go_on(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "cells", lambda *_: [tiny_cell(2, TINY.but(epochs=15)), tiny_cell(3)])
    first, second = (job.folder for job in jobs_of("controls", out=tmp_path))

    def kill(times):  # as the system does where memory runs out, when the first run trains
        for last in range(times):
            while not (log.is_file() and len(log.read_text().splitlines()) > last):
                time.sleep(0.01)
            log.unlink()
            multiprocessing.active_children()[0].kill()

    log = first / "log.jsonl"
    for times, said in (2, "failed: killed by the system (out of memory?)"), (0, "done"):  # once: test_engine.py
        killer = threading.Thread(target=kill, args=[times])
        killer.start()
        assert list(trained(out=tmp_path).status) == [said, "done"]
        killer.join()
        log.unlink(missing_ok=True)
    assert not (first / study.FAILED).exists()


def test_workers_end_with_their_parent_however_it_dies(tmp_path):
    """A parent that is killed can tell nobody."""
    code = f"from mankit.studies.study import train_study; train_study('cifar10', jobs=2, out={str(tmp_path)!r})"
    parent = psutil.Popen([sys.executable, "-c", code], cwd=ROOT)
    while len(list(tmp_path.rglob("log.jsonl"))) < 2:  # both train
        time.sleep(0.1)
    workers = parent.children(recursive=True)
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(workers, timeout=300)[1] == []


# --- the command ---


def test_wrong_names_end_with_one_line_before_anything_is_done(mankit, tmp_path):
    for words in (("cifra10",), ("cifar10", "--profile", "quik")):
        result = mankit("reproduce", *words, "-o", tmp_path / "out")
        assert result.code == 2 and len(result.err.splitlines()) == 1 and "choose from" in result.err
    assert not (tmp_path / "out").exists()


def test_every_notebook_shows_what_is_there_and_the_report_has_all(mankit, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "train_study", lambda *_, **__: None)
    monkeypatch.delitem(STUDIES, "memory")  # its notebook computes for a minute; make test-lessons executes it
    job = next(job for job in jobs_of("controls", "quick", 1, tmp_path) if job.cell.method == "DGL")
    # a run that is finished, in the place where it is looked for: its summary is all that is read
    train_in(tmp_path / "tiny", TINY)
    job.folder.mkdir(parents=True)
    (job.folder / "summary.json").write_bytes((tmp_path / "tiny" / "summary.json").read_bytes())
    (job.folder / "recipe.json").write_text(job.recipe.to_json())
    result = mankit("reproduce", "all", "-o", tmp_path)
    assert result.code == 1 and "not run" in result.err  # but for one, nothing was trained
    html = Path(result.out.strip().splitlines()[-1]).read_text()
    text = re.sub(r"<[^>]+>", "", html)
    for words in ("CIFAR-10, error by the number", "SVHN and STL-10", "ImageNet", "controls", "the family"):
        assert words in text
    error = 100 - read_run(tmp_path / "tiny").summary.test_last
    assert f"{error:.1f}" in text and "1 of 1" in text and "0 of 1" in text
    assert html.count("data:image/png") >= 4 and "cdn.plot.ly" not in html


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
    words = [sys.executable, "-m", "mankit", "reproduce", "controls", "--jobs", "2", "-o", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, **pipes, start_new_session=True, preexec_fn=interruptible)
    end = time.monotonic() + 300
    while not list(tmp_path.rglob("checkpoint.pt")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "the same command goes on" in err and "Traceback" not in err
    done = read_run(next(tmp_path.rglob("checkpoint.pt")).parent).log
    assert 0 < len(done) < 5 and not list(tmp_path.rglob("summary.json"))


def test_studies_have_a_notebook_each():
    assert {path.stem for path in (ROOT / "notebooks" / "reproduce").glob("*.ipynb")} == {*STUDIES, *OURS, "sweep"}
