"""`gpunet convert`: FC layers as CONV layers and back, weights and all."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gpunet.cli import options
from gpunet.errors import ConfigError
from gpunet.values.visible import told_path


class Kind(StrEnum):
    """What layers become."""

    conv = "conv"
    fc = "fc"


def convert(
    weights: options.WeightsFile,
    out: Annotated[Path, typer.Argument(parser=told_path, metavar="OUT", help="File for the new weights; a new one.")],
    to: Annotated[
        Kind,
        typer.Option(help="conv: each FC becomes a CONV; fc: each CONV that sees all, an FC.", case_sensitive=False),
    ] = (Kind.conv),
    net: options.NetOfWeights = None,
) -> None:
    """Write the weights of a net for the same net with its FC layers as CONV layers, or the other way round.

    The scores are the same; the file says its net, like that of a run.

    Exit code 2 for a mistake.
    """
    from gpunet.net.config import dump_net
    from gpunet.net.weights import convert_weights
    from gpunet.train.weights import open_weights, read_about, save_weights

    if out.exists():
        raise ConfigError(f"{out} is there already; give another name")
    config, values = open_weights(weights, net)
    made = config.net.convolutional() if to == Kind.conv else config.net.fully_connected()
    changed = [after.name for before, after in zip(config.net.nodes, made.nodes, strict=True) if before != after]
    if not changed:
        needed = "no FC layer" if to == Kind.conv else "no CONV layer that sees its whole volume without padding"
        raise ConfigError(f"{config.net.name} has {needed}, so there is nothing to convert")
    about = read_about(weights) | {"net": made.name, "config": dump_net(made)}
    save_weights(out, convert_weights(values, made), about)
    typer.echo(f"{', '.join(changed)}: now {to.upper()}; {out} holds the weights and the net, {made.name}")
