"""`gpunet doctor`: what is found, what is missing and how it is mended, on machines with and without a GPU."""

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from gpunet import fit, load
from gpunet.cli.app import app
from gpunet.devices import free_bytes, open_device, target
from gpunet.devices.cpu import probe as cpu
from gpunet.devices.cpu.device import CpuArena, CpuDevice
from gpunet.devices.cuda import libcuda, libraries, present
from gpunet.devices.cuda import probe as cuda
from gpunet.errors import DeviceError, OutOfMemory
from gpunet.use.doctor import STEP, Finding, examine, explain_shortage, trains
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
    monkeypatch.setattr(present, "driver_version", lambda: None)
    monkeypatch.setattr(present, "capabilities", lambda: [])
    monkeypatch.setattr(present, "which", lambda command: None)
    monkeypatch.setattr(present, "version", absent)
    monkeypatch.setattr(cuda, "version", absent)
    monkeypatch.setattr(cuda, "library_path", lambda library, release=None: None)
    monkeypatch.setattr(libraries, "packaged_files", lambda library: {})
    monkeypatch.setattr(cuda, "gpu", no_gpu)


def absent(package: str) -> str:
    raise PackageNotFoundError(package)


def no_gpu(number: int = 0) -> cuda.Gpu:
    raise DeviceError("NVML does not answer (Driver Not Loaded)")


def uuid_of(number: int) -> str:
    return str(UUID(int=number + 1))


class Nvml(ModuleType):
    """GPUs as NVML tells of them: card n, a whole GPU or a slice of one, by its UUID; by its bus the whole GPU."""

    class NVMLError(Exception):
        pass

    def __init__(self, fails: str = "") -> None:
        super().__init__("pynvml")
        self.fails = fails
        self.open = 0
        self.kind = "GPU"
        self.sliced = False

    def nvmlInit(self) -> None:
        if self.fails == "init":
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        kind, _, number = uuid.partition("-")
        if kind != self.kind:
            raise self.NVMLError("Not Found")
        return f"card {UUID(number).int - 1}"

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: bytes) -> str:
        return f"all of card {int(bus_id.split(b':')[1], 16)}"

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:
        return int(self.sliced), int(self.sliced)

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(free=3 * GIB, total=8 * GIB)

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


class Libcuda:
    """CUDA's driver, which shows the cards of these numbers: what each call writes where it is told to.

    `fails`  a status by the name of a call
    """

    def __init__(self, *cards: int, capability: tuple[int, int] = (8, 6), **fails: int) -> None:
        self.cards, self.capability, self.fails = cards, capability, fails

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: object) -> int:
            getattr(self, f"_{name}", lambda *_: None)(*arguments)
            return self.fails.get(name, 0)

        return call

    def _cuDriverGetVersion(self, version: Any) -> None:
        version._obj.value = 13000

    def _cuDeviceGetCount(self, count: Any) -> None:
        count._obj.value = len(self.cards)

    def _cuDeviceGet(self, device: Any, ordinal: int) -> None:
        device._obj.value = self.cards[ordinal]

    def _cuDeviceGetUuid_v2(self, uuid: Any, device: Any) -> None:
        uuid._obj[:] = UUID(uuid_of(device.value)).bytes

    def _cuDeviceGetPCIBusId(self, text: Any, room: int, device: Any) -> None:
        text.value = f"0000:{device.value:02x}:00.0".encode()

    def _cuDeviceTotalMem_v2(self, nbytes: Any, device: Any) -> None:
        nbytes._obj.value = 8 * GIB - 300

    def _cuDeviceGetAttribute(self, value: Any, which: int, device: Any) -> None:
        value._obj.value = dict(zip((75, 76), self.capability, strict=True))[which]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says which cards CUDA shows; calling it again says others."""

    def show(*cards: int, **about: Any) -> None:
        library = Libcuda(*cards, **about)
        monkeypatch.setattr(libcuda, "_library", lambda: library)

    return show


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, shown: Callable[..., None]) -> Nvml:
    """A machine on which CUDA shows card 0 alone."""
    module = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.delenv(libcuda.VISIBLE, raising=False)
    shown(0)
    return module


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
    assert cuda.gpu() == cuda.Gpu("card 0", "8.6", "580.65", 3 * GIB, 8 * GIB, 8 * GIB - 300)
    assert free_bytes("cuda") == 3 * GIB
    assert found("GPU").found == "card 0, compute capability 8.6, 3 GiB of 8 GiB free"
    assert str(found("NVIDIA driver").found).startswith("580.65")
    assert nvml.open == 0


@pytest.mark.usefixtures("nvml")
def test_what_is_planned_for_is_what_cuda_gives_and_not_what_nvml_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML counts what the driver keeps for itself, too."""
    monkeypatch.setattr("gpunet.devices.cuda.target.gpu_here", cuda.gpu)
    assert target("cuda", assume=True).total_bytes == 8 * GIB - 300


