"""Real processes of the command, and a Ctrl-C in the middle of them."""

import os
import signal
import subprocess
import sys


def interruptible():
    """For preexec_fn: a shell that runs the tests in the background ignores Ctrl-C, and its processes with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ctrl_c_while_training(*words, cwd=None):
    """Run `mankit WORDS` until its progress bar shows that it trains, press Ctrl-C; its exit code, out and err."""
    command = [sys.executable, "-m", "mankit", *map(str, words)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, preexec_fn=interruptible, cwd=cwd
    )
    try:
        shown = b""
        while b"step/s" not in shown:  # the progress bar: it trains
            chunk = os.read(process.stderr.fileno(), 4096)
            assert chunk, shown.decode()
            shown += chunk
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, out, err
