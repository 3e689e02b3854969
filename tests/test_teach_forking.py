"""Tasks in processes of their own: what they may use, and what they leave behind."""

import os
import signal
import time

import pytest

from mankit.teach.forking import Limits, forked


def ended(work, **limits):
    """How a task ended, and what it said."""
    (one,) = forked([None], work, Limits(**{"wall": 60.0, "cpu": 5, **limits}), 1)
    return one.how, one.said


def test_each_task_says_its_own_and_several_run_at_a_time(tmp_path):
    def first_waits_for_last(number):
        yield "begun"
        (tmp_path / str(number)).write_text("here")
        while number == 0 and not (tmp_path / "4").exists():
            time.sleep(0.01)
        yield number**2

    found = list(forked(range(5), first_waits_for_last, Limits(), 2))
    assert sorted((one.task, one.how, one.said[-1]) for one in found) == [(n, "done", n**2) for n in range(5)]


def test_what_was_said_before_the_end_is_there():
    def dies(_):
        yield 1
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(dies) == ("killed", [1])
    assert ended(lambda _: iter([1, 2])) == ("done", [1, 2])
    assert ended(lambda _: 1 / 0) == ("killed", [])


def test_a_loop_ends_by_its_cpu_time_even_if_it_does_not_want_to():
    def loops(_):
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True:
            pass

    assert ended(loops, cpu=1) == ("time-out", [])


def test_a_sleeper_has_a_second_try_and_then_ends(tmp_path):
    def sleeps(_):
        with open(tmp_path / "tries", "a") as file:
            file.write("x")
        time.sleep(100)

    assert ended(sleeps, wall=0.3) == ("time-out", [])
    assert (tmp_path / "tries").read_text() == "xx"


def test_memory_and_files_have_limits():
    def memory(_):
        yield len(bytearray(2**20))
        bytearray(2**30)

    def file(_):
        with open("small", "wb") as small:
            small.write(bytes(2**16))
        yield os.path.getsize("small")
        with open("large", "wb") as large:
            large.write(bytes(2**18))

    assert ended(memory, memory=0.5) == ("killed", [2**20])
    assert ended(file, file=0.1) == ("killed", [2**16])


def test_nothing_is_left_of_a_task(tmp_path):
    def leaves(_):
        if os.fork() == 0:
            time.sleep(0.5)
            (tmp_path / "left").write_text("running")
            os._exit(0)
        with open("here", "w") as file:
            file.write("x")
        yield os.getcwd()

    how, (folder,) = ended(leaves)
    assert how == "done" and not os.path.exists(folder)
    time.sleep(0.8)
    assert not (tmp_path / "left").exists()


def test_no_file_of_another_task_is_open(tmp_path):
    with open(tmp_path / "secret", "w+") as secret:
        secret.write("x")
        secret.flush()

        def reads(_):
            yield [n for n in range(64) if _is_open(n)]

        _, (numbers,) = ended(reads)
    assert len(numbers) == 4  # nothing to read, nowhere to write, and the one for what it says


def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_stopped_in_the_middle_no_task_goes_on(tmp_path):
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    _expect_a_stop_ends_all(tmp_path)


def test_stopped_within_a_fork_no_task_goes_on(tmp_path, monkeypatch):
    fork = os.fork

    def interrupted():
        if pid := fork():
            time.sleep(0.2)  # the new process has begun
            signal.raise_signal(signal.SIGINT)
        return pid

    monkeypatch.setattr(os, "fork", interrupted)
    _expect_a_stop_ends_all(tmp_path)


def _expect_a_stop_ends_all(tmp_path):
    def writes(_):
        time.sleep(0.6)
        (tmp_path / "on").write_text("x")
        yield 1

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(forked([1, 2], writes, Limits(), 2))
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    time.sleep(0.8)
    assert not (tmp_path / "on").exists()


@pytest.mark.parametrize(
    "limits, said", [({"cpu": 1.5}, "cpu=1.5"), ({"wall": 0}, "wall=0"), ({"file": "x"}, "file=x")]
)
def test_limits_are_numbers(limits, said):
    with pytest.raises(ValueError, match=said):
        Limits(**limits)
