"""`gpunet lr-find`: at which learning rates a net learns, and where it diverges."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from gpunet.cli import options


def lr_find(
    net: options.Net,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="As gpunet train takes; default: the config's.", show_default=False),
    ] = None,
    least: Annotated[float, typer.Option(help="The rate of the first step.")] = 1e-6,
    most: Annotated[float, typer.Option(help="The rate of the last step, if the loss does not diverge before.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Steps, each at a higher rate by one factor.")] = 200,
    batch: options.Batch = None,
    device: Annotated[
        options.AnyDevice, typer.Option(help="auto: the GPU if there is one, else the CPU.")
    ] = options.AnyDevice.auto,
    seed: Annotated[
        int | None, typer.Option(help="Of starting weights and order; default: the config's.", show_default=False)
    ] = None,
    optimizer: options.Optimizer = None,
    size: options.Size = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the test into a .png file.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Train a net for some steps while the learning rate grows, and say where its loss falls and where it diverges.

    Nothing of it is kept but the picture, if one is asked for. The same seed gives the same numbers.

    Exit code 1 if it does not fit, 2 for a mistake.
    """
    from gpunet.cli.train import open_dataset
    from gpunet.model import Model, choose_device
    from gpunet.report.console import working
    from gpunet.train.lr_find import growing
    from gpunet.train.lr_find import lr_find as test

    growing(least, most, steps)  # mistakes are told before the work
    if plot is not None:
        from gpunet.report.canvas import check_plot

        check_plot(plot)
    config = options.read_net(net)
    given: dict[str, Any] = {"data": data, "batch": batch, "seed": seed, "optimizer": optimizer, "size": size}
    told = config.train.changed(**{name: value for name, value in given.items() if value is not None}).settled()
    dataset = open_dataset(replace(config, train=told), tell=not json)
    where = choose_device(device)
    # NumPy's warnings of overflow say less than the test, which stops at a loss that is no number.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"gpunet\.devices")
    with (
        Model(config.net, told.batch, where, optimizer=told.rule, seed=told.seed, budget=told.budget) as model,
        working("testing learning rates") as say,
    ):
        found = test(
            model,
            dataset,
            least=least,
            most=most,
            steps=steps,
            seed=told.seed,
            watch=lambda step, loss: say(f"testing learning rates: step {step:,} of {steps:,}, loss {loss:.4f}"),
        )
    if plot is not None:
        from gpunet.report.canvas import save
        from gpunet.report.rate_picture import draw_rates

        save(draw_rates(found), plot)
    if json:
        from gpunet.report.as_json import as_text
        from gpunet.report.rate_lines import rates_json

        typer.echo(as_text(rates_json(found)))
    else:
        from gpunet.report.rate_lines import rate_lines

        for line in rate_lines(found):
            typer.echo(line)
