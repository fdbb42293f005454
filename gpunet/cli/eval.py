"""`gpunet eval`: how often a trained net is right."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.cli.own_gpus import device_of
from gpunet.cli.together import Gpus, Ranks, start_or_meet

if TYPE_CHECKING:
    from gpunet.data import AnySplit, Dataset


class Which(StrEnum):
    """Which images of a data set."""

    test = "test"
    validation = "validation"
    train = "train"


def evaluate(
    context: typer.Context,
    weights: options.WeightsFile,
    data: options.Data = None,
    split: Annotated[
        Which,
        typer.Option(
            help="The images to test on, those to validate with, or those to learn from.", case_sensitive=False
        ),
    ] = Which.test,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    dtype: options.ScoringDtype = None,
    budget: options.Budget = None,
    net: options.NetOfWeights = None,
    json: options.Json = False,
    ranks: Ranks = None,
    gpus: Gpus = None,
) -> None:
    """Test a trained net: its loss, how often it is right, also among its first five, and of which classes.

    It runs in an arena that is planned for scores alone. Data, size and batch are those of the run unless given.

    Exit code 1 if it does not fit, 2 for a mistake.
    """
    from gpunet.cli.trained import asked, data_of, scoring_model, scoring_plan
    from gpunet.net.words import encodable
    from gpunet.report.console import show, working
    from gpunet.report.evaluation_table import evaluation_json, evaluation_parts
    from gpunet.report.table import cost_line
    from gpunet.train.judge import judge
    from gpunet.train.weights import open_weights, weights_file

    crew = start_or_meet(context, ranks, gpus, device)
    if crew is not None:
        device = device_of(crew, device)
    path = weights_file(weights)
    config, values = open_weights(path, net)
    told = asked(config.net, path, data, size, skip_broken)
    names, dataset = data_of(config.net, path, told)
    images, words = _split(dataset, split)
    most = min(told.batch if batch is None else batch, len(images))
    made = scoring_plan(config.net, most, device, budget, dtype)
    if not json:
        show(cost_line(made), f"{dataset.name}: {len(images):,} images {words}", *dataset.note.splitlines())
    with scoring_model(config.net, made, values) as model, working("testing") as say:
        others = None if crew is None else crew.communicator
        found = judge(model, images, lambda done: say(f"testing: {done:,} of {len(images):,} images"), others)
    if json:
        from gpunet.report.as_json import as_text

        about: dict[str, Any] = {
            "weights": encodable(str(path)),
            "net": config.net.name,
            "data": encodable(dataset.name),
            "split": str(split),
        }
        about |= {"device": made.device, "batch": made.batch, "arena_bytes": made.arena_bytes}
        typer.echo(as_text(about | evaluation_json(found, names)))
    else:
        show(*evaluation_parts(found, names))
    if crew is not None:
        crew.leave()


def _split(dataset: "Dataset", which: Which) -> "tuple[AnySplit, str]":
    """The images that are meant, and what they are for in words. Raises DataError where there are none.

    Where there are none to test on, those to validate with are meant, and the words say so.
    """
    from gpunet.data.dataset import LEARNT, VALIDATED
    from gpunet.errors import DataError

    if which == Which.test:
        return dataset.judged_by
    words = {Which.validation: VALIDATED, Which.train: LEARNT}[which]
    found = next((split for split, purpose in dataset.splits if purpose == words), None)
    if found is None:
        raise DataError(f"{dataset.name} has no images {words}")
    return found, words
