"""The data set that a command uses, as the training part of a config says it."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gpunet.errors import DataError

if TYPE_CHECKING:
    from gpunet.data import Dataset
    from gpunet.net.config import Config, TrainConfig
    from gpunet.net.net import Net


def dataset_of(net: "Net", told: "TrainConfig") -> "Dataset":
    """The data that `told` asks for. Raises DataError where the net cannot use them."""
    from gpunet.data import load
    from gpunet.net.config import VALIDATION

    dataset = load(
        told.data,
        shape=net.image.shape,
        classes=net.classes,
        seed=told.seed,
        size=told.size,
        skip_broken=told.skip_broken,
        validation=VALIDATION if told.validation is None else told.validation,
    )
    dataset.require(net.image.shape, net.classes)
    return dataset


def require_there(data: str, run: Path, way_out: str) -> None:
    """Raise DataError where the data that a run learnt from were moved; `way_out` is how to say where they are."""
    from gpunet.data.find import NAMES

    if data not in NAMES and not Path(data).exists():
        raise DataError(
            f"{run} learnt from {data}, and there is nothing any more; say where the data are now: {way_out}"
        )


def open_dataset(config: "Config", *, tell: bool = True) -> "Dataset":
    """The data that the config asks for, and a line about them if asked to `tell`.

    Raises DataError where the net cannot use them.
    """
    dataset = dataset_of(config.net, config.train)
    if tell:
        typer.echo(f"{dataset.name}: {dataset.counted}")
    if tell and dataset.note:
        typer.echo(dataset.note)
    if tell and dataset.white != 255 and not config.scale_said:
        typer.echo(f"white is {dataset.white} there, so a pixel p enters the net as p/{dataset.white}")
    return dataset


def anywhere(data: str) -> str:
    """What --data says, such that it says the same in another folder."""
    from gpunet.data.find import NAMES

    return data if data in NAMES else str(Path(data).absolute())
