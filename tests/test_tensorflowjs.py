"""Models of TensorFlow.js: its own scores come back, whatever its weights were cut into and packed as.

What it gave for the model in tests/tfjs_files is kept beside; make.js there made it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpunet import import_weights
from gpunet.formats.known import foreign_format
from gpunet.formats.tensorflowjs import read
from tests import fuzzing
from tests.conftest import Run
from tests.fuzzing import edited, fuzz, limited
from tests.test_keras import near, refusal, scores, softmax

FILES = Path(__file__).with_name("tfjs_files")


def given() -> tuple[np.ndarray, np.ndarray]:
    """Images, and what TensorFlow.js gave for them."""
    said = json.loads((FILES / "given.json").read_text())
    return np.array(said["images"], np.uint8).reshape(2, 7, 6, 3), np.array(said["scores"]).reshape(2, 5)


def model() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "model.json").read_text())
    return found


def written(folder: Path, said: object, content: bytes | None = None) -> Path:
    (folder / "weights.bin").write_bytes((FILES / "weights.bin").read_bytes() if content is None else content)
    (folder / "model.json").write_text(json.dumps(said))
    return folder / "model.json"


def test_the_scores_are_those_of_tensorflowjs() -> None:
    """Averages by SAME over even sizes, a hard sigmoid as it had it, pixels scaled first."""
    images, wanted = given()
    found = import_weights(FILES / "model.json")
    near(softmax(scores(found.net, found.weights, images)), wanted)
    assert found.match.sure and found.net.augment is not None and found.net.augment.mean == (0.5,)


def test_weights_may_be_cut_anywhere_into_files(tmp_path: Path) -> None:
    said, content = model(), (FILES / "weights.bin").read_bytes()
    said["weightsManifest"][0]["paths"] = [f"group1-shard{n}of3.bin" for n in (1, 2, 3)]
    for number, part in enumerate((content[:101], content[101:102], content[102:]), 1):
        (tmp_path / f"group1-shard{number}of3.bin").write_bytes(part)
    found, whole = import_weights(written(tmp_path, said)), import_weights(FILES / "model.json")
    assert all((found.weights[name] == whole.weights[name]).all() for name in whole.weights)


@pytest.mark.parametrize(("packed", "apart"), [("uint8", 2e-3), ("uint16", 8e-6), ("float16", 3e-4)])
def test_packed_weights_are_unpacked(tmp_path: Path, packed: str, apart: float) -> None:
    """To half a step of the integers, or to what a half has of digits."""
    said, content, at, made = model(), (FILES / "weights.bin").read_bytes(), 0, []
    for one in said["weightsManifest"][0]["weights"]:
        values = np.frombuffer(content, "<f4", int(np.prod(one["shape"])), at)
        at += values.nbytes
        one["quantization"] = {"dtype": packed, "original_dtype": "float32"}
        if packed != "float16":
            least, most = float(values.min()), float(values.max())
            scale = (most - least) / np.iinfo(packed).max or 1.0
            one["quantization"] |= {"scale": scale, "min": least}
            values = np.round((values - least) / scale)
        made.append(values.astype(np.dtype(packed).newbyteorder("<")).tobytes())
    found, whole = import_weights(written(tmp_path, said, b"".join(made))), import_weights(FILES / "model.json")
    for name, values in whole.weights.items():
        assert np.abs(found.weights[name] - values).max() <= apart * max(1, np.abs(values).max()), name


def test_a_model_that_was_converted_has_its_config_within(tmp_path: Path) -> None:
    said = model()
    topology = said["modelTopology"]
    version = topology.pop("keras_version")
    for config in (topology, json.dumps(topology)):
        said["modelTopology"] = {"keras_version": version, "backend": "tensorflow", "model_config": config}
        assert import_weights(written(tmp_path, said)).net == import_weights(FILES / "model.json").net


def test_a_manifest_alone_gives_weights_for_a_net(tmp_path: Path, rng: np.random.Generator) -> None:
    """Names as they are where no Keras wrote them."""
    shapes = {
        "d0/conv0/filters": (3, 3, 2, 4),
        "d0/conv0/bias": (4,),
        "d0/conv1/depthwise_filter": (3, 3, 4, 1),
        "d0/conv1/pointwise_filter": (1, 1, 4, 3),
        "d0/conv1/bias": (3,),
        "fc/weights": (60, 5),
        "fc/bias": (5,),
    }
    arrays = {name: rng.standard_normal(shape).astype("<f4") for name, shape in shapes.items()}
    weights = [{"name": name, "shape": shape, "dtype": "float32"} for name, shape in shapes.items()]
    said = [{"weights": weights, "paths": ["weights.bin"]}]
    path = written(tmp_path, said, b"".join(values.tobytes() for values in arrays.values()))
    net = "INPUT[4x5x2] -> CONV3-4 -> RELU -> CONV3-4(groups=4, bias=false) -> CONV1-3 -> FC-5"
    found = import_weights(path, net, by_order=True).weights
    np.testing.assert_array_equal(found["fc1.w"], arrays["fc/weights"].T)
    deep = arrays["d0/conv1/depthwise_filter"]
    np.testing.assert_array_equal(found["conv2.w"][..., 0], deep[..., 0].transpose(2, 0, 1))


def test_mistakes_are_told(tmp_path: Path, run: Run) -> None:
    said = model()
    assert "has weights in no.bin, which is not beside it" in refusal_of(
        tmp_path, said | {"weightsManifest": [{"paths": ["no.bin"], "weights": []}]}
    )
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "w.bin").write_bytes(b"")
    for name in ("secret/w.bin", "../w.bin", str(secret / "w.bin"), "..", "", "a\\b"):
        manifest = [{"paths": [name], "weights": []}]
        assert "is no file beside it" in refusal_of(tmp_path, said | {"weightsManifest": manifest})
    assert "is a graph model, operations of TensorFlow and no layers" in refusal_of(
        tmp_path, said | {"format": "graph-model"}
    )
    assert "claims more bytes than its files have" in refusal(written(tmp_path, said, b"1234"))
    assert "and its arrays" in refusal(written(tmp_path, said, (FILES / "weights.bin").read_bytes() + b"x"))
    said["weightsManifest"][0]["weights"][0]["shape"] = [2**40, 2**40]
    with limited():
        assert "claims more bytes" in refusal(written(tmp_path, said))
    assert "says a net, and has no weights" in refusal_of(tmp_path, model() | {"weightsManifest": []})
    path = written(tmp_path, model())
    known = foreign_format(path)
    assert known is not None and known.name == "TensorFlow.js"
    result = run("predict", "model.json", "p.png")
    assert result.exit_code == 2 and "it is a file of TensorFlow.js: gpunet import" in result.output
    assert run("import", "model.json").exit_code == 0


def refusal_of(folder: Path, said: object) -> str:
    return refusal(written(folder, said))


@fuzzing.FEW_CASES
def test_models_from_strangers(tmp_path: Path, cases: int) -> None:
    shutil.copy(FILES / "weights.bin", tmp_path / "weights.bin")
    fuzz(
        tmp_path, "model.json", cases, edited((FILES / "model.json").read_bytes(), b'[{"paths":[],"weights":[]}]'), read
    )


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    said, content = model(), (FILES / "weights.bin").read_bytes()
    kernel = 4 * 3 * 3 * 3 * 4
    bias = said["weightsManifest"][0]["weights"][1]
    bias["quantization"] = {"dtype": "uint8", "scale": 1e300, "min": 0}
    path = written(tmp_path, said, content[:kernel] + bytes([1, 2, 3, 4]) + content[kernel + 16 :])
    assert "holds NaN, or values that are infinite in float32" in refusal(path)
