"""`gpunet describe`: a net layer by layer, and what the notes would say of it."""

import typer

from gpunet.cli import options


def describe(
    net: options.Net,
    width: options.Width = None,
    input: options.Input = None,
    gpu: options.Gpu = None,
    json: options.Json = False,
) -> None:
    """Describe a net layer by layer: volumes, parameters, multiply-adds, and what each layer sees of the input.

    Then the N, M and K of the notes' pattern, and hints from their rules of thumb with the numbers of this net; with
    --gpu also how many images that card holds, to train as the config says and to score.

    Exit code 2 for a mistake.
    """
    from gpunet.description.description import describe as examine
    from gpunet.description.on_card import on_card
    from gpunet.report.console import working

    config = options.read_net(net, width, input)
    made, held = examine(config.net), None
    if gpu is not None:
        with working("looking for the largest batches"):
            held = on_card(config.net, gpu, **options.train_settings(config.train))
    if json:
        from gpunet.report.as_json import as_text
        from gpunet.report.description_json import description_json

        typer.echo(as_text(description_json(made, held)))
    else:
        from gpunet.report.console import show
        from gpunet.report.description_table import description_parts

        show(*description_parts(made, held))
