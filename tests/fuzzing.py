"""Files from strangers: whatever is in them, they are read or refused, soon and in little memory."""

import gc
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from gpunet.errors import GpunetError

MOST_SECONDS = 2.0
MOST_BYTES = 512 << 20
"""That reading one file may add to the address space of the process: to what is there, not to an earlier peak."""

CASES = pytest.mark.parametrize("cases", [600, pytest.param(100_000, marks=pytest.mark.slow)])
FEW_CASES = pytest.mark.parametrize("cases", [300, pytest.param(100_000, marks=pytest.mark.slow)])


def edited(*wholes: bytes) -> st.SearchStrategy[bytes]:
    """One of some files, changed as a few random bytes say."""
    return st.builds(edit, st.sampled_from(wholes), st.binary(max_size=16))


def edit(whole: bytes, recipe: bytes) -> bytes:
    """Every four bytes: what to do, where (most often near the beginning, where headers are), and a byte for it."""
    content = bytearray(whole)
    for do, near, far, value in zip(*[iter(recipe)] * 4, strict=False):
        at = (near if do & 64 else near << 8 | far) % (len(content) + 1)
        if do % 4 < 2:
            content[at : at + 1] = bytes([value])
        elif do % 4 == 2:
            content[at:at] = bytes([value]) * (far % 9)
        else:
            del content[at : None if do & 128 else at + far % 9]
    return bytes(content)


class Hang(BaseException):
    """No Exception, so that neither what is tested nor Hypothesis, which would try it again, catches it."""


@contextmanager
def limited() -> Iterator[None]:
    """Whatever runs in it has MOST_SECONDS, then it is a Hang, and MOST_BYTES, then it is an AssertionError."""
    try:
        with _alarm(), _walls():
            yield
    except Exception as error:
        if _came_of_memory(error):
            raise AssertionError(f"it takes more than {MOST_BYTES:,} bytes") from error
        raise


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {MOST_SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    gc.disable()  # to look through all that Hypothesis remembers can take longer than the reader may
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS, MOST_SECONDS)  # again, should the first Hang be swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _walls() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _came_of_memory(error: BaseException | None) -> bool:
    """Whether it is a MemoryError or was raised where one was caught, as readers do."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__context__
    return error is not None


def fuzz(
    folder: Path, name: str, cases: int, contents: st.SearchStrategy[bytes], read: Callable[[Path], object]
) -> None:
    """Whatever is in the file, `read` returns or raises a GpunetError that names it, within the time and the memory."""
    path = folder / name
    seen = {True: 0, False: 0}

    @settings(
        max_examples=cases,
        deadline=None,  # looked at only after a case
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try:
            with limited():
                read(path)
        except GpunetError as error:
            named = str(path.parent) in str(error)
            assert named, f"{error} names no file"  # noqa: PT017 - most cases raise nothing
            seen[False] += 1
        except Hang as error:
            raise Hang(f"{error}: {path} of {content[:1000]!r}") from None
        else:
            seen[True] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # that a case which fails is long to print
        run()
    assert seen[True] and seen[False], "the cases are all alike"
