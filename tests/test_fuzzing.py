"""The limits of fuzzing are real: what hangs and what takes too much memory is noticed, and which file it was."""

import gc
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from gpunet.data.raw import opened
from tests import fuzzing
from tests.fuzzing import Hang, fuzz, limited

CONTENTS = st.just(b"content")


def sleeps(path: Path) -> None:
    time.sleep(60)


def turns(path: Path) -> None:
    """It catches all that it may catch."""
    while True:
        try:
            time.time()
        except Exception:
            continue


def swallows(path: Path) -> None:
    try:
        sleeps(path)
    except BaseException:
        sleeps(path)


@pytest.mark.parametrize("read", [sleeps, turns, swallows])
def test_a_reader_that_hangs_is_stopped_and_its_file_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 0.1)
    started = time.monotonic()
    with pytest.raises(Hang, match=r"no end after 0\.1 s: .*/some of b'content'"):
        fuzz(tmp_path, "some", 10, CONTENTS, read)
    assert time.monotonic() - started < 30


def takes(path: Path) -> None:
    np.empty(900 << 20, np.uint8)


def takes_and_tells_as_a_reader(path: Path) -> None:
    with opened(path):
        takes(path)


@pytest.mark.parametrize("read", [takes, takes_and_tells_as_a_reader])
def test_a_reader_that_takes_900_mib_fails(tmp_path: Path, read: Callable[[Path], None]) -> None:
    with pytest.raises(AssertionError, match="takes more than 536,870,912 bytes"):
        fuzz(tmp_path, "some", 2, CONTENTS, read)


def test_little_by_little_too_much_is_taken_whatever_was_taken_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "MOST_BYTES", 128 << 20)
    np.ones(256 << 20, np.uint8)
    with pytest.raises(AssertionError, match="takes more than 134,217,728 bytes"), limited():
        _ = [bytes(1 << 20) for _ in range(1024)]  # more than what was freed and may be used again


def test_nobodys_garbage_is_collected_on_the_time_of_a_reader() -> None:
    with limited():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_limits_end_with_the_reading() -> None:
    with limited():
        np.empty(300 << 20, np.uint8)
    assert np.empty(900 << 20, np.uint8).nbytes == 900 << 20
