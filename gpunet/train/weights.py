"""Weights in a safetensors file: names and shapes as in `Model.parameters`, and nothing that could run.

The file's metadata say of which net they are: the text of its config, as `gpunet.net.config.dump_net` writes it.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpunet.data.raw import opened
from gpunet.errors import DataError
from gpunet.formats.known import foreign_format, read_foreign, way_in
from gpunet.formats.match import match
from gpunet.layers.scaling import SCALING
from gpunet.model.model import Model
from gpunet.net.config import Config, load_config, parse_config
from gpunet.net.net import Net, Node
from gpunet.system.files import write_whole
from gpunet.train.checkpoint import DIGEST
from gpunet.train.given import given_config
from gpunet.values.visible import told_path, visible

WEIGHTS = "weights.safetensors"
"""The file of weights in the folder of a run."""

CONFIG = "config.toml"
"""The file beside the weights that says their net, where they do not say so themselves."""

Shape = tuple[int, ...]

AnyPath = str | PathLike[str]
"""Of a file of weights, or the folder of a run that holds one."""

FEW = 3
"""Differences that are told."""

FLOATS = "float32, float64 or float16"


class OtherNet(DataError):
    """Weights of another net than that which is to have them; `names` are the parameters that differ."""

    def __init__(self, message: str, names: Collection[str] = ()) -> None:
        super().__init__(message)
        self.names = tuple(names)


def save_weights(path: Path, parameters: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write the parameters, and `about` in the file's metadata. Raises DataError where that is not possible.

    `about`  plain values; "config", the text of the net's config, makes the file complete; "classes" names them;
             "white" is the value of white in the images that were learnt from, "entered" the values that they had
             where they entered the net: see gpunet.train.entering
    """
    from safetensors.numpy import save

    # A single entry: several are stored in a new order each time, and the same run would not give the same bytes.
    write_whole(path, save(dict(parameters), metadata={"gpunet": json.dumps(about)}))


def weights_file(path: AnyPath) -> Path:
    """The file of weights that is meant: `path`, or that of the run whose folder it is.

    Raises DataError where the folder holds none.
    """
    path = told_path(path)
    if not path.is_dir():
        return path
    if not (path / WEIGHTS).exists():
        raise DataError(f"{path} holds no {WEIGHTS}; give the folder of a run that finished an epoch, or a file")
    return path / WEIGHTS


def load_weights(path: AnyPath) -> dict[str, np.ndarray]:
    """The parameters in a file by name. Raises DataError where it cannot be read or is damaged."""
    from safetensors.numpy import load

    path = weights_file(path)
    with _read(path) as (file, size):
        try:
            return load(file.read(size))
        except KeyError as error:  # bfloat16, of which NumPy knows nothing
            raise DataError(f"{path} holds {error.args[0]} values; weights are {FLOATS}") from None


def read_about(path: AnyPath) -> dict[str, Any]:
    """What `save_weights` was told of the weights in a file; {} where it does not say, as one that another framework
    wrote. Raises as `load_weights`."""
    from safetensors import safe_open

    path = weights_file(path)
    if foreign_format(path) is not None:
        return {}
    with _read(path), safe_open(path, "np") as tensors:
        text = (tensors.metadata() or {}).get("gpunet", "{}")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def open_weights(path: AnyPath, net: str | None = None) -> tuple[Config, dict[str, np.ndarray]]:
    """The weights in a file, and the config of their net: `net` as `given_config` takes it, else what the file says,
    else config.toml beside it.

    Of a checkpoint these are the parameters alone. Those of auxiliary heads may be missing. Raises DataError where the
    file cannot be read, does not say its net, or holds the weights of another one; ConfigError or ShapeError for a
    config that cannot be used.
    """
    path = weights_file(path)
    weights = load_weights(path)
    config = said_config(path) if net is None else given_config(net)
    return config, _fitting(path, weights, config.net)


def said_config(path: Path) -> Config:
    """The config that a file of weights says, or that lies beside it. Raises DataError where there is none."""
    text = read_about(path).get("config")
    if isinstance(text, str):
        return parse_config(text, str(path))
    beside = path.parent / CONFIG
    if not beside.is_file():
        way = way_in(path) or "give it as --net"
        raise DataError(f"{path} does not say of which net it is, and there is no {CONFIG} beside it; {way}")
    return load_config(beside)


def known_names(path: AnyPath, classes: int) -> list[str]:
    """The names of classes that a file of weights says, from 0; none where they are more than the net's `classes`."""
    names = read_about(path).get("classes")
    if isinstance(names, list) and len(names) <= classes and all(isinstance(name, str) for name in names):
        return [visible(name) for name in names]
    return []


