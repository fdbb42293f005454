"""Trained nets, .caffemodel: weights by layer, and the net that was trained, in the bytes of protobuf."""

from dataclasses import replace
from pathlib import Path

from gpunet.errors import DataError
from gpunet.formats.caffe.blobs import blobs_of
from gpunet.formats.caffe.foreign import made
from gpunet.formats.caffe.prototxt import definition
from gpunet.formats.caffe.wire import read_bytes
from gpunet.formats.caffe.wiring import messages
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.net.words import listed


def read(path: Path, asked: Asked = NOTHING) -> Foreign:
    """The weights in a file and the net that it says, or that which is asked for. Raises DataError for a damaged one.

    Layers are told by their names; one that is in one file alone is left out.
    """
    trained = read_bytes(path, "NetParameter")
    if any(layer.many("layer") for layer in messages(trained)):
        raise DataError(f"{path} is of Caffe before 2013; bring it up to date with Caffe's upgrade_net_proto_binary")
    if asked.definition is None and not any(layer.many("bottom") for layer in messages(trained)):
        raise DataError(f"{path} has weights, and does not say how its layers are wired; give the .prototxt as --net")
    blobs = blobs_of(path, trained)
    if not blobs:
        raise DataError(f"{path} has layers of Caffe, but no weights in them; give a file that was trained")
    told = path if asked.definition is None else asked.definition
    net = trained if asked.definition is None else definition(asked.definition)
    found = made(path, "Caffe", net, blobs, asked, told=told, other=trained)
    named = {layer.one("name", "") for layer in messages(net)}
    spare = [name for name in blobs if name not in named]
    if not spare:
        return found
    left = f"left out, as {told} has no such layers: {listed(spare[:8])}{', ...' * (len(spare) > 8)}"
    return replace(found, notes=(*found.notes, left))
