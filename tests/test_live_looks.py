"""What the page is shown of a net, and the numbers of the tour, beside gpunet's own and loops over the definition."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet import Model, load
from gpunet.errors import ConfigError, ShapeError
from gpunet.live import lessons, looks
from gpunet.net.config import dump_net
from gpunet.train.weights import save_weights
from gpunet.use.activations import activations

NET = "INPUT[8x8x3] -> CONV3-4 -> RELU -> POOL2 -> FC-6 -> RELU -> FC-3"


@pytest.fixture
def asked(tmp_path: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Weights and images as the training writes them."""
    net = load(NET)
    with Model(net, 1, "cpu", seed=1) as model:
        about = {"net": "net", "config": dump_net(net), "classes": ["a", "b"], "white": 16}
        weights = dict(model.parameters)
        weights["conv1.b"] = np.array([0, -1e6, 0, -1e6], np.float32)  # two maps are dead
        save_weights(tmp_path / "w.safetensors", weights, about)
    np.savez(tmp_path / "i.npz", images=rng.integers(0, 17, (70, 8, 8, 3), np.uint8), labels=rng.integers(0, 3, 70))
    return {"weights": str(tmp_path / "w.safetensors"), "images": str(tmp_path / "i.npz"), "step": 7}


def test_layers_show_their_maps_scaled_together_with_their_ends(asked: dict[str, Any]) -> None:
    image, *layers = looks.layers(asked | {"index": 2})
    seen = looks.Seen(Path(asked["weights"]), Path(asked["images"]))
    (picture,), (label,) = seen.split.take(np.array([2]))
    volumes = activations(seen.net, seen.values, picture, "cpu")
    assert image["label"] == label and image["step"] == 7 and sum(image["chances"]) == pytest.approx(1)
    for layer in layers:
        volume, shown = volumes[layer["name"]], layer["activations"]
        assert (shown["low"], shown["high"]) == pytest.approx((volume.min(), volume.max()), rel=1e-5)
        scaled = (volume - volume.min()) / ((volume.max() - volume.min()) or 1) * 255
        wanted = scaled.reshape(-1) if volume.shape[0] == 1 else scaled.transpose(2, 0, 1).reshape(-1)
        found = np.frombuffer(b64decode(shown["bytes"]), np.uint8)
        assert np.abs(found - wanted).max() <= 1.01
        assert sum(layer["histogram"]["counts"]) == volume.size
    relus = {layer["name"]: layer["dead"] for layer in layers if layer["type"] == "relu"}
    assert relus["relu1"] == [2, 4, 64] and relus["relu2"][1:] == [6, 64]
    conv = layers[0]
    assert conv["filters"]["colours"] and conv["filters"]["n"] == 4 and conv["filter_gradients"]["n"] == 4
    assert conv["field"] == [{"size": 3, "stride": 1, "start": -1}] * 2


def test_only_what_is_asked_for_is_made(asked: dict[str, Any]) -> None:
    assert [part.get("name") for part in looks.layers(asked | {"layers": ["pool1", "nosuch"]})] == [None, "pool1"]


def test_examples_confusion_and_mistakes_are_those_of_the_net(asked: dict[str, Any]) -> None:
    seen = looks.Seen(Path(asked["weights"]), Path(asked["images"]))
    images, labels = seen.split.take(np.arange(70))
    with seen.model(70) as model:
        chances = model.probabilities(images)
    said = chances.argmax(axis=1)
    for part in looks.examples(asked | {"draw": 5}):
        assert part["label"] == labels[part["index"]]
        assert np.allclose(part["chances"], chances[part["index"]], atol=1e-6)
    confusion, *mistakes = looks.judged(asked)
    expected = np.zeros((3, 3), int)
    for label, one in zip(labels, said, strict=True):
        expected[label, one] += 1
    assert confusion["counts"] == expected.tolist() and confusion["classes"] == ["a", "b", "2"]
    assert all(said[part["index"]] == part["said"] != part["label"] for part in mistakes)
    first, *maps = looks.saliency(asked | {"class": 1})
    assert first["class"] == 1 and [part["kind"] for part in maps] == ["gradient", "guided", "occlusion"]
    with pytest.raises(ConfigError, match="there is no class 3"):
        list(looks.saliency(asked | {"class": 3}))


def test_the_convolution_of_the_tour_is_the_definition() -> None:
    for given in (
        {},
        {"side": 7, "depth": 2, "F": 3, "S": 1, "P": 0},
        {"side": 4, "F": 2, "S": 2, "P": 0, "filters": 3},
    ):
        (told,) = lessons.lesson({"lesson": "conv", **given})
        x, w, b, y = (np.array(told[name]) for name in "xwby")
        sizes, padded = told["sizes"], np.pad(x, ((told["sizes"]["P"],) * 2,) * 2 + ((0, 0),))
        for row, column, k in np.ndindex(y.shape):
            top, left = row * sizes["S"], column * sizes["S"]
            window = padded[top : top + sizes["F"], left : left + sizes["F"]]
            assert y[row, column, k] == (window * w[k]).sum() + b[k]
            assert told["columns"][row * y.shape[1] + column] == window.reshape(-1).tolist()


def test_the_pool_of_the_tour_is_the_definition() -> None:
    (told,) = lessons.lesson({"lesson": "pool", "side": 6, "F": 2, "S": 2})
    x, dx = np.array(told["x"]), np.zeros((6, 6), int)
    for row, column in np.ndindex(3, 3):
        window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert told["y"][row][column] == window.max() and told["switches"][row][column] == window.argmax()
        down, right = divmod(int(window.argmax()), 2)
        dx[2 * row + down, 2 * column + right] = told["dy"][row][column]
    assert told["dx"] == dx.tolist()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"lesson": "conv", "side": 5, "S": 3, "P": 0, "F": 3}, "F=3"),
        ({"lesson": "conv", "side": 1000}, "from 1 to 12"),
        ({"lesson": "pool", "side": 5}, "do not fit 5"),
        ({"lesson": "fields", "text": "INPUT"}, "INPUT"),
        ({"lesson": "none"}, "no such lesson"),
    ],
)
def test_lessons_that_cannot_be_are_told(asked: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, ShapeError), match=words):
        list(lessons.lesson(asked))
