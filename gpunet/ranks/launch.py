"""Starting the ranks of one machine: MPI's mpiexec with the same command, a watch over them, and signals for rank 0."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from gpunet.errors import ConfigError
from gpunet.ranks.crew import WATCH
from gpunet.ranks.mpi import find_starter, require_installed
from gpunet.ranks.watch import Watch

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
    command = [str(starter), *_options(starter), "-n", str(ranks), sys.executable, "-m", "gpunet", *words]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    before = {number: signal.signal(number, _forwarding(watch, process)) for number in HEARD}
    try:
        return _outcome(process, watch, complain)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        watch.close()


def _outcome(process: "subprocess.Popen[bytes]", watch: Watch, complain: Callable[[str], None]) -> int:
    """Wait for all ranks; what mpiexec itself says is of use only where no rank said anything."""
    words: list[str] = []
    assert process.stderr is not None  # it is a pipe
    for line in iter(process.stderr.readline, b""):
        text = line.decode(errors="replace").rstrip()
        if _is_noise(text):
            words.append(text)
        elif not words:
            print(text, file=sys.stderr, flush=True)
    code = process.wait()
    watch.settle()
    if watch.cause is not None:
        return watch.cause[1]
    if code and code not in (1, 2, 130, 143):
        told = " ".join(word for word in words if word.strip("= |"))[:300]
        complain(f"mpiexec ended with exit code {code}{f': {told}' if told else ''}")
        return 2
    return code


def _is_noise(line: str) -> bool:
    """Whether a line is mpiexec's own."""
    return line.startswith(NOISE)


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
