"""`gpunet lr-find`: at which learning rates a net learns, and where it diverges."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.cli.affordable import affordable_plan
from gpunet.cli.dataset import open_dataset
from gpunet.cli.own_gpus import device_of
from gpunet.cli.suiting import require_suited, with_scale
from gpunet.cli.together import Gpus, Ranks, division, opened, start_or_meet
from gpunet.cli.trained import quiet
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    from gpunet.data import Dataset
    from gpunet.memory.plan import Plan
    from gpunet.net.config import TrainConfig
    from gpunet.net.net import Net
    from gpunet.ranks.crew import Crew
    from gpunet.train.lr_find import RateTest


def lr_find(
    context: typer.Context,
    net: options.Net,
    data: options.Data = None,
    least: Annotated[float, typer.Option(help="The rate of the first step.")] = 1e-5,
    most: Annotated[float, typer.Option(help="The rate of the last step, if the loss does not diverge before.")] = 10.0,
    steps: Annotated[
        int, typer.Option(help="Steps of a test, each at a higher rate by one factor; made whole epochs.")
    ] = 500,
    repeats: Annotated[
        int, typer.Option(min=1, max=100, help="Tests, each from other weights and in another order.")
    ] = 3,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    seed: Annotated[
        int | None, typer.Option(help="Of starting weights and order; default: the config's.", show_default=False)
    ] = None,
    optimizer: options.Optimizer = None,
    freeze: options.Freeze = None,
    clip_norm: options.ClipNorm = None,
    scale: options.Scale = None,
    shift: options.Shift = None,
    spare_outputs: options.SpareOutputs = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    plot: Annotated[
        Path | None,
        typer.Option(parser=told_path, metavar="FILE", help="Draw the test into a .png file.", show_default=False),
    ] = None,
    json: options.Json = False,
    ranks: Ranks = None,
    gpus: Gpus = None,
) -> None:
    """Train a net for some steps while the learning rate grows, and say where its loss falls and where it diverges.

    It learns as gpunet train would, in the same plan, from the same weights; only the learning rate is another.
    Nothing of it is kept but the picture, if one is asked for. The same seed gives the same numbers.

    Exit code 1 if it does not fit, 2 for a mistake.
    """
    from gpunet.report.console import working
    from gpunet.train.lr_find import RateTests, growing, whole_epochs

    crew = start_or_meet(context, ranks, gpus, device)
    if crew is not None:
        device = device_of(crew, device)
    growing(least, most, steps)  # mistakes are told before the work
    if plot is not None:
        from gpunet.report.canvas import check_plot

        check_plot(plot)
    config = with_scale(options.read_net(net), data, scale, shift)
    told = options.training(
        config,
        data=data,
        batch=batch,
        seed=seed,
        optimizer=optimizer,
        freeze=freeze,
        clip_norm=clip_norm,
        spare_outputs=spare_outputs,
        size=size,
        skip_broken=skip_broken,
    )
    settings = options.train_settings(told) | {"division": division(crew)}
    made = affordable_plan(config.net, told.batch, device, told.budget, **settings)
    dataset = open_dataset(replace(config, train=told), tell=not json)
    require_suited(config.net, dataset, told)
    quiet()
    count = whole_epochs(steps, len(dataset.train), told.batch)
    with working("testing learning rates") as say:
        tests = [
            _test(
                config.net,
                made,
                told.changed(seed=told.seed + number),
                dataset,
                (least, most, count),
                say,
                crew,
                tell=not (json or number),
            )
            for number in range(repeats)
        ]
    found = RateTests(tuple(tests))
    if plot is not None and (crew is None or crew.leads):
        from gpunet.report.canvas import save
        from gpunet.report.rate_picture import draw_rates

        save(draw_rates(found), plot)
    if json:
        from gpunet.report.as_json import as_text
        from gpunet.report.rate_lines import rates_json

        typer.echo(as_text(rates_json(found)))
    else:
        from gpunet.report.console import show
        from gpunet.report.rate_lines import rate_parts

        show(*rate_parts(found))
    if crew is not None:
        crew.leave()


def _test(
    net: "Net",
    made: "Plan",
    told: "TrainConfig",
    dataset: "Dataset",
    rates: tuple[float, float, int],
    say: Callable[[str], None],
    crew: "Crew | None",
    *,
    tell: bool,
) -> "RateTest":
    """A test from fresh weights, or from those that training would start from; `rates`: first, last, and how many.

    `say`   what a screen is to show meanwhile;  `tell`  whether to print what the weights are
    """
    from gpunet.model.model import Model
    from gpunet.train.lr_find import lr_find as test
    from gpunet.train.start import start_from_weights

    least, most, steps = rates
    device, others = opened(crew, made.device)
    with Model(net, device=device, optimizer=told.learning, seed=told.seed, plan=made, ranks=others) as model:
        if told.weights is not None:
            started = start_from_weights(model, told)
            if tell:
                typer.echo("\n".join(started))
        return test(
            model,
            dataset,
            least=least,
            most=most,
            steps=steps,
            seed=told.seed,
            watch=lambda step, loss: say(f"testing learning rates: step {step:,} of {steps:,}, loss {loss:.4f}"),
        )
