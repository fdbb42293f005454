"""`gpunet gradcheck`: gradients against slopes of the loss."""

from typing import Annotated

import typer

from gpunet.cli import options


def gradcheck(
    net: options.Net,
    device: options.DeviceOrAuto = options.AUTO,
    batch: Annotated[int, typer.Option("--batch", "--batch-size", help="Images of the batch that the loss is of.")] = 3,
    samples: Annotated[int, typer.Option(help="Values of each parameter, and of the images, to compare.")] = 20,
    seed: Annotated[int, typer.Option(help="Of images, labels, weights, dropout and what is compared.")] = 0,
    width: options.Width = None,
    input: options.Input = None,
    json: options.Json = False,
) -> None:
    """Compare the gradients of a net with slopes of its loss, in float64, for each parameter and the images.

    Values at kinks, as ReLU and max-pooling have, are left out and counted.

    Exit code 1 where a gradient is wrong, 2 for a mistake.
    """
    from gpunet.report.console import working
    from gpunet.use.gradients import gradcheck as check

    config = options.read_net(net, width, input)
    with working("comparing gradients") as say:
        made = check(
            config.net,
            device,
            batch=batch,
            samples=samples,
            seed=seed,
            watch=lambda name: say(f"comparing the gradient of {name}"),
        )
    if json:
        from gpunet.report.as_json import as_text
        from gpunet.report.gradient_table import gradient_json

        typer.echo(as_text(gradient_json(made)))
    else:
        from gpunet.report.console import show
        from gpunet.report.gradient_table import gradient_parts

        show(*gradient_parts(made))
    if not made.passed:
        raise typer.Exit(1)
