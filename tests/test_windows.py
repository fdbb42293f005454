"""Windows that do not fit, in every layer that has them, under each policy: what is refused, padded, cropped.

Expected volumes follow Caffe's rule written out, expected values PyTorch on an input padded or cropped by hand.
"""

import re
from collections.abc import Callable
from math import ceil

import numpy as np
import pytest
import torch

from gpunet import AvgPool, Conv, L2Pool, LocallyConnected, MaxPool, Model, Net, ShapeError, Volume
from gpunet.devices.device import Device
from gpunet.layers.layer import Layer

Made = Callable[..., Layer]
WINDOWS: dict[str, Made] = {
    "conv": lambda **given: Conv(2, **given),
    "local": lambda **given: LocallyConnected(2, **given),
    "pool": MaxPool,
    "avgpool": AvgPool,
    "l2pool": L2Pool,
}
MISFITS = [
    (10, 7, 3, 2, 0),  # the notes' W=10: 4.5; the fifth window begins at row 8 and hangs over
    (8, 7, 4, 3, 1),  # the third begins at column 5 of 7 and reaches beyond the padding
    (9, 8, 2, 3, 1),  # the fourth would begin at column 8 of 8, in the padding: dropped
    (6, 9, 1, 4, 0),  # the third would begin at row 8 of 6: dropped; most values are seen by none
]
"""H, W, F, S, P: along one axis (size + 2P - F) is no multiple of S."""
LARGER = [(2, 2, 3, 2, 0), (2, 3, 5, 3, 0), (1, 6, 3, 2, 0), (1, 1, 7, 2, 2)]
"""H, W, F, S, P: along one axis F is larger than size + 2P."""


@pytest.fixture(params=WINDOWS)
def layer(request: pytest.FixtureRequest) -> Made:
    """Each kind of layer in turn."""
    return WINDOWS[request.param]


def caffe(size: int, F: int, S: int, P: int) -> int:
    """Outputs of PoolingLayer::Reshape: round up, then drop a last window that starts behind the image."""
    outputs = ceil((size + 2 * P - F) / S) + 1
    return outputs - 1 if (outputs - 1) * S >= size + P else outputs


@pytest.mark.parametrize(("H", "W", "F", "S", "P"), MISFITS)
def test_pad_rounds_up_as_caffe_and_crop_rounds_down(layer: Made, H: int, W: int, F: int, S: int, P: int) -> None:
    def output(fit: str) -> tuple[int, ...]:
        return layer(F=F, S=S, P=P, fit=fit).output(Volume(H, W, 2)).shape

    assert output("pad") == (caffe(H, F, S, P), caffe(W, F, S, P), 2)
    assert output("crop") == ((H + 2 * P - F) // S + 1, (W + 2 * P - F) // S + 1, 2)


@pytest.mark.parametrize(("H", "W", "F", "S", "P"), [(2, 2, 3, 2, 0), (3, 3, 4, 2, 0)])
def test_a_larger_window_is_there_once_as_in_caffe_and_in_pytorch(H: int, W: int, F: int, S: int, P: int) -> None:
    made = MaxPool(F=F, S=S, P=P, fit="pad").output(Volume(H, W, 2)).shape
    peer = torch.nn.MaxPool2d(F, S, P, ceil_mode=True)(torch.zeros(1, 2, H, W)).shape
    assert made == (caffe(H, F, S, P), caffe(W, F, S, P), 2) == (*peer[2:], 2) == (1, 1, 2)


def test_a_last_window_that_would_start_in_the_padding_is_dropped(layer: Made) -> None:
    """Windows begin at -1, 2, 5 and 8: the fourth sees a row of 9, but nothing of 7 or 8 columns."""
    made = layer(F=2, S=3, P=1, fit="pad")
    assert made.output(Volume(9, 7, 2)).shape == made.output(Volume(9, 8, 2)).shape == (4, 3, 2)


@pytest.mark.parametrize(("H", "W", "F", "S", "P"), MISFITS)
def test_an_error_names_the_layer_the_numbers_and_what_fits(
    layer: Made, H: int, W: int, F: int, S: int, P: int
) -> None:
    with pytest.raises(ShapeError) as error:
        Net(Volume(H, W, 2), [("here", layer(F=F, S=S, P=P))])
    told = str(error.value)
    assert re.match(
        rf"here: F={F}, S={S}, P={P} does not fit {H}x{W}, as .* = \d+\.\d+: .* would fit, or .*fit='pad' or fit=",
        told,
    )
    ways = re.findall(r"([PS])=(\d+)(?!\d*x)", told.partition(": ")[2].partition(": ")[2])
    for letter, value in ways:
        numbers = {"F": F, "S": S, "P": P, letter: int(value)}
        if numbers["P"] < F:
            layer(**numbers).output(Volume(H, W, 2))


def by_hand(values: np.ndarray, volume: Volume, F: int, S: int, P: int, fill: float) -> torch.Tensor:
    """x (N, D, rows, columns): P rows and columns around it, and behind it as many as the windows see."""
    x = torch.tensor(values).permute(0, 3, 1, 2)
    behind = [
        (out - 1) * S + F - P - size for out, size in zip((volume.W, volume.H), values.shape[2:0:-1], strict=True)
    ]
    return torch.nn.functional.pad(x, (P, behind[0], P, behind[1]), value=fill)


def expected(made: Layer, values: np.ndarray, volume: Volume, weights: dict[str, np.ndarray]) -> np.ndarray:
    """What the windows of a layer give, from PyTorch's functions on an input that fits."""
    F, S, P = made.F, made.S, made.P  # type: ignore[attr-defined]
    x = by_hand(values, volume, F, S, P, -np.inf if isinstance(made, MaxPool) else 0)
    square = torch.ones((x.shape[1], 1, F, F), dtype=x.dtype)

    def sums(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(values, square, stride=S, groups=values.shape[1])

    if isinstance(made, MaxPool):
        y = torch.nn.functional.max_pool2d(x, F, S)
    elif isinstance(made, AvgPool):
        y = sums(x) / sums(by_hand(np.ones_like(values), volume, F, S, P, 0))
    elif isinstance(made, L2Pool):
        y = sums(x * x).sqrt()
    else:
        columns = torch.nn.functional.unfold(x, F, stride=S).reshape(len(x), -1, F, F, volume.H, volume.W)
        w, b = (torch.tensor(weights[f"here.{name}"]) for name in "wb")
        filters = "ijkfgd" if w.ndim == 6 else "kfgd"
        y = torch.einsum(f"ndfgij,{filters}->nkij", columns, w) + (
            b.permute(2, 0, 1) if b.ndim == 3 else b[:, None, None]
        )
    return y.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("H", "W", "F", "S", "P", "fit"),
    [(*sizes, fit) for sizes in MISFITS for fit in ("pad", "crop")] + [(*sizes, "pad") for sizes in LARGER],
)
def test_values_are_those_of_an_input_padded_or_cropped_by_hand(
    device: Device, layer: Made, H: int, W: int, F: int, S: int, P: int, fit: str, rng: np.random.Generator
) -> None:
    made = layer(F=F, S=S, P=P, fit=fit)
    net = Net(Volume(H, W, 2), [("here", made)])
    images = rng.standard_normal((3, H, W, 2))
    with Model(net, 3, device, mode="infer", dtype="float64", seed=1, debug=True) as model:
        for name in model.parameters:
            model.parameters[name] = rng.standard_normal(model.parameters[name].shape)
        found = model.forward(images)
        wanted = expected(made, images, net.volumes["here"], dict(model.parameters.items()))
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
