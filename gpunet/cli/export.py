"""`gpunet export`: weights for other frameworks, and for the browser."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpunet.cli import options
from gpunet.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from gpunet.use.page import Difference

SEEN = 64
"""Images that the run learnt from, on which weights in 8 bits are tried."""


class Target(StrEnum):
    """What weights are written for."""

    torch = "torch"
    html = "html"
    keras = "keras"
    onnx = "onnx"


def export(
    weights: options.WeightsFile,
    to: Annotated[Target, typer.Option(help="The framework, or html: a page that predicts.")] = Target.torch,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="In .safetensors or .pth, .onnx, .weights.h5 for keras, or .html; default: NET.",
            show_default=False,
        ),
    ] = None,
    bits: Annotated[
        int | None, typer.Option(metavar="32|8", help="Of a weight in a page; default: 32.", show_default=False)
    ] = None,
    net: options.NetOfWeights = None,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="DTYPE", help="Of the weights for torch and onnx: float32, float16, bfloat16; each rounded once."
        ),
    ] = "float32",
    pixels: Annotated[
        bool, typer.Option("--pixels", help="ONNX: it takes images of bytes (N, H, W, D), and prepares them itself.")
    ] = False,
) -> None:
    """Write the weights of a run for PyTorch or Keras, as an ONNX file, or as a page that predicts in the browser.

    torch: its state dict, and a Python file with the module that loads it. The names are torchvision's where it has the
    net; nothing of PyTorch is needed here.

    onnx: the whole net with its weights, in opset 17, for onnxruntime and others; with --pixels it takes pictures.
    keras: its .weights.h5, and a Python file that builds the model; of Keras nothing is needed but h5py.

    html: one file with the net in it. It needs no server, and asks for nothing. With --bits 8 it has a quarter of the
    bytes; what that changes is told.

    Exit code 2 for a mistake, or for layers that are not there.
    """
    if pixels and to is not Target.onnx:
        raise ConfigError(
            "--pixels is for --to onnx: PyTorch's module has `prepare` beside it, and a page takes pictures"
        )
    if dtype != "float32" and to is Target.html:
        raise ConfigError("a page computes in float32: --bits 8 makes it smaller; --dtype is for torch and onnx")
    if to is Target.html:
        _export_page(weights, out, 32 if bits is None else bits, net)
        return
    if bits is not None:
        raise ConfigError("--bits is for --to html: other files hold the weights as they are")
    from gpunet.use.exporting import export_weights

    target: Literal["torch", "keras", "onnx"] = "torch"
    if to is not Target.torch:
        target = "keras" if to is Target.keras else "onnx"
    first, *beside = export_weights(weights, out, to=target, net=net, pixels=pixels, dtype=dtype)  # type: ignore[arg-type]
    if beside:
        what = ("weights", "model") if to is Target.keras else ("state dict", "module")
        module = beside[0]
        typer.echo(f"{first} has the {what[0]}, {module} the {what[1]}; in Python: from {module.stem} import load")
    else:
        takes = "images of bytes (N, H, W, D)" if pixels else "images (N, D, H, W), as they enter the net,"
        typer.echo(f"{first} has the net and its weights, opset 17; it takes {takes} and gives their scores")


def _export_page(weights: Path, out: Path | None, bits: int, net: str | None) -> None:
    from gpunet.cli.suiting import tell_of_values
    from gpunet.memory.size import format_bytes
    from gpunet.train.weights import open_weights, weights_file
    from gpunet.use.page import export_page

    path = weights_file(weights)
    made = export_page(path, out, bits=bits, net=net, images=_learnt_from(path, net))  # type: ignore[arg-type]
    tell_of_values(open_weights(path, net)[0].net, path)
    typer.echo(f"{made.path} predicts in the browser: {format_bytes(made.path.stat().st_size)}; open it there")
    if made.difference is not None:
        typer.echo(_told(made.difference))


def _learnt_from(path: Path, net: str | None) -> "np.ndarray | None":
    """Some images that the weights in a file learnt from, as bytes; None where they are not there or are no bytes."""
    import numpy as np

    from gpunet.cli.dataset import dataset_of
    from gpunet.cli.trained import training_of
    from gpunet.errors import DataError
    from gpunet.train.weights import open_weights

    told = training_of(path)
    if told is None:
        return None
    try:
        train = dataset_of(open_weights(path, net)[0].net, told).train
    except (ConfigError, DataError):
        return None
    images, _ = train.take(np.linspace(0, len(train) - 1, min(SEEN, len(train))).astype(int))
    return images if images.dtype == np.uint8 else None


def _told(difference: "Difference") -> str:
    of = "of noise, as those that it learnt from are not there" if difference.noise else "that it learnt from"
    changed = difference.images - difference.same
    return (
        f"8 bits a weight: of {difference.images} images {of}, {changed or 'none'} changed class; "
        f"no probability changed by more than {difference.moved:.2%}"
    )
