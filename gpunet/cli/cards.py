"""`gpunet cards`: the cards that can be planned for by name."""

import typer

from gpunet.cli import options


def cards(json: options.Json = False) -> None:
    """List the cards that --gpu knows: what CUDA gives of each, what it can do, and what of that is unsure."""
    from gpunet.devices.cards import cards as known

    if json:
        from gpunet.report.as_json import as_text
        from gpunet.report.card_table import cards_json

        typer.echo(as_text(cards_json(known())))
    else:
        from gpunet.report.card_table import card_parts
        from gpunet.report.console import show

        show(*card_parts(known()))
