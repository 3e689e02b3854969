"""Many runs: what a task finds in its worker, workers that are killed, Ctrl-C and the same call again, a cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import eight
import pandas as pd
import psutil
import pytest
from kept_runs import check_same
from processes import interruptible
from tasks import fail, meet, until_stopped
from test_sweep import notebook_with

from mankit.execution.sweep import grid, sweep
from mankit.scaling import engine
from mankit.studies import report, study, train_in
from mankit.studies.report import read_study
from mankit.studies.study import train_study

TESTS = Path(__file__).parent


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


@pytest.mark.parametrize("content", [None, "{}", "no json", '{"address": "tcp://127.0.0.1:9"}'])
def test_a_cluster_that_is_not_there_is_one_clear_line(monkeypatch, tmp_path, content):
    if content:
        (tmp_path / "s.json").write_text(content)
    monkeypatch.setattr(engine, "PATIENCE", 1)
    with pytest.raises(ValueError, match="dask scheduler --scheduler-file"), engine.workers(at=tmp_path / "s.json"):
        pass


# --- studies and sweeps, here and on a cluster ---


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The scheduler file of a scheduler and two workers, as one starts them by hand."""
    file = tmp_path_factory.mktemp("cluster") / "s.json"
    how = {"cwd": file.parent, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    how["env"] = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", file, "--port", "0"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "1"]
    commands = [[*scheduler, "--no-dashboard"], *[[*worker, "--memory-limit", "0", "--no-dashboard"]] * 2]
    processes = [psutil.Popen(list(map(str, command)), **how) for command in commands]
    while not file.exists():
        time.sleep(0.1)
    yield file
    for process in [child for each in processes for child in each.children(recursive=True)] + processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_eight_runs_a_killed_worker_a_ctrl_c_and_a_cluster_give_the_undisturbed_runs(monkeypatch, tmp_path, cluster):
    for module in (study, report):
        monkeypatch.setattr(module, "cells", lambda *_: eight.CELLS)
    monkeypatch.chdir(tmp_path)  # where the cluster's workers aren't
    jobs = study.jobs_of("controls", seeds=4, out="runs")
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import eight; eight.train('runs')"
    how = {"stderr": subprocess.PIPE, "start_new_session": True, "preexec_fn": interruptible}
    parent = psutil.Popen([sys.executable, "-c", code], **how)

    def wait_for(epochs, of):
        while not any(study._epochs(job) >= epochs for job in of):
            assert parent.poll() is None, parent.stderr.read()
            time.sleep(0.01)

    def trains_first(child):
        return any(file.path == str(jobs[0].folder.resolve() / ".lock") for file in child.open_files())

    wait_for(3, jobs[:1])
    (worker,) = filter(trains_first, parent.children(recursive=True))
    worker.kill()
    wait_for(1, jobs[2:])  # the others go on
    os.killpg(parent.pid, signal.SIGINT)
    assert b"KeyboardInterrupt" in parent.communicate(timeout=300)[1]
    done, begun = (len(list(tmp_path.rglob(name))) for name in ("summary.json", "checkpoint.pt"))
    assert done < begun < 8

    train_study("controls", seeds=4, at=cluster, out="runs")
    undisturbed = study.jobs_of("controls", seeds=4, out="undisturbed")
    for job, other in zip(jobs, undisturbed, strict=True):
        train_in(other.folder, other.recipe)
        check_same(job.folder, other.folder)
    tables = [read_study("controls", seeds=4, out=out).drop(columns="seconds") for out in ("runs", "undisturbed")]
    assert list(tables[0].status) == ["done"] * 8
    pd.testing.assert_frame_equal(*tables)


def test_a_cluster_sweeps_stops_at_a_ctrl_c_and_is_ready_for_the_next_command(cluster, tmp_path):
    notebook = notebook_with(tmp_path, "import os", shows="'parent': os.getppid(), 'folder': os.getcwd()")
    (tmp_path / "swept").mkdir()
    table = sweep(notebook, grid({"K": [1, 2]}), tmp_path / "swept", at=cluster)
    assert list(table["error"]) == [""] * 2 and set(table["folder"]) == {str(tmp_path)}
    assert os.getpid() not in set(table["parent"])

    def pressed():
        raise KeyboardInterrupt

    with engine.workers(at=cluster) as client, pytest.raises(KeyboardInterrupt):
        engine.run_all(client, until_stopped, [()] * 3, lambda *_: None, pressed)
    with engine.workers(at=cluster) as client:
        assert str(ends(client, fail, [("next",)])[0]) == "next"
