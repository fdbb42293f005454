"""`gpunet` with a fault in one of its ranks: python -m tests.rank_faults FAULT RANK STEP words..."""

import errno
import os
import signal
import sys
from typing import Any

from gpunet.cli import main
from gpunet.system import files
from gpunet.train.trainer import Trainer


def meet_fault(kind: str) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "raise":
        raise RuntimeError("as the test wants it")
    if kind == "disk full":

        def full(*given: Any, **more: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "last.safetensors")

        files.os.replace = full  # type: ignore[attr-defined]


def with_fault(kind: str, rank: int, step: int) -> None:
    """Let a rank meet the fault after so many steps."""
    tell = Trainer._tell

    def told(trainer: Trainer, loss: float, correct: int, images: int) -> None:
        ranks = trainer.model.ranks
        if ranks is not None and ranks.rank == rank and trainer.model.steps == step:
            meet_fault(kind)
        tell(trainer, loss, correct, images)

    Trainer._tell = told  # type: ignore[method-assign]


if __name__ == "__main__":
    _, kind, rank, step, *words = sys.argv
    with_fault(kind, int(rank), int(step))
    sys.argv = ["gpunet", *words]
    main()
