"""The matrix of a CONV: as an FC layer it does the same, its weights are shared, nearly all of it is zeros."""

import sys

import numpy as np
import pytest

from gpunet import FC, ConfigError, Conv, Model, Net, ReLU, ShapeError, Volume, conv_matrix
from gpunet.program.volume import pair
from tests import oracle
from tests.geometries import COMMON, FILTERS, Geometry

DEMO = Conv(2, F=3, S=2, P=1), Volume(5, 5, 3)
"""The notes' demo: a volume of 5x5x3 and two filters."""


@pytest.mark.parametrize("geometry", [*COMMON, *FILTERS], ids=str)
def test_the_matrix_does_what_the_loops_of_a_convolution_do(rng: np.random.Generator, geometry: Geometry) -> None:
    g = geometry
    K, D = 4, 3 * g.groups
    x = rng.standard_normal((2, g.H, g.W, D))
    w, b = rng.standard_normal((K, *pair(g.F), 3)), rng.standard_normal(K)
    layer = Conv(K, g.F, g.S, g.P, g.dilation, g.groups, fit=g.fit)
    matrix, bias = conv_matrix(layer, Volume(geometry.H, geometry.W, D), w, b)
    expected = oracle.conv_forward(x, w, b, g.H2, g.W2, **g.conv_numbers)
    for image, y in zip(x, expected, strict=True):
        oracle.assert_near((matrix @ image.ravel() + bias).reshape(y.shape), y)


def test_an_fc_layer_with_that_matrix_is_the_conv_layer(rng: np.random.Generator) -> None:
    layer, volume = DEMO
    images = rng.standard_normal((4, *volume.shape))
    with (
        Model(Net(volume, [layer]), 4, "cpu", dtype="float64") as conv,
        Model(Net(volume, [FC(18)]), 4, "cpu", dtype="float64") as fc,
    ):
        conv.parameters["conv1.b"] = rng.standard_normal(2)
        matrix, bias = conv_matrix(layer, volume, conv.parameters["conv1.w"], conv.parameters["conv1.b"])
        fc.parameters["fc1.w"], fc.parameters["fc1.b"] = matrix.toarray(), bias
        oracle.assert_near(fc.forward(images), conv.forward(images))


def test_weights_are_shared_and_nearly_all_of_the_matrix_is_zeros() -> None:
    layer, volume = DEMO
    numbers, bias = conv_matrix(layer, volume)
    assert numbers.shape == (3 * 3 * 2, 5 * 5 * 3) and bias.shape == (18,)
    # along each axis the windows see 2, 3 and 2 of the 5 positions
    assert numbers.nnz == (2 + 3 + 2) ** 2 * 3 * 2 == 294
    assert set(numbers.data) == set(range(1, 3 * 3 * 3 * 2 + 1))  # 54 weights stand in 294 places
    # filter 0 in the middle of the output sees rows and columns 1 to 3
    middle = numbers.toarray()[(1 * 3 + 1) * 2].reshape(volume.shape)
    assert (middle[1:4, 1:4] == np.arange(1, 28).reshape(3, 3, 3)).all() and np.count_nonzero(middle) == 27


def test_a_weight_of_zero_keeps_its_place() -> None:
    layer, volume = DEMO
    matrix, bias = conv_matrix(layer, volume, np.zeros((2, 3, 3, 3)), np.array([1.0, 2.0]))
    assert matrix.nnz == 294 and (bias.reshape(3, 3, 2) == [1, 2]).all()


def test_what_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, volume = DEMO
    with pytest.raises(ShapeError, match=r"w has shape \(2, 3, 3, 3\) over 5x5x3; got \(3, 3, 3, 2\)"):
        conv_matrix(layer, volume, np.zeros((3, 3, 3, 2)))
    with pytest.raises(ShapeError, match=r"b has shape \(2,\)"):
        conv_matrix(layer, volume, np.zeros((2, 3, 3, 3)), np.zeros(3))
    with pytest.raises(ShapeError, match=r"F=3, S=2, P=1 does not fit 6x5"):
        conv_matrix(Conv(2, S=2, fit="error"), Volume(6, 5, 3))
    with pytest.raises(ConfigError, match=r"takes a Conv .* got ReLU\(\)"):
        conv_matrix(ReLU(), volume)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ConfigError, match=r'needs SciPy, which is not installed: pip install "gpunet\[teaching\]"'):
        conv_matrix(layer, volume)
