"""A checkpoint is whole, or the one before it is: whatever fails in writing it, at every system call, and kills too."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from gpunet import Model
from gpunet.errors import DataError
from gpunet.train.checkpoint import DIGEST, LAST, PREVIOUS, Broken, latest, read, save
from tests.runs import BATCH, NET

ROOT = Path(__file__).parent.parent
CALLS = ("open", "write", "fsync", "close", "replace", "unlink")
"""All that changes a file, as gpunet.system.files calls it."""

TENSORS = 14
"""Of the net with momentum; header and checksum are two pieces more."""


class Faults:
    """Stands in for the functions of `os`: fails at call number `at`, counted from 0, in `way`."""

    def __init__(self, at: int, way: Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]) -> None:
        self.at, self.way = at, way
        self.calls: list[str] = []

    def put_in(self, patch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            patch.setattr(os, name, self._standing_in(name, getattr(os, name)))

    def _standing_in(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*arguments: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self.at:
                return self.way(name, call, arguments)
            return call(*arguments)

        return stand_in


def failing(code: int, *, half: bool = False) -> Callable[[str, Callable[..., Any], tuple[Any, ...]], Any]:
    """An error of this code; `half`: only once half of what was to be written is on the disk."""

    def fail(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name == "write" and half:
            call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with Model(NET, BATCH, "cpu", seed=1) as model:
        yield model


def keep(folder: Path, model: Model, number: int) -> None:
    save(folder / LAST, model.state, {"number": number}, previous=folder / PREVIOUS)


def points(folder: Path, model: Model) -> list[str]:
    """The calls of keeping a checkpoint where two are there."""
    with pytest.MonkeyPatch.context() as patch:
        for number in (1, 2):
            keep(folder, model, number)
        faults = Faults(-1, failing(0))
        faults.put_in(patch)
        keep(folder, model, 3)
    return faults.calls


def test_what_is_counted_is_every_call_of_keeping_a_checkpoint(tmp_path: Path, model: Model) -> None:
    expected = ["open", *["write"] * (TENSORS + 2), "fsync", "close", "replace", "replace", "open", "fsync", "close"]
    assert len(model.state) == TENSORS and points(tmp_path, model) == expected


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("half", [False, True])
def test_no_error_at_any_call_leaves_a_folder_without_a_whole_checkpoint(
    tmp_path: Path, model: Model, code: int, half: bool
) -> None:
    (tmp_path / "count").mkdir()
    count = len(points(tmp_path / "count", model))
    tried = 0
    for at in range(count):
        folder = tmp_path / str(at)
        folder.mkdir()
        for number in (1, 2):
            keep(folder, model, number)
        faults = Faults(at, failing(code, half=half))
        with pytest.MonkeyPatch.context() as patch:
            faults.put_in(patch)
            with suppress(DataError):  # the last calls only make the rename last: it is done then
                keep(folder, model, 3)
        found, damaged = latest(folder)
        assert damaged == [] and found.state["number"] in (2, 3), faults.calls
        assert sorted(path.name for path in folder.iterdir()) in ([LAST, PREVIOUS], [PREVIOUS])
        tried += len(faults.calls) > at
        keep(folder, model, 4)  # and the disk has room again
        assert latest(folder)[0].state["number"] == 4
    assert tried == count


KILLED = """
import json, os, signal, sys
from pathlib import Path
import pytest
from gpunet import Model
from tests.runs import BATCH, NET
from tests.test_checkpoint import Faults, keep, points
folder = Path(sys.argv[1])

def killing(before):
    def kill(name, call, arguments):
        if name == "write":
            call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])  # killed in the middle of it
        elif not before:
            call(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    return kill

with Model(NET, BATCH, "cpu", seed=1) as model:
    (folder / "count").mkdir()
    count = len(points(folder / "count", model))
    ended = {}
    for at in range(count):
        for before in (True, False):
            one = folder / f"{at}-{before}"
            one.mkdir()
            for number in (1, 2):
                keep(one, model, number)
            child = os.fork()
            if not child:
                with pytest.MonkeyPatch.context() as patch:
                    Faults(at, killing(before)).put_in(patch)
                    keep(one, model, 3)
                os._exit(0)
            ended[one.name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps({"count": count, "ended": ended}))
"""


def test_no_kill_at_any_call_leaves_a_folder_without_a_whole_checkpoint(tmp_path: Path, model: Model) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["count"] == TENSORS + 2 + 8 and len(told["ended"]) == 2 * told["count"]
    numbers = []
    for name, code in told["ended"].items():
        assert code == -9, name
        found, damaged = latest(tmp_path / name)
        assert damaged == []
        numbers.append(found.state["number"])
        keep(tmp_path / name, model, 4)
        assert latest(tmp_path / name)[0].state["number"] == 4
    assert set(numbers) == {2, 3}


def test_a_checkpoint_is_a_safetensors_file_of_all_that_lasts(tmp_path: Path, model: Model) -> None:
    keep(tmp_path, model, 1)
    stored = load_file(tmp_path / LAST)
    assert set(stored) == {*model.state, DIGEST}
    for name, values in model.state.items():
        assert stored[name].dtype == values.dtype and stored[name].tobytes() == values.tobytes()
    caches = {name for name in model.state if name.endswith(".v")}
    assert {name.removesuffix(".v") for name in caches} < set(model.parameters) == set(model.state) - caches
    assert set(model.parameters) - {name.removesuffix(".v") for name in caches} == {"bn1.mean", "bn1.variance"}
    assert not (tmp_path / PREVIOUS).exists()


def test_what_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    with Model(NET, BATCH, "cpu") as model:
        keep(tmp_path, model, 1)
        values = model.state["conv1.w.v"]
        values[1, 2, 0, 0] = np.inf
        model.state["conv1.w.v"] = values
        with pytest.raises(Broken, match=r"conv1\.w\.v holds infinite values or NaN"):
            keep(tmp_path, model, 2)
    assert read(tmp_path / LAST).state["number"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [LAST]
