"""`gpunet tune`: which algorithm of each convolution of a net is fastest on this machine."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.cli.guard import complain
from gpunet.errors import DataError

if TYPE_CHECKING:
    from gpunet.profile.tune import Tuned


def tune(
    net: options.Net,
    batch: options.Batch = None,
    rounds: Annotated[int, typer.Option(min=1, max=10**4, help="Turns of each algorithm; the median counts.")] = 5,
    device: options.DeviceOrAuto = options.AUTO,
    width: options.Width = None,
    input: options.Input = None,
    json: options.Json = False,
) -> None:
    """Time all algorithms of each convolution of a net, at its batch, and keep which are fastest on this machine.

    Plans for this machine use them from then on, unless --no-tuned is given; a run that is resumed keeps those that it
    began with. What was found before Ctrl-C is kept.

    Exit code 2 for a mistake, 130 after Ctrl-C.
    """
    from gpunet.devices import open_device, target
    from gpunet.model.making import choose_device
    from gpunet.profile.tune import tune as measure
    from gpunet.report.console import working
    from gpunet.system import cache

    config = options.read_net(net, width, input)
    if reason := cache.fault():
        raise DataError(f"{reason}; what is found could not be kept (set {cache.FOLDER_VARIABLE} to another folder)")
    where = target(choose_device(device))
    found: list[Tuned] = []
    try:
        with working("timing convolutions") as say, closing(open_device(where.name)) as opened:
            if where.hardware() is None:
                complain(f"it cannot be told what {where.name} is, so nothing is kept for later plans")
            images = config.train.batch if batch is None else batch
            found.extend(measure(config.net, images, opened, where=where, rounds=rounds, watch=say))
    finally:  # after Ctrl-C, too
        if found or json:
            _show(found, json)
    if found and where.hardware() is not None:
        typer.echo("kept: plans for this machine at this batch use them", err=json)
    if not found:
        typer.echo(f"{config.net.name} has no convolutions: there is nothing to choose", err=json)


def _show(found: "list[Tuned]", json: bool) -> None:
    if json:
        from gpunet.report.as_json import as_text
        from gpunet.report.tune_table import tune_json

        typer.echo(as_text(tune_json(found)))
    else:
        from gpunet.report.console import show
        from gpunet.report.tune_table import tune_parts

        show(*tune_parts(found))
