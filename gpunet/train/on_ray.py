"""Ray Train, for clusters that come and go: its workers start `gpunet train` as ranks that meet over TCP.

Checkpoints are gpunet's own, in the folder of the run, which all machines must reach: where workers are lost, Ray
starts again with those that there are, and the run goes on from its last checkpoint.

    from gpunet.train.on_ray import train
    train(["vgg16", "--data", "/shared/pictures", "--out", "/shared/run"], workers=(2, 8), gpus=True)
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpunet.errors import ConfigError
from gpunet.train.checkpoint import LAST, PREVIOUS

INSTALL = "pip install 'gpunet[ray]'"
WHERE = "--out"


def train(words: Sequence[str], *, workers: int | tuple[int, int], gpus: bool = False, restarts: int = 10) -> Any:
    """Run `gpunet train words` in so many workers of Ray, or in as many as there are between two numbers.

    `words`     as on the command line, with --out, a folder that all workers reach
    `gpus`      whether each has a GPU of its own; else they run on the CPU
    `restarts`  how often a run goes on after workers were lost

    Returns what Ray does. Raises ConfigError without --out, and where Ray is not installed.
    """
    folder = _folder(words)
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
    except ImportError:
        raise ConfigError(f"Ray Train is not installed: {INSTALL}") from None
    trainer = DataParallelTrainer(
        work,
        train_loop_config={"words": list(words), "folder": str(folder), "gpus": gpus},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=restarts)),
    )
    return trainer.fit()


def work(config: dict[str, Any]) -> None:
    """What each worker does: meet the others and train, or go on where the run stands.

    Raises RuntimeError where the run has ended in an error, which Ray counts as a failure.
    """
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero

    context = get_context()
    address = broadcast_from_rank_zero(_meeting_place())
    os.environ |= {
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "MASTER_ADDR": address[0],
        "MASTER_PORT": str(address[1]),
    }
    command = command_of(config["words"], Path(config["folder"]), gpus=config["gpus"])
    _run([sys.executable, "-m", "gpunet", *command])


def command_of(words: Sequence[str], folder: Path, *, gpus: bool) -> list[str]:
    """What to run: the training as it was asked for, or its --resume where there is a checkpoint to go on from."""
    device = ["--device", "cuda" if gpus else "cpu"]
    if any((folder / name).exists() for name in (LAST, PREVIOUS)):
        return ["train", "--resume", str(folder), *device]
    return ["train", *words, *device]


def _run(command: Sequence[str]) -> None:
    """A process of its own, so that a rank that ends for all does not take the worker with it."""
    code = subprocess.run(command, check=False).returncode
    if code:
        raise RuntimeError(f"gpunet ended with exit code {code}; what it met is in the log of rank 0")


def _meeting_place() -> tuple[str, int]:
    """This machine's address, and a port that is free at the moment."""
    with socket.create_server(("", 0)) as server:
        return socket.gethostbyname(socket.gethostname()), server.getsockname()[1]


def _folder(words: Sequence[str]) -> Path:
    """The folder of the run. Raises ConfigError where none is said."""
    given = list(words)
    for number, word in enumerate(given):
        if word == WHERE and number + 1 < len(given):
            return Path(given[number + 1])
        if word.startswith(f"{WHERE}="):
            return Path(word.partition("=")[2])
    raise ConfigError("workers of Ray come and go, so the run must lie where all reach it: say --out FOLDER")
