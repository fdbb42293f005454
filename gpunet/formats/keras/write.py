"""Weights for Keras: a .weights.h5 that `load_weights` of Keras 3 takes, and a Python file that builds the model."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.errors import ConfigError
from gpunet.formats.keras.names import class_counts
from gpunet.formats.keras.steps import Steps
from gpunet.formats.layout import KERAS
from gpunet.formats.match import places
from gpunet.layers.by_map import PReLU, Scale
from gpunet.layers.conv import Conv
from gpunet.net.net import Net
from gpunet.system.files import write_whole


def write_weights(path: Path, net: Net, weights: Mapping[str, np.ndarray]) -> None:
    """Write the parameters of a net, those of auxiliary heads aside. Raises DataError where that is not possible,
    ConfigError for layers that Keras lacks, and where h5py is not installed."""
    h5py = _h5py()
    layers = class_counts(net)
    made, counts = BytesIO(), Counter[str]()
    with h5py.File(made, "w") as file:
        for node, place in places(net):
            group = file.require_group(f"layers/{layers[node.name]}/vars")
            group.attrs["name"] = node.name
            values = place.given(weights[f"{node.name}.{place.name}"], KERAS)
            group[str(counts[node.name])] = _shaped(net, node.layer, values, place.name)
            counts[node.name] += 1
    write_whole(path, [made.getbuffer()])


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            'Keras keeps weights in HDF5; to write it, install h5py: pip install "gpunet[keras]"'
        ) from None
    return h5py


def _shaped(net: Net, layer: object, values: np.ndarray, parameter: str) -> np.ndarray:
    """The values as Keras has them: depthwise kernels are H, W, D, M, slopes have axes for rows and columns."""
    if isinstance(layer, PReLU):
        return values[None, None]
    if isinstance(layer, Scale):
        return values[None, None, :, None] if parameter == "scale" else values
    if isinstance(layer, Conv) and layer.groups > 1 and parameter == "w" and values.shape[2] == 1:
        rows, columns, _, K = values.shape
        return values.reshape(rows, columns, layer.groups, K // layer.groups)
    return values


def module_text(net: Net, weights: Path, classes: Sequence[str] = ()) -> str:
    """The text of a Python file that builds the net in Keras. Raises ConfigError, naming all layers that it lacks."""
    steps = Steps(net)
    return TEXT.format(
        name=re.sub(r"[^\w .-]", "_", net.name),  # it comes from a file, and this one will be run
        weights=weights.name,
        module=weights.name.partition(".")[0],
        image=net.image,
        classes=list(classes),
        lines="\n".join(f"    {line}" for line in _lines(steps)),
        prepare="\n".join(f"    {line}" for line in _prepare(net)),
    )


def _lines(steps: Steps) -> list[str]:
    """A line for each step: x runs along the chain, what is taken again later has a name of its own."""
    uses = Counter(taken for step in steps.steps for taken in step.takes)
    names, lines = ["inputs"], [f"inputs = {steps.steps[0].text}"]
    for number, step in enumerate(steps.steps[1:], 1):
        after = steps.steps[number + 1].takes if number + 1 < len(steps.steps) else (number,)
        names.append("x" if uses[number] < 2 and after == (number,) else f"x{number}")
        lines.append(f"{names[-1]} = {step.text.format(*(names[taken] for taken in step.takes))}")
    return [*lines, f"return keras.Model(inputs, {names[-1]})"]


def _prepare(net: Net) -> list[str]:
    """How images of bytes enter: the middle of them, each map times its scale plus its shift."""
    size, input = net.image, net.input
    scales, shifts = [net.scale] * 3, [net.shift] * 3
    pad = 0
    if net.augment is not None:
        scales, shifts = net.augment.normal(net.scale, net.shift)
        pad = net.augment.pad
    by_map = [[*numbers, *[numbers[-1]] * input.D][: input.D] for numbers in (scales, shifts)]
    top, left = ((big + 2 * pad - small) // 2 for big, small in ((size.H, input.H), (size.W, input.W)))
    lines = ["x = np.asarray(images, np.float32)"]
    lines += [f"x = np.pad(x, [(0, 0), ({pad}, {pad}), ({pad}, {pad}), (0, 0)])"] * bool(pad)
    if input.shape != size.shape or pad:
        lines.append(f"x = x[:, {top} : {top + input.H}, {left} : {left + input.W}]  # the middle")
    return [*lines, f"scale, shift = np.array({by_map}, np.float32)", "return x * scale + shift"]


TEXT = '''"""{name} in Keras, as gpunet exported it, with the weights in {weights}.

    from {module} import CLASSES, load, prepare

    scores = load()(prepare(images))  # images (N, H, W, D) as bytes, {image}
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

CLASSES = {classes}


def net():
    """Scores (N, classes) of images (N, H, W, D) as `prepare` makes them."""
{lines}


def load(path=Path(__file__).with_name({weights!r})):
    """The net with its weights."""
    model = net()
    model.load_weights(path)
    return model


def prepare(images):
    """Images (N, H, W, D), uint8, as they enter the net."""
{prepare}
'''
