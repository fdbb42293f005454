"""`gpunet import`: the weights of other frameworks."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.errors import ConfigError
from gpunet.values.visible import told_path, typable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunet.formats.foreign import Asked
    from gpunet.net.config import Config
    from gpunet.use.importing import Imported

ENDING = ".safetensors"


class Kept(StrEnum):
    """Dtypes that weights are kept in."""

    float32 = "float32"
    float64 = "float64"


class MapOrder(StrEnum):
    """Orders of the maps of images."""

    RGB = "RGB"
    BGR = "BGR"


def import_weights(
    file: Annotated[
        Path,
        typer.Argument(
            parser=told_path,
            metavar="FILE",
            help="A state dict of PyTorch (.pth, .pt, .bin), safetensors, ONNX, Caffe's .caffemodel or .prototxt, "
            "a model of Keras (.keras, .h5), TensorFlow.js (model.json) or Torch7 (.t7).",
        ),
    ],
    net: Annotated[
        str | None,
        typer.Option(
            "--net",
            metavar="NET",
            help="The net that they are of, or its .prototxt; default: that in FILE, or found by torchvision's names.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            parser=told_path, metavar="FILE", help="The names of the classes, one a line, from 0.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=told_path,
            metavar="OUT",
            help="File for the weights, or the net; default: NAME.safetensors, or NAME.toml, beside.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[Kept, typer.Option("--dtype", help="Of the weights.")] = Kept.float32,
    width: options.Width = None,
    input: options.Input = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS|FILE",
            help="What was taken off pixels of 0 to 255, in the order of the maps there, like 104,117,123; or a "
            ".binaryproto. Default: what FILE says.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="What they were multiplied with then; default: what FILE says.", show_default=False),
    ] = None,
    order: Annotated[
        MapOrder | None,
        typer.Option(
            help="Of the maps of images there; default: BGR for Caffe.", case_sensitive=False, show_default=False
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="How many there are to learn from, to count a solver's epochs by.", show_default=False
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Believe order and shapes without being asked.")] = False,
) -> None:
    """Bring weights of another framework: the file that it writes is what train, eval, predict, slide and show take.

    Of a file that says a net and has no weights, Caffe's .prototxt, it writes a config, as all commands take it.

    Nothing in FILE is run. Where its names are not known, layers are told by order and shapes, and shown before that is
    believed.

    Exit code 2 for a mistake, or for weights of another net: all that differs is named.
    """
    from gpunet.formats.known import says_net
    from gpunet.system.files import check_place
    from gpunet.use.entering import asking

    if file.is_dir():
        raise ConfigError(f"{file} is a folder; give the file of weights in it")
    asked = asking(
        net, input=input, mean=mean or (), scale=scale, order=None if order is None else order.value, images=images
    )
    if width is not None and (net is None or asked.definition):
        raise ConfigError("--width is of a net that gpunet has: name it, like --net mobilenet_v2")
    told = says_net(file)
    out = _place(file, ".toml" if told else ENDING) if out is None else out
    if out.exists():
        raise ConfigError(f"{out} is there already; give another name as --out")
    check_place(out)
    if told:
        _import_net(file, out, asked, net=net, of_weights={"--classes": classes is not None, "--yes": yes})
        return
    if images is not None:
        raise ConfigError("--images counts the epochs of a solver: give it with the solver's .prototxt")
    config = None if net is None or asked.definition else options.read_net(net, width, input)
    _import(file, out, asked, config, classes=classes, dtype=dtype, yes=yes)


def _import(
    file: Path, out: Path, asked: "Asked", config: "Config | None", *, classes: Path | None, dtype: Kept, yes: bool
) -> None:
    """Weights, into a file of weights."""
    from gpunet.report.console import working
    from gpunet.use.importing import bring

    with working("reading") as say:
        say(f"reading {file}")
        found = bring(file, config, classes=_names(classes), dtype=dtype.value, asked=asked)
    typer.echo("\n".join(found.said))
    if not found.match.sure:
        _believe(found, yes=yes)
    found.save(out)
    typer.echo(f"{out} has the weights{', the names of the classes' * bool(found.classes)} and the net")
    told = typable(out)
    typer.echo(f"now: gpunet predict {told} PICTURE, or gpunet train --weights {told} --data DATA --classes K")


def _import_net(file: Path, out: Path, asked: "Asked", *, net: str | None, of_weights: "Mapping[str, bool]") -> None:
    """A net without weights, into a config."""
    from gpunet.use.import_net import bring_net

    if given := next((option for option, said in of_weights.items() if said), None):
        raise ConfigError(f"{given} is of weights, and {file} has none: leave it out")
    if net is not None and asked.definition is None:
        raise ConfigError(f"{file} says a net itself; as --net a solver takes the .prototxt of its net")
    found = bring_net(file, asked)
    found.save(out)
    typer.echo("\n".join(found.said))
    told = typable(out)
    typer.echo(f"{out} has the net and how it is trained")
    typer.echo(f"now: gpunet plan {told}, or gpunet train {told} --data DATA")


def _place(file: Path, ending: str) -> Path:
    """The file beside, for what is gpunet's."""
    made = file.with_suffix(ending)
    return made if made != file else file.with_name(f"{file.stem}-gpunet{ending}")


def _names(path: Path | None) -> tuple[str, ...]:
    """The names of classes in a text file, one a line."""
    from gpunet.data.raw import MOST_NAMES_BYTES, clean_name, read_whole

    if path is None:
        return ()
    lines = read_whole(path, MOST_NAMES_BYTES).decode("utf-8", "replace").splitlines()
    return tuple(clean_name(line) for line in lines if line.strip())


def _believe(found: "Imported", *, yes: bool) -> None:
    """Show which layer is made of what, and ask whether that is right. Raises ConfigError where it is not."""
    from gpunet.report.console import show
    from gpunet.report.import_table import import_table

    show(import_table(found.match))
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("layers were told by order and shapes alone: where the table above is right, say --yes")
    if not typer.confirm("is that right?"):
        raise ConfigError("nothing was written; say which net it is as --net")
