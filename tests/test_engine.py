"""Many runs: what a task finds in its worker, workers that are killed, Ctrl-C and the same call again, a cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from kept_runs import check_same
from processes import interruptible
from tasks import fail, meet, until_stopped
from test_studies_study import TINY, tiny_cell
from test_sweep import notebook_with

from mankit.execution.sweep import grid, sweep
from mankit.scaling import engine
from mankit.studies import report, study, train_in
from mankit.studies.report import read_study
from mankit.studies.study import train_study

TESTS = Path(__file__).parent
EIGHT = tiny_cell(2, TINY.but(epochs=15)), tiny_cell(3, TINY.but(epochs=2))  # with four seeds each


def ends(client, work, tasks, **more):
    """What each task ended with."""
    found = {}
    engine.run_all(client, work, tasks, found.__setitem__, **more)
    return [found[i] for i in range(len(tasks))]


def test_each_worker_has_a_gpu_of_its_own_and_errors_come_back(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    threads = os.environ.get("OMP_NUM_THREADS")
    with engine.workers(2) as client:
        seen = ends(client, meet, [(tmp_path, "a"), (tmp_path, "b")])
        assert sorted(seen)[0][:2] == ("5", "5") and sorted(seen)[1][:2] == ("7", "7")
        assert len({pid for *_, pid in seen} - {os.getpid()}) == 2
        error, wrong = ends(client, fail, [("no\nway",), ("too", "many")])
        assert isinstance(error, ValueError) and str(error) == "no\nway" and isinstance(wrong, TypeError)
        worker = seen[0][2]
        os.kill(worker, signal.SIGINT)  # as a terminal does, to all
        assert str(ends(client, fail, [("still there",)])[0]) == "still there" and psutil.pid_exists(worker)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7" and os.environ.get("OMP_NUM_THREADS") == threads


def test_ctrl_c_stops_tasks_and_then_goes_on():
    def pressed():
        raise KeyboardInterrupt

    with engine.workers(2, threads=True) as client, pytest.raises(KeyboardInterrupt):
        engine.run_all(client, until_stopped, [()] * 3, lambda *_: None, pressed)


@pytest.mark.parametrize("content", [None, "{}", "no json", '{"address": "tcp://127.0.0.1:9"}'])
def test_a_cluster_that_is_not_there_is_one_clear_line(monkeypatch, tmp_path, content):
    if content:
        (tmp_path / "s.json").write_text(content)
    monkeypatch.setattr(engine, "PATIENCE", 1)
    with pytest.raises(ValueError, match="dask scheduler --scheduler-file"), engine.workers(at=tmp_path / "s.json"):
        pass


# --- studies ---


def use(monkeypatch, *cells):
    """A study of these cells."""
    for module in (study, report):
        monkeypatch.setattr(module, "cells", lambda *_: list(cells))


def train_eight(out):
    """What the test below does in a process of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(monkeypatch, *EIGHT)
        train_study("controls", seeds=4, jobs=2, out=out)


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_eight_runs_a_killed_worker_and_a_ctrl_c_give_the_undisturbed_weights(monkeypatch, tmp_path):
    use(monkeypatch, *EIGHT)
    jobs = study.jobs_of("controls", seeds=4, out=tmp_path)
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import test_engine as t; t.train_eight({str(tmp_path)!r})"
    how = {"stderr": subprocess.PIPE, "start_new_session": True, "preexec_fn": interruptible}
    parent = psutil.Popen([sys.executable, "-c", code], **how)

    def wait_for(epochs, of):
        while not any(study._epochs(job) >= epochs for job in of):
            assert parent.poll() is None, parent.stderr.read()
            time.sleep(0.01)

    def trains_first(child):
        return any(file.path == str(jobs[0].folder / ".lock") for file in child.open_files())

    wait_for(3, jobs[:1])
    (worker,) = filter(trains_first, parent.children(recursive=True))
    worker.kill()
    wait_for(1, jobs[2:])  # the others go on
    os.killpg(parent.pid, signal.SIGINT)
    assert b"KeyboardInterrupt" in parent.communicate(timeout=60)[1]
    done, begun = (len(list(tmp_path.rglob(name))) for name in ("summary.json", "checkpoint.pt"))
    assert done < begun < 8

    train_study("controls", seeds=4, jobs=2, out=tmp_path)
    assert list(read_study("controls", seeds=4, out=tmp_path).status) == ["done"] * 8
    for i, job in enumerate(jobs):
        train_in(tmp_path / f"undisturbed{i}", job.recipe)
        check_same(job.folder, tmp_path / f"undisturbed{i}")


@pytest.fixture
def cluster(tmp_path):
    """The scheduler file of a scheduler and two workers, as one starts them by hand."""
    file = tmp_path / "cluster" / "s.json"
    file.parent.mkdir()
    how = {"cwd": file.parent, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    how["env"] = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", file, "--port", "0"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "1"]
    commands = [[*scheduler, "--no-dashboard"], *[[*worker, "--memory-limit", "0", "--no-dashboard"]] * 2]
    processes = [psutil.Popen(list(map(str, command)), **how) for command in commands]
    yield file
    for process in [child for each in processes for child in each.children(recursive=True)] + processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_two_workers_of_a_cluster_give_the_same_tables(monkeypatch, cluster, tmp_path):
    use(monkeypatch, tiny_cell(2), tiny_cell(3))
    monkeypatch.chdir(tmp_path)  # where the workers aren't
    while not cluster.exists():
        time.sleep(0.1)
    for out, at in (Path("here"), None), (Path("there"), cluster):
        train_study("controls", seeds=2, at=at, out=out)
    here, there = (read_study("controls", seeds=2, out=out) for out in ("here", "there"))
    assert list(there.status) == ["done"] * 4
    seconds = [name for name in here if "second" in name]
    pd.testing.assert_frame_equal(here.drop(columns=seconds), there.drop(columns=seconds))

    notebook = notebook_with(tmp_path, "import os", shows="'parent': os.getppid(), 'folder': os.getcwd()")
    (tmp_path / "swept").mkdir()
    table = sweep(notebook, grid({"K": [1, 2, 3]}), tmp_path / "swept", at=cluster)
    assert list(table["error"]) == [""] * 3 and set(table["folder"]) == {str(tmp_path)}
    assert os.getpid() not in set(table["parent"])

    def pressed():
        raise KeyboardInterrupt

    with engine.workers(at=cluster) as client, pytest.raises(KeyboardInterrupt):
        engine.run_all(client, until_stopped, [()] * 3, lambda *_: None, pressed)
    with engine.workers(at=cluster) as client:  # and it is ready for the next command
        assert str(ends(client, fail, [("next",)])[0]) == "next"
