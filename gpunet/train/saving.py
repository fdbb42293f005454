"""A model in one file, and back: the weights and all else that lasts, and what the next model is to be like.

The file is one of weights (gpunet.train.weights) with the optimizer's caches beside them. Nothing in it could run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gpunet.errors import ConfigError, DataError
from gpunet.layers.scaling import SCALING
from gpunet.model.model import Model
from gpunet.net.config import TrainConfig, dump_net, load_config
from gpunet.net.net import Net
from gpunet.net.outside import known_layers, known_losses
from gpunet.optimize.learning import Learning
from gpunet.optimize.optimizers import optimizer
from gpunet.train.checkpoint import DIGEST
from gpunet.train.weights import CONFIG, load_weights, open_weights, read_about, save_weights, weights_file, weights_for
from gpunet.values.given import integer, names, told
from gpunet.values.visible import told_path

Kind = TypeVar("Kind", bound=Model)
Said = dict[str, Any]
"""Options of Model, by name."""


def save_model(model: Model, path: str | PathLike[str], classes: Sequence[str] = (), white: int = 255) -> None:
    """Write a model into a file. Raises DataError where that is not possible; what was there is there then.

    Raises ConfigError for names of classes or a value of white that cannot be meant.
    """
    path = told_path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file in it, like {path / 'model.safetensors'}")
    about = {
        "net": model.net.name,
        **({"config": dump_net(model.net)} if _can_be_written(model.net) else {}),
        "classes": _checked_classes(classes, model.net.classes),
        "white": integer("white", white, least=1, most=255),
        "model": {
            "batch": model.batch,
            "dtype": model.plan.dtype,
            "math": model.math,
            "learning_rate": model.learning_rate,
            "seed": int(model.seed),
            "steps": model.steps,
            "seen": model.seen,
            **({"learning": _as_plain(model.plan.learning)} if model.plan.learning else {}),
        },
    }
    save_weights(path, model.state, about)


def load_model(kind: type[Kind], path: str | PathLike[str], device: Any, net: Net | None, said: Said) -> Kind:
    """A model of this `kind` as a file has it, but for what is `said`: options of Model, None for what is not said.

    Raises DataError for a file that cannot be used.
    """
    path = weights_file(path)
    if net is None:
        config, weights = open_weights(path)
        net = config.net
    else:
        weights = weights_for(net, path)
    there = read_about(path)
    about = _Saved(path, there.get("model", there.get("trainer")))  # a checkpoint has the state of its trainer
    told = TrainConfig() if "model" in there else _told_beside(path)
    options = about.options(told) | {name: value for name, value in said.items() if value is not None}
    if options["mode"] == "infer":
        options = {name: value for name, value in options.items() if name != "optimizer"}
    model = kind(net, device=device, **options)
    try:
        _restore(model, load_weights(path), weights)
        model.steps, model.seen = about.count("steps", 0), about.count("seen", 0)
    except BaseException:
        model.close()
        raise
    return model


def _checked_classes(classes: Sequence[str], count: int) -> list[str]:
    """The names of the first classes, as a list. Raises ConfigError for a text alone and for more than there are."""
    found = list(names("classes", classes))
    if isinstance(classes, str) or len(found) > count:
        given = told(classes) if isinstance(classes, str) else f"{len(found):,} of them"
        raise ConfigError(f"classes must be a list of names, from 0, of the net's {count:,}; got {given}")
    return found


def _told_beside(path: Path) -> TrainConfig:
    """How a net was trained whose run left the file: as config.toml beside it says."""
    beside = path.parent / CONFIG
    return load_config(beside).train if beside.is_file() else TrainConfig()


class _Saved:
    """What a file says of a model, checked; what one of a run does not say is asked of the run's config."""

    def __init__(self, path: Path, about: Any) -> None:
        self._path = path
        self._about: Mapping[str, Any] = about if isinstance(about, dict) else {}

    def options(self, told: TrainConfig) -> Said:
        """Options of Model."""
        dtype, rate = self._about.get("dtype", "float32"), self._about.get("learning_rate", told.learning_rate)
        return {
            "batch": self.count("batch", told.batch),
            "dtype": dtype,
            "math": self._about.get("math", told.math),
            "learning_rate": rate,
            "seed": self.count("seed", told.seed),
            "optimizer": self._learning(told),
        }

    def count(self, name: str, otherwise: int) -> int:
        """A number that the file says, or `otherwise` where it does not. Raises DataError for what is none."""
        found = self._about.get(name, otherwise)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**63:
            raise DataError(f"{self._path} is damaged: it says {name} = {str(found)[:60]!r}")
        return found

    def _learning(self, told: TrainConfig) -> Learning:
        said = self._about.get("learning")
        if said is None:
            return told.learning
        try:
            rule = dict(said["optimizer"])
            how = {name: value for name, value in said.items() if name != "optimizer"}
            return Learning(optimizer(rule.pop("name"), **rule), **how)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self._path} is damaged: it does not say how its model learns ({error})") from None


def _restore(model: Model, all_there: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> None:
    """Set what lasts: caches too, where the file has all of them as the model wants them."""
    wanted = {name: tensor.shape for name, tensor in model.state.tensors.items()}
    needed = {name: shape for name, shape in wanted.items() if name != SCALING}  # which float16 alone has
    whole = all(name in all_there and all_there[name].shape == shape for name, shape in needed.items())
    found = all_there if whole else weights
    for name in wanted:
        if name in found and name != DIGEST:
            model.state[name] = found[name]


def _can_be_written(net: Net) -> bool:
    """Whether a config can say the net: layers and losses from outside this package have a name if one was added."""
    return {type(node.layer) for node in net.nodes} <= {*known_layers()} and type(net.loss) in known_losses()


def _as_plain(how: Learning) -> dict[str, Any]:
    """How parameters learn, as plain values."""
    return {
        "optimizer": {"name": how.optimizer.name, **asdict(how.optimizer)},
        "freeze": list(how.freeze),
        "rate_factors": [list(factor) for factor in how.rate_factors],
        "decay": how.decay,
        "decay_factors": [list(factor) for factor in how.decay_factors],
        "clip_value": how.clip_value,
        "clip_norm": how.clip_norm,
    }
