"""What a run leaves in its folder, whenever it was killed or could not write: going on makes it whole."""

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gpunet.data import Dataset
from gpunet.data.draw import with_validation
from gpunet.errors import DataError
from gpunet.train.checkpoint import BEST, LAST, PREVIOUS, read
from gpunet.train.weights import load_weights, read_about
from tests.runs import images, measured, planned, train
from tests.test_checkpoint import ROOT, Faults, failing

FILES = {BEST, LAST, PREVIOUS, "config.toml", "environment.json", "metrics.csv", "plan.json", "steps.csv"}
FILES |= {"weights.safetensors"}
CALLS = "open", "fsync", "replace"
"""At which a run is killed here; killing it at every write of a checkpoint is another test's work."""


EACH = pytest.mark.parametrize("each", [3, pytest.param(1, marks=pytest.mark.slow)])
"""Of the calls the first and each so many behind it; make test-all tries them all."""

TESTED, VALIDATED = images(6), with_validation(images(9), 3, seed=1)


def small_run(folder: Path, *, data: Dataset = TESTED, go_on: bool = False) -> None:
    """Two epochs of two steps; judged by the test the second is the better one, by the validation part the first."""
    train(folder, planned(), data=data, epochs=2, schedule="constant", warmup=0, go_on=go_on)


def goes_on(folder: Path, data: Dataset = TESTED) -> None:
    """Go on with a run, or begin anew where it was stopped before its first checkpoint."""
    small_run(folder, data=data, go_on=(folder / LAST).exists() or (folder / PREVIOUS).exists())


def left(folder: Path) -> object:
    """All that a run of which nothing is missing leaves, but for the time that things took."""
    assert {path.name for path in folder.iterdir()} == FILES
    weights = {name: values.tobytes() for name, values in load_weights(folder / "weights.safetensors").items()}
    epochs = [len(read(folder / name).state["trainer"]["rows"]) for name in (LAST, BEST)]
    return measured(folder), weights, read_about(folder / "weights.safetensors"), epochs


KILLED = """
import json, os, signal, sys
from pathlib import Path
import pytest
from tests import test_checkpoint
from tests.test_run_folder import CALLS, small_run
test_checkpoint.CALLS = CALLS
folder = Path(sys.argv[1])

def counting(at):
    def kill(name, call, arguments):
        call(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    return test_checkpoint.Faults(at, kill)

with pytest.MonkeyPatch.context() as patch:
    (all_calls := counting(-1)).put_in(patch)
    small_run(folder / "whole")
ended = []
for at in range(0, len(all_calls.calls), int(sys.argv[2])):
    child = os.fork()
    if not child:
        with pytest.MonkeyPatch.context() as patch:
            counting(at).put_in(patch)
            small_run(folder / str(at))
        os._exit(0)
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(ended))
"""


@EACH
def test_a_run_killed_at_any_call_is_whole_once_it_has_gone_on(tmp_path: Path, each: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path), str(each)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert len(ended) * each > 50 and set(ended) == {-9}
    wanted = left(tmp_path / "whole")
    for at in range(0, len(ended) * each, each):
        goes_on(tmp_path / str(at))
        assert left(tmp_path / str(at)) == wanted, f"killed at call {at}"


@pytest.mark.parametrize(("data", "kept"), [(TESTED, 2), (VALIDATED, 1)], ids=["tested", "validated"])
@EACH
def test_a_run_whose_disk_was_full_at_any_call_is_whole_once_it_has_gone_on(
    tmp_path: Path, each: int, data: Dataset, kept: int
) -> None:
    small_run(tmp_path / "whole", data=data)
    wanted = left(tmp_path / "whole")
    assert read_about(tmp_path / "whole" / "weights.safetensors")["epoch"] == kept
    tried, at = 0, 0
    while tried == at:
        folder, faults = tmp_path / str(at), Faults(at, failing(errno.ENOSPC))
        with pytest.MonkeyPatch.context() as patch, suppress(DataError):
            patch.setattr("tests.test_checkpoint.CALLS", CALLS)
            faults.put_in(patch)
            small_run(folder, data=data)
        tried += each * (len(faults.calls) > at)
        goes_on(folder, data)
        assert left(folder) == wanted, f"full at {faults.calls[-1]} {at}"
        at += each
    assert tried > 50