def test_nvml_is_asked_about_the_very_gpu_that_cuda_uses(nvml: Nvml, shown: Callable[..., None]) -> None:
    """CUDA_VISIBLE_DEVICES, by number, UUID or a part of one, is CUDA's to understand: it shows cards 5, 2 and 7."""
    shown(5, 2, 7)
    assert [cuda.gpu(number).name for number in range(3)] == ["card 5", "card 2", "card 7"]
    assert cuda.gpu().name == "card 5"
    assert cuda.gpu(1).which == "cuda:1 of the 3 that CUDA shows, at 0000:02:00.0"
    assert "card 5 (cuda:0 of the 3 that CUDA shows, at 0000:05:00.0), compute" in str(found("GPU").found)
    second = next(finding for finding in examine("cuda:1") if finding.name == "GPU")
    assert "card 2 (cuda:1 of the 3" in str(second.found)
    assert nvml.open == 0


def test_of_a_slice_it_is_the_slice_and_never_all_of_the_gpu(nvml: Nvml, shown: Callable[..., None]) -> None:
    shown(6)
    nvml.kind, nvml.sliced = "MIG", True
    assert cuda.gpu().name == "card 6"
    nvml.kind = "neither"
    with pytest.raises(DeviceError, match=r"does not know the slice .* of the GPU at 0000:06:00\.0"):
        cuda.gpu()
    nvml.sliced = False
    assert cuda.gpu().name == "all of card 6"


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ((0,), "there is no cuda:7: CUDA shows 1 GPU, cuda:0"),
        ((0, 1), "there is no cuda:7: CUDA shows 2 GPUs, cuda:0 to cuda:1"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_sentence(
    nvml: Nvml, shown: Callable[..., None], cards: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    shown(*cards)
    with pytest.raises(DeviceError) as caught:
        cuda.gpu(7)
    assert str(caught.value) == message
    result = CliRunner().invoke(app, ["train", "vgg_digits", "--device", "cuda:7", "--out", str(tmp_path / "run")])
    assert result.exit_code == 2 and result.stderr == f"gpunet: {message}\n" and not (tmp_path / "run").exists()


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_mended_by_showing_them(
    nvml: Nvml, shown: Callable[..., None], monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    shown(cuInit=libcuda.NO_DEVICE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert found("GPU").mend == "unset CUDA_VISIBLE_DEVICES"
    assert free_bytes("cuda") is None and nvml.open == 0


def test_cuda_or_nvml_that_is_missing_or_fails_is_said(
    nvml: Nvml, shown: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown(0, cuDeviceGetUuid_v2=999)
    with pytest.raises(DeviceError, match=r"driver does not answer \(cuDeviceGetUuid_v2: 999\)"):
        cuda.gpu()
    shown()
    with pytest.raises(DeviceError, match="shows no GPU: nvidia-smi says why"):
        cuda.gpu()
    shown(0)
    nvml.fails = "init"
    with pytest.raises(DeviceError, match="Driver Not Loaded"):
        cuda.gpu()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert found("GPU").mend == "pip install nvidia-ml-py"


@pytest.mark.usefixtures("bare")
def test_packages_are_found_with_their_versions_and_two_cupys_are_one_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"cupy-cuda12x": "14.1", "nvidia-cuda-nvrtc-cu12": "12.9"}
    install(monkeypatch, there)
    assert found("CuPy").found == "14.1 (cupy-cuda12x)"
    assert found("NVRTC").found == "12.9 (nvidia-cuda-nvrtc-cu12)"
    there["cupy-cuda13x"] = "14.2"
    assert found("CuPy").found is None and found("CuPy").mend == (
        'pip uninstall --yes cupy-cuda12x && pip install "gpunet[cuda13]"'
    )


def install(monkeypatch: pytest.MonkeyPatch, there: dict[str, str]) -> None:
    """Let these packages be there, by name, with their versions; each library of CUDA brings its file."""

    def version(package: str) -> str:
        return there[package] if package in there else absent(package)

    def files(library: str) -> dict[int, Path]:
        names = [name for name in libraries.PACKAGES[library] if name in there]
        return {int(there[name].partition(".")[0]): Path(name) for name in names}

    monkeypatch.setattr(cuda, "version", version)
    monkeypatch.setattr(present, "version", version)
    monkeypatch.setattr(libraries, "packaged_files", files)


CUDA_13 = {"cupy-cuda13x": "14.2", "nvidia-cuda-nvrtc": "13.0", "nvidia-cublas": "13.0"}


@pytest.mark.usefixtures("bare")
def test_a_cupy_for_a_cuda_that_the_gpu_or_its_driver_does_not_know_is_mended_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, CUDA_13)
    mend = 'pip uninstall --yes cupy-cuda13x && pip install "gpunet[cuda12]"'
    for driver, capability, found_it in ((13, (7, 5), True), (13, (6, 1), False), (12, (8, 6), False)):
        monkeypatch.setattr(present, "driver_version", lambda driver=driver: driver)
        monkeypatch.setattr(present, "capabilities", lambda capability=capability: [capability])
        finding = found("CuPy")
        assert (finding.found == "14.2 (cupy-cuda13x)") == found_it and (finding.found or finding.mend == mend)


@pytest.mark.usefixtures("bare")
def test_libraries_of_another_cuda_than_cupys_are_as_good_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {**CUDA_13, "nvidia-cublas": "12.9"})
    assert found("NVRTC").found == "13.0 (nvidia-cuda-nvrtc)"
    assert found("cuBLAS").found is None and found("cuBLAS").mend == 'pip install "gpunet[cuda13]"'


@pytest.mark.usefixtures("bare")
def test_what_makes_a_gpu_another_than_it_seems_is_told_with_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    names = {finding.name for finding in examine()}
    assert "GPU memory" not in names and "rounding" not in names
    assert found("cache").found == str(cache_folder) and not cache_folder.exists()
    monkeypatch.setattr("gpunet.use.doctor.lends_memory", lambda: True)
    assert "Prefer No Sysmem Fallback" in str(found("GPU memory").found)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert "NVIDIA_TF32_OVERRIDE: unset" in str(found("rounding").found)
    cache_folder.write_text("a file in its place")
    cache = found("cache")
    assert cache.found is None
    assert cache.mend.startswith(
        f"set GPUNET_CACHE to a folder that can be written (nothing can be put into {cache_folder}: "
    )


def test_the_cpu_is_no_gpu_to_look_at() -> None:
    result = run("--device", "cpu")
    assert result.exit_code == 2 and "give a GPU, like cuda:1" in result.stderr


@pytest.mark.usefixtures("bare")
def test_a_library_of_a_cuda_toolkit_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "library_path", lambda name, release: {"NVRTC": "/opt/libnvrtc.so"}.get(name))
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
    assert cuda.gpu().total_bytes == pytest.approx(total, rel=0.05)


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
    monkeypatch.setattr(cpu, "free_bytes", lambda: 5)
    monkeypatch.setattr(cuda, "free_bytes", lambda number=0: 7 + number)
    assert [free_bytes(name) for name in ("cpu", "cuda", "cuda:0", "cuda:3")] == [5, 7, 7, 10]


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
