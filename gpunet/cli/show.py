"""`gpunet show`: pictures of what runs measured, of what a net takes for what, and of what it learnt."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.cli.dataset import dataset_of
from gpunet.cli.trained import scoring_model, scoring_plan, weights_file
from gpunet.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from gpunet.data import Dataset
    from gpunet.net.config import Config
    from gpunet.train.judge import Judged

show = typer.Typer(
    name="show",
    no_args_is_help=True,
    help="Draw runs and nets: curves, confusion, mistakes, filters, activations. Needs matplotlib.",
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]
Weights = Annotated[
    Path, typer.Argument(metavar="WEIGHTS", help="A run's weights.safetensors, or its folder.", show_default=False)
]
Out = Annotated[Path, typer.Option(metavar="FILE", help="The .png file to write; one that is there is replaced.")]
Layer = Annotated[str | None, typer.Option(metavar="NAME", help="A layer of the net, like conv1.", show_default=False)]
Data = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Other data than those of the run, as gpunet train takes.", show_default=False),
]
AnyDevice = Annotated[options.AnyDevice, typer.Option("--device", help="auto: the GPU if there is one, else the CPU.")]


@show.command()
def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)],
    out: Out = Path("curves.png"),
) -> None:
    """Draw loss, accuracy and learning rate over steps and epochs, of a run or of several in one picture."""
    from gpunet.report.canvas import check_plot, save
    from gpunet.report.curves import MOST_RUNS, draw_curves
    from gpunet.train.history import read_history

    check_plot(out, "gpunet show")
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"a picture has at most {MOST_RUNS} runs, as many as there are colours; got {len(runs)}")
    save(draw_curves([read_history(run) for run in runs]), out)
    typer.echo(f"{out} shows {', '.join(map(str, runs))}")


@show.command()
def confusion(
    run: Run,
    out: Out = Path("confusion.png"),
    data: Data = None,
    size: options.Size = None,
    batch: options.Batch = None,
    device: AnyDevice = options.AnyDevice.auto,
) -> None:
    """Draw which classes a run's net takes for which, on its test images."""
    from gpunet.report.canvas import check_plot, save
    from gpunet.report.confusion import confusions, draw_confusion

    check_plot(out, "gpunet show")
    config, dataset, judged = _judged(run, data, size, batch, device)
    counts, classes = judged.confusion(), _classes(config, dataset.classes)
    save(draw_confusion(counts, classes, f"{run.resolve().name} on {dataset.name}"), out)
    _tell(judged)
    for line in confusions(counts, classes, 5):
        typer.echo(line)
    typer.echo(f"{out} shows all")


@show.command()
def mistakes(
    run: Run,
    out: Out = Path("mistakes.png"),
    count: Annotated[int, typer.Option(help="Images to show, from 1 to 60.")] = 18,
    data: Data = None,
    size: options.Size = None,
    batch: options.Batch = None,
    device: AnyDevice = options.AnyDevice.auto,
) -> None:
    """Draw the test images with the highest loss: what they are, what a run's net said, and how sure it was."""
    from gpunet.report.canvas import check_plot, save
    from gpunet.report.mistakes import MOST, draw_mistakes, percent

    check_plot(out, "gpunet show")
    if not 1 <= count <= MOST:
        raise ConfigError(f"a picture has from 1 to {MOST} images; got {count}")
    config, dataset, judged = _judged(run, data, size, batch, device)
    classes, worst = _classes(config, dataset.classes), judged.worst(count)
    images, _ = dataset.test.take(worst)
    save(draw_mistakes(images, judged, worst, classes, f"{run.resolve().name} on {dataset.name}"), out)
    _tell(judged)
    for index in worst:
        said, label = classes[judged.predictions[index]], classes[judged.labels[index]]
        sure, right = percent(judged.probabilities[index]), percent(judged.label_probabilities[index])
        typer.echo(f"image {index:,}: said {said} ({sure}), is {label} ({right}), loss {judged.losses[index]:.4f}")
    typer.echo(f"{out} shows them")


@show.command()
def filters(
    weights: Weights,
    layer: Layer = None,
    out: Out = Path("filters.png"),
    net: options.NetOfWeights = None,
) -> None:
    """Draw the filters of a layer, of the first that has any unless another is named."""
    from gpunet.report.canvas import check_plot, save
    from gpunet.report.filter_picture import draw_filters
    from gpunet.train.filters import filters_of
    from gpunet.train.weights import open_weights

    check_plot(out, "gpunet show")
    config, values = open_weights(weights_file(weights), net)
    name, w = filters_of(config.net, values, layer)
    save(draw_filters(w, f"{name} of {config.net.name}"), out)
    typer.echo(f"{out} shows {name}: {w.shape[0]:,} filters of {'x'.join(map(str, w.shape[1:]))}")


