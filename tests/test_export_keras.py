"""Weights for Keras: in its own layout, loaded by it, with the same scores, and back bit for bit."""

import sys
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

from gpunet import Augment, ConfigError, Net, export_weights, import_weights, load
from gpunet.formats.keras.write import module_text
from gpunet.net.config import dump_net
from gpunet.train.weights import save_weights
from tests import keras_models
from tests.conftest import Run
from tests.graphs import random_graph
from tests.keras_models import FILES
from tests.test_export_torch import NEW, drawn, module_of, written
from tests.test_keras import near, scores


def arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an HDF5 file by their place in it."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, one: found.update({name: one[()]} if isinstance(one, h5py.Dataset) else {}))
    return found


def sayable(rng: np.random.Generator, drops: bool = False) -> Net:
    """A random net without layers that Keras lacks."""
    while True:
        net = random_graph(rng, layers=int(rng.integers(2, 14)), drops=drops)
        if all(node.layer.type != "local" for node in net.trunk):
            return net


def exported(folder: Path, net: Net, weights: Mapping[str, np.ndarray], name: str = "x") -> tuple[Path, Path]:
    return export_weights(written(folder, net, weights), folder / f"{name}.weights.h5", to="keras")


def same_scores(net: Net, weights: Mapping[str, np.ndarray], module: Path, images: np.ndarray) -> None:
    keras_models.keras()
    model = module_of(module)
    near(scores(net, weights, images), keras_models.scores(model.load(), np.asarray(model_input(model, images))))


def model_input(model: object, images: np.ndarray) -> np.ndarray:
    made: np.ndarray = model.prepare(images) if images.dtype == np.uint8 else images  # type: ignore[attr-defined]
    return made


def test_the_layout_is_that_of_keras(tmp_path: Path) -> None:
    """What came from Keras goes back as it was there."""
    found = import_weights(FILES / "plain.keras")
    save_weights(tmp_path / "w.safetensors", found.weights, found.about)
    state, _ = export_weights(tmp_path / "w.safetensors", tmp_path / "x.weights.h5", to="keras")
    ours, theirs = arrays(state), arrays(FILES / "plain.weights.h5")
    assert ours.keys() == theirs.keys()
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    with h5py.File(state) as file:
        assert file["layers/conv2d_1/vars"].attrs["name"] == "conv2d_1"


