"""A rank that dies, raises, hangs or is wrong ends all, within ten seconds, with one message; the run can go on."""

import os
import random
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from gpunet.ranks.mpi import find_starter
from gpunet.train.checkpoint import latest
from tests.conftest import ROOT

NET = "INPUT[8x8x1] -> CONV3-4 -> BN -> RELU -> POOL2 -> FC-10"
COMMON = ["--device", "cpu", "--batch", "256", "--checkpoint-every", "2 steps"]
SECONDS = 10.0


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def faulty(kind: str, rank: int, step: int, folder: Path, *words: str, count: int = 2) -> tuple[int, str, float]:
    """(exit code, what was said on standard error, seconds) of a run in which a rank meets a fault."""
    given = ["train", NET, *COMMON, "--epochs", "30", "--out", str(folder), *words]
    command = [sys.executable, "-m", "tests.rank_faults", kind, str(rank), str(step), *given]
    starter = [str(find_starter()), "-n", str(count)]
    process = subprocess.Popen(
        [*starter, *command], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (folder / "last.safetensors").exists() and process.poll() is None:
        sleep(0.01)
    begun = monotonic()
    _, said = process.communicate(timeout=60)
    return process.returncode, said, monotonic() - begun


def messages(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("gpunet:")]


@pytest.mark.parametrize(
    ("kind", "rank", "words"),
    [
        ("raise", 0, "RuntimeError: as the test wants it"),
        pytest.param("raise", 1, "RuntimeError: as the test wants it", marks=pytest.mark.slow),
        pytest.param("disk full", 0, "No space left", marks=pytest.mark.slow),
        pytest.param("kill", 1, "", marks=pytest.mark.slow),  # mpiexec kills the others before they can speak
    ],
)
def test_a_fault_of_a_rank_ends_all_and_the_run_goes_on(kind, rank, words, tmp_path, run):
    code, said, seconds = faulty(kind, rank, 5, tmp_path / "run")
    assert code and seconds < SECONDS
    if words:
        (message,) = messages(said)
        assert f"rank {rank} on " in message and words in message
    checkpoint, damaged = latest(tmp_path / "run")
    if words:
        goes_on = f"goes on after step {checkpoint.state['trainer']['steps']}\n"
        assert said.count("gpunet train --resume") == 1 == said.count(goes_on)
    assert not damaged and checkpoint.state["trainer"]["steps"] >= 2
    found = run("train", "--resume", tmp_path / "run", "--epochs", "2")
    assert found.exit_code == 0
    assert "each batch in 2" in found.stderr  # other bits without the other rank


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_a_fault_at_any_moment_loses_no_checkpoint_and_hangs_nothing(seed, tmp_path):
    draw = random.Random(seed)
    kind = draw.choice(["kill", "raise", "stop", "disk full"])
    rank = 0 if kind == "disk full" else draw.randrange(2)
    code, _, seconds = faulty(kind, rank, draw.randrange(3, 60), tmp_path / "run")
    assert code and seconds < SECONDS + 2  # of it, the steps before the fault
    checkpoint, damaged = latest(tmp_path / "run")
    assert not damaged and checkpoint.state["trainer"]["steps"] >= 2


def test_started_by_gpunet_a_rank_that_is_wrong_is_told_of_once(tmp_path):
    given = ["train", NET, *COMMON, "--ranks", "2", "--out", str(tmp_path / "run"), "--data", "/nowhere"]
    found = subprocess.run(
        [sys.executable, "-m", "gpunet", *given], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 2
    assert len(messages(found.stderr)) == 1 and "there is no file /nowhere" in found.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu", "--gpus", "2"], "--gpus is for GPUs; for the CPU say --ranks"),
        (["--ranks", "3", "--gpus", "2"], "there is one rank on each GPU"),
        (["--gpus", "2"], "2 ranks need as many GPUs, and there is no GPU here"),
        (["--device", "cpu", "--ranks", "999"], "1 to 256 ranks"),
        (["--device", "cpu", "--reduce", "quick"], "--reduce must be exact or fast"),
        (["--device", "cpu", "--parts", "3", "--batch", "2"], "a batch of 2 cannot be divided among 3 parts"),
    ],
)
def test_what_ranks_cannot_be_is_said(words, message, run, monkeypatch):
    monkeypatch.setattr("gpunet.cli.together.gpu_count", lambda: 0)
    found = run("train", NET, *words)
    assert found.exit_code == 2 and message in found.stderr


def test_without_mpi_it_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    found = run("train", NET, "--device", "cpu", "--ranks", "2")
    assert found.exit_code == 2 and "pip install 'gpunet[mpi]'" in found.stderr
