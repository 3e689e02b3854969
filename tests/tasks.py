"""What tests have workers do. A worker imports this file: it should take no time."""

import os
import time


def meet(folder, name, seat):
    """The worker's GPU and process, when another task is there too."""
    (folder / name).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.05)
    return os.environ["CUDA_VISIBLE_DEVICES"], seat.env["CUDA_VISIBLE_DEVICES"], os.getpid()


def fail(message, seat):
    """Raise an error."""
    raise ValueError(message)


def until_stopped(seat):
    """End as a run does after Ctrl-C."""
    seat.stop.wait()
    raise KeyboardInterrupt
