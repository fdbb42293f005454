"""The benchmark of a training step: what it writes, and that it notices contenders that compute different things."""

import json

import pytest

from bench import step
from gpunet.devices.cpu.threads import thread_count

ARGUMENTS = ["--net", "INPUT[8x6x3] -> CONV3-4 -> RELU -> POOL2 -> FC-5", "--batch", "3", "--seconds", "0.01"]


def test_it_prints_the_two_times_and_writes_them_with_their_setting(tmp_path, capsys):
    path = tmp_path / "deep" / "step.json"
    assert step.main([*ARGUMENTS, "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert [len(times) for times in written["milliseconds"].values()] == [5, 5]
    assert written["ratio"] == pytest.approx(written["torch_ms"] / written["gpunet_ms"])
    assert written["batch"] == 3
    assert {"cpu", "threads", "numpy", "torch", "blas", "date", "command"} <= written["environment"].keys()
    printed = capsys.readouterr().out
    for figure in (f"{written['gpunet_ms']:.1f} ms", f"{written['torch_ms']:.1f} ms", f"{written['ratio']:.2f}"):
        assert figure in printed


def test_one_thread_is_timed_by_the_processor(tmp_path):
    path = tmp_path / "step.json"
    assert step.main([*ARGUMENTS, "--time", "processor", "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert written["time"] == "processor" and written["threads"] == thread_count()


def test_a_line_of_the_table_is_a_process_with_as_many_threads_as_it_says(tmp_path, capsys, monkeypatch):
    path = tmp_path / "step.json"
    monkeypatch.setattr(step, "ALL", [])
    monkeypatch.setattr(step, "ONE", [(ARGUMENTS[1], 2)])
    monkeypatch.delenv(step.KERNELS, raising=False)
    assert step.main(["--seconds", "0.01", "--json", str(path)]) == 0
    found = json.loads(path.read_text())["steps"]
    assert [(one["batch"], one["time"], one["threads"], one["kernels"]) for one in found] == [
        (2, "processor", 1, "its own")
    ]
    printed = capsys.readouterr().out
    assert f"{found[0]['ratio']:.2f}" in printed and "PyTorch / gpunet" in printed


def test_blas_is_measured_with_its_own_kernels_and_with_those_that_are_forced():
    assert step.kernel_choices({"PATH": "/bin"}) == {"its own": {"PATH": "/bin"}}
    forced = {"PATH": "/bin", "OPENBLAS_CORETYPE": "Haswell"}
    assert step.kernel_choices(forced) == {"its own": {"PATH": "/bin"}, "OPENBLAS_CORETYPE=Haswell": forced}


def test_contenders_whose_losses_differ_are_not_compared(tmp_path, capsys, monkeypatch):
    path = tmp_path / "step.json"
    monkeypatch.setattr(step.TorchTrainer, "step", lambda self, images, labels: 0.5)
    assert step.main([*ARGUMENTS, "--json", str(path)]) == 1
    assert not path.exists()
    assert "PyTorch's 0.5; they do not compute the same" in capsys.readouterr().err
