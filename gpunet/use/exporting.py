"""Weights for other frameworks: PyTorch's state dict and Keras's weights, with what loads them; ONNX, net and all."""

import re
import sys
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from gpunet.errors import ConfigError, DataError
from gpunet.formats.halves import FILE_TYPES, FileType, narrowed, too_large
from gpunet.formats.keras import write as keras
from gpunet.formats.onnx.exporting import onnx_file
from gpunet.formats.pytorch_write import state_dict, write_pth, write_safetensors
from gpunet.formats.torch_module import module_text
from gpunet.net.net import Net
from gpunet.system.files import check_place, write_whole
from gpunet.train.weights import known_names, open_weights, weights_file, white_of

Target = Literal["torch", "keras", "onnx"]
STATES = {".safetensors": write_safetensors, ".pth": write_pth, ".pt": write_pth, ".bin": write_pth}
ENDINGS: Mapping[str, tuple[str, ...]] = {"torch": tuple(STATES), "keras": (".weights.h5",), "onnx": (".onnx",)}
"""What names of files end in, the usual one first, by target."""

OTHERS = sys.stdlib_module_names | {"torch", "numpy", "safetensors", "keras", "tensorflow", "h5py"}
"""Modules that a file beside weights would be taken for, by whoever imports from its folder."""

CALLED = {"torch": "PyTorch", "keras": "Keras", "onnx": "ONNX"}


def export_weights(
    weights: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    to: Target = "torch",
    net: str | None = None,
    pixels: bool = False,
    dtype: FileType = "float32",
) -> tuple[Path, ...]:
    """Write the weights of a run, or in a file, for another framework; returns the files that were written.

    `out`  the file; None: the net's name. For "torch" a name in .safetensors, or in .pth, .pt or .bin, which
           `torch.load(weights_only=True)` takes: the names in it are torchvision's where it has the net, else the net's
           own; beside it, in .py, the nn.Module that loads it and gives the same scores. For "keras" a name in
           .weights.h5, which `load_weights` of Keras 3 takes; beside it, in .py, what builds the model. For "onnx" a
           name in .onnx: the whole net, opset 17, a node a layer, called as the layer; it takes float32 (N, D, H, W),
           as images enter
    `net`  of the weights, as `gpunet.load` takes it, where they do not say it
    `dtype`   of the weights in the file, for "torch" and "onnx": float16 and bfloat16 take half the bytes, each value
              rounded once. What loads them computes as it likes; an ONNX file in float32
    `pixels`  for "onnx": whether it takes images of bytes, (N, H, W, D), and prepares them within

    Raises DataError for weights that cannot be used, ConfigError for a name that says no format, for files that are
    there already, and for a net with layers that are not said there.
    """
    if to not in get_args(Target):
        raise ConfigError(f"weights are exported to {', '.join(get_args(Target))}; got {to!r}")
    if pixels and to != "onnx":
        raise ConfigError("pixels are prepared within ONNX files alone; other files have `prepare` beside them")
    if dtype not in FILE_TYPES:
        raise ConfigError(f"weights are written in {', '.join(FILE_TYPES)}; got {dtype!r}")
    if dtype != "float32" and to == "keras":
        raise ConfigError("Keras keeps its weights in float32: leave out the dtype, and let it cast them")
    places = None if out is None else _places(Path(out), to)
    path = weights_file(weights)
    config, values = open_weights(path, net)
    for name, array in values.items():
        if too_large(array, dtype):
            raise DataError(f"{path}: {name} holds values above the range of {dtype}; write bfloat16 or float32")
    places = places or _places(Path(re.sub(r"\W", "_", config.net.name) + ENDINGS[to][0]), to)
    classes = known_names(path, config.net.classes)
    if to == "onnx":
        write_whole(places[0], onnx_file(config.net, values, classes, pixels=pixels, white=white_of(path), dtype=dtype))
    elif to == "keras":
        text = keras.module_text(config.net, places[0], classes)
        keras.write_weights(places[0], config.net, values)
        write_whole(places[1], text)
    else:
        _write_torch(places, config.net, values, classes, dtype)
    return places


def _write_torch(
    places: tuple[Path, ...], net: Net, values: Mapping[str, np.ndarray], classes: Sequence[str], dtype: FileType
) -> None:
    """A state dict, and the module that loads it."""
    state, module = places
    text = module_text(net, state, classes)
    arrays = {name: narrowed(array, dtype) for name, array in state_dict(net, values).items()}
    STATES[state.suffix](state, arrays)
    write_whole(module, text)


def _places(out: Path, to: Target) -> tuple[Path, ...]:
    """The files that will be written. Raises ConfigError where they cannot be."""
    ending = next((ending for ending in ENDINGS[to] if out.name.endswith(ending)), None)
    if ending is None:
        raise ConfigError(f"{out} says no format of {CALLED[to]}; give a name that ends in {', '.join(ENDINGS[to])}")
    module = out.with_name(out.name.removesuffix(ending) + ".py")
    if to != "onnx" and (not module.stem.isidentifier() or iskeyword(module.stem)):
        raise ConfigError(f"{module.stem} cannot be the name of a Python module, which {module.name} will be")
    if to != "onnx" and module.stem in OTHERS:
        raise ConfigError(
            f"{module.name} would stand in the way of the module {module.stem} of others; give another name"
        )
    places = (out,) if to == "onnx" else (out, module)
    for place in places:
        if place.exists():
            raise ConfigError(f"{place} is there already; give another name")
        check_place(place)
    return places
