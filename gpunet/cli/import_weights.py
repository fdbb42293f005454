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
    from gpunet.use.importing import Imported

ENDING = ".safetensors"


class Kept(StrEnum):
    """Dtypes that weights are kept in."""

    float32 = "float32"
    float64 = "float64"


def import_weights(
    file: Annotated[
        Path,
        typer.Argument(
            parser=told_path,
            metavar="FILE",
            help="A state dict of PyTorch (.pth, .pt, .bin), safetensors, or an ONNX file.",
        ),
    ],
    net: Annotated[
        str | None,
        typer.Option(
            "--net", metavar="NET", help="The net that they are of; default: that in FILE, or found by names."
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
            help="File for the weights; default: NAME.safetensors beside.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[Kept, typer.Option("--dtype", help="Of the weights.")] = Kept.float32,
    input: options.Input = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Believe order and shapes without being asked.")] = False,
) -> None:
    """Bring weights of another framework: the file that it writes is what train, eval, predict, slide and show take.

    Nothing in FILE is run. Where its names are not known, layers are told by order and shapes, and shown before that is
    believed.

    Exit code 2 for a mistake, or for weights of another net: all that differs is named.
    """
    from gpunet.program.volume import Volume
    from gpunet.report.console import working
    from gpunet.system.files import check_place
    from gpunet.use.importing import bring

    if file.is_dir():
        raise ConfigError(f"{file} is a folder; give the file of weights in it")
    out = _place(file) if out is None else out
    if out.exists():
        raise ConfigError(f"{out} is there already; give another name as --out")
    check_place(out)
    config = None if net is None else options.read_net(net, input=input)
    with working("reading") as say:
        say(f"reading {file}")
        volume = None if input is None or net is not None else Volume.parse(input)
        found = bring(file, config, classes=_names(classes), input=volume, dtype=str(dtype))  # type: ignore[arg-type]
    typer.echo("\n".join(found.said))
    if not found.match.sure:
        _believe(found, yes=yes)
    found.save(out)
    typer.echo(f"{out} has the weights{', the names of the classes' * bool(found.classes)} and the net")
    told = typable(out)
    typer.echo(f"now: gpunet predict {told} PICTURE, or gpunet train --weights {told} --data DATA --classes K")


def _place(file: Path) -> Path:
    """The file beside, for weights that are gpunet's."""
    made = file.with_suffix(ENDING)
    return made if made != file else file.with_name(f"{file.stem}-gpunet{ENDING}")


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
