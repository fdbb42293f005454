"""`gpunet lr-find`: at which learning rates a net learns, and where it diverges."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gpunet.cli import options
from gpunet.cli.affordable import affordable_plan
from gpunet.cli.dataset import open_dataset
from gpunet.cli.trained import quiet


def lr_find(
    net: options.Net,
    data: options.Data = None,
    least: Annotated[float, typer.Option(help="The rate of the first step.")] = 1e-6,
    most: Annotated[float, typer.Option(help="The rate of the last step, if the loss does not diverge before.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Steps, each at a higher rate by one factor.")] = 200,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    seed: Annotated[
        int | None, typer.Option(help="Of starting weights and order; default: the config's.", show_default=False)
    ] = None,
    optimizer: options.Optimizer = None,
    freeze: options.Freeze = None,
    clip_norm: options.ClipNorm = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the test into a .png file.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Train a net for some steps while the learning rate grows, and say where its loss falls and where it diverges.

    It learns as gpunet train would, in the same plan, from the same weights; only the learning rate is another.
    Nothing of it is kept but the picture, if one is asked for. The same seed gives the same numbers.

    Exit code 1 if it does not fit, 2 for a mistake.
    """
    from gpunet.model.model import Model
    from gpunet.report.console import working
    from gpunet.train.lr_find import growing
    from gpunet.train.lr_find import lr_find as test
    from gpunet.train.start import start_from_weights

    growing(least, most, steps)  # mistakes are told before the work
    if plot is not None:
        from gpunet.report.canvas import check_plot

        check_plot(plot)
    config = options.read_net(net)
    told = options.training(
        config,
        data=data,
        batch=batch,
        seed=seed,
        optimizer=optimizer,
        freeze=freeze,
        clip_norm=clip_norm,
        size=size,
        skip_broken=skip_broken,
    )
    made = affordable_plan(config.net, told.batch, device, told.budget, **options.train_settings(told))
    dataset = open_dataset(replace(config, train=told), tell=not json)
    quiet()
    with Model(config.net, device=made.device, optimizer=told.learning, seed=told.seed, plan=made) as model:
        if told.weights is not None:
            started = start_from_weights(model, told)
            if not json:
                typer.echo("\n".join(started))
        with working("testing learning rates") as say:
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
