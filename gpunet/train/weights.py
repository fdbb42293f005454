"""Weights in a safetensors file: names and shapes as in `Model.parameters`, and nothing that could run.

The file's metadata say of which net they are: the text of its config, as `gpunet.net.config.dump_net` writes it.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.errors import DataError
from gpunet.files import write_whole
from gpunet.model import Model
from gpunet.net.config import Config, load_config, parse_config
from gpunet.net.net import Net, Node
from gpunet.net.words import printable
from gpunet.train.checkpoint import DIGEST

CONFIG = "config.toml"
"""The file beside the weights that says their net, where they do not say so themselves."""

Shape = tuple[int, ...]

FEW = 3
"""Differences that are told."""


class OtherNet(DataError):
    """Weights of another net than that which is to have them; `names` are the parameters that differ."""

    def __init__(self, message: str, names: Collection[str] = ()) -> None:
        super().__init__(message)
        self.names = tuple(names)


def save_weights(path: Path, parameters: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write the parameters, and `about` in the file's metadata. Raises DataError where that is not possible.

    `about`  plain values; "config", the text of the net's config, makes the file complete; "classes" names them;
             "white" is the value of white in the images that were learnt from
    """
    from safetensors.numpy import save

    # A single entry: several are stored in a new order each time, and the same run would not give the same bytes.
    write_whole(path, save(dict(parameters), metadata={"gpunet": json.dumps(about)}))


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """The parameters in a file by name. Raises DataError where it cannot be read or is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except SafetensorError as error:
        raise DataError(f"{path} is damaged or no safetensors file ({error})") from None


def read_about(path: Path) -> dict[str, Any]:
    """What `save_weights` was told of the weights in a file that can be loaded; {} where it does not say."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        text = (file.metadata() or {}).get("gpunet", "{}")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def open_weights(path: Path, net: str | None = None) -> tuple[Config, dict[str, np.ndarray]]:
    """The weights in a file, and the config of their net: `net` as `load_config` takes it, else what the file says,
    else config.toml beside it.

    Of a checkpoint these are the parameters alone. Those of auxiliary heads may be missing. Raises DataError where the
    file cannot be read, does not say its net, or holds the weights of another one; ConfigError or ShapeError for a
    config that cannot be used.
    """
    weights = load_weights(path)
    config = _config(path) if net is None else load_config(net)
    return config, _fitting(path, weights, config.net)


def class_names(path: Path, classes: int) -> list[str]:
    """The names of the classes, where a file of weights says them all; else their numbers."""
    names = read_about(path).get("classes")
    if isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names):
        return [printable(name) for name in names]
    return [str(label) for label in range(classes)]


def white_of(path: Path) -> int:
    """The value of white in the images that the weights in a file learnt from; 255 where it does not say."""
    white = read_about(path).get("white")
    return white if isinstance(white, int) and 0 < white < 255 else 255


def restore_weights(model: Model, path: Path, fresh: Collection[str] = ()) -> None:
    """Set the parameters of a model from a file; those of the layers `fresh` stay as they are.

    So do those of auxiliary heads that the file does not have; where the model has no place for them, as it was planned
    for mode="infer", they are left alone. Raises OtherNet, changing nothing, where the weights are another net's.
    """
    weights = weights_for(model.net, path, fresh)
    for name in model.parameters:
        if name in weights:
            model.parameters[name] = weights[name]


def weights_for(net: Net, path: Path, fresh: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The weights of a net in a file, but for the layers `fresh`. Raises OtherNet where they are another net's."""
    return _fitting(path, load_weights(path), net, fresh)


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to."""
    return name.rpartition(".")[0]


def shapes(net: Net, nodes: tuple[Node, ...]) -> dict[str, Shape]:
    """The shapes of the parameters of these nodes, by name."""
    return {f"{node.name}.{weights.name}": weights.shape for node in nodes for weights in net.weights(node)}


def _config(path: Path) -> Config:
    """The config that a file of weights says, or that lies beside it."""
    text = read_about(path).get("config")
    if isinstance(text, str):
        return parse_config(text, str(path))
    beside = path.parent / CONFIG
    if not beside.is_file():
        raise DataError(f"{path} does not say of which net it is, and there is no {CONFIG} beside it; give it as --net")
    return load_config(beside)


def _fitting(
    path: Path, weights: dict[str, np.ndarray], net: Net, fresh: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Those of the weights in a file that are a net's, layers `fresh` aside. Raises OtherNet unless all of them are."""
    trunk, whole = shapes(net, net.trunk), shapes(net, net.nodes)
    if DIGEST in weights:  # a checkpoint has the optimizer's caches, too
        weights = {name: values for name, values in weights.items() if name in whole}
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
        raise OtherNet(f"{path} holds the weights of another net than {net.name}: {words}{more}", wrong)
    return weights
