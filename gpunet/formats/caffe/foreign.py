"""What a file of Caffe holds, as it is handed over: net, arrays, how images entered, and how it is trained."""

from dataclasses import replace
from pathlib import Path

from gpunet.errors import DataError
from gpunet.formats.caffe.entering import Entering, beside, entering_of, missing, read_mean
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.net import Told
from gpunet.formats.caffe.saying import Blobs
from gpunet.formats.caffe.solver import training
from gpunet.formats.foreign import Asked, Foreign, Images
from gpunet.formats.layout import TORCH
from gpunet.net.net import Net


def made(
    path: Path,
    format: str,
    message: Message,
    blobs: Blobs,
    asked: Asked,
    *,
    told: Path,
    solver: Message | None = None,
    other: Message | None = None,
) -> Foreign:
    """A net of Caffe, handed over.

    `message`  the net, and `told` the file that says it
    `other`    the net in the file of weights, which may say how images entered where `message` does not
    """
    said = Told(told, message, blobs, asked.input)
    graph = said.graph
    lacks = dict[str, str]()
    net: Net | None = None
    try:
        net = said.net
    except DataError as error:
        lacks["net"] = str(error)
    entering, source = _entering(said, told, path, other)
    images, notes = _images(net, entering, source, asked, lacks)
    how = training(solver, net, said.learning, batch=entering.batch, images=asked.images) if net else None
    train = how.config() if how else None
    left = [f"not said under [train]: {line}" for line in how.left] if how and not blobs else []
    return Foreign(
        path,
        format,
        graph.arrays,
        TORCH,
        names={name: name for name in (*graph.arrays, *_parameters(net))},
        net=net,
        images=images,
        notes=(*graph.notes, *notes, *left),
        renamed=graph.renamed,
        train=train,
        lacks=lacks,
    )


def _parameters(net: Net | None) -> list[str]:
    """What a net asks for, whether the file has it or not."""
    return [f"{node.name}.{one.name}" for node in net.nodes for one in net.weights(node)] if net else []


def _entering(said: Told, told: Path, path: Path, other: Message | None) -> tuple[Entering, Path]:
    """How images entered, and the file that says so: the net, else that in the file of weights."""
    found = entering_of(said.source) if said.source else Entering()
    if found.said or other is None:
        return found, told
    inner = Told(path, other, {}).source
    own = entering_of(inner) if inner else Entering()
    return (own, path) if own.said else (found, told)


def _images(
    net: Net | None, entering: Entering, source: Path, asked: Asked, lacks: dict[str, str]
) -> tuple[Images | None, list[str]]:
    """How images enter, and what was done to know it. A mean file that is not there is lacking."""
    D = net.input.D if net else 3
    mean: tuple[float, ...] = ()
    size, notes = None, []
    file = asked.mean_file or (beside(source, entering.mean_file) if entering.mean_file else None)
    if file is not None:
        mean, size, line = read_mean(file)
        notes += [line] if line else []
    elif entering.mean_file and not asked.mean:
        lacks["mean"] = missing(source, entering.mean_file)
    try:
        scaled = entering if asked.scale is None else replace(entering, scale=asked.scale)
        return scaled.images(D, mean or asked.mean, size), notes
    except ValueError as error:
        raise DataError(f"{source}: images cannot enter the net by {error}") from None