@show.command()
def activations(
    weights: Weights,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="A picture, or the number of a test image of the data.", show_default=False
        ),
    ],
    layer: Layer = None,
    out: Out = Path("activations.png"),
    net: options.NetOfWeights = None,
    data: Data = None,
    size: options.Size = None,
    device: AnyDevice = options.AnyDevice.auto,
) -> None:
    """Draw what the layers of a net make of an image: some maps of each, or all of one layer."""
    from gpunet.activations import activations as activations_of
    from gpunet.net.words import nearest
    from gpunet.report.activation_picture import draw_activations, draw_layer
    from gpunet.report.canvas import check_plot, save
    from gpunet.scores import softmax
    from gpunet.train.weights import class_names, open_weights

    check_plot(out, "gpunet show")
    path = weights_file(weights)
    config, values = open_weights(path, net)
    volumes = activations_of(config.net, values, _image(config, image, data, size), str(device))
    classes = class_names(path, config.net.classes)
    of = f"{config.net.name} on {'test image ' if image.isdecimal() else ''}{Path(image).name}"
    if layer is None:
        scores = volumes[next(reversed(volumes))].reshape(1, -1)
        save(draw_activations(volumes, softmax(scores)[0], classes, of), out)
        typer.echo(f"{out} shows {len(volumes) - 1} layers")
    elif layer in volumes:
        save(draw_layer(volumes[layer], f"{layer} of {of}"), out)
        typer.echo(f"{out} shows {layer}")
    elif layer in config.net.volumes:
        raise ConfigError(f"{layer} hands on what it gets when nothing is learnt; show the layer before it")
    else:
        there = f"; there are {', '.join(volumes)}" if len(volumes) <= 30 else ""
        raise ConfigError(f"{config.net.name} has no layer {layer!r}{nearest(layer, volumes) or there}")


def _judged(
    run: Path, data: str | None, size: str | None, batch: int | None, device: options.AnyDevice
) -> "tuple[Config, Dataset, Judged]":
    """The config of a run, its data, and what its net says of every test image."""
    from gpunet.report.console import working
    from gpunet.train.judge import judge
    from gpunet.train.weights import open_weights

    config, values = open_weights(weights_file(run))
    dataset = _dataset(config, data, size)
    n = len(dataset.test)
    most = min(n, config.train.batch if batch is None else batch)
    made = scoring_plan(config.net, most, device, None)
    with scoring_model(config.net, made, values) as model, working("testing") as say:
        judged = judge(model, dataset.test, lambda done: say(f"testing: {done:,} of {n:,} images"))
    return config, dataset, judged


def _dataset(config: "Config", data: str | None, size: str | None) -> "Dataset":
    """The data of the run, or others. Raises DataError where the net cannot use them."""
    told = config.train
    if data is not None:
        told = replace(told, data=data, size=None)
    return dataset_of(config.net, replace(told, size=size or told.size))


def _classes(config: "Config", names: Sequence[str]) -> list[str]:
    """The names of the classes; the numbers of those that have none."""
    return [*names, *map(str, range(len(names), config.net.classes))]


def _tell(judged: "Judged") -> None:
    typer.echo(f"{judged.correct:,} of {len(judged):,} test images right, {judged.correct / len(judged):.2%}")


def _image(config: "Config", image: str, data: str | None, size: str | None) -> "np.ndarray":
    """(H, W, D) uint8 or float: a test image by its number, or a picture."""
    import numpy as np

    from gpunet.data.picture import grey, parse_size, read_picture

    if image.isdecimal() and not Path(image).exists():
        test = _dataset(config, data, size).test
        if int(image) >= len(test):
            raise DataError(f"there is no test image {int(image):,}; they are numbered from 0 to {len(test) - 1:,}")
        return np.asarray(test.take(np.array([int(image)]))[0][0])
    H, W, D = config.net.image.shape
    picture = read_picture(Path(image), parse_size(size) if size else None)
    if picture.shape[:2] != (H, W):
        found = "x".join(map(str, picture.shape[:2]))
        raise DataError(f"{image} has {found} pixels, and {config.net.name} takes {H}x{W}: add --size {H}x{W}")
    if D not in (1, 3):
        raise DataError(f"a picture has 3 maps, or 1 where it is to be grey; {config.net.name} takes {D}")
    return picture if D == 3 else grey(picture)
