"""What bench/half.py prints and writes."""

import json

import pytest

from bench import half
from gpunet.net.config import parse_config

TINY = """
net = "CONV3-4 -> RELU -> POOL2 -> FC-10"
[train]
data = "digits"
epochs = 1
"""


def test_distances_are_those_from_float32_of_the_same_side():
    curves = {
        "gpunet float32": [1.0, 2.0],
        "gpunet float16": [1.5, 1.0],
        "PyTorch float32": [3.0, 3.0],
        "PyTorch bfloat16": [3.0, 2.0],
    }
    assert half.distances(curves) == {"gpunet float16": 0.75, "PyTorch bfloat16": 0.5}


def test_the_nets_of_the_bench_are_nets():
    assert {name: config.net.classes for name, config in half.nets().items()} == {
        "vgg_digits": 10,
        "residual": 10,
        "branches": 10,
    }


@pytest.mark.slow
def test_every_run_is_written_and_what_is_too_low_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(half, "nets", lambda: {"tiny": parse_config(half.HEAD + TINY, "tiny")})
    path = tmp_path / "half.json"
    arguments = ["--seeds", "0", "--steps", "2", "--device", "cpu", "--json", str(path)]
    assert half.main(arguments) in (0, 1)
    written = json.loads(path.read_text())
    assert [run["dtype"] for run in written["runs"]] == list(half.DTYPES)
    assert all(len(losses) == 2 for losses in written["losses"].values()) and len(written["losses"]) == 5
    monkeypatch.setattr(half, "TOLERANCE", -1.0)
    assert half.main(arguments) == 1
    assert "tiny in float16 is" in capsys.readouterr().out
