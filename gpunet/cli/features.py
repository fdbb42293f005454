"""`gpunet features`: what a layer makes of the images of a data set."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.errors import ConfigError
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    from gpunet.data import Dataset
    from gpunet.net.config import TrainConfig
    from gpunet.net.net import Net
    from gpunet.use.features import Shown


class Which(StrEnum):
    """Which images of a data set."""

    all = "all"
    train = "train"
    validation = "validation"
    test = "test"


def features(
    weights: options.WeightsFile,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="As for --data; default: the run's.", show_default=False)
    ] = None,
    layer: Annotated[str, typer.Option(help="The layer, like fc2, behind which the net is cut off.")] = "",
    out: Annotated[Path, typer.Option(parser=told_path, metavar="FILE", help="An .npz file; a new one.")] = Path(
        "features.npz"
    ),
    average: Annotated[bool, typer.Option("--average", help="The average of each map over its positions.")] = False,
    split: Annotated[Which, typer.Option(help="Which images of the data.")] = Which.all,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    budget: options.Budget = None,
    net: options.NetOfWeights = None,
) -> None:
    """Write what a layer makes of every image: features, with labels, parts, paths and the names of classes beside.

    The classes of the data need not be those of the net. Only what the layer needs is planned and run.

    Exit code 1 if it does not fit, 2 for a mistake.
    """
    from gpunet.cli.trained import asked, quiet, scoring_plan
    from gpunet.model.model import Model
    from gpunet.report.console import working
    from gpunet.report.table import cost_line
    from gpunet.system.files import check_place
    from gpunet.train.weights import open_weights, weights_file
    from gpunet.use.features import feature_shape, set_weights, write_features

    if out.suffix != ".npz" or out.exists():
        raise ConfigError(f"{out} is there already; give another name" if out.exists() else f"{out} is no .npz file")
    check_place(out)
    path = weights_file(weights)
    config, values = open_weights(path, net)
    if not layer:
        scored = [node.name for node in config.net.trunk if node.layer.type in ("fc", "gap")]
        raise ConfigError(
            f"which layer? Give one as --layer, like {scored[max(len(scored) - 2, 0)] if scored else 'conv1'}"
        )
    cut = config.net.up_to(layer)
    told = asked(config.net, path, data, size, skip_broken)
    dataset = _data(config.net, path, told)
    shown = _shown(dataset, split)
    count = sum(len(one.split) for one in shown)
    made = scoring_plan(cut, min(told.batch if batch is None else batch, count), device, budget)
    typer.echo(cost_line(made))
    quiet()
    with Model(cut, device=made.device, mode="infer", plan=made) as model, working("looking") as say:
        set_weights(model, values)
        write_features(
            out,
            model,
            shown,
            classes=dataset.classes,
            average=average,
            watch=lambda done: say(f"looking: {done:,} of {count:,} images"),
        )
    each = "x".join(map(str, feature_shape(cut, average=average)))
    typer.echo(f"{out} holds {layer} of {config.net.name} for {count:,} images of {dataset.name}: {each} each")


def _data(net: "Net", path: Path, told: "TrainConfig") -> "Dataset":
    """The data as the net takes images, whatever their classes."""
    from gpunet.cli.suiting import tell_of_values
    from gpunet.cli.trained import tell_of_white
    from gpunet.data import load
    from gpunet.data.white import with_white
    from gpunet.train.weights import white_of

    found = load(
        told.data,
        shape=net.image.shape,
        classes=net.classes,
        seed=told.seed,
        size=told.size,
        skip_broken=told.skip_broken,
    )
    found.require_shape(net.image.shape)
    dataset = with_white(found, white_of(path))
    tell_of_white(dataset, path)
    tell_of_values(net, path, dataset)
    return dataset


def _shown(dataset: "Dataset", which: Which) -> "list[Shown]":
    """The parts that are meant. Raises DataError where the data have none."""
    from gpunet.errors import DataError
    from gpunet.use.features import Shown

    test = dataset.test if dataset.has_test else None
    parts = {Which.train: dataset.train, Which.validation: dataset.validation, Which.test: test}
    found = [Shown(part.value, split) for part, split in parts.items() if split and which in (part, Which.all)]
    if not found:
        raise DataError(f"{dataset.name} has no images of the part {which.value}")
    return found
