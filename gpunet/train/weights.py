"""Weights in a safetensors file: names and shapes as in `Model.parameters`, and nothing that could run.

The file's metadata say of which net they are: the text of its config, as `gpunet.net.config.dump_net` writes it.
"""

import json
from collections.abc import Mapping
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


def save_weights(path: Path, parameters: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write the parameters, and `about` in the file's metadata. Raises DataError where that is not possible.

    `about`  plain values; "config", the text of the net's config, makes the file complete; "classes" names them
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
    trunk, whole = shapes(config.net, config.net.trunk), shapes(config.net, config.net.nodes)
    if DIGEST in weights:  # a checkpoint has the optimizer's caches, too
        weights = {name: values for name, values in weights.items() if name in whole}
    _require(path, config.net.name, weights, {name: whole[name] for name in whole if name in {*weights, *trunk}})
    return config, weights


def class_names(path: Path, classes: int) -> list[str]:
    """The names of the classes, where a file of weights says them all; else their numbers."""
    names = read_about(path).get("classes")
    if isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names):
        return [printable(name) for name in names]
    return [str(label) for label in range(classes)]


def restore_weights(model: Model, path: Path) -> None:
    """Set all parameters of a model from a file. Raises DataError, changing nothing, where they are another net's.

    Those of auxiliary heads are left alone where the model has none, as it was planned for mode="infer".
    """
    weights = load_weights(path)
    heads = shapes(model.net, model.net.nodes).keys() - model.parameters.keys()
    weights = {name: values for name, values in weights.items() if name not in heads}
    wanted = {p.tensor.name: p.tensor.shape for p in model.plan.program.parameters}
    _require(path, model.net.name, weights, wanted)
    for name, values in weights.items():
        model.parameters[name] = values


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


def _require(path: Path, net: str, weights: Mapping[str, np.ndarray], wanted: Mapping[str, Shape]) -> None:
    """Raise DataError unless the weights have the names and shapes that are wanted."""
    wrong = [
        f"{name} is {weights[name].shape if name in weights else 'not there'}, not {shape}"
        for name, shape in wanted.items()
        if name not in weights or weights[name].shape != shape
    ]
    wrong += [f"{name} is not in the net" for name in weights if name not in wanted]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(f"{path} holds the weights of another net than {net}: {'; '.join(wrong[:3])}{more}")
