"""What a step sees and sends back for one image, against the model's own gradients, slopes and loops."""

import numpy as np
import pytest

from gpunet import Model, Net, load
from gpunet.errors import DataError, ShapeError
from gpunet.model.scores import softmax
from gpunet.use.activations import activations
from gpunet.use.inspecting import inspect, occlusion, saliency

PLAIN = "INPUT[7x6x3] -> CONV3-4 -> RELU -> POOL2 -> CONV3-5 -> LRELU -> FC-3"
NORMED = "INPUT[6x6x2] -> CONV3-4 -> BN -> RELU -> DROPOUT -> CONV3-3 -> RELU -> FC-4"


def drawn(pattern: str, rng: np.random.Generator) -> tuple[Net, dict[str, np.ndarray]]:
    """A net and weights, running statistics among them, none of them plain."""
    net = load(pattern)
    with Model(net, 2, "cpu", seed=3) as model:
        weights = {
            name: values + 0.1 * rng.random(values.shape, np.float32) for name, values in model.parameters.items()
        }
    return net, weights


@pytest.mark.parametrize("as_bytes", [False, True])
def test_outputs_and_gradients_are_those_of_the_model(rng: np.random.Generator, as_bytes: bool) -> None:
    net, weights = drawn(PLAIN.replace("7x6", "8x6"), rng)
    shape = net.image.shape
    image = rng.integers(0, 256, shape, np.uint8) if as_bytes else rng.standard_normal(shape, np.float32)
    found = inspect(net, weights, image, 2)
    with Model(net, 1, "cpu") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        gradients = model.gradients(image[None], np.array([2]))
        assert found.learnt.keys() == gradients.keys()
        assert all(np.allclose(found.learnt[name], values, atol=1e-6) for name, values in gradients.items())
        assert np.allclose(found.scores, model.forward(image[None])[0], atol=1e-5)
    outputs = activations(net, weights, image, "cpu")
    assert all(np.allclose(found.outputs[name], outputs[name], atol=1e-5) for name in found.outputs)
    assert found.outputs.keys() == found.gradients.keys() == net.volumes.keys() - {"input"}
    assert all(found.gradients[name].shape == net.volumes[name].shape for name in found.gradients)


def test_the_gradient_of_a_score_is_its_slope_whatever_is_dropped_or_normalized(rng: np.random.Generator) -> None:
    net, weights = drawn(NORMED, rng)
    image = rng.standard_normal(net.image.shape, np.float32)
    found = inspect(net, weights, image, 1, of_score=True).image
    with Model(net, 1, "cpu", mode="infer", dtype="float64") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name].astype(np.float64)
        for at in [(0, 0, 0), (2, 3, 1), (5, 5, 0), (3, 1, 1)]:
            step = np.zeros(image.shape)
            step[at] = 1e-5
            up, down = (model.forward((image + sign * step)[None])[0, 1] for sign in (1, -1))
            assert found[at] == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-5)


def test_saliency_is_the_largest_over_the_maps_and_guided_passes_less(rng: np.random.Generator) -> None:
    net, weights = drawn(PLAIN.replace("7x6", "8x6").replace("LRELU", "RELU"), rng)
    image = rng.standard_normal(net.image.shape, np.float32)
    plain = saliency(net, weights, image, 0, guided=False)
    assert np.array_equal(plain, np.abs(inspect(net, weights, image, 0, of_score=True).image).max(axis=2))
    guided = inspect(net, weights, image, 0, of_score=True, guided=True)
    unguided = inspect(net, weights, image, 0, of_score=True)
    assert (unguided.gradients["conv1"] < 0).any()
    assert saliency(net, weights, image, 0, guided=True).shape == (8, 6)
    assert (guided.gradients["conv1"] >= 0).all() and (guided.gradients["conv2"] >= 0).all()


def test_occlusion_is_the_probability_with_each_square_covered(rng: np.random.Generator) -> None:
    net, weights = drawn(PLAIN.replace("7x6", "8x6"), rng)
    image = rng.random(net.image.shape, np.float32)
    with Model(net, 4, "cpu", mode="infer") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        found = occlusion(model, image, 2, size=3, stride=2)
        grey = (image.min() + image.max()) / 2
        for row, top in enumerate(range(0, 7, 2)):
            for column, left in enumerate(range(0, 5, 2)):
                if top < 7 and row < found.shape[0] and column < found.shape[1]:
                    covered = image.copy()
                    covered[top : top + 3, left : left + 3] = grey
                    assert found[row, column] == pytest.approx(softmax(model.forward(covered[None]))[0, 2], abs=1e-6)
        rows, columns = found.shape
        assert (rows - 1) * 2 + 3 >= 8 and (columns - 1) * 2 + 3 >= 6  # all of the image is covered once


def test_images_and_labels_that_the_net_does_not_take_are_refused(rng: np.random.Generator) -> None:
    net, weights = drawn(NORMED, rng)
    with pytest.raises(ShapeError):
        inspect(net, weights, np.zeros((5, 6, 2), np.float32), 0)
    with pytest.raises(DataError):
        inspect(net, weights, np.zeros((6, 6, 2), np.float32), 4)
