"""Pooling as the notes' "Implementation as Matrix Multiplication" suggests: im2col of each map, a number of each row.

An oracle of another kind than the loops: it knows windows only as rows of a matrix of places.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from gpunet.devices.device import Device
from tests import oracle
from tests.op_calls import Draw
from tests.ops import run_op


@dataclass
class Columns:
    """Every map by itself as a matrix in float64: a row for each window, row-major; F*F columns.

    `places`  where in x, flattened, a value of a window stands; -1 where the window hangs over an edge
    """

    x: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, H2: int, W2: int, *, F: int, S: int, P: int) -> "Columns":
        _, H, W, _ = x.shape
        below, right = (max(0, (out - 1) * S + F - P - size) for out, size in ((H2, H), (W2, W)))
        numbers = np.arange(x.size).reshape(x.shape)
        padded = np.pad(numbers, ((0, 0), (P, below), (P, right), (0, 0)), constant_values=-1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (F, F), axis=(1, 2))[:, ::S, ::S]
        return cls(x.astype(np.float64), windows[:, :H2, :W2].reshape(-1, F * F))

    @property
    def inside(self) -> np.ndarray:
        return self.places >= 0

    @property
    def values(self) -> np.ndarray:
        """What stands there; 0 outside."""
        return np.where(self.inside, self.x.reshape(-1)[self.places], 0)

    def back(self, gradients: np.ndarray) -> np.ndarray:
        """The gradients of the matrix, added up where its values were taken from."""
        dx = np.zeros(self.x.size)
        np.add.at(dx, self.places[self.inside], gradients[self.inside])
        return dx.reshape(self.x.shape)


@pytest.fixture(params=range(12))
def case(request: pytest.FixtureRequest) -> tuple[Draw, np.ndarray, np.ndarray, Columns, dict[str, int]]:
    """x, a gradient dy, the columns of x and the geometry: windows that overlap, hang over, leave gaps, see padding."""
    seed = request.param
    draw = Draw(np.random.default_rng(seed), np.float32 if seed % 2 else np.float64)
    N, H, W, D = draw.volume()
    geometry, H2, W2 = draw.window(H, W) if seed else ({"F": 3, "S": 2, "P": 0}, (H - 3) // 2 + 1, (W - 3) // 2 + 1)
    x = draw.values(N, H, W, D)
    return draw, x, draw.values(N, H2, W2, D), Columns.of(x, H2, W2, **geometry), geometry


def test_maxima_and_their_gradients(device: Device, case) -> None:
    draw, x, dy, columns, geometry = case
    x[draw.rng.random(x.shape) < 0.2] = 1  # ties
    columns.x[...] = x
    values = np.where(columns.inside, columns.values, -np.inf)
    first = (values == values.max(axis=1, keepdims=True)).argmax(axis=1)
    y, switches = run_op(device, "max_pool_forward", [x], [(dy.shape, x.dtype), (dy.shape, np.uint8)], **geometry)
    np.testing.assert_array_equal(y.reshape(-1), values.max(axis=1))
    np.testing.assert_array_equal(switches.reshape(-1), first)
    (dx,) = run_op(device, "max_pool_backward", [dy, switches], [(x.shape, x.dtype)], **geometry)
    one_each = np.arange(values.shape[1]) == first[:, None]
    oracle.assert_near(dx, columns.back(one_each * dy.reshape(-1, 1).astype(np.float64)))


def test_averages_and_their_gradients(device: Device, case) -> None:
    _, x, dy, columns, geometry = case
    weights = columns.inside / columns.inside.sum(axis=1, keepdims=True)
    (y,) = run_op(device, "average_pool_forward", [x], [(dy.shape, x.dtype)], **geometry)
    oracle.assert_near(y, (columns.values * weights).sum(axis=1).reshape(y.shape))
    (dx,) = run_op(device, "average_pool_backward", [dy], [(x.shape, x.dtype)], **geometry)
    oracle.assert_near(dx, columns.back(weights * dy.reshape(-1, 1).astype(np.float64)))


def test_lengths_and_their_gradients(device: Device, case) -> None:
    _, x, dy, columns, geometry = case
    lengths = np.linalg.norm(columns.values, axis=1)
    (y,) = run_op(device, "l2_pool_forward", [x], [(dy.shape, x.dtype)], **geometry)
    oracle.assert_near(y, lengths.reshape(y.shape))
    (dx,) = run_op(device, "l2_pool_backward", [dy, x, y], [(x.shape, x.dtype)], **geometry)
    slopes = columns.values / lengths[:, None]
    oracle.assert_near(dx, columns.back(slopes * dy.reshape(-1, 1).astype(np.float64)), 4 * oracle.TOLERANCE[x.dtype])
