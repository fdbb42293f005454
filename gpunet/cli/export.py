"""`gpunet export`: weights for other frameworks."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gpunet.cli import options


class Target(StrEnum):
    """Frameworks that weights are written for."""

    torch = "torch"


def export(
    weights: options.WeightsFile,
    to: Annotated[Target, typer.Option(help="The framework.")] = Target.torch,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="In .safetensors or .pth; default: NET.safetensors.", show_default=False),
    ] = None,
    net: options.NetOfWeights = None,
) -> None:
    """Write the weights of a run for PyTorch: its state dict, and a Python file with the module that loads it.

    The names are torchvision's where it has the net; nothing of PyTorch is needed here.

    Exit code 2 for a mistake, or for layers that PyTorch does not have.
    """
    from gpunet.use.exporting import export_weights

    state, module = export_weights(weights, out, to=to.value, net=net)
    typer.echo(f"{state} has the state dict, {module} the module; in Python: from {module.stem} import load")
