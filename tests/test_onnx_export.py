"""ONNX files of nets: sound to ONNX's own checker, the scores of onnxruntime, and back again bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gpunet import Augment, ConfigError, Net, ReLU, export_weights, import_weights, load
from gpunet.formats.onnx import exporting
from gpunet.formats.onnx.exporting import onnx_file
from gpunet.formats.onnx.said import SAYINGS
from gpunet.layers import layer_types
from gpunet.net.config import dump_net
from gpunet.system.resources import config_names
from gpunet.train.weights import read_about, save_weights
from tests.conftest import Run
from tests.graphs import random_graph
from tests.onnx_files import net_scores, runtime_scores
from tests.test_export_torch import NEW, drawn

Weights = Mapping[str, np.ndarray]


def written(folder: Path, net: Net, weights: Weights, classes: tuple[str, ...] = (), *, pixels: bool = False) -> Path:
    """The file of a net, which ONNX's checker takes."""
    path = folder / "x.onnx"
    path.write_bytes(b"".join(onnx_file(net, weights, classes, pixels=pixels)))
    onnx.checker.check_model(str(path), full_check=True)
    return path


def there_and_back(folder: Path, net: Net, weights: Weights, rng: np.random.Generator) -> None:
    """The runtime's scores are the net's, what comes back has its layers' names and weights, and its very scores."""
    path = written(folder, net, weights)
    images = rng.standard_normal((3, *net.input.shape)).astype(np.float32)
    wanted = net_scores(net, weights, images)
    given = runtime_scores(path, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    assert np.abs(given - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1)
    found = import_weights(path)
    trunk = {f"{node.name}.{one.name}" for node in net.trunk for one in net.weights(node)}
    assert found.weights.keys() == trunk
    assert all(values.tobytes() == weights[name].tobytes() for name, values in found.weights.items())
    again = net_scores(found.net, found.weights, images)
    assert np.abs(again - wanted).max() <= 1e-6 * max(np.abs(wanted).max(), 1e-3)


@pytest.mark.parametrize("seeds", [range(24), pytest.param(range(24, 224), marks=pytest.mark.slow)])
def test_random_nets_go_there_and_back(tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        net = random_graph(rng, layers=int(rng.integers(2, 14)), drops=bool(seed % 2))
        there_and_back(tmp_path, net, drawn(net, rng), rng)


MORE = (
    "SCALE -> SCALE -> FC-5 -> RELU -> SCALE -> SCALE(bias=false) -> PRELU(shared=true) -> FC-3",
    "SLICE(first=1) -> LOCAL2-3(P=1, S=2, fit=pad) -> ADAPTIVE3x2 -> GAP -> BN -> LRN3(alpha=0.1, over=map) -> FC-4",
    "CONV3-4 -> POOL2(fit=crop)",
    "[CONV3-4(P=0x1x2x0, S=2x1, fit=crop) -> LRELU(alpha=0.2)]*2 -> { ID * GAP * GAP } -> { ID + ID + ID }(1, -2, 0.5)",
)


@pytest.mark.parametrize("pattern", [*NEW, *MORE])
def test_units_merges_and_pools_of_all_kinds_go_there_and_back(
    tmp_path: Path, rng: np.random.Generator, pattern: str
) -> None:
    net = load(f"INPUT[7x8x3] -> {pattern}")
    there_and_back(tmp_path, net, drawn(net, rng), rng)


QUICK = ("bvlc_alexnet", "googlenet", "lenet5", "mobilenet_v2", "resnet18", "vgg11_bn", "vgg_digits")
DEEP = ("preact_resnet110", "preact_resnet164", "preact_resnet1001")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n not in QUICK else n for n in config_names()]
)
def test_the_shipped_nets_go_there_and_back(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    net = load(name)
    net = net.scaled(1 / 16, f"32x32x{net.input.D}") if net.input.H > 32 else net.scaled(1 / 4)
    weights = drawn(net, rng)
    if name in DEEP:  # numbers at random grow with each sum of so many
        weights = {
            key: values * np.float32(0.25) if key.endswith(".scale") else values for key, values in weights.items()
        }
    there_and_back(tmp_path, net, weights, rng)


def test_every_layer_is_said_but_those_of_ones_own() -> None:
    @dataclass(frozen=True)
    class Mine(ReLU):
        pass

    assert {kind for kind in layer_types() if kind.__module__.startswith("gpunet.")} <= SAYINGS.keys()
    net = Net("3x3x1", [Mine(), ReLU(), Mine()])
    with pytest.raises(ConfigError, match=r"relu1 \(RELU\), relu3 \(RELU\)"):
        onnx_file(net, {})


def test_nodes_are_called_as_layers_with_their_sizes(tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[6x5x3] -> CONV3-4 as stem -> RELU -> { ID * GAP -> FC-4 -> SIGMOID } as gated -> FC-2 as scores")
    graph = onnx.load(written(tmp_path, net, drawn(net, rng))).graph
    named = [node.name for node in graph.node]
    assert [name for name in named if "/" not in name] == [node.name for node in net.nodes]
    assert {"stem.w", "stem.b", "scores.w"} <= {one.name for one in graph.initializer}
    sizes = {one.name: [d.dim_value or d.dim_param for d in one.type.tensor_type.shape.dim] for one in graph.value_info}
    assert sizes["stem"] == ["N", 4, 6, 5] and graph.output[0].name == "/scores"


@pytest.mark.parametrize(
    "augment",
    [
        None,
        Augment(normalize="imagenet"),
        Augment(size=(9, 8), mean=(0.5,), std=(0.25,)),
        Augment(size=(5, 5), pad=2, mean=(0.1, 0.2, 0.3)),
    ],
)
def test_pixels_may_enter_and_are_prepared_within(
    tmp_path: Path, rng: np.random.Generator, augment: Augment | None
) -> None:
    plain = load("INPUT[6x5x3] -> CONV3-4 -> RELU -> GAP -> BN -> CONV1-3")
    net = Net(plain.input, plain.nodes, augment=augment, **({} if augment else {"scale": 0.5, "shift": 0.25}))
    weights, pixels = drawn(net, rng), rng.integers(0, 256, (2, *net.image.shape), np.uint8)
    wanted = net_scores(net, weights, pixels)
    path = written(tmp_path, net, weights, ("ape", 'b"ee'), pixels=True)
    np.testing.assert_allclose(runtime_scores(path, pixels), wanted, rtol=1e-4, atol=1e-5)
    for within in (True, False):  # within the nodes, or said beside
        found = import_weights(written(tmp_path, net, weights, ("ape", 'b"ee', "cow"), pixels=within))
        assert found.classes == ("ape", 'b"ee', "cow") and found.net.image == net.image
        np.testing.assert_allclose(net_scores(found.net, found.weights, pixels), wanted, rtol=1e-4, atol=1e-5)


def test_a_run_is_exported_in_one_command(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    net = load("INPUT[3x3x1] -> CONV3-2 -> FC-2")
    save_weights(
        tmp_path / "w.safetensors", drawn(net, rng), {"config": dump_net(net), "classes": ["a", "b"], "white": 16}
    )
    result = run("export", "w.safetensors", "--to", "onnx")
    assert result.exit_code == 0, result.output
    assert "net.onnx has the net and its weights, opset 17; it takes images (N, D, H, W)" in result.output
    model = onnx.load(tmp_path / "net.onnx")
    assert model.opset_import[0].version == 17 and model.producer_name == "gpunet"
    result = run("export", "w.safetensors", "--to", "onnx")
    assert result.exit_code == 2 and "net.onnx is there already; give another name" in result.output
    result = run("export", "w.safetensors", "--to", "onnx", "--out", "x.pth")
    assert result.exit_code == 2 and "x.pth says no format of ONNX; give a name that ends in .onnx" in result.output
    result = run("export", "w.safetensors", "--pixels")
    assert result.exit_code == 2 and "--pixels is for --to onnx" in result.output
    assert run("export", "w.safetensors", "--to", "onnx", "--out", "p.onnx", "--pixels").exit_code == 0
    assert run("import", "p.onnx").exit_code == 0
    assert read_about(tmp_path / "p.safetensors")["white"] == 16
    assert read_about(tmp_path / "p.safetensors")["classes"] == ["a", "b"]
    (found,) = export_weights(tmp_path / "w.safetensors", tmp_path / "y.onnx", to="onnx")
    assert found.read_bytes() == (tmp_path / "net.onnx").read_bytes()


def test_a_file_larger_than_the_format_may_be_is_refused(monkeypatch: pytest.MonkeyPatch, rng: Any) -> None:
    monkeypatch.setattr(exporting, "MOST_BYTES", 1000)
    net = load("INPUT[9x9x3] -> FC-9")
    with pytest.raises(ConfigError, match=r"net would take 9,\d+ bytes, and an ONNX file has 1,000 at most"):
        onnx_file(net, drawn(net, rng))
