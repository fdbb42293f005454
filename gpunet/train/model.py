"""The model that people hold: besides its steps and passes, it fits, and is saved and loaded."""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np

from gpunet.model import model

if TYPE_CHECKING:
    from gpunet.data.dataset import AnySplit, Dataset
    from gpunet.model.ahead import Batch
    from gpunet.net.net import Net
    from gpunet.optimize.rate import RateFunction
    from gpunet.optimize.schedules import Schedule, ScheduleName
    from gpunet.planning.options import Settings
    from gpunet.program.program import AnyDevice
    from gpunet.train.history import History
    from gpunet.train.metrics import EpochMetrics
    from gpunet.train.trainer import Progress


class Model(model.Model):
    __doc__ = model.Model.__doc__

    def fit(
        self,
        data: "Dataset | AnySplit | tuple[np.ndarray, np.ndarray] | np.ndarray | Iterable[Batch]",
        labels: np.ndarray | None = None,
        *,
        epochs: int = 1,
        validation: "Dataset | AnySplit | tuple[np.ndarray, np.ndarray] | Iterable[Batch] | None" = None,
        steps_per_epoch: int | None = None,
        learning_rate: "float | RateFunction | None" = None,
        schedule: "ScheduleName | Schedule" = "constant",
        warmup: int = 0,
        seed: int | None = None,
        on_step: "Callable[[Progress], object] | None" = None,
        on_epoch: "Callable[[EpochMetrics], object] | None" = None,
        progress: bool | None = None,
    ) -> "History":
        """Train for `epochs` epochs and return what was measured.

        `data`      a data set, of which it learns from `train`; a split; arrays, as (images, labels) or with `labels`;
                    or an iterable of batches, pairs (images, labels): one that can be gone through again, or a
                    generator, which goes on from epoch to epoch
        `labels`    where `data` is an array of images
        `validation`  what every epoch is judged by afterwards, in these forms but a generator; None: a data set's own
                    images to validate with, if it has any
        `steps_per_epoch`  batches of an epoch; needed for a generator over several epochs, and for a schedule over
                    batches that cannot be counted
        `learning_rate`  at the start, or a function of the steps taken in this fit; None: the model's, which stays as
                    it was in any case
        `schedule, warmup`  what becomes of the learning rate; `warmup` steps in which it rises at first
        `seed`      of the order of images, with how many epochs of them the model has seen: so two fits of an epoch end
                    in the bits of one of two; None: the model's. Batches come as they come.
        `on_step`   called with the `Progress` after every step; where it returns True, the fit ends there
        `on_epoch`  called with the `EpochMetrics` of every epoch; where it returns True, the fit ends there
        `progress`  True: show how it goes; False: say nothing; None: show it in a notebook and on a terminal

        Raises Diverged, naming epoch, step and layer, where a loss is infinite or NaN; DataError, ShapeError or
        ConfigError for data and numbers that cannot be used.
        """
        from gpunet.train.bar import shown
        from gpunet.train.fitting import Callbacks, Fitting

        fitting = Fitting(
            self,
            data if labels is None else (data, labels),
            epochs=epochs,
            validation=validation,
            steps_per_epoch=steps_per_epoch,
            learning_rate=learning_rate,
            schedule=schedule,
            warmup=warmup,
            seed=seed,
        )
        callbacks = Callbacks(on_step, on_epoch)
        with shown(progress, fitting.epochs) as listeners:
            return fitting.run(*listeners, callbacks)

    def save(self, path: str | PathLike[str], *, classes: Sequence[str] = (), white: int = 255) -> None:
        """Write all that lasts into one file, from which `Model.load` goes on; `gpunet eval` and its like read it, too.

        `classes`  names of the classes, from 0
        `white`    the value of white in the uint8 images that it learnt from

        Raises DataError where the file cannot be written.
        """
        from gpunet.train.saving import save_model

        save_model(self, path, classes, white)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        batch: int | None = None,
        device: "AnyDevice" = "auto",
        *,
        net: "Net | None" = None,
        seed: int | None = None,
        learning_rate: "float | RateFunction | None" = None,
        budget: str | int | None = None,
        debug: bool | None = None,
        graph: bool | None = None,
        **settings: "Unpack[Settings]",
    ) -> Self:
        """A model of the net and with the weights of a file, be it of `save` or of a run, or of a run's folder.

        What is not said is as the file has it: batch, optimizer, dtype, math, learning rate, the steps taken. With the
        same optimizer its caches come along, and training goes on in the same bits.
        `net`  where the file does not say its net, as one with layers from outside this package
        All else means what it means for Model.

        Raises DataError for a file that cannot be used.
        """
        from gpunet.train.saving import load_model

        said: dict[str, Any] = {"batch": batch, "seed": seed, "learning_rate": learning_rate, "budget": budget}
        said |= {"debug": debug, "graph": graph, "mode": "train", **settings}
        return load_model(cls, path, device, net, said)
