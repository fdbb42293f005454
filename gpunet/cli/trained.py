"""What commands share that use the weights of a run: which file, and a model that holds them."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunet.cli import options
from gpunet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from gpunet.memory.plan import Plan
    from gpunet.model import Model
    from gpunet.net.config import TrainConfig
    from gpunet.net.net import Net


def weights_file(path: Path) -> Path:
    """The file of weights that is meant: `path`, or that of the run whose folder it is."""
    from gpunet.train.folder import WEIGHTS

    if not path.is_dir():
        return path
    if not (path / WEIGHTS).is_file():
        raise DataError(f"{path} holds no {WEIGHTS}; give the folder of a run that finished an epoch, or a file")
    return path / WEIGHTS


def training_of(path: Path) -> "TrainConfig | None":
    """How the weights in a file were trained: what config.toml beside it says; None where there is none."""
    from gpunet.net.config import load_config
    from gpunet.train.weights import CONFIG

    beside = path.parent / CONFIG
    return load_config(beside).train if beside.is_file() else None


def scoring_plan(net: "Net", batch: int, device: options.AnyDevice, budget: str | None) -> "Plan":
    """A plan that scores images, within the budget or what is free. Raises BudgetError where it does not fit."""
    from gpunet.model import choose_device, require_fit
    from gpunet.planner import plan

    free = options.free_bytes(device) if budget is None else {}  # before opening a GPU takes some of it
    where = choose_device(device)
    settings: dict[str, Any] = {"mode": "infer", "device": where}
    made = plan(net, batch, budget=budget, **settings)
    free_bytes = free.get(where)
    if free_bytes is not None and made.total_bytes > free_bytes:
        made = plan(net, batch, budget=max(free_bytes, 1), **settings)
    return require_fit(net, made, **settings)


def scoring_model(net: "Net", made: "Plan", weights: "Mapping[str, np.ndarray]") -> "Model":
    """A model in that plan which holds the weights; those of auxiliary heads have no place in it."""
    from gpunet.model import Model

    # NumPy's warnings of overflow say less than whoever finds scores that are infinite or NaN
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"gpunet\.devices")
    model = Model(net, device=made.device, mode="infer", plan=made)
    try:
        for name in model.parameters:
            model.parameters[name] = weights[name]
    except BaseException:
        model.close()
        raise
    return model
