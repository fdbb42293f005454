"""`gpunet describe`: a net layer by layer, and what the notes would say of it."""

import typer

from gpunet.cli import options


def describe(
    net: options.Net, width: options.Width = None, input: options.Input = None, json: options.Json = False
) -> None:
    """Describe a net layer by layer: volumes, parameters, multiply-adds, and what each layer sees of the input.

    Then the N, M and K of the notes' pattern, and hints from their rules of thumb with the numbers of this net.

    Exit code 2 for a mistake.
    """
    from gpunet.description.description import describe as examine

    made = examine(options.read_net(net, width, input).net)
    if json:
        from gpunet.report.as_json import as_text
        from gpunet.report.description_json import description_json

        typer.echo(as_text(description_json(made)))
    else:
        from gpunet.report.console import show
        from gpunet.report.description_table import description_parts

        show(*description_parts(made))
