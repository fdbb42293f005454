"""What commands share that use the weights of a run: its settings and its data, and a model that holds the weights."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunet.cli.affordable import affordable_plan
from gpunet.cli.dataset import anywhere, dataset_of, require_there
from gpunet.cli.guard import complain
from gpunet.cli.suiting import tell_of_values
from gpunet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from gpunet.data import Dataset
    from gpunet.memory.plan import Plan
    from gpunet.model.model import Model
    from gpunet.net.config import TrainConfig
    from gpunet.net.net import Net
    from gpunet.train.judge import Judged

SEEN = 64
"""Images that are looked at for values above the white that a net knows: arrays do not say what is white in them."""


def training_of(path: Path) -> "TrainConfig | None":
    """How the weights in a file were trained: what config.toml beside it says; None where there is none."""
    from gpunet.net.config import load_config
    from gpunet.train.weights import CONFIG

    beside = path.parent / CONFIG
    return load_config(beside).train if beside.is_file() else None


def training_on(path: Path, data: str | None) -> "TrainConfig":
    """How the weights in a file were trained, or the defaults where `data` are given and nothing says more.

    Raises ConfigError where nobody says which data.
    """
    from gpunet.net.config import TrainConfig

    told = training_of(path)
    if told is None and data is None:
        raise ConfigError("no config.toml beside the weights says which data they learnt from; give --data")
    return told or TrainConfig()


def asked(net: "Net", path: Path, data: str | None, size: str | None, skip_broken: bool | None) -> "TrainConfig":
    """What the run was told that the weights in a file are of, with the data asked for.

    Other pictures than the run's are brought to the size of its images, unless another is said. Raises ConfigError
    where nobody says which data, DataError where the run's own were moved.
    """
    from gpunet.data.find import is_pictures

    told = training_on(path, data)
    if data is None:
        require_there(told.data, path, "--data NEW")
    else:
        own_size = f"{net.image.H}x{net.image.W}" if is_pictures(data) else None
        told = replace(told, data=data, size=own_size, skip_broken=False, validation=None)
    given: dict[str, Any] = {"size": size, "skip_broken": skip_broken}
    return replace(told, **{name: value for name, value in given.items() if value is not None})


def data_of(net: "Net", path: Path, told: "TrainConfig") -> "tuple[list[str], Dataset]":
    """The names of the classes, and the data, as the weights in a file know them.

    Raises DataError where the net cannot use them, or learnt to tell other classes apart.
    """
    from gpunet.data.white import with_white
    from gpunet.train.weights import all_names, known_names, white_of

    dataset = with_white(dataset_of(net, told), white_of(path))
    tell_of_white(dataset, path)
    tell_of_values(net, path, dataset)
    known = known_names(path, net.classes)
    if known and dataset.classes:
        _require_names(dataset, net, known)
    names = [*dataset.classes, *known[len(dataset.classes) :]]
    return all_names(names, net.classes), dataset


def tell_of_white(dataset: "Dataset", path: Path) -> None:
    """Warn where images are darker or brighter than those that the weights in a file learnt from."""
    import numpy as np

    from gpunet.train.weights import white_of

    white = white_of(path)
    if dataset.white == white:
        return
    images, _ = dataset.train.take(np.arange(min(SEEN, len(dataset.train))))
    if images.dtype != np.uint8 or images.max() <= white < dataset.white:
        return
    complain(
        f"white is {dataset.white} in {dataset.name} and {white} in the images that {path} learnt from: "
        f"to the net these are {'darker' if dataset.white < white else 'brighter'} than what it knows"
    )


def _require_names(dataset: "Dataset", net: "Net", known: "Sequence[str]") -> None:
    """Raise DataError unless the classes of the data have the names that were learnt."""
    there = dataset.classes
    for label, (name, learnt) in enumerate(zip(there, known, strict=False)):
        if name != learnt:
            raise DataError(f"{dataset.name}: class {label} is {name}; {net.name} learnt that it is {learnt}")
    if len(there) != len(known):
        raise DataError(f"{dataset.name} has {len(there)} classes; {net.name} learnt to tell {len(known)} apart")


def scoring_plan(net: "Net", batch: int, device: str, budget: str | None, dtype: str | None = None) -> "Plan":
    """A plan that scores images, within the budget or what is free; `dtype` None: in float32.

    Raises BudgetError where it does not fit.
    """
    return affordable_plan(net, batch, device, budget, mode="infer", dtype=dtype or "float32")


def scoring_model(net: "Net", made: "Plan", weights: "Mapping[str, np.ndarray]") -> "Model":
    """A model in that plan which holds the weights; those of auxiliary heads have no place in it."""
    from gpunet.model.model import Model

    quiet()
    model = Model(net, device=made.device, mode="infer", plan=made)
    try:
        for name in model.parameters:
            model.parameters[name] = weights[name]
    except BaseException:
        model.close()
        raise
    return model


def quiet() -> None:
    """Leave out NumPy's warnings of overflow, which say less than whoever finds scores that are infinite or NaN."""
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"gpunet\.devices")


def judged_tests(
    weights: Path,
    net: str | None,
    data: str | None,
    size: str | None,
    skip_broken: bool | None,
    batch: int | None,
    device: str,
) -> "tuple[list[str], Dataset, Judged]":
    """The names of the classes, the data, and what the net says of every test image."""
    from gpunet.report.console import working
    from gpunet.train.judge import judge
    from gpunet.train.weights import open_weights, weights_file

    path = weights_file(weights)
    config, values = open_weights(path, net)
    told = asked(config.net, path, data, size, skip_broken)
    classes, dataset = data_of(config.net, path, told)
    n = len(dataset.test)
    made = scoring_plan(config.net, min(n, told.batch if batch is None else batch), device, None)
    with scoring_model(config.net, made, values) as model, working("testing") as say:
        judged = judge(model, dataset.test, lambda done: say(f"testing: {done:,} of {n:,} images"))
    return classes, dataset, judged


def tell_of_seed(told: "TrainConfig", path: Path) -> None:
    """Warn where the weights in a file learnt from the same data, out of which another seed drew what is set aside."""
    before = training_of(path)
    if before is None or before.seed == told.seed or anywhere(before.data) != anywhere(told.data):
        return
    complain(
        f"{path} learnt from the same data with the seed {before.seed}: the seed {told.seed} draws other images to "
        "validate with, and to test on where the data bring none, of which it has learnt from some; "
        f"--seed {before.seed} keeps them apart"
    )
