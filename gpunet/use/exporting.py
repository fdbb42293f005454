"""Weights for other frameworks: the state dict of PyTorch, and the module that loads it."""

import re
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from gpunet.errors import ConfigError
from gpunet.formats.pytorch_write import state_dict, write_pth, write_safetensors
from gpunet.formats.torch_module import module_text
from gpunet.system.files import check_place, write_whole
from gpunet.train.weights import known_names, open_weights, weights_file

Target = Literal["torch"]
ENDINGS = {".safetensors": write_safetensors, ".pth": write_pth, ".pt": write_pth, ".bin": write_pth}


def export_weights(
    weights: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    to: Target = "torch",
    net: str | None = None,
) -> tuple[Path, Path]:
    """Write the weights of a run, or in a file, for another framework; returns the files of weights and module.

    `out`  the file: a name in .safetensors, or in .pth, .pt or .bin, which `torch.load(weights_only=True)` takes; None:
           the net's name in .safetensors. The names in it are torchvision's where it has the net, else the net's own.
           Beside it, in .py, the nn.Module that loads it and gives the same scores
    `net`  of the weights, as `gpunet.load` takes it, where they do not say it

    Raises DataError for weights that cannot be used, ConfigError for a name that says no format, for files that are
    there already, and for a net with layers that PyTorch's module does not say.
    """
    if to not in get_args(Target):
        raise ConfigError(f"weights are exported to {', '.join(get_args(Target))}; got {to!r}")
    places = None if out is None else _places(Path(out))
    path = weights_file(weights)
    config, values = open_weights(path, net)
    state, module = places or _places(Path(re.sub(r"\W", "_", config.net.name) + ".safetensors"))
    text = module_text(config.net, state, known_names(path, config.net.classes))
    ENDINGS[state.suffix](state, state_dict(config.net, values))
    write_whole(module, text)
    return state, module


def _places(out: Path) -> tuple[Path, Path]:
    """The files that will be written. Raises ConfigError where they cannot be."""
    if out.suffix not in ENDINGS:
        raise ConfigError(f"{out} says no format of PyTorch; give a name that ends in {', '.join(ENDINGS)}")
    module = out.with_suffix(".py")
    if not module.stem.isidentifier():
        raise ConfigError(f"{module.stem} cannot be the name of a Python module, which {module.name} will be")
    for place in (out, module):
        if place.exists():
            raise ConfigError(f"{place} is there already; give another name")
        check_place(place)
    return out, module
