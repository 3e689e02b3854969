"""Many runs: given out to worker processes of this machine, or to those of a cluster that is up.

    with workers(jobs=2) as client:                      # at="scheduler.json": a cluster of dask.distributed
        run_all(client, train_one, tasks, on_end)        # calls train_one(*task, seat) in a worker for each task

What a task needs to go on later it keeps in files: a worker may be killed at any time, and another one goes on there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dask
from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, get_worker, wait

PATIENCE = 30  # seconds, until a scheduler answers
SETTINGS = {
    "distributed.deploy.lost-worker-timeout": "10 minutes",  # one that restarts more slowly is given up
    "distributed.nanny.pre-spawn-environ": {},  # dask's has malloc give memory back: 1.6 times the time of a step
    "distributed.scheduler.allowed-failures": 1,  # a task whose worker is killed is given out again, once
    "distributed.scheduler.worker-ttl": None,  # a laptop that slept has lost nobody
    "distributed.worker.profile.enabled": False,
}
# jobs have one thread each; no limit of dask's own on memory; what ends is said by `on_end`
HERE = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}


class Seat(WorkerPlugin):
    """What a task finds in its worker.

    Attributes: stop, set when the task should save and end; env, the variables that name the worker's own GPU.
    """

    def __init__(self, name: str, gpus: Sequence[str] = (), of_process: bool = False) -> None:
        self.name, self.gpus, self.of_process = name, gpus, of_process

    def setup(self, worker: Worker) -> None:
        """Called when the worker starts, and before it touches a GPU."""
        self.stop = threading.Event()
        self.env = {"CUDA_VISIBLE_DEVICES": self.gpus[worker.name % len(self.gpus)]} if self.gpus else {}
        if self.of_process:
            os.environ |= self.env
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to all: the parent says what to do


@contextlib.contextmanager
def workers(jobs: int = 1, at: str | Path | None = None, threads: bool = False) -> Iterator[Client]:
    """Workers that `run_all` gives tasks to: `jobs` processes of this machine, each with a GPU of its own where there
    are as many; they end with this process, however it dies.

    at: the scheduler file of a cluster that is up; then its workers, each with one task at a time, in place of `jobs`.
    threads: `jobs` threads of this process in place of processes. Raises: ValueError where no such cluster is there.
    """
    with dask.config.set(SETTINGS), _start(jobs, threads) if at is None else _client_of(Path(at)) as client:
        client.register_plugin(Seat(client.id, _gpus() if at is None else (), at is None and not threads))
        try:
            yield client
        except Exception as error:
            if client.status == "running":
                raise
            raise ValueError(f"the scheduler of {at} is gone: start it again, and the same command goes on") from error
        finally:
            if client.status == "running":
                client.unregister_worker_plugin(client.id)


def _start(jobs: int, threads: bool) -> Client:
    """Workers of this machine. Nobody hears a Ctrl-C while they start: half a cluster doesn't end well."""
    heard_here = not threads and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if heard_here else None  # processes inherit it
    try:
        return Client(n_workers=jobs, processes=not threads, **HERE)
    finally:
        if before:
            signal.signal(signal.SIGINT, before)


def _client_of(file: Path) -> Client:
    try:
        return Client(json.loads(file.read_text())["address"], timeout=PATIENCE)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{file} is no scheduler file: `dask scheduler --scheduler-file FILE` writes one") from error
    except OSError as error:
        cure = f"start `dask scheduler --scheduler-file {file}` and workers, or leave out --at"
        raise ValueError(f"no scheduler answers at {file}: {cure}") from error


def _gpus() -> list[str]:
    """The GPUs of this machine that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # not needed by a scheduler, which imports this file

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return named[:count] if named[0] else [str(i) for i in range(count)]


def run_all(
    client: Client,
    work: Callable,
    tasks: Sequence[tuple],
    on_end: Callable[[int, object], None],
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Call `work(*task, seat)` in a worker for each task, `on_end(i, what it returned or raised)` here, and tick often.

    A task whose worker is killed is given out again; the second time it ends with a MemoryError (on a cluster, as often
    as its scheduler's allowed-failures say). After a Ctrl-C (or what on_end raises) the seats of running tasks say
    `stop`; when all have ended, `KeyboardInterrupt` goes on.
    work: a function of a module, which a worker can import.
    """
    todo, running = list(enumerate(tasks)), {}
    try:
        while todo or running:
            free = len(client.nthreads()) - len(running)  # asked each time: workers may come and go
            for i, task in [todo.pop(0) for _ in range(min(free, len(todo)))]:
                running[client.submit(_call, client.id, work, task, pure=False)] = i
            for future in [future for future in running if future.done()]:
                on_end(running.pop(future), _outcome(future))
            tick()
            time.sleep(0.2)
    except BaseException:
        client.run(_stop, client.id, on_error="ignore")
        wait(list(running))
        raise


def _call(seat: str, work: Callable, task: tuple) -> object:
    """In a worker. An error is returned: dask would log it, and end the whole worker at a KeyboardInterrupt."""
    try:
        return work(*task, get_worker().plugins[seat])
    except BaseException as error:
        return error


def _outcome(future: Future) -> object:
    error = future.exception()
    if isinstance(error, KilledWorker):
        return MemoryError("killed by the system (out of memory?)")
    return error or future.result()


def _stop(seat: str, dask_worker: Worker) -> None:
    dask_worker.plugins[seat].stop.set()
