"""A reader's code that doesn't come to an end: said, and broken off."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

LONG = 10.0  # seconds after which a step is said to take long
PATIENCE = 5.0  # seconds that a step may take once it is to stop


class BrokenOff(BaseException):  # no Exception: a reader's `except Exception` doesn't swallow it
    """Raised in a thread whose step doesn't end."""


def break_off(thread: threading.Thread, at_work: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Raise BrokenOff in a thread that is still at work after some seconds, wherever it is. Returns at once."""

    def raise_there() -> None:
        if thread.is_alive() and at_work():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(BrokenOff))

    timer = threading.Timer(patience, raise_there)
    timer.daemon = True
    timer.start()


def long_step(seconds: float) -> str:
    """What to say of a step that has taken so many seconds: nothing for a short one."""
    said = f" This step has taken {seconds:.0f} s so far: an endless loop? Stop ends it."
    return said if seconds > LONG else ""