def class_names(path: AnyPath, classes: int) -> list[str]:
    """The names of all classes, as a file of weights says them."""
    return all_names(known_names(path, classes), classes)


def all_names(names: Sequence[str], classes: int) -> list[str]:
    """These names of the first classes, and the numbers of those that have none."""
    return [*names, *map(str, range(len(names), classes))]


def white_of(path: AnyPath) -> int:
    """The value of white in the images that the weights in a file learnt from; 255 where it does not say."""
    white = read_about(path).get("white")
    return white if isinstance(white, int) and 0 < white < 255 else 255


def restore_weights(model: Model, path: AnyPath, fresh: Collection[str] = ()) -> None:
    """Set the parameters of a model from a file; those of the layers `fresh` stay as they are.

    So do those of auxiliary heads that the file does not have; where the model has no place for them, as it was planned
    for mode="infer", they are left alone. Raises OtherNet, changing nothing, where the weights are another net's.
    """
    weights = weights_for(model.net, path, fresh)
    for name in model.parameters:
        if name in weights:
            model.parameters[name] = weights[name]


def weights_for(net: Net, path: AnyPath, fresh: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The weights of a net in a file, but for the layers `fresh`. Raises OtherNet where they are another net's."""
    path = weights_file(path)
    return _fitting(path, load_weights(path), net, fresh)


def any_weights_for(net: Net, path: AnyPath, fresh: Collection[str] = ()) -> dict[str, np.ndarray]:
    """As `weights_for`, also of a file that another framework wrote, where its names say which layers it is of."""
    path = weights_file(path)
    if foreign_format(path) is None:
        return weights_for(net, path, fresh)
    found = match(read_foreign(path), net, fresh)
    if not found.sure:
        raise DataError(f"{path} has names that are not known, only order and shapes like {net.name}'s; {way_in(path)}")
    return _fitting(path, found.weights("float32"), net, fresh)


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to."""
    return name.rpartition(".")[0]


def shapes(net: Net, nodes: tuple[Node, ...]) -> dict[str, Shape]:
    """The shapes of the parameters of these nodes, by name."""
    return {f"{node.name}.{weights.name}": weights.shape for node in nodes for weights in net.weights(node)}


@contextmanager
def _read(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file and its size in bytes, while it is read. Raises DataError for whatever goes wrong."""
    from safetensors import SafetensorError

    try:
        with opened(path) as found:
            yield found
    except SafetensorError as error:
        if way := way_in(path):
            raise DataError(f"{path} is no file of weights of gpunet; {way}") from None
        if path.suffix == ".toml":
            raise DataError(
                f"{path} is a config, which holds no weights; give the folder of a run, or its file"
            ) from None
        raise DataError(f"{path} is damaged or no safetensors file ({error})") from None


def _fitting(
    path: Path, weights: dict[str, np.ndarray], net: Net, fresh: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Those of the weights in a file that are a net's, layers `fresh` aside.

    Raises OtherNet unless all of them are, DataError unless they are floats.
    """
    trunk, whole = shapes(net, net.trunk), shapes(net, net.nodes)
    if DIGEST in weights:  # a checkpoint has the optimizer's caches, too
        weights = {name: values for name, values in weights.items() if name in whole}
    weights = {name: values for name, values in weights.items() if name != SCALING}
    # a saved model has them too, under the names of the parameters that they are of
    weights = {name: values for name, values in weights.items() if layer_of(name) not in whole}
    weights = {name: values for name, values in weights.items() if layer_of(name) not in fresh}
    wanted = {name: whole[name] for name in whole if name in {*weights, *trunk} and layer_of(name) not in fresh}
    wrong = {
        name: f"{name} is {weights[name].shape if name in weights else 'not there'}, not {shape}"
        for name, shape in wanted.items()
        if name not in weights or weights[name].shape != shape
    }
    wrong |= {name: f"{name} is not in the net" for name in weights if name not in wanted}
    if wrong:
        more = f" and {len(wrong) - FEW} more" if len(wrong) > FEW else ""
        words = "; ".join(list(wrong.values())[:FEW])
        way = f"; {way}" if (way := way_in(path)) else ""
        raise OtherNet(f"{path} holds the weights of another net than {net.name}: {words}{more}{way}", wrong)
    for name, values in weights.items():
        if values.dtype.kind != "f":
            raise DataError(f"{path}: {name} holds {values.dtype} values; weights are {FLOATS}")
    return weights
