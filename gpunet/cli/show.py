"""`gpunet show`: pictures of what runs measured, of what a net takes for what, and of what it learnt."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.cli.suiting import tell_of_values
from gpunet.cli.trained import asked, data_of, judged_tests, quiet
from gpunet.errors import ConfigError, DataError
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    import numpy as np

    from gpunet.data import Dataset
    from gpunet.net.config import TrainConfig
    from gpunet.net.net import Net
    from gpunet.train.judge import Judged

show = typer.Typer(
    name="show",
    no_args_is_help=True,
    help="Draw runs and nets: curves, confusion, mistakes, filters, activations. Needs matplotlib.",
)

Out = Annotated[
    Path, typer.Option(parser=told_path, metavar="FILE", help="The .png file to write; one that is there is replaced.")
]
Layer = Annotated[str | None, typer.Option(metavar="NAME", help="A layer of the net, like conv1.", show_default=False)]


@show.command()
def curves(
    runs: Annotated[
        list[Path], typer.Argument(parser=told_path, metavar="RUN...", help="Folders of runs.", show_default=False)
    ],
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
    typer.echo(f"{out} shows {', '.join(f'{run}' for run in runs)}")


@show.command()
def confusion(
    weights: options.WeightsFile,
    out: Out = Path("confusion.png"),
    data: options.Data = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    net: options.NetOfWeights = None,
    json: options.Json = False,
) -> None:
    """Draw which classes a run's net takes for which, on its test images."""
    from gpunet.report.as_json import as_text
    from gpunet.report.canvas import check_plot, save
    from gpunet.report.confusion import confusions, draw_confusion

    check_plot(out, "gpunet show")
    classes, dataset, judged = judged_tests(weights, net, data, size, skip_broken, batch, device)
    counts = judged.confusion()
    save(draw_confusion(counts, classes, f"{weights.resolve().name} on {dataset.name}"), out)
    if json:
        typer.echo(as_text({"images": len(judged), "classes": classes, "counts": counts.tolist()}))
        return
    _tell(judged, dataset)
    for line in confusions(counts, classes, 5):
        typer.echo(line)
    typer.echo(f"{out} shows all")


@show.command()
def mistakes(
    weights: options.WeightsFile,
    out: Out = Path("mistakes.png"),
    count: Annotated[int, typer.Option(help="Images to show, from 1 to 60.")] = 18,
    data: options.Data = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    net: options.NetOfWeights = None,
    json: options.Json = False,
) -> None:
    """Draw the test images that a run's net takes for another class, the highest losses first; name their files.

    Where there is none, nothing is drawn, and a line says so.
    """
    from gpunet.data.dataset import file_of
    from gpunet.report.as_json import as_text
    from gpunet.report.canvas import check_plot, save
    from gpunet.report.mistakes import MOST, draw_mistakes, mistake_lines, mistakes_json

    check_plot(out, "gpunet show")
    if not 1 <= count <= MOST:
        raise ConfigError(f"a picture has from 1 to {MOST} images; got {count}")
    classes, dataset, judged = judged_tests(weights, net, data, size, skip_broken, batch, device)
    wrong = judged.mistakes(count)
    files = [file_of(dataset.test, int(index)) for index in wrong]
    if len(wrong):
        images, _ = dataset.test.take(wrong)
        head = f"{weights.resolve().name} on {dataset.name}"
        save(draw_mistakes(images, judged, wrong, classes, head, files), out)
    if json:
        typer.echo(as_text(mistakes_json(judged, wrong, classes, files)))
        return
    _tell(judged, dataset)
    for line in mistake_lines(judged, wrong, classes, files):
        typer.echo(line)
    typer.echo(f"{out} shows them" if len(wrong) else "no image is taken for another class: nothing is drawn")


