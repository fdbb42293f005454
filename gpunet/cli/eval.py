"""`gpunet eval`: how often a trained net is right."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.cli.dataset import dataset_of
from gpunet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gpunet.data import AnySplit, Dataset
    from gpunet.net.config import TrainConfig
    from gpunet.net.net import Net


class Which(StrEnum):
    """Which images of a data set."""

    test = "test"
    train = "train"


def evaluate(
    weights: options.WeightsFile,
    data: options.Data = None,
    split: Annotated[Which, typer.Option(help="The images to test on, or those to learn from.")] = Which.test,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AnyDevice.auto,
    budget: options.Budget = None,
    net: options.NetOfWeights = None,
    json: options.Json = False,
) -> None:
    """Test a trained net: its loss, how often it is right, also among its first five, and of which classes.

    It runs in an arena that is planned for scores alone. Data, size and batch are those of the run unless given.

    Exit code 1 if it does not fit, 2 for a mistake.
    """
    from gpunet.cli.trained import scoring_model, scoring_plan, training_of, weights_file
    from gpunet.report.console import show, working
    from gpunet.report.evaluation_table import evaluation_json, evaluation_parts
    from gpunet.report.table import cost_line
    from gpunet.train.judge import judge
    from gpunet.train.weights import open_weights

    path = weights_file(weights)
    config, values = open_weights(path, net)
    told = _asked(training_of(path), data, size, skip_broken)
    names, dataset = _data(config.net, path, told)
    images: AnySplit = dataset.test if split == Which.test else dataset.train
    most = min(told.batch if batch is None else batch, len(images))
    made = scoring_plan(config.net, most, device, budget)
    words = "to test on" if split == Which.test else "to learn from"
    if not json:
        show(cost_line(made), f"{dataset.name}: {len(images):,} images {words}", *dataset.note.splitlines())
    with scoring_model(config.net, made, values) as model, working("testing") as say:
        found = judge(model, images, lambda done: say(f"testing: {done:,} of {len(images):,} images"))
    if json:
        from gpunet.report.as_json import as_text

        about: dict[str, Any] = {
            "weights": str(path),
            "net": config.net.name,
            "data": dataset.name,
            "split": str(split),
        }
        about |= {"device": made.device, "batch": made.batch, "arena_bytes": made.arena_bytes}
        typer.echo(as_text(about | evaluation_json(found, names)))
    else:
        show(*evaluation_parts(found, names))


def _asked(told: "TrainConfig | None", data: str | None, size: str | None, skip_broken: bool | None) -> "TrainConfig":
    """What the run was told, with the data asked for. Raises ConfigError where nobody says which."""
    from gpunet.net.config import TrainConfig

    if data is not None:
        told = replace(told or TrainConfig(), data=data, size=None, skip_broken=False)
    elif told is None:
        raise ConfigError("no config.toml beside the weights says which data they learnt from; give --data")
    given: dict[str, Any] = {"size": size, "skip_broken": skip_broken}
    return replace(told, **{name: value for name, value in given.items() if value is not None})


def _data(net: "Net", path: Path, told: "TrainConfig") -> tuple[list[str], "Dataset"]:
    """The names of the classes, and the data set.

    Raises DataError where the net cannot use it, or learnt to tell other classes apart.
    """
    from gpunet.net.words import listed
    from gpunet.train.weights import class_names, read_about

    dataset = dataset_of(net, told)
    names = class_names(path, net.classes)
    if dataset.classes and read_about(path).get("classes") and list(dataset.classes) != names:
        raise DataError(
            f"{dataset.name} has the classes {listed(dataset.classes[:5])}; {net.name} learnt to tell "
            f"{listed(names[:5])} apart"
        )
    return [*dataset.classes, *names[len(dataset.classes) :]], dataset
