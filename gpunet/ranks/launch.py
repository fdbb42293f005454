"""Starting the ranks of one machine: MPI's mpiexec with the same command, a watch over them, and signals for rank 0."""

import os
import signal
import subprocess
import sys
import threading
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from types import FrameType
from typing import IO, TextIO

from gpunet.errors import ConfigError
from gpunet.ranks.crew import TERMINAL, WATCH
from gpunet.ranks.mpi import find_starter, require_installed
from gpunet.ranks.watch import Watch

EXIT_CODES = (0, 1, 2, 130, 143)
"""Those of gpunet itself."""

HEARD = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
THREADS = "OMP_NUM_THREADS"
MOST_RANKS = 256
"""That one machine is asked to start."""

NOISE = (
    *("=====", "|  ", "YOUR APPLICATION", "Abort(", "application called MPI_Abort", "[proxy", "[mpiexec", "---"),
    *("Primary job", "mpiexec has", "mpirun has", "prterun"),
)
"""How lines begin that are mpiexec's own."""


def launch(ranks: int, words: Sequence[str], complain: Callable[[str], None]) -> int:
    """Run `gpunet words` in so many processes of this machine; the exit code that all of them come to.

    Each gets its share of the cores. Ctrl-C and the like are rank 0's to hear. Raises ConfigError without an MPI.
    """
    if not 1 <= ranks <= MOST_RANKS:
        raise ConfigError(f"1 to {MOST_RANKS} ranks can be started here; got {ranks}")
    require_installed()
    starter = find_starter()
    watch = Watch(complain)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {THREADS: str(max(1, cores // ranks)), **os.environ, WATCH: watch.address, "PYTHONUNBUFFERED": "1"}
    if sys.stdout is not None and sys.stdout.isatty():
        environment[TERMINAL] = str(get_terminal_size().columns)
    command = [str(starter), *_options(starter), "-n", str(ranks), sys.executable, "-m", "gpunet", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)  # type: ignore[call-overload]
    before = {number: signal.signal(number, _forwarding(watch, process)) for number in HEARD}
    try:
        return _outcome(process, watch, complain)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        watch.close()


def _outcome(process: "subprocess.Popen[bytes]", watch: Watch, complain: Callable[[str], None]) -> int:
    """Wait for all ranks, and hand on what they say; the exit code that all come to.

    What mpiexec itself says is of use only where no rank said anything.
    """
    assert process.stdout is not None and process.stderr is not None  # they are pipes
    passed = [_Passed(process.stdout, sys.stdout), _Passed(process.stderr, sys.stderr)]
    code = process.wait()
    for one in passed:
        one.join()
    watch.settle()
    if watch.cause is not None:
        return watch.cause[1]
    if code not in EXIT_CODES:
        told = " ".join(" ".join(one.kept) for one in passed).strip()[:300]
        complain(f"mpiexec ended with exit code {code}{f': {told}' if told else ''}")
        return 2
    return code


class _Passed(threading.Thread):
    """Hands on what comes through a pipe as it comes, but for what mpiexec says itself, which is `kept`."""

    def __init__(self, pipe: IO[bytes], to: TextIO) -> None:
        super().__init__(name="gpunet-pass", daemon=True)
        self.kept: list[str] = []
        self._pipe, self._to = pipe, to
        self._done = False
        self.start()

    def run(self) -> None:
        line = ""
        decoder = getincrementaldecoder("utf-8")("replace")
        while data := os.read(self._pipe.fileno(), 65536):
            *whole, line = (line + decoder.decode(data)).split("\n")
            for text in whole:
                self._take(text)
            if line and not any(noise.startswith(line[: len(noise)]) for noise in NOISE):
                self._write(line)  # a part of a line, as a live view writes
                line = ""
        if line:
            self._take(line)

    def _take(self, text: str) -> None:
        self._done = self._done or text.startswith(NOISE)
        if self._done:  # mpiexec speaks last
            self.kept += [word] if (word := text.strip("=| ")) else []
        else:
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._to.write(text)
            self._to.flush()


def _options(starter: Path) -> list[str]:
    """What Open MPI's mpiexec wants to be told where MPICH's does as it is asked."""
    said = subprocess.run([str(starter), "--version"], capture_output=True, text=True, check=False).stdout
    if "Open MPI" not in said and "OpenRTE" not in said:
        return []
    return ["--oversubscribe", *(["--allow-run-as-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])]


def _forwarding(watch: Watch, process: "subprocess.Popen[bytes]") -> Callable[[int, FrameType | None], None]:
    """Hands a signal to rank 0, which lets all stop after the step; the second one ends all at once."""
    heard = 0

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard += 1
        if heard == 1:
            watch.forward(number)
        else:
            process.terminate()

    return hear
