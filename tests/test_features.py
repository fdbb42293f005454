"""What a layer makes of images: the same as in the whole net, for every layer, and in a file of features."""

from pathlib import Path

import numpy as np
import pytest

from gpunet import ConfigError, DataError, Model, features, load
from gpunet.net.config import dump_net
from gpunet.train.weights import save_weights
from tests.conftest import Run
from tests.graphs import random_graph
from tests.picture_files import noise_folder


@pytest.mark.parametrize("seed", range(12))
def test_every_layer_gives_what_it_gives_in_the_whole_net(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = random_graph(rng, layers=int(rng.integers(2, 14)))
    images = rng.standard_normal((3, *net.input.shape)).astype(np.float32)
    with Model(net, 3, "cpu", mode="infer", without=("pool-before-relu",)) as model:
        weights = dict(model.parameters.items())
        whole = dict(model.outputs(images))
    assert whole
    for layer, values in whole.items():
        H, W, D = net.volumes[layer].shape
        cut = net.up_to(layer)
        assert cut.nodes[-1].name == layer and cut.output == net.volumes[layer] and not cut.heads
        found = features(net, weights, images, layer, batch=2, device="cpu")
        assert found.shape == ((3, D) if (H, W) == (1, 1) else (3, H, W, D))
        np.testing.assert_allclose(found.reshape(values.shape), values, rtol=1e-5, atol=1e-6)


def test_what_dropout_hands_on_is_what_it_gets() -> None:
    net = load("INPUT[4x3x2] -> CONV3-3 -> DROPOUT -> FC-2")
    images = np.random.default_rng(0).standard_normal((2, 4, 3, 2)).astype(np.float32)
    with Model(net, 2, "cpu", mode="infer") as model:
        weights = dict(model.parameters.items())
    before, after = (features(net, weights, images, layer, device="cpu") for layer in ("conv1", "dropout1"))
    np.testing.assert_array_equal(before, after)


def test_layers_that_are_not_there_and_weights_of_others_are_refused() -> None:
    net = load("INPUT[4x3x2] -> CONV3-3 -> FC-2")
    with pytest.raises(ConfigError, match=r"net has no layer 'conv3'; did you mean conv1\?"):
        net.up_to("conv3")
    with pytest.raises(DataError, match=r"there is no conv1\.w among the weights"):
        features(net, {}, np.zeros((1, 4, 3, 2)), "conv1", device="cpu")


def test_the_command_writes_features_with_labels_parts_and_paths(run: Run, tmp_path: Path) -> None:
    """Of data with more classes than the net has scores, too."""
    net = load("INPUT[9x7x3] -> CONV3-4 -> RELU -> POOL2(fit=pad) -> FC-2")
    with Model(net, 1, "cpu", mode="infer") as model:
        weights = dict(model.parameters.items())
    save_weights(tmp_path / "w", weights, {"config": dump_net(net), "classes": ["yes", "no"]})
    noise_folder(tmp_path / "pics", ("ape", "bee", "cow"), (9, 7), each=3)
    result = run("features", "w", "pics", "--layer", "pool1", "--out", "f.npz", "--batch", "2", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "f.npz holds pool1 of net for 18 images of pics: 5x4x4 each" in result.output
    with np.load(tmp_path / "f.npz") as there:
        found = dict(there)
    assert found["features"].shape == (18, 5, 4, 4) and found["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] * 2
    assert found["classes"].tolist() == ["ape", "bee", "cow"] and {*found["parts"]} == {"train", "test"}
    assert Path(found["paths"][0]).parts[-3:] == ("train", "ape", "0.png")
    from PIL import Image

    pixels = np.stack([np.asarray(Image.open(path)) for path in found["paths"]])
    np.testing.assert_array_equal(features(net, weights, pixels, "pool1", batch=2, device="cpu"), found["features"])
    more = ["--average", "--split", "test", "--out", "g.npz", "--device", "cpu"]
    assert run("features", "w", "pics", "--layer", "pool1", *more).exit_code == 0
    averaged = np.load(tmp_path / "g.npz")["features"]
    np.testing.assert_allclose(averaged, found["features"][9:].mean((1, 2)), rtol=1e-6)
    (tmp_path / "pics" / "test").rename(tmp_path / "pics" / "val")  # no part to test on: no image stands there twice
    assert run("features", "w", "pics", "--layer", "fc1", "--out", "h.npz", "--device", "cpu").exit_code == 0
    with np.load(tmp_path / "h.npz") as there:
        assert there["parts"].tolist() == ["train"] * 9 + ["validation"] * 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "which layer? Give one as --layer, like conv1|fc"),
        (["--layer", "fc9"], "did you mean fc1?"),
        (["--layer", "fc1", "--out", "f.txt"], "f.txt is no .npz file"),
        (["--layer", "fc1", "--out", "no/f.npz"], "there is no folder no"),
        (["--layer", "fc1", "--split", "validation"], "has no images of the part validation"),
    ],
)
def test_mistakes_are_told_in_a_sentence(run: Run, tmp_path: Path, options: list[str], words: str) -> None:
    net = load("INPUT[8x8x1] -> CONV3-4 -> FC-10")
    with Model(net, 1, "cpu", mode="infer") as model:
        save_weights(tmp_path / "w", dict(model.parameters.items()), {"config": dump_net(net)})
    result = run("features", "w", "digits", *options, "--device", "cpu")
    assert result.exit_code == 2 and any(word in result.output for word in words.split("|")), result.output


def test_weights_that_are_of_no_use_leave_no_file(run: Run, tmp_path: Path) -> None:
    net = load("INPUT[8x8x1] -> CONV3-4 -> FC-10")
    with Model(net, 1, "cpu", mode="infer") as model:
        weights = dict(model.parameters.items())
    weights["conv1.w"] = np.full_like(weights["conv1.w"], np.inf)
    save_weights(tmp_path / "w", weights, {"config": dump_net(net)})
    result = run("features", "w", "digits", "--layer", "conv1", "--device", "cpu")
    assert result.exit_code == 2 and "infinite or NaN" in result.output
    assert not [path for path in tmp_path.iterdir() if path.name != "w"]
