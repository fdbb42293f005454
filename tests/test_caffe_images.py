"""How images entered a net of Caffe: blue first, without their mean, scaled."""

from pathlib import Path

import numpy as np
import pytest

import gpunet
from gpunet import DataError, import_net, import_weights, load
from gpunet.formats.turning import facing
from tests.caffe_files import Layer, blob, deploy, text, trained, write
from tests.caffe_zoo import conv
from tests.test_import_weights import scores


def entered(path: Path, weights: Path, pixels: np.ndarray, **how: object) -> np.ndarray:
    found = import_weights(weights, path, **how)  # type: ignore[arg-type]
    with gpunet.Model(found.net, len(pixels), "cpu", mode="infer") as model:
        for name in model.parameters:
            model.parameters[name] = found.weights[name]
        return model.forward(pixels)


def test_pixels_enter_blue_first_without_their_mean_and_scaled(tmp_path: Path) -> None:
    """Of a linear net, by hand: its scores are sums over pixels as Caffe sees them."""
    rng = np.random.default_rng(1)
    w = rng.standard_normal((2, 3 * 4 * 5)).astype(np.float32)
    layer = Layer(
        "InnerProduct", "fc", ("data",), ("fc",), {"inner_product": {"num_output": 2, "bias_term": False}}, [w]
    )
    path = write(tmp_path / "d.prototxt", deploy([layer], (1, 3, 4, 5)))
    weights = write(tmp_path / "d.caffemodel", trained([layer]))
    image = rng.uniform(0, 255, (3, 6, 7)).astype(np.float32)
    means = write(tmp_path / "m.binaryproto", blob(image[None], old=True))
    pixels = rng.integers(0, 256, (3, 4, 5, 3), np.uint8)

    def wanted(mean: np.ndarray, scale: float, order: int) -> np.ndarray:
        seen = (pixels[..., ::order].transpose(0, 3, 1, 2).astype(np.float64) - mean.reshape(3, 1, 1)) * scale
        return seen.reshape(3, -1) @ w.T.astype(np.float64)

    numbers = np.array([104.0, 117, 123])
    for how, mean, scale, order in (
        ({}, 0 * numbers, 1, -1),
        ({"mean": "104,117,123"}, numbers, 1, -1),
        ({"mean": [104, 117, 123], "scale": 0.5, "order": "RGB"}, numbers, 0.5, 1),
        ({"mean": means, "scale": 0.017}, image.mean((1, 2)), 0.017, -1),
    ):
        np.testing.assert_allclose(entered(path, weights, pixels, **how), wanted(mean, scale, order), rtol=2e-5)


def test_a_mean_file_is_looked_for_beside_and_asked_for_where_it_is_not(tmp_path: Path) -> None:
    data = "layer { name: 'd' type: 'Data' top: 'data' transform_param { crop_size: 6 mean_file: '../a/m.b' } }"
    said = write(tmp_path / "t.prototxt", data + text(conv("conv1", "data", 2, 3)))
    with pytest.raises(DataError, match=r"names the mean file ../a/m.b, which is not beside it; put it there, or"):
        import_net(said)
    assert import_net(said, mean=(1, 2, 3)).net.augment.statistics[0][0] == pytest.approx(3 / 255)  # type: ignore[union-attr]
    image = np.arange(3 * 8 * 8, dtype=np.float32).reshape(1, 3, 8, 8)
    write(tmp_path / "m.b", blob(image))
    found = import_net(said)
    assert found.net.augment is not None and found.net.augment.size == (8, 8)
    assert "is taken as its average of each map; single positions are up to 31.5 off" in str(found)
    write(tmp_path / "m.b", blob(np.zeros((2, 2), np.float32)))
    with pytest.raises(DataError, match="a mean image has D, H and W"):
        import_net(said)


def test_layers_that_tell_maps_apart_get_a_turn_at_the_entrance(tmp_path: Path) -> None:
    """A depthwise convolution, a norm, and a slice over the image: weights alone cannot turn them round."""
    rng = np.random.default_rng(3)
    w, numbers = rng.standard_normal((3, 1, 3, 3)).astype(np.float32), rng.uniform(0.5, 2, (2, 3)).astype(np.float32)
    deep = {"convolution": {"num_output": 3, "kernel_size": 3, "group": 3, "bias_term": False}}
    end = rng.standard_normal((2, 48)).astype(np.float32)
    layers = [
        Layer("BatchNorm", "bn", ("data",), ("bn",), {}, [*numbers, np.float32([1])]),
        Layer("Convolution", "conv", ("bn",), ("conv",), deep, [w]),
        Layer(
            "InnerProduct", "fc", ("conv",), ("fc",), {"inner_product": {"num_output": 2, "bias_term": False}}, [end]
        ),
    ]
    said = write(tmp_path / "d.prototxt", deploy(layers, (1, 3, 6, 6)))
    found = import_weights(write(tmp_path / "d.caffemodel", trained(layers)), said)
    assert "turned round at the net's entrance" in str(found) and found.net.nodes[3].name == "turn"
    assert facing(found.net) == frozenset()  # it is not turned again
    again = import_weights(tmp_path / "d.caffemodel", found.net)
    assert again.net == found.net and all((again.weights[name] == found.weights[name]).all() for name in found.weights)
    images = rng.standard_normal((2, 6, 6, 3))
    x = (images[..., ::-1] - numbers[0]) / np.sqrt(numbers[1] + 1e-5)
    y = np.stack([
        sum(w[d, 0, i, j] * x[:, i : i + 4, j : j + 4, d] for i in range(3) for j in range(3)) for d in range(3)
    ], 1)  # fmt: skip
    wanted = y.reshape(2, -1) @ end.T
    np.testing.assert_allclose(
        scores(found.net, found.weights, images.astype(np.float32)), wanted, rtol=1e-3, atol=1e-4
    )


def test_what_faces_an_image_is_followed_through_norms_and_pools() -> None:
    plain = load("INPUT[8x8x3] -> BN -> POOL2 -> LRN -> CONV3-4 -> RELU -> FC-2")
    assert facing(plain) == {"bn1", "pool1", "lrn1", "conv1"}
    for pattern in ("CONV3-3(groups=3) -> FC-2", "SLICE(last=2) -> FC-2", "{ ID | RELU } -> FC-2", "RELU -> GAP"):
        assert facing(load(f"INPUT[8x8x3] -> {pattern}")) is None
