"""Files of weights as strangers hand them over, and by the paths that Python programs use."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from gpunet import ConfigError, DataError, Model, load
from gpunet.net.config import dump_net
from gpunet.train.weights import (
    class_names,
    known_names,
    load_weights,
    open_weights,
    read_about,
    restore_weights,
    save_weights,
    white_of,
)

NET = load("INPUT[2x2x1] -> FC-5")
ABOUT = {"config": dump_net(NET), "classes": ["ape", "bee", "cat"], "white": 16}


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return {"fc1.w": np.arange(20, dtype=np.float32).reshape(5, 4), "fc1.b": np.zeros(5, np.float32)}


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, np.ndarray]) -> Path:
    """What a run leaves of its weights."""
    save_weights(tmp_path / "weights.safetensors", weights, ABOUT)
    return tmp_path


def test_texts_paths_and_folders_of_runs_are_all_the_same(folder: Path, weights: dict[str, np.ndarray]) -> None:
    file = folder / "weights.safetensors"
    for path in (file, str(file), folder, str(folder)):
        config, found = open_weights(path)
        assert config.net == NET and (found["fc1.w"] == weights["fc1.w"]).all()
        assert load_weights(path).keys() == weights.keys() and read_about(path) == ABOUT and white_of(path) == 16
        with Model(NET, 1, "cpu") as model:
            restore_weights(model, path)
            assert (model.parameters["fc1.w"] == weights["fc1.w"]).all()
    with pytest.raises(DataError, match=r"holds no weights\.safetensors"):
        open_weights(str(folder.parent))


def test_classes_without_a_name_are_numbers(folder: Path, weights: dict[str, np.ndarray]) -> None:
    assert class_names(folder, 5) == ["ape", "bee", "cat", "3", "4"]
    assert known_names(folder, 5) == ["ape", "bee", "cat"]
    assert class_names(folder, 2) == ["0", "1"]
    save_weights(folder / "weights.safetensors", weights, {"classes": ["ape", 3]})
    assert class_names(folder, 3) == ["0", "1", "2"]


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.safetensors")
    for path in (tmp_path, tmp_path / "weights.safetensors", Path("/dev/zero")):
        for read in (open_weights, load_weights, read_about):
            with pytest.raises(DataError, match=r"cannot read .*: it is no regular file"):
                read(path)


def test_damage_is_told_by_all_who_read(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"no weights at all")
    for read in (open_weights, load_weights, read_about, white_of):
        with pytest.raises(DataError, match="w is damaged or no safetensors file"):
            read(tmp_path / "w")


def test_weights_that_are_no_floats_are_refused(folder: Path, weights: dict[str, np.ndarray]) -> None:
    file = folder / "weights.safetensors"
    save_weights(file, {name: values.astype(np.int32) for name, values in weights.items()}, ABOUT)
    with pytest.raises(DataError, match=r"fc1\.\w holds int32 values; weights are float32, float64 or float16"):
        open_weights(file)
    save_weights(file, {name: values.astype(np.float16) for name, values in weights.items()}, ABOUT)
    assert open_weights(file)[0].net == NET
    header = json.dumps({"fc1.b": {"dtype": "BF16", "shape": [5], "data_offsets": [0, 10]}}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(10))
    with pytest.raises(DataError, match="holds BF16 values; weights are float32"):
        open_weights(file)


def test_a_file_that_names_no_net_says_where_it_may_be_named(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    save_weights(tmp_path / "w", weights, {"config": "input = 3"})
    with pytest.raises(ConfigError):
        open_weights(str(tmp_path / "w"))
    assert open_weights(str(tmp_path / "w"), "INPUT[2x2x1] -> FC-5")[1].keys() == weights.keys()
