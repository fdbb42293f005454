"""`gpunet predict`: what a trained net takes pictures for."""

import os
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.cli.guard import MISTAKE, complain
from gpunet.cli.own_gpus import device_of
from gpunet.cli.suiting import tell_of_values
from gpunet.cli.together import Gpus, Ranks, start_or_meet
from gpunet.errors import ConfigError
from gpunet.values.visible import visible

if TYPE_CHECKING:
    from gpunet.errors import DataError
    from gpunet.model.model import Model
    from gpunet.ranks.crew import Crew


def predict(
    context: typer.Context,
    weights: options.WeightsFile,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Pictures, folders of them, or -: paths on standard input, one a line."
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to tell of each picture.")] = 5,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out pictures that cannot be read.")] = False,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    dtype: options.ScoringDtype = None,
    budget: options.Budget = None,
    net: options.NetOfWeights = None,
    json: options.Json = False,
    ranks: Ranks = None,
    gpus: Gpus = None,
) -> None:
    """Say what a trained net takes pictures for: the most probable classes of each.

    The short side of a picture is brought to the net's size and the middle cut out; it becomes grey for a net of one
    map.

    Exit code 1 if it does not fit, 2 for a mistake or for pictures that cannot be read, which are named.
    """
    from gpunet.cli.trained import scoring_model, scoring_plan, training_of
    from gpunet.data.listing import counted_kinds
    from gpunet.data.loose import find_pictures, require_maps
    from gpunet.errors import DataError
    from gpunet.net.config import TrainConfig
    from gpunet.net.words import encodable
    from gpunet.train.weights import class_names, open_weights, weights_file, white_of

    if "-" in images and (ranks or gpus):
        raise ConfigError("standard input goes to one rank alone: give folders or files of pictures, not -")
    crew = start_or_meet(context, ranks, gpus, device)
    if crew is not None:
        device = device_of(crew, device)
    path = weights_file(weights)
    config, values = open_weights(path, net)
    require_maps(config.net.image.D)
    names = class_names(path, config.net.classes)
    tell_of_values(config.net, path)
    pictures, others = find_pictures(_listed(images))
    most = min((training_of(path) or TrainConfig()).batch if batch is None else batch, len(pictures))
    made = scoring_plan(config.net, most, device, budget, dtype)
    broken: list[DataError] = []
    told: list[dict[str, Any]] = []
    with scoring_model(config.net, made, values) as model:
        for picture, classes in _by_all(crew, model, pictures, white_of(path), top, broken):
            if json:
                told.append({"file": encodable(str(picture)), "top": _as_json(classes, names)})
            else:
                typer.echo(f"{picture}: {', '.join(f'{names[label]} {p:.2%}' for label, p in classes)}")
    if json:
        from gpunet.report.as_json import as_text

        about = {"weights": encodable(str(path)), "net": config.net.name, "device": made.device, "batch": made.batch}
        about |= {"arena_bytes": made.arena_bytes, "left_alone": dict(others)}
        typer.echo(as_text(about | {"images": told, "broken": [encodable(str(error)) for error in broken]}))
    if crew is not None:
        crew.leave()
        if not crew.leads:
            return
    if others:
        complain(f"no pictures, and left alone: {counted_kinds(others)}")
    _tell_broken(broken, len(pictures), skip_broken)


def _listed(images: Sequence[str]) -> Iterator[str]:
    """The paths given, and those on standard input where - stands among them."""
    for image in images:
        if image == "-":
            yield from _on_standard_input()
        else:
            yield image


def _on_standard_input() -> Iterator[str]:
    """A path for each line that is not blank. Raises ConfigError where standard input is closed, as by `<&-`."""
    if sys.stdin is None:
        raise ConfigError("standard input, on which - stands for a list of pictures, is closed")
    text = typer.get_binary_stream("stdin").read().removeprefix(BOM_UTF8)
    return (os.fsdecode(line) for line in text.splitlines() if line.strip())


def _by_all(
    crew: "Crew | None", model: "Model", pictures: Sequence[Path], white: int, top: int, broken: "list[DataError]"
) -> "Iterator[tuple[Path, list[tuple[int, float]]]]":
    """As `_predictions`, each rank looking at its share of the pictures."""
    from gpunet.errors import DataError
    from gpunet.program.shares import share

    if crew is None:
        yield from _predictions(model, pictures, white, top, broken)
        return
    first, last = share(len(pictures), crew.place.size, crew.place.rank)
    own: list[DataError] = []
    places = {path: number for number, path in enumerate(pictures)}
    seen = [(places[path], classes) for path, classes in _predictions(model, pictures[first:last], white, top, own)]
    told = crew.communicator.tell([seen, [str(error) for error in own]])
    broken += [DataError(words) for _, errors in told for words in errors]
    for found, _ in told:
        yield from ((pictures[number], classes) for number, classes in found)


def _predictions(
    model: "Model", pictures: Sequence[Path], white: int, top: int, broken: "list[DataError]"
) -> "Iterator[tuple[Path, list[tuple[int, float]]]]":
    """Each picture that can be read with its most probable classes; the errors of the others go to `broken`."""
    import numpy as np

    from gpunet.data.loose import read_in_batches
    from gpunet.errors import DataError
    from gpunet.model.scores import first, require_finite, softmax

    for group in read_in_batches(pictures, model.net.image.shape, model.batch, white):
        broken += [read for _, read in group if isinstance(read, DataError)]
        good = [(path, read) for path, read in group if not isinstance(read, DataError)]
        if not good:
            continue
        scores = model.forward(np.stack([picture for _, picture in good]))
        require_finite(scores, model.net.name)
        chances = softmax(scores)
        for (path, _), row, labels in zip(good, chances, first(scores, top), strict=True):
            yield path, [(int(label), float(row[label])) for label in labels]


def _as_json(classes: Sequence[tuple[int, float]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"label": label, "name": names[label], "probability": chance} for label, chance in classes]


def _tell_broken(broken: "Sequence[DataError]", pictures: int, skip: bool) -> None:
    """Name what could not be read; that is a mistake unless it was to be skipped, or where nothing is left."""

    for error in broken:
        complain(visible(str(error)))
    if not broken:
        return
    counted = f"{len(broken):,} of {pictures:,} pictures could not be read"
    if skip and len(broken) < pictures:
        complain(f"{counted}, and were skipped")
        return
    complain(counted if skip or pictures == 1 else f"{counted}; --skip-broken leaves them out")
    raise typer.Exit(MISTAKE)
