"""`gpunet doctor`: what is found, what is missing and how it is mended, on machines with and without a GPU."""

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from gpunet import fit, load
from gpunet.cli.app import app
from gpunet.devices import open_device
from gpunet.devices.cpu import probe as cpu
from gpunet.devices.cpu.device import CpuArena, CpuDevice
from gpunet.devices.cuda import present
from gpunet.devices.cuda import probe as cuda
from gpunet.errors import DeviceError, OutOfMemory
from gpunet.use.doctor import STEP, Finding, examine, explain_shortage, free_bytes, trains
from tests.conftest import make_device

GIB = 2**30


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def found(name: str, device: str = "cuda") -> Finding:
    return next(finding for finding in examine() if (finding.name, finding.device) == (name, device))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing for a GPU."""
    monkeypatch.setattr("gpunet.use.doctor.driver_version", lambda: None)
    monkeypatch.setattr("gpunet.devices.cuda.present.driver_version", lambda: None)
    monkeypatch.setattr(present, "which", lambda command: None)
    monkeypatch.setattr(cuda, "version", absent)
    monkeypatch.setattr(cuda, "library_path", lambda library: None)
    monkeypatch.setattr(cuda, "first_gpu", no_gpu)


def absent(package: str) -> str:
    raise PackageNotFoundError(package)


def no_gpu() -> cuda.Gpu:
    raise DeviceError("NVML does not answer (Driver Not Loaded)")


class Nvml(ModuleType):
    """GPUs as NVML tells of them, one of them if no more are said; card n is at bus n."""

    class NVMLError(Exception):
        pass

    def __init__(self, fails: str = "") -> None:
        super().__init__("pynvml")
        self.fails = fails
        self.open = 0
        self.count = 1

    def nvmlInit(self) -> None:
        if self.fails == "init":
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: bytes) -> str:
        return f"card {int(bus_id.split(b':')[1], 16)}"

    def nvmlDeviceGetPciInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(busId=f"0000:{int(handle.split()[1]):02X}:00.0".encode())

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        if index >= self.count:
            raise self.NVMLError("Invalid Argument")
        return f"card {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return f"card {uuid}"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(free=3 * GIB, total=8 * GIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:
        return 8, 6

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return handle.encode()

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        held = {os.getpid(): GIB, 41: GIB, 42: 4 * GIB, 43: None}
        return [SimpleNamespace(pid=pid, usedGpuMemory=nbytes) for pid, nbytes in held.items()]

    def nvmlSystemGetProcessName(self, pid: int) -> bytes:
        if pid == 43:
            raise self.NVMLError("Not Found")
        return f"/usr/bin/game-{pid}".encode()


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    module = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    return module


class Libcuda:
    """CUDA's driver: what each call writes where it is told to, or the status that all of them end with."""

    def __init__(self, first: str, status: int = 0) -> None:
        self.first, self.status = first, status
        self.calls: list[str] = []

    def cuInit(self, flags: int) -> int:
        self.calls.append("init")
        return self.status

    def cuDeviceGet(self, device: object, ordinal: int) -> int:
        assert ordinal == 0 and self.calls == ["init"]
        device._obj.value = 40  # type: ignore[attr-defined]
        return 0

    def cuDeviceGetPCIBusId(self, text: object, room: int, device: object) -> int:
        assert device.value == 40 and room > len(self.first)  # type: ignore[attr-defined]
        text.value = self.first.encode()  # type: ignore[attr-defined]
        return 0


# -- a machine without a GPU -----------------------------------------------------------------------


@pytest.mark.usefixtures("bare")
def test_a_machine_without_a_gpu_is_well_and_told_one_command_for_each_thing_missing() -> None:
    result = run()
    assert result.exit_code == 0
    text = result.stdout
    assert text.startswith("CPU: can train") and "GPU: cannot train" in text
    for name in ("NVIDIA driver", "GPU"):
        assert f"{name}  " in text and "install the driver for your GPU from https://www.nvidia.com/drivers" in text
    for name in ("CuPy", "NVRTC", "cuBLAS"):
        line = next(line for line in text.splitlines() if line.startswith(f"  {name}"))
        assert line.endswith('missing: pip install "gpunet[cuda13]"')


