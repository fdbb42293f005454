"""What every layer makes of an image, read before its bytes are another's."""

import numpy as np
import pytest

from gpunet import ConfigError, DataError, Model, ShapeError, load
from gpunet.devices.device import Device
from gpunet.net.augment import Augment
from gpunet.net.net import Net
from gpunet.use.activations import activations

CHAIN = "INPUT[8x8x2] -> CONV3-3 -> RELU -> POOL2 -> CONV3-4 -> BN -> RELU -> DROPOUT -> FC-5 -> RELU -> FC-3"
BRANCHES = "INPUT[6x6x2] -> CONV3-4 -> { CONV3-4 -> RELU + ID } -> { CONV1-2 | POOL3(S=1,P=1) } -> RELU -> FC-3"


def ending_in(net: Net, last: str) -> Net:
    """The part of a net that a layer needs, with that layer's output as its scores."""
    needed = {last}
    for node in reversed(net.nodes):
        needed.update(node.inputs if node.name in needed else ())
    return Net(net.input, [node for node in net.nodes if node.name in needed])


@pytest.mark.parametrize("text", [CHAIN, BRANCHES])
def test_each_layers_volume_is_the_scores_of_the_net_that_ends_there(text: str, device: Device) -> None:
    net = load(text)
    image = np.random.default_rng(1).standard_normal(net.input.shape).astype(np.float32)
    with Model(net, 1, "cpu", seed=2, mode="infer") as model:
        weights = dict(model.parameters)
    found = activations(net, weights, image, device)
    handed_on = {node.name for node in net.nodes if node.layer.type in ("dropout", "id")}
    assert list(found) == ["input", *(node.name for node in net.nodes if node.name not in handed_on)]
    assert found.pop("input") is image
    for name, volume in found.items():
        with Model(ending_in(net, name), 1, "cpu", mode="infer") as part:
            for parameter in part.parameters:
                part.parameters[parameter] = weights[parameter]
            scores = part.forward(image[np.newaxis])
        assert volume.shape == net.volumes[name].shape
        assert volume.reshape(-1) == pytest.approx(scores[0], rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("text", [CHAIN, BRANCHES])
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_a_model_gives_the_output_of_any_layer_whatever_its_plan_did(text: str, mode: str, device: Device) -> None:
    net = load(text)
    images = np.random.default_rng(1).standard_normal((3, *net.input.shape)).astype(np.float32)
    with Model(net, 3, device, seed=2, mode=mode) as model:
        names = [node.name for node in net.nodes]
        kept = dict(model.outputs(images))
        assert not {*names} <= {*kept}  # so some are not there as the model was planned
        found = dict(model.outputs(images, "*"))
        assert list(found) == names
        for name, values in kept.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
            np.testing.assert_array_equal(dict(model.outputs(images, name))[name], values)
        weights = dict(model.parameters)
        for number, image in enumerate(images):
            for name, volume in activations(net, weights, image, device).items():
                if name != "input":
                    np.testing.assert_allclose(found[name][number], volume, rtol=1e-4, atol=1e-5, err_msg=name)


def test_layers_are_named_or_matched_and_what_hands_on_gives_what_it_gets() -> None:
    net = load("INPUT[4x4x1] -> CONV3-2 -> RELU -> DROPOUT -> FC-3")
    images = np.random.default_rng(1).standard_normal((2, 4, 4, 1)).astype(np.float32)
    with Model(net, 2, "cpu", mode="infer") as model:
        found = dict(model.outputs(images, ["drop*", "relu1", "conv?"]))
        assert list(found) == ["conv1", "relu1", "dropout1"]
        np.testing.assert_array_equal(found["dropout1"], found["relu1"])
        np.testing.assert_array_equal(found["relu1"], np.maximum(found["conv1"], 0))
        with pytest.raises(ConfigError, match="no layer is called 'cnv1'; did you mean conv1"):
            list(model.outputs(images, "cnv1"))
        with pytest.raises(ShapeError, match=r"\(n, 4, 4, 1\)"):
            list(model.outputs(images[:, :3], "dropout1"))
    first = Model(load("INPUT[4x4x1] -> DROPOUT -> FC-3"), 2, "cpu", mode="infer")
    with first as model, pytest.raises(ConfigError, match="dropout1 of net hands on the images themselves"):
        list(model.outputs(images, "dropout1"))


def test_layers_of_heads_have_outputs_where_the_plan_makes_them() -> None:
    net = load("googlenet").scaled(0.0625, "64x64x3")
    images = np.zeros((2, 64, 64, 3), np.uint8)
    head = net.heads[0].name
    with Model(net, 2, "cpu") as model:
        ((name, values),) = model.outputs(images, head)
        assert name == head and values.shape == (2, 1, 1, net.classes)
    plain = Model(net, 2, "cpu", mode="infer")
    with plain as model, pytest.raises(ConfigError, match=f"{head} of googlenet is in an auxiliary head"):
        list(model.outputs(images, head))


def test_bytes_enter_as_in_a_test_not_augmented(device: Device) -> None:
    shape = load("INPUT[6x6x3] -> CONV3-4 -> FC-3")
    net = Net(shape.input, shape.nodes, augment=Augment(size=(8, 9), pad=2, flip=True, contrast=0.5))
    image = np.random.default_rng(1).integers(0, 256, net.image.shape, np.uint8)
    with Model(net, 1, "cpu", seed=2, mode="infer") as model:
        weights = dict(model.parameters)
        scores = model.forward(image[np.newaxis])
    assert activations(net, weights, image, device)["fc1"].reshape(1, -1) == pytest.approx(scores, rel=1e-4, abs=1e-5)


def test_weights_of_no_use_and_of_another_net_are_told() -> None:
    net = load(CHAIN)
    with Model(net, 1, "cpu", mode="infer") as model:
        weights = dict(model.parameters)
    image = np.ones((8, 8, 2), np.uint8)
    with pytest.raises(DataError, match="bn1 of net makes what is infinite or NaN: its weights are of no use"):
        activations(net, weights | {"bn1.shift": np.full(4, np.inf, np.float32)}, image, "cpu")
    with pytest.raises(ShapeError, match=r"there is no conv1\.w among the weights: they are of another net than net"):
        activations(net, {}, image, "cpu")


def test_an_image_of_another_size_is_refused() -> None:
    net = load(CHAIN)
    with Model(net, 1, "cpu", mode="infer") as model:
        weights = dict(model.parameters)
    with pytest.raises(ShapeError, match=r"\(n, 8, 8, 2\); got \(1, 9, 8, 2\)"):
        activations(net, weights, np.zeros((9, 8, 2), np.uint8), "cpu")
