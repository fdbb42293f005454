"""Files from strangers: whatever is in them, they are read or refused, soon and in little memory."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpunet.errors import GpunetError

MOST_MILLISECONDS = 2000
MOST_KIB = 512 << 10
"""That reading may add to what the tests take anyway; of 100,000 cases Hypothesis itself remembers some 200 MiB."""

CASES = pytest.mark.parametrize("cases", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
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


def fuzz(
    folder: Path, name: str, cases: int, contents: st.SearchStrategy[bytes], read: Callable[[Path], object]
) -> None:
    """Whatever is in the file, `read` returns or raises a GpunetError that names it, within the time and the memory."""
    path = folder / name
    seen = {True: 0, False: 0}

    @settings(
        max_examples=cases,
        deadline=MOST_MILLISECONDS,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def run(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except GpunetError as error:
            named = str(path.parent) in str(error)
            assert named, f"{error} names no file"  # noqa: PT017 - most cases raise nothing
            seen[False] += 1
        else:
            seen[True] += 1

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KIB
    assert seen[True] and seen[False], "the cases are all alike"
