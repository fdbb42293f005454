"""Which filters a layer has."""

import numpy as np
import pytest

from gpunet import ConfigError, Model, load
from gpunet.net.net import Net
from gpunet.train.filters import filters_of

NET = load("INPUT[6x5x2] -> CONV3-4 -> RELU -> LOCAL3-2 -> FC-7 -> RELU -> FC-3")


def weights(net: Net) -> dict[str, np.ndarray]:
    with Model(net, 1, "cpu", mode="infer") as model:
        return dict(model.parameters)


def test_filters_are_those_of_the_first_layer_that_has_any_or_of_the_one_named() -> None:
    values = weights(NET)
    name, w = filters_of(NET, values)
    assert name == "conv1" and w is values["conv1.w"] and w.shape == (4, 3, 3, 2)
    H, W, D = NET.volumes["local1"].shape
    name, w = filters_of(NET, values, "fc1")
    assert w.shape == (7, H, W, D) and (w.reshape(7, -1) == values["fc1.w"]).all()
    assert filters_of(NET, values, "fc2")[1].shape == (3, 1, 1, 7)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("conv2", "has no layer 'conv2'; did you mean conv1?"),
        ("zzz", "has no layer 'zzz'; there are filters in conv1, fc1, fc2"),
        ("relu1", "relu1 has no filters; there are filters in conv1, fc1, fc2"),
        ("local1", "local1 has filters of its own for every position"),
    ],
)
def test_a_layer_without_filters_is_named(layer: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        filters_of(NET, weights(NET), layer)
    assert words in str(error.value)


def test_a_net_may_have_none() -> None:
    with pytest.raises(ConfigError, match="has no layer with filters"):
        filters_of(load("INPUT[6x6x2] -> POOL2"), {})
