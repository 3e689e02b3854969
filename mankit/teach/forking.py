"""Run what may loop for ever, ask for 40 GB or kill its process: each task in a process of its own, with limits.

Forked, so that what is imported here is there at once. For POSIX systems only. It keeps accidents and pranks apart from
the rest; it is no wall against someone who means harm (docs/teachers.md says what is).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Generic, TypeVar

import psutil
import torch

from ..errors import at_least

Task = TypeVar("Task")
MOST = 2**20  # bytes of what a task says that are read
DONE, TIME_OUT, KILLED = "done", "time-out", "killed"


@dataclass(frozen=True)
class Limits:
    """What a task may use: seconds by the clock and of the CPU, GiB of memory besides what is there, MiB of a file."""

    wall: float = 60.0
    cpu: int = 20
    memory: float = 3.0
    file: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            at_least(name, value, 1 if name == "cpu" else 0.01)


@dataclass
class Ended(Generic[Task]):
    """How a task ended: done, time-out or killed; what its work had said until then; seconds of the CPU."""

    task: Task
    how: str
    said: list[Any]
    seconds: float


def forked(
    tasks: Iterable[Task], work: Callable[[Task], Iterable[Any]], limits: Limits, at_a_time: int
) -> Iterator[Ended[Task]]:
    """work(task) for every task, each in a process of its own, as they end. What work yields goes through JSON.

    A task that was only too slow by the clock has a second try: the machine may have been busy.
    """
    if not hasattr(os, "fork"):
        raise ValueError("grading needs Linux, macOS or another POSIX system: use WSL or docs/grade.Dockerfile")
    waiting, running = iter([(task, 1) for task in tasks]), []
    again: list[tuple[Task, int]] = []
    try:
        while True:
            while len(running) < at_a_time and (next_one := again.pop() if again else next(waiting, None)):
                with _ctrl_c_waits():
                    running.append(_Child(*next_one, work, limits))
            if not running:
                return
            time.sleep(0.005)
            for child in [child for child in running if child.ended()]:
                running.remove(child)
                ended = child.result()
                if ended.how == TIME_OUT and ended.seconds < limits.cpu / 2 and child.tries == 1:
                    again.append((child.task, 2))
                else:
                    yield ended
    finally:
        for child in running:
            child.kill()
            os.waitpid(child.pid, 0)
            child.result()


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """A Ctrl-C in here comes at its end: Python drops one within a fork, or the new process is left alone."""
    if threading.current_thread() is not threading.main_thread():  # which alone gets a Ctrl-C
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        signal.raise_signal(signal.SIGINT)


@dataclass
class _Child(Generic[Task]):
    """A task's process, from its start on."""

    task: Task
    tries: int
    work: Callable[[Task], Iterable[Any]]
    limits: Limits
    pid: int = field(init=False)
    how: str = DONE
    status: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.said: IO[bytes] = tempfile.TemporaryFile()  # no pipe: what reads one can be kept waiting
        self.folder = tempfile.TemporaryDirectory(prefix="answer-", ignore_cleanup_errors=True)
        self.end = time.monotonic() + self.limits.wall
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, of threads: the child needs none
            self.pid = os.fork()
        if self.pid == 0:
            _run(self.task, self.work, self.limits, self.said.fileno(), self.folder.name)

    def ended(self) -> bool:
        """Is the process gone? One that takes too long is ended first."""
        if time.monotonic() > self.end and self.how == DONE:
            self.how = TIME_OUT
            self.kill()
        pid, status, used = os.wait4(self.pid, os.WNOHANG)
        if pid:
            self.status, self.seconds = status, used.ru_utime + used.ru_stime
        return bool(pid)

    def kill(self) -> None:
        """End the process and all that it started in its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def result(self) -> Ended[Task]:
        """What became of it; afterwards nothing of it is left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it left running
        self.said.seek(0)
        text = self.said.read(MOST)
        self.said.close()
        self.folder.cleanup()
        said = []
        for line in text.split(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):
                said.append(json.loads(line))
        return Ended(self.task, self._how(), said, self.seconds)

    def _how(self) -> str:
        by_limit = os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGXCPU
        if self.how == TIME_OUT or by_limit or self.seconds >= self.limits.cpu:
            return TIME_OUT
        return KILLED if self.status else DONE


def _run(task: Task, work: Callable[[Task], Iterable[Any]], limits: Limits, said: int, folder: str) -> None:
    """In the new process: the task with its limits, and its end whatever happens."""
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _shut(said)
        _limit(limits)
        os.chdir(folder)
        os.environ.update(TMPDIR=folder, HOME=folder, CUDA_VISIBLE_DEVICES="")  # a GPU can't be shared by a fork
        tempfile.tempdir = folder
        torch.set_num_threads(1)  # the threads of the process before are not here
        for each in work(task):
            os.write(said, json.dumps(each).encode() + b"\n")
        os._exit(0)
    finally:
        os._exit(1)


def _shut(said: int) -> None:
    """Nothing of the process before stays open but the file for what is said: the others' files least of all."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.closerange(3, said)
    os.closerange(said + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 2**16 else 2**16)


def user_id(name: str) -> int:
    """The number of a user as whom tasks shall run. ValueError: there is no such user, or this process may not."""
    import pwd  # not on Windows

    if os.geteuid() != 0:
        raise ValueError(f"user {name!r}: only root can run answers as somebody else; leave it out, or use a container")
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"user {name!r}: there is none of this name") from None


def become(user: int) -> None:
    """In a task's process: go on as this user, who owns the task's folder and no other file here."""
    os.chown(".", user, -1)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def _limit(limits: Limits) -> None:
    import resource  # not on Windows

    memory = psutil.Process().memory_info().vms + int(limits.memory * 2**30)
    sizes = {
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CPU: (limits.cpu, limits.cpu + 1),
        resource.RLIMIT_FSIZE: (int(limits.file * 2**20),) * 2,
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, size in sizes.items():
        resource.setrlimit(kind, size)
