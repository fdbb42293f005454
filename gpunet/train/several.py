"""A run of several ranks: all start from what rank 0 has and look at the test images together; rank 0 keeps it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gpunet.model.model import Model
from gpunet.model.parameters import Parameters
from gpunet.ranks.crew import Crew
from gpunet.train.metrics import EpochMetrics, best
from gpunet.train.trainer import Progress, Trainer, Watcher, evaluate

if TYPE_CHECKING:
    from gpunet.train.folder import RunFolder


class Noting(Watcher):
    """Has it told, whatever happens to any rank, how the run can go on."""

    def __init__(self, crew: Crew, folder: "RunFolder") -> None:
        self._crew, self._folder, self._said = crew, folder, ""

    def started(self, trainer: Trainer) -> None:
        self._note()

    def stepped(self, progress: Progress) -> None:
        self._note()

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        self._note()

    def _note(self) -> None:
        text = self._folder.how_to_go_on()
        if text != self._said:
            self._said = text
            self._crew.watched.note(text)


def share_start(trainer: Trainer) -> None:
    """Give all ranks what rank 0 starts from: all that lasts from step to step, and where the run stands."""
    ranks = trainer.model.ranks
    if ranks is None:
        return
    state: dict[str, Any] = ranks.tell(trainer.state() if ranks.rank == 0 else None)[0]
    share_values(trainer.model, trainer.model.state)
    if ranks.rank and state["steps"]:
        trainer.restore(state)


def share_values(model: Model, values: Parameters) -> None:
    """Give all ranks the values that rank 0 has."""
    ranks = model.ranks
    if ranks is None:
        return
    for name, tensor in values.tensors.items():
        if name in model.plan.program.sharded and not ranks.tell(values.is_given(name))[0]:
            continue  # each has its own share, as it was drawn
        found = np.empty(tensor.shape, tensor.dtype) if ranks.rank else values[name]
        ranks.spread(found)
        if ranks.rank:
            values[name] = found
    values.settle()


def settle_shares(model: Model) -> None:
    """Where rank 0 may have asked for the others' shares of the caches: it asks for no more, and they give them."""
    if model.plan.program.sharded and model.ranks is not None:
        if model.ranks.rank:
            model.state.serve()
        else:
            model.state.served()


class Shares(Watcher):
    """Has rank 0 get the others' shares of the caches whenever it keeps a checkpoint; behind what keeps them."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def started(self, trainer: Trainer) -> None:
        settle_shares(self._model)

    def stepped(self, progress: Progress) -> None:
        settle_shares(self._model)

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        settle_shares(self._model)


def look_along(trainer: Trainer) -> None:
    """What `look_at_test` does, as a rank that is not the first."""
    share_values(trainer.model, trainer.model.parameters)
    evaluate(trainer.model, trainer.data.test, where=f"epoch {best(trainer.rows).epoch}")
