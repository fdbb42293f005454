"""`gpunet` with a fault in one of its ranks: python -m tests.rank_faults FAULT RANK STEP words...

What comes from outside, "kill" and "stop", comes at some moment of the steps behind that one; the rest right after it.
"""

import errno
import os
import random
import signal
import sys
from threading import Timer
from typing import Any

from gpunet.cli import main
from gpunet.system import files
from gpunet.train.trainer import Trainer

FROM_OUTSIDE = ("kill", "stop")
LATER_SECONDS = 0.05
"""Some steps, and some checkpoints."""


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
            if kind in FROM_OUTSIDE:
                Timer(random.Random(step).uniform(0, LATER_SECONDS), meet_fault, [kind]).start()
            else:
                meet_fault(kind)
        tell(trainer, loss, correct, images)

    Trainer._tell = told  # type: ignore[method-assign]


if __name__ == "__main__":
    _, kind, rank, step, *words = sys.argv
    with_fault(kind, int(rank), int(step))
    sys.argv = ["gpunet", *words]
    main()
