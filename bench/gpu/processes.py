"""Programs in processes of their own, with a time limit: one that crashes or hangs takes nothing else with it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout, in which programs run."""

TIMED_OUT = 124
POSIX = os.name == "posix"


def run_command(command: Sequence[str], seconds: float) -> tuple[int, str]:
    """(exit code, output and errors) of a program that gets so many seconds; TIMED_OUT if it was ended for that.

    What the program started is ended with it, also when this one is interrupted. A negative exit code is a signal.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=POSIX,
        )
        try:
            code = process.wait(None if seconds == float("inf") else max(1.0, seconds))
        except subprocess.TimeoutExpired:
            code = TIMED_OUT
        finally:
            _end(process)
        output.seek(0)
        return code, output.read().decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the program and all of its children."""
    with suppress(ProcessLookupError, PermissionError):
        if POSIX and sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def last_line(output: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no output")
