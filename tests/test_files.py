"""Files are whole or not there, whatever fails and whenever."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpunet.errors import DataError
from gpunet.system.files import locked, write_whole


def test_a_file_holds_what_was_written_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"\x00\xff\r\n")
    write_whole(tmp_path / "b", "größer\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff\r\n"
    assert (tmp_path / "b").read_bytes() == "größer\n".encode()
    write_whole(tmp_path / "a", b"next")
    assert (tmp_path / "a").read_bytes() == b"next"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_others_may_read_a_file_as_far_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)

        def noted(*arguments: object, name: str = name, call: object = call) -> object:
            calls.append(name)
            return call(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(os, name, noted)
    write_whole(tmp_path / "a", b"x")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_whatever_stops_it_the_old_file_stays_and_nothing_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: BaseException
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises((DataError, KeyboardInterrupt)) as caught:
            write_whole(path, b"new")
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_takes_only_part_of_it_is_a_clear_message(tmp_path: Path) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        with pytest.raises(DataError, match=os.strerror(errno.EFBIG)):
            write_whole(tmp_path / "part", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot write .*gone.*No such file"):
        write_whole(tmp_path / "gone" / "a", b"x")


# -- locks -----------------------------------------------------------------------------------------


def test_a_lock_keeps_others_out_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):  # the file of the first time is no hindrance
        with locked(path, "mine"):
            with pytest.raises(DataError, match="theirs"), locked(path, "theirs"):
                pass
            with locked(tmp_path / "other", "another"):
                pass


def test_a_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "import sys, time; from pathlib import Path; from gpunet.system.files import locked\n"
        "with locked(Path(sys.argv[1]), ''):\n    print('held', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="busy"), locked(path, "busy"):
            pass
        process.kill()
        process.wait()
        with locked(path, "busy"):
            pass


def test_a_lock_whose_file_its_holder_removes_does_not_let_two_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    opened = os.open

    def removed_meanwhile(*arguments: object) -> int:
        handle = opened(*arguments)  # type: ignore[arg-type]
        path.unlink()
        return handle

    monkeypatch.setattr(os, "open", removed_meanwhile)
    with pytest.raises(DataError, match="busy"), locked(path, "busy"):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with locked(tmp_path / "lock", "busy"):
        pass
