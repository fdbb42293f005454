"""Weights in a safetensors file: names and shapes as in `Model.parameters`, and nothing that could run."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gpunet.errors import DataError
from gpunet.files import write_whole
from gpunet.model import Model


def save_weights(path: Path, parameters: Mapping[str, np.ndarray], about: Mapping[str, str | int]) -> None:
    """Write the parameters, and `about` in the file's metadata. Raises DataError where that is not possible."""
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


def restore_weights(model: Model, path: Path) -> None:
    """Set all parameters of a model from a file. Raises DataError, changing nothing, where they are another net's."""
    loaded = load_weights(path)
    shapes = {p.tensor.name: p.tensor.shape for p in model.plan.program.parameters}
    wrong = [
        f"{name} is {loaded[name].shape if name in loaded else 'not there'}, not {shape}"
        for name, shape in shapes.items()
        if name not in loaded or loaded[name].shape != shape
    ]
    wrong += [f"{name} is not in the net" for name in loaded if name not in shapes]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(f"{path} holds the weights of another net than {model.net.name}: {'; '.join(wrong[:3])}{more}")
    for name, values in loaded.items():
        model.parameters[name] = values
