"""The benchmark of the host's time: it counts what a step begins, and its three ways agree about that."""

import json
from pathlib import Path

import numpy as np
import pytest

import gpunet
from bench import host
from gpunet import Model
from gpunet.devices.cuda.device import CudaDevice
from tests.emulator.driver import EmulatorDriver

NET = "INPUT[8x6x3] -> CONV3-4 -> BN -> RELU -> POOL2 -> FC-5"


class Counting(EmulatorDriver):
    products = 0

    def gemm(self, product):
        self.products += 1
        super().gemm(product)


def test_it_counts_the_device_calls_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    row = host.measure(NET, 3, seconds=0.01)
    driver = Counting()
    with Model(gpunet.load(NET), 3, CudaDevice(driver)) as model:
        model.step(np.zeros((3, 8, 6, 3), np.uint8), np.arange(3))
        assert row["calls"] == len(driver.launched) + driver.products
    assert row["rounds"] >= 5 and row["bound_ratio"] == row["bound_ms"] / row["unbound_ms"]


def test_it_writes_what_it_prints_and_fails_where_binding_does_not_pay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "host.json"
    arguments = ["--net", "vgg_digits", "--seconds", "0.01", "--json", str(path)]
    monkeypatch.setattr(host, "MOST_BOUND", 100.0)
    monkeypatch.setattr(host, "MOST_REPLAYED", 100.0)
    assert host.main(arguments) == 0
    (row,) = json.loads(path.read_text())["nets"]
    assert f"{row['bound_ms']:.3f}" in capsys.readouterr().out
    monkeypatch.setattr(host, "MOST_REPLAYED", 0.0)
    assert host.main(arguments) == 1
    assert "vgg_digits" in capsys.readouterr().err