@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(12, 212), marks=pytest.mark.slow)])
def test_random_nets_go_there_and_back(tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        net = sayable(rng)
        weights = drawn(net, rng)
        state, module = exported(tmp_path, net, weights, f"x{seed}")
        compile(module.read_text(), module.name, "exec")
        back = import_weights(state, net, by_order=True)
        assert "counted by class" in back.match.words
        assert all(back.weights[name].tobytes() == weights[name].tobytes() for name in weights)


def test_the_same_weights_are_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> CONV3-2 -> BN -> FC-2")
    weights = drawn(net, rng)
    first, second = (exported(tmp_path, net, weights, name)[0].read_bytes() for name in "xy")
    assert first == second


def test_layers_that_keras_lacks_are_all_named(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[5x5x2] -> LOCAL3-2 -> RELU -> LOCAL3-2 -> FC-2")
    with pytest.raises(ConfigError, match=r"local1 \(LOCAL\), local2 \(LOCAL\)"):
        exported(tmp_path, net, drawn(net, rng))
    assert not (tmp_path / "x.weights.h5").exists()


def test_a_name_from_a_file_is_text_and_never_code(tmp_path: Path) -> None:
    plain = load("INPUT[3x3x1] -> FC-2")
    net = Net(plain.input, plain.nodes, name='x"""\nopen("harm", "w")\n"""')
    text = module_text(net, tmp_path / "x.weights.h5", ['"""', "'; import os; '", "\\"])
    assert "open(" not in text
    compile(text, "x.py", "exec")


def test_the_command_and_its_mistakes(
    run: Run, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load("INPUT[3x3x1] -> FC-2")
    written(tmp_path, net, drawn(net, rng))
    result = run("export", "w.safetensors", "--to", "keras", "--out", "x.h5")
    assert result.exit_code == 2 and "says no format of Keras; give a name that ends in .weights.h5" in result.output
    result = run("export", "w.safetensors", "--to", "keras")
    assert result.exit_code == 0 and "net.weights.h5 has the weights, net.py the model" in result.output
    assert "from net import load" in result.output
    result = run("export", "w.safetensors", "--to", "keras")
    assert result.exit_code == 2 and "is there already" in result.output
    monkeypatch.setitem(sys.modules, "h5py", None)
    result = run("export", "w.safetensors", "--to", "keras", "--out", "y.weights.h5")
    assert result.exit_code == 2 and 'pip install "gpunet[keras]"' in result.output
    assert not (tmp_path / "y.py").exists()


# -- Keras itself


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_keras_gives_the_same_scores(tmp_path: Path, seed: int) -> None:
    """Where branches meet, too, where Keras counts layers in an order of its own."""
    rng = np.random.default_rng(seed)
    net = sayable(rng, drops=bool(seed % 2))
    weights = drawn(net, rng)
    images = rng.standard_normal((3, *net.input.shape)).astype(np.float32)
    same_scores(net, weights, exported(tmp_path, net, weights)[1], images)


MORE = (
    "SCALE -> LRN3(over=map) -> L2POOL3(S=2, fit=pad) -> CONV3-4(S=2, dilation=2, P=2, fit=crop) -> SCALE(bias=false)",
    "CONV3-4(dilation=1x2) -> CONV3-4(S=2, dilation=2x1, fit=crop) -> FC-3",
    "LRN3(alpha=0.1) -> AVGPOOL3(S=2, P=1, fit=crop) -> CONV2-6(S=2, fit=pad, P=0) -> ADAPTIVE3x2 -> PRELU -> FC-3",
)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [*NEW, *MORE])
def test_keras_has_units_merges_and_pools_of_all_kinds(tmp_path: Path, rng: np.random.Generator, pattern: str) -> None:
    net = load(f"INPUT[7x8x3] -> {pattern}")
    weights = drawn(net, rng)
    images = rng.standard_normal((3, 7, 8, 3)).astype(np.float32)
    same_scores(net, weights, exported(tmp_path, net, weights)[1], images)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vgg11_bn", "resnet50", "mobilenet_v2", "densenet121", "efficientnet_lite0", "alexnet"]
)
def test_shipped_nets_give_the_same_scores_in_keras(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    net = load(name).scaled(1 / 8, "67x67x3" if name == "alexnet" else "64x64x3").with_classes(7)
    weights = drawn(net, rng)
    images = rng.integers(0, 256, (2, *net.image.shape), np.uint8)
    same_scores(net, weights, exported(tmp_path, net, weights)[1], images)


@pytest.mark.slow
def test_images_of_bytes_enter_as_in_the_net(tmp_path: Path, rng: np.random.Generator) -> None:
    plain = load("INPUT[6x5x3] -> CONV3-4 -> RELU -> GAP -> FC-3")
    augments = None, Augment(normalize="imagenet"), Augment(size=(9, 8), mean=(0.5,)), Augment(size=(5, 5), pad=2)
    for number, augment in enumerate(augments):
        net = Net(plain.input, plain.nodes, augment=augment, scale=0.5, shift=0.25)
        weights = drawn(net, rng)
        images = rng.integers(0, 256, (2, *net.image.shape), np.uint8)
        same_scores(net, weights, exported(tmp_path, net, weights, f"x{number}")[1], images)


def test_what_the_weights_say_of_their_net_is_kept(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> FC-2")
    save_weights(tmp_path / "w.safetensors", drawn(net, rng), {"config": dump_net(net), "classes": ["ape", "b'ee"]})
    _, module = export_weights(tmp_path / "w.safetensors", tmp_path / "x.weights.h5", to="keras")
    assert "CLASSES = ['ape', \"b'ee\"]" in module.read_text()