@pytest.mark.usefixtures("bare")
def test_a_system_that_has_a_command_for_the_driver_is_told_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "which", {"ubuntu-drivers": "/usr/bin/ubuntu-drivers"}.get)
    assert found("NVIDIA driver").mend == found("GPU").mend == "sudo ubuntu-drivers install"


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_step_whose_loss_is_no_number_is_a_bug_with_the_command_for_its_report(
    monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    monkeypatch.setattr("gpunet.model.model.Model.step", lambda *arguments: loss)
    finding = found(STEP, "cpu")
    assert finding.found is None and not trains([finding], "cpu")
    assert finding.mend == f"the loss is {loss}, a bug: report it with what this prints: gpunet doctor --json"


@pytest.mark.usefixtures("bare")
def test_json_has_the_same_findings() -> None:
    result = run("--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["cpu_trains"] is True and report["cuda_trains"] is False
    by_name = {(row["device"], row["name"]): row for row in report["findings"]}
    assert by_name["cuda", "CuPy"] == {
        "name": "CuPy",
        "device": "cuda",
        "found": None,
        "mend": 'pip install "gpunet[cuda13]"',
    }
    assert by_name["cpu", "NumPy"]["mend"] is None and by_name["cpu", "NumPy"]["found"]
    assert all(row["found"] or row["mend"] for row in report["findings"])


def test_a_cpu_that_cannot_train_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise DeviceError("the CPU is on fire: buy another")

    monkeypatch.setattr("gpunet.model.model.open_device", broken)
    result = run()
    assert result.exit_code == 2
    assert "CPU: cannot train" in result.stdout and "not possible: the CPU is on fire: buy another" in result.stdout


def test_the_cpu_of_this_machine_trains_and_its_parts_are_named() -> None:
    findings = examine()
    assert trains(findings, "cpu")
    by_name = {finding.name: finding.found for finding in findings if finding.device == "cpu"}
    assert all(by_name.values())
    assert "openblas" in str(by_name["BLAS"]).lower() or "mkl" in str(by_name["BLAS"]).lower()


# -- a machine with one ----------------------------------------------------------------------------


def test_a_gpu_is_described_as_nvml_knows_it(nvml: Nvml) -> None:
    assert cuda.first_gpu() == cuda.Gpu("card 0", "8.6", "580.65", 3 * GIB, 8 * GIB)
    assert free_bytes("cuda") == 3 * GIB
    assert found("GPU").found == "card 0, compute capability 8.6, 3 GiB of 8 GiB free"
    assert str(found("NVIDIA driver").found).startswith("580.65")
    assert nvml.open == 0


@pytest.mark.parametrize(("visible", "name"), [("1", "card 1"), ("1,0", "card 1"), ("GPU-ab-12", "card GPU-ab-12")])
def test_the_gpu_is_the_one_that_programs_see(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str, name: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    nvml.count = 2
    nvml.nvmlDeviceGetPciInfo = lambda handle: SimpleNamespace(busId="x")  # type: ignore[method-assign]
    assert cuda.first_gpu().name == name


def test_of_several_gpus_it_is_the_one_that_cuda_counts_first_and_the_doctor_says_which(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    libcuda = Libcuda("0000:02:00.0")
    monkeypatch.setattr(present, "_driver", lambda: libcuda)
    assert cuda.first_gpu().name == "card 0" and libcuda.calls == []  # the only one: nobody needs to ask
    nvml.count = 3
    assert cuda.first_gpu().name == "card 2" and libcuda.calls == ["init"]
    libcuda.calls.clear()
    assert cuda.first_gpu().which == "the one at 0000:02:00.0 of 3 GPUs"
    monkeypatch.setattr(present, "_driver", lambda: Libcuda("0000:02:00.0", status=100))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert cuda.first_gpu().name == "card 1"
    assert "card 1 (the one at 0000:01:00.0 of 3 GPUs), compute" in str(found("GPU").found)
    monkeypatch.setattr(present, "_driver", lambda: SimpleNamespace())
    assert present.first_bus_id() is None


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_mended_by_showing_them(nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert found("GPU").mend == "unset CUDA_VISIBLE_DEVICES"
    assert free_bytes("cuda") is None and nvml.open == 0


def test_nvml_that_is_missing_or_fails_is_said(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(DeviceError, match="Invalid Argument"):
        cuda.first_gpu()
    nvml.fails = "init"
    with pytest.raises(DeviceError, match="Driver Not Loaded"):
        cuda.first_gpu()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert found("GPU").mend == "pip install nvidia-ml-py"


@pytest.mark.usefixtures("bare")
def test_packages_are_found_with_their_versions_and_two_cupys_are_one_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"cupy-cuda12x": "14.1", "nvidia-cuda-nvrtc-cu12": "12.9"}
    monkeypatch.setattr(cuda, "version", lambda package: there[package] if package in there else absent(package))
    assert found("CuPy").found == "14.1 (cupy-cuda12x)"
    assert found("NVRTC").found == "12.9 (nvidia-cuda-nvrtc-cu12)"
    there["cupy-cuda13x"] = "14.2"
    assert found("CuPy").found is None and found("CuPy").mend.startswith("pip uninstall -y cupy-cuda12x cupy-cuda13x")


@pytest.mark.usefixtures("bare")
def test_a_library_of_a_cuda_toolkit_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "library_path", {"NVRTC": "/opt/libnvrtc.so", "cuBLAS": None}.get)
    assert found("NVRTC").found == "/opt/libnvrtc.so"
    assert found("cuBLAS").found is None


def test_a_gpu_can_train_when_it_has_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gpunet.model.model.open_device", lambda name: make_device("emulated") if name == "cuda" else open_device(name)
    )
    findings = examine()
    assert trains(findings, "cuda")
    steps = [finding.found for finding in findings if finding.name == STEP]
    assert len(steps) == 2 and steps[0] == steps[1]  # the same loss on both


@pytest.mark.gpu
def test_everything_is_found_on_a_machine_with_a_gpu() -> None:
    findings = examine()
    assert trains(findings, "cuda"), findings
    assert all(finding.found for finding in findings), findings
    device = make_device("cuda")
    _, total = device.driver.memory()  # type: ignore[attr-defined]
    device.close()
    assert cuda.first_gpu().total_bytes == pytest.approx(total, rel=0.05)


# -- memory ----------------------------------------------------------------------------------------


def test_free_memory_is_what_the_system_has_within_the_limit_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "CGROUP", tmp_path)
    system = cpu.free_bytes()
    assert system is not None and system > 2**20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("500\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 40\n")
    assert cpu.free_bytes() == pytest.approx(system, rel=0.2)
    (tmp_path / "memory.max").write_text("1000\n")
    assert cpu.free_bytes() == 1000 - 500 + 40
    (tmp_path / "memory.current").write_text("1200\n")
    assert cpu.free_bytes() == 0


def test_devices_answer_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: dict[str, Callable[[], int]] = {"cpu": lambda: 5, "cuda": lambda: 7}
    monkeypatch.setattr(cpu, "free_bytes", numbers["cpu"])
    monkeypatch.setattr(cuda, "free_bytes", numbers["cuda"])
    assert (free_bytes("cpu"), free_bytes("cuda")) == (5, 7)


# -- memory that others took -----------------------------------------------------------------------


def test_other_processes_on_the_gpu_are_told_the_largest_first(nvml: Nvml) -> None:
    assert cuda.holders() == [
        cuda.Holder(42, "game-42", 4 * GIB),
        cuda.Holder(41, "game-41", GIB),
        cuda.Holder(43, "a process", None),
    ]
    assert cuda.used_bytes() == (5 * GIB, 8 * GIB) and nvml.open == 0
    nvml.fails = "init"
    assert cuda.used_bytes() is None


def test_a_shortage_says_who_holds_the_memory_and_which_batch_fits(nvml: Nvml) -> None:
    net = load("vgg_digits")
    largest = fit(net, 3 * GIB, device="cuda", optimizer="sgd").batch
    assert explain_shortage(net, device="cuda", optimizer="sgd").splitlines() == [
        "game-42 (process 42) holds 4 GiB",
        "game-41 (process 41) holds 1 GiB",
        "a process (process 43) holds an amount that the driver does not tell",
        f"in the 3 GiB free now, the largest batch that fits is {largest}",
    ]
    assert explain_shortage(net, device="cuda", reserve="4GiB").endswith("free now, not even one image fits")


def test_a_shortage_without_nvml_says_so(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.fails = "init"
    told = explain_shortage(load("vgg_digits"), device="cuda")
    assert told == "who holds the rest cannot be told: NVML does not answer (Driver Not Loaded)"
    assert "largest batch that fits" in explain_shortage(load("vgg_digits"), device="cpu")


def test_train_that_is_left_without_memory_after_planning_names_who_took_it(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Full(CpuDevice):
        name = "cuda"

        def allocate(self, nbytes: int) -> CpuArena:
            raise OutOfMemory(f"the GPU has 1 GiB free and {nbytes} bytes were asked for")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpunet.model.model.open_device", lambda name: Full())
    result = CliRunner().invoke(app, ["train", "vgg_digits", "--device", "cuda", "--budget", "2GiB"])
    assert result.exit_code == 2 and "Traceback" not in result.output
    for words in ("bytes were asked for", "game-42 (process 42) holds 4 GiB", "free now, the largest batch that fits"):
        assert words in result.stderr
    assert list(tmp_path.iterdir()) == []
