"""Weights for PyTorch: it loads them, its module gives the same scores, and they come back bit for bit."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gpunet import Augment, ConfigError, Model, Net, export_weights, import_weights, load
from gpunet.formats.torch_module import module_text
from gpunet.net.config import dump_net
from gpunet.train.weights import save_weights
from tests.conftest import Run
from tests.graphs import random_graph
from tests.torchvision_nets import torchvision_net


def drawn(net: Net, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights at random, biases and statistics too."""
    with Model(net, 1, "cpu", mode="infer") as model:
        made = dict(model.parameters.items())
    for name, values in made.items():
        if name.endswith(".variance"):
            made[name] = rng.uniform(0.5, 1.5, values.shape).astype(np.float32)
        elif not name.endswith((".w", ".scale", ".shift")):
            made[name] = rng.normal(0, 0.1, values.shape).astype(np.float32)
    return made


def module_of(path: Path) -> Any:
    """The exported module, imported as a user would."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    made: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    sys.modules.pop(path.stem, None)
    return made


def written(folder: Path, net: Net, weights: Mapping[str, np.ndarray], **about: object) -> Path:
    save_weights(folder / "w.safetensors", weights, {"config": dump_net(net), "net": net.name, **about})
    return folder / "w.safetensors"


def scores(net: Net, weights: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    with Model(net, len(images), "cpu", mode="infer") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        return model.forward(images)


def same_scores(net: Net, weights: Mapping[str, np.ndarray], module: Any, images: np.ndarray) -> None:
    wanted = scores(net, weights, images)
    with torch.no_grad():
        x = (
            module.prepare(images)
            if images.dtype == np.uint8
            else torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        )
        found = module.load()(x).numpy()
    assert np.abs(found - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1e-3)


@pytest.mark.parametrize("seeds", [range(24), pytest.param(range(24, 224), marks=pytest.mark.slow)])
def test_random_nets_go_there_and_back(tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        net = random_graph(rng, layers=int(rng.integers(2, 14)), drops=bool(seed % 2))
        weights = drawn(net, rng)
        path = written(tmp_path, net, weights)
        state, text = export_weights(path, tmp_path / f"net{seed}{('.pth', '.safetensors')[seed % 2]}")
        images = rng.standard_normal((3, *net.input.shape)).astype(np.float32)
        same_scores(net, weights, module_of(text), images)
        back = import_weights(state, net).weights
        assert back.keys() <= weights.keys() and all(back[name].tobytes() == weights[name].tobytes() for name in back)
        assert back.keys() >= {f"{node.name}.{one.name}" for node in net.trunk for one in net.weights(node)}
        wanted = scores(net, weights, images)
        assert np.abs(scores(net, weights | back, images) - wanted).max() <= 1e-6 * max(np.abs(wanted).max(), 1e-3)


NEW = (
    """CONV3-6 -> CLIP(low=-1) -> PRELU -> POOL3x2(S=1, P=1x0) -> AVGPOOL3(S=2x1, P=0x1x2x0, counts=padding, fit=pad)
        -> ELU(alpha=0.5) -> { ID * GAP -> FC-6(bias=false) -> HARDSIGMOID } -> SHUFFLE(groups=3)
        -> SOFTPLUS -> FC-4""",
    """CONV3-6(dilation=1x2) -> RELU6 -> { [CONV3-6]*1 * ID } -> { ID max CONV1-6 max SILU }
        -> { CONV1-6 + ID }(0.5, -1) -> HARDSWISH -> DROPOUT(of=maps) -> { SLICE(last=2) | SLICE(first=4) -> GELU }
        -> AVGPOOL3(S=1, P=1, counts=padding) -> PRELU(shared=true) -> ADAPTIVE3x2 -> DROPOUT(of=images) -> GMP
        -> GELU(approximate=tanh) -> FC-4""",
)


@pytest.mark.parametrize("pattern", NEW)
def test_units_merges_and_pools_of_all_kinds_are_said(tmp_path: Path, rng: np.random.Generator, pattern: str) -> None:
    net = load(f"INPUT[7x8x3] -> {pattern}")
    weights = drawn(net, rng)
    state, text = export_weights(written(tmp_path, net, weights), tmp_path / "x.pth")
    same_scores(net, weights, module_of(text), rng.standard_normal((3, 7, 8, 3)).astype(np.float32))
    back = import_weights(state, net).weights
    assert all((back[name] == weights[name]).all() for name in weights)


@pytest.mark.parametrize("name", ["vgg11", "resnet50", "squeezenet1_1", "densenet121", "googlenet_bn", "mobilenet_v2"])
def test_the_names_are_torchvisions_where_it_has_the_net(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    net = load(name).scaled(1 / 16, "64x64x3").with_classes(7)
    state, _ = export_weights(written(tmp_path, net, drawn(net, rng)), tmp_path / "x.pth")
    theirs = torchvision_net(name, 1 / 16, 7, maps=2)
    missing = theirs.load_state_dict(torch.load(state, weights_only=True), strict=True)
    assert not missing.missing_keys and not missing.unexpected_keys
    assert list(torch.load(state, weights_only=True)) == list(theirs.state_dict())


def test_images_of_bytes_enter_as_in_the_net(tmp_path: Path, rng: np.random.Generator) -> None:
    plain = load("INPUT[6x5x3] -> CONV3-4 -> RELU -> GAP -> BN -> CONV1-3")
    for augment in (
        None,
        Augment(normalize="imagenet"),
        Augment(size=(9, 8), mean=(0.5,), std=(0.25,)),
        Augment(size=(5, 5), pad=2),
    ):
        net = Net(plain.input, plain.nodes, augment=augment, scale=0.5, shift=0.25)
        folder = tmp_path / str(augment is None) / str(hash(augment))
        folder.mkdir(parents=True)
        weights = drawn(net, rng)
        _, text = export_weights(written(folder, net, weights, classes=["ape", "b'ee"]), folder / "x.safetensors")
        module = module_of(text)
        assert module.CLASSES == ["ape", "b'ee"]
        same_scores(net, weights, module, rng.integers(0, 256, (2, *net.image.shape), np.uint8))


def test_a_net_that_scores_a_map_keeps_the_order_of_its_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[6x5x3] -> CONV3-4 -> POOL3(S=2, P=2, fit=pad) -> LRN")
    weights = drawn(net, rng)
    _, text = export_weights(written(tmp_path, net, weights), tmp_path / "x.pth")
    same_scores(net, weights, module_of(text), rng.standard_normal((2, 6, 5, 3)).astype(np.float32))


def test_a_name_from_a_file_is_text_and_never_code(tmp_path: Path) -> None:
    plain = load("INPUT[3x3x1] -> FC-2")
    net = Net(plain.input, plain.nodes, name='x"""\nopen("harm", "w")\n"""')
    text = module_text(net, tmp_path / "x.pth", ['"""', "'; import os; '", "\\"])
    (tmp_path / "x.py").write_text(text)
    assert module_of(tmp_path / "x.py").CLASSES == ['"""', "'; import os; '", "\\"]
    assert "open(" not in text