@show.command()
def filters(
    weights: options.WeightsFile,
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
    config, values = open_weights(weights, net)
    name, w = filters_of(config.net, values, layer)
    save(draw_filters(w, f"{name} of {config.net.name}"), out)
    typer.echo(f"{out} shows {name}: {w.shape[0]:,} filters of {'x'.join(map(str, w.shape[1:]))}")


@show.command()
def activations(
    weights: options.WeightsFile,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="A picture, or the number of a test image of the data.", show_default=False
        ),
    ],
    layer: Layer = None,
    out: Out = Path("activations.png"),
    net: options.NetOfWeights = None,
    data: options.Data = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    device: options.DeviceOrAuto = options.AUTO,
) -> None:
    """Draw what the layers of a net make of an image: some maps of each, or all of one layer."""
    from gpunet.model.scores import softmax
    from gpunet.net.words import nearest
    from gpunet.report.activation_picture import draw_activations, draw_layer, shown_layers
    from gpunet.report.canvas import check_plot, save
    from gpunet.train.weights import class_names, open_weights, weights_file
    from gpunet.use.activations import activations as activations_of

    check_plot(out, "gpunet show")
    path = weights_file(weights)
    config, values = open_weights(path, net)
    if image.isascii() and image.isdecimal() and not told_path(image).exists():
        seen = _test_image(config.net, path, int(image), asked(config.net, path, data, size, skip_broken))
    else:
        seen = _picture(config.net, path, image, size)
    quiet()
    volumes = activations_of(config.net, values, seen, device)
    classes = class_names(path, config.net.classes)
    of = f"{config.net.name} on {'test image ' if image.isdecimal() else ''}{told_path(image).name}"
    if layer is None:
        scores = volumes[next(reversed(volumes))].reshape(1, -1)
        save(draw_activations(config.net, volumes, softmax(scores)[0], classes, of), out)
        shown, all_layers = len(shown_layers(config.net, volumes)), len(volumes) - 1  # the input is no layer
        of_all = f" of {all_layers}" if shown < all_layers else ""
        typer.echo(f"{out} shows {shown}{of_all} layer{'s' * (all_layers != 1)}")
    elif layer in volumes:
        save(draw_layer(volumes[layer], f"{layer} of {of}"), out)
        typer.echo(f"{out} shows {layer}")
    elif layer in config.net.volumes:
        raise ConfigError(f"{layer} hands on what it gets when nothing is learnt; show the layer before it")
    else:
        there = f"; there are {', '.join(volumes)}" if len(volumes) <= 30 else ""
        raise ConfigError(f"{config.net.name} has no layer {layer!r}{nearest(layer, volumes) or there}")


def _tell(judged: "Judged", dataset: "Dataset") -> None:
    words = "test images" if dataset.has_test else f"images {dataset.judged_by[1]}"
    typer.echo(f"{judged.correct:,} of {len(judged):,} {words} right, {judged.correct / len(judged):.2%}")


def _test_image(net: "Net", path: Path, number: int, told: "TrainConfig") -> "np.ndarray":
    """(H, W, D) uint8 or float: the test image of that number."""
    import numpy as np

    test = data_of(net, path, told)[1].test
    if number >= len(test):
        raise DataError(f"there is no test image {number:,}; they are numbered from 0 to {len(test) - 1:,}")
    return np.asarray(test.take(np.array([number]))[0][0])


def _picture(net: "Net", path: Path, image: str, size: str | None) -> "np.ndarray":
    """(H, W, D) uint8: a picture, its white as the weights in a file know it."""
    from gpunet.data.loose import require_maps
    from gpunet.data.picture import parse_size, read_picture, with_maps
    from gpunet.data.white import to_white
    from gpunet.train.weights import white_of

    if not image:
        raise DataError("no image was given; give a picture, or the number of a test image")
    H, W, D = net.image.shape
    require_maps(D)
    tell_of_values(net, path)
    picture = read_picture(told_path(image), parse_size(size) if size else None)
    if picture.shape[:2] != (H, W):
        found = "x".join(map(str, picture.shape[:2]))
        raise DataError(f"{image} has {found} pixels, and {net.name} takes {H}x{W}: add --size {H}x{W}")
    return to_white(with_maps(picture, D), white_of(path))
