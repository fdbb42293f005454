"""What this process takes of the machine's memory, as the system counts it."""

import os
import sys
from contextlib import suppress
from pathlib import Path

__all__: tuple[str, ...] = ()  # no ops here

STATM = Path("/proc/self/statm")


def resident() -> dict[str, int]:
    """{"process": bytes of this process that are in memory now}.

    Where the system tells only the most so far, that; nothing where it does not tell at all.
    """
    with suppress(OSError, ValueError, IndexError):
        return {"process": int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")}
    with suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"process": most if sys.platform == "darwin" else most * 1024}
    return {}
