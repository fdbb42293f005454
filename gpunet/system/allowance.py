"""Memory that a library may take while it reads what strangers wrote, and believes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def allowance(nbytes: int) -> Iterator[None]:
    """Let this process ask for at most `nbytes` more than it has, where the system can: more raises MemoryError, or
    what the library makes of that.

    It counts for the whole process, all threads, as long as it lasts; a limit that is there and lower stays.
    """
    try:
        import resource

        has = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # neither Windows nor macOS say or hold it
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    least = min((limit for limit in (has + nbytes, soft, hard) if limit != resource.RLIM_INFINITY), default=soft)
    resource.setrlimit(resource.RLIMIT_AS, (least, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
