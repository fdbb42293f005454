"""The im2col matrix as the notes have it, and its picture."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text

import gpunet
from gpunet import ConfigError, Conv, ShapeError, Volume
from gpunet.report.im2col_picture import draw_im2col


@pytest.mark.parametrize(
    "layer",
    [
        Conv(4, F=3, S=1, P=0),
        Conv(4, F=(2, 3), S=(2, 1), P=(1, 0), fit="crop"),
        Conv(4, F=3, P=2, dilation=2),
        Conv(4, F=(3, 2), P=(1, 2), dilation=(1, 3)),
        Conv(4, F=5, S=3, P=1, fit="pad"),
        Conv(4, F=9, S=2, P=0, fit="pad"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_each_row_is_what_a_window_sees(layer: Conv, dtype: type, rng: np.random.Generator) -> None:
    x = (100 * rng.random((2, 7, 6, 3))).astype(dtype)
    found = gpunet.im2col(layer, x)
    down, across = layer.window(Volume(7, 6, 3))
    out = layer.output(Volume(7, 6, 3))
    assert found.shape == (2 * out.H * out.W, down.F * across.F * 3) and found.dtype == dtype
    for at, row in enumerate(found):
        image, place = divmod(at, out.H * out.W)
        i, j = divmod(place, out.W)
        wanted = []
        for k in range(down.F):
            for m in range(across.F):
                r = i * down.S - down.before + k * down.dilation
                c = j * across.S - across.before + m * across.dilation
                inside = 0 <= r < 7 and 0 <= c < 6
                wanted += x[image, r, c].tolist() if inside else [0, 0, 0]
        assert row.tolist() == wanted
    np.testing.assert_array_equal(gpunet.im2col(layer, x[0]), found[: out.H * out.W])


def test_the_product_with_the_filters_is_the_convolution(rng: np.random.Generator) -> None:
    layer, x = Conv(5, F=3, S=2, P=1), rng.standard_normal((2, 9, 9, 4))
    w = rng.standard_normal((5, 3, 3, 4))
    y = torch.nn.functional.conv2d(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(w).permute(0, 3, 1, 2), None, 2, 1)
    wanted = y.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose((gpunet.im2col(layer, x) @ w.reshape(5, -1).T).reshape(wanted.shape), wanted, atol=1e-12)


def test_what_cannot_be_is_told() -> None:
    for layer, x, kind, words in (
        (gpunet.FC(3), np.zeros((4, 4, 3)), ConfigError, "im2col takes a Conv"),
        (Conv(4, groups=2), np.zeros((4, 4, 4)), ConfigError, "each of the 2 groups has a matrix of its own"),
        (Conv(4), np.zeros((4, 4)), ShapeError, r"must have the shape \(H, W, D\)"),
        (Conv(4), np.zeros((0, 4, 4, 3)), ShapeError, "must have the shape"),
        (Conv(4, F=3, S=2, P=0), np.zeros((10, 10, 3)), ShapeError, "11 or 9 would fit"),
    ):
        with pytest.raises(kind, match=words):
            gpunet.im2col(layer, x)


def test_its_picture_says_the_sizes_of_the_notes(rng: np.random.Generator) -> None:
    x, w = rng.random((227, 227, 3)), rng.random((96, 11, 11, 3))
    figure = draw_im2col(Conv(96, F=11, S=4, P=0), x, w)
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    for size in ("X_col, 363 x 3025", "W_row, 96 x 363", "W_row @ X_col, 96 x 3025", "227x227x3", "55x55x96"):
        assert size in words