def test_the_same_weights_are_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> CONV3-2 -> FC-2")
    path = written(tmp_path, net, drawn(net, rng))
    for ending in ("pth", "safetensors"):
        files = []
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            files.append(export_weights(path, tmp_path / folder / f"x.{ending}")[0].read_bytes())
        assert files[0] == files[1]
        (tmp_path / "a" / "x.py").unlink()
        (tmp_path / "b" / "x.py").unlink()


def test_mistakes_are_told_before_anything_is_written(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> FC-2")
    path = written(tmp_path, net, drawn(net, rng))
    for out, words in (
        ("x.h5", "says no format of PyTorch"),
        ("a-b.pth", "cannot be the name of a Python module"),
        ("class.pth", "cannot be the name of a Python module"),
        ("torch.pth", "torch.py would stand in the way"),
    ):
        with pytest.raises(ConfigError, match=words):
            export_weights(path, tmp_path / out)
    (tmp_path / "y.py").write_text("mine")
    result = run("export", "w.safetensors", "--out", "y.pth")
    assert result.exit_code == 2 and "y.py is there already" in result.output and not (tmp_path / "y.pth").exists()
    result = run("export", "w.safetensors", "--out", "z.pth")
    assert result.exit_code == 0 and "from z import load" in result.output
    assert run("export", "w.safetensors", "--to", "torch").exit_code == 0
    assert (tmp_path / "net.safetensors").exists() and (tmp_path / "net.py").exists()


def test_layers_that_pytorch_does_not_say_are_all_named(tmp_path: Path) -> None:
    from dataclasses import dataclass

    from gpunet import ReLU

    @dataclass(frozen=True)
    class Mine(ReLU):
        pass

    net = Net("3x3x1", [Mine(), load("INPUT[3x3x1] -> FC-2").nodes[0].layer, Mine()])
    with pytest.raises(ConfigError, match=r"relu1 \(RELU\), relu2 \(RELU\)"):
        module_text(net, tmp_path / "x.pth")
