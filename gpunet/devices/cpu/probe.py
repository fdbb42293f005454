"""What there is of the CPU's memory and libraries."""

import os
import platform
from contextlib import suppress
from itertools import islice
from pathlib import Path

from gpunet.devices.cpu.threads import thread_count

__all__: tuple[str, ...] = ()  # no ops here

CGROUP = Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Memory that this process can still have, in the system and within its container's limit; None if nobody says."""
    amounts = [amount for amount in (_free_in_system(), _free_in_container()) if amount is not None]
    return min(amounts, default=None)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def model() -> str:
    """What the CPU calls itself."""
    with suppress(OSError), Path("/proc/cpuinfo").open() as file:
        for line in islice(file, 64):  # the first core's
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def blas() -> str | None:
    """NumPy's BLAS in words: "openblas 0.3.30 for SkylakeX, 2 threads"; None where it has none that can be asked.

    For what it computes (OPENBLAS_CORETYPE counts) is said where it tells: other kernels give other last bits.
    """
    import numpy  # loads the library that is looked for
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        if library["user_api"] == "blas" and numpy.__name__ in library["filepath"]:
            kernels = f" for {library['architecture']}" if library.get("architecture") else ""
            return f"{library['internal_api']} {library['version']}{kernels}, {thread_count()} threads"
    return None


def _free_in_system() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _free_in_container() -> int | None:
    """What a limit of cgroup v2 leaves; files of the page cache are not counted against it."""
    with suppress(OSError, ValueError, StopIteration):
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        cache = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return max(0, limit - used + cache)
    return None
