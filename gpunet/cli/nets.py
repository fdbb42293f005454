"""`gpunet nets`: the nets that come with gpunet."""

import typer

from gpunet.cli import options


def nets(json: options.Json = False) -> None:
    """List the nets that come with gpunet, by the names that all commands take: input, classes and parameters."""
    from gpunet.net.config import load_config
    from gpunet.report.nets_table import nets_json, nets_parts
    from gpunet.system.resources import config_names

    configs = [load_config(name) for name in config_names()]
    if json:
        from gpunet.report.as_json import as_text

        typer.echo(as_text(nets_json(configs)))
    else:
        from gpunet.report.console import show

        show(*nets_parts(configs))
