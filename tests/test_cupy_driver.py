"""The driver of a GPU on a CuPy that notes what is asked of it; and what it says where something is missing."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpunet.devices.cuda import driver as driver_module
from gpunet.devices.cuda import present
from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.driver import CupyDriver, compile_options
from gpunet.devices.cuda.source import compose
from gpunet.errors import DeviceError

STREAM = 77


class CudaError(RuntimeError):
    """As CuPy's: with a status."""

    def __init__(self, status: int):
        super().__init__(f"cudaError{status}")
        self.status = status


class CompileError(Exception):
    """As CuPy's: what the compiler said."""


class FakeStream:
    """Knows whether it is the current one."""

    ptr = STREAM

    def __init__(self, non_blocking: bool):
        assert non_blocking
        self.current = self.synchronized = False

    def __enter__(self) -> None:
        self.current = True

    def __exit__(self, *error: object) -> None:
        self.current = False

    def synchronize(self) -> None:
        self.synchronized = True


class FakeCupy(SimpleNamespace):
    """As much of CuPy as the driver uses. `notes`: what was asked for; `broken`: the statuses that calls end with."""

    def __init__(self, **broken: int):
        self.notes: list[tuple[Any, ...]] = []
        self.properties = {"major": 8, "minor": 6, "multiProcessorCount": 28}
        names = ("malloc", "free", "memcpyAsync", "memsetAsync", "memGetInfo", "getDevice", "getDeviceProperties")
        answers = {
            "malloc": 4096,
            "memGetInfo": (3 * 2**30, 12 * 2**30),
            "getDevice": 0,
            "getDeviceProperties": self.properties,
        }
        runtime = {name: self._call(name, answers.get(name), broken.get(name)) for name in names}
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(CUDARuntimeError=CudaError, memcpyHostToDevice=1, memcpyDeviceToHost=2, **runtime),
            driver=SimpleNamespace(CUDADriverError=CudaError),
            compiler=SimpleNamespace(CompileException=CompileError),
            Stream=self._open_stream,
        )
        self.compile_error: Exception | None = None

    def _open_stream(self, non_blocking: bool) -> FakeStream:
        self.stream = FakeStream(non_blocking)
        return self.stream

    def _call(self, name: str, answer: Any, status: int | None) -> Any:
        def call(*arguments: Any) -> Any:
            self.notes.append((name, *arguments))
            if status is not None:
                raise CudaError(status)
            return answer

        return call

    def RawModule(self, code: str, options: tuple[str, ...], backend: str) -> SimpleNamespace:
        def compile_now() -> None:
            self.notes.append(("compile", code, options, backend))
            if self.compile_error:
                raise self.compile_error

        def get_function(name: str) -> Any:
            return lambda grid, block, arguments: self.notes.append((name, grid, block, arguments, self.stream.current))

        return SimpleNamespace(compile=compile_now, get_function=get_function)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [note[1:] for note in self.notes if note[0] == name]


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    return install(monkeypatch, FakeCupy())


def install(monkeypatch: pytest.MonkeyPatch, cupy: FakeCupy) -> FakeCupy:
    """Put it in CuPy's place, with a driver of CUDA 12 and any cuBLAS."""
    monkeypatch.setattr(present, "driver_version", lambda: 12)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(driver_module, "_load_cublas", lambda: None)
    monkeypatch.setattr(
        driver_module, "Cublas", lambda library, stream: SimpleNamespace(close=lambda: None, stream=stream)
    )
    return cupy


# ---- what is asked of CuPy ----


def test_the_gpu_is_opened_with_a_stream_of_its_own(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    assert driver.multiprocessors == 28
    assert driver._cublas.stream == STREAM
    assert driver.memory() == (3 * 2**30, 12 * 2**30)


def test_a_kernel_is_compiled_once_and_launched_on_the_stream_with_arguments_cast(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    x = DeviceArray(4096, (3,), np.dtype(np.float32), driver)
    for _ in range(2):
        driver.launch("relu", "relu_forward", 5, 256, x, None, 3, 0.5, real=np.dtype(np.float32))
    driver.launch("relu", "relu_backward", 5, 256, x, real=np.dtype(np.float32))
    assert fake_cupy.named("compile") == [(compose("relu"), compile_options("float32"), "nvrtc")]
    launched = fake_cupy.named("relu_forward")
    assert len(launched) == 2
    grid, block, arguments, on_stream = launched[0]
    assert (grid, block, on_stream) == ((5,), (256,), True)
    assert [value.dtype.name for value in arguments] == ["uint64", "uint64", "int64", "float32"]
    assert list(arguments) == [4096, 0, 3, 0.5]
    driver.launch("relu", "relu_forward", 5, 256, x, real=np.dtype(np.float64))
    assert fake_cupy.named("compile")[1][1] == compile_options("float64")


def test_copies_and_fills_go_through_the_stream_and_reads_wait_for_it(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    values = np.arange(5, dtype=np.float32)
    driver.fill(8192, 0xFF, 20)
    driver.copy_in(4096, values)
    assert not fake_cupy.stream.synchronized
    driver.copy_out(4096, values)
    assert fake_cupy.stream.synchronized
    assert fake_cupy.named("memsetAsync") == [(8192, 0xFF, 20, STREAM)]
    host = values.ctypes.data
    assert fake_cupy.named("memcpyAsync") == [(4096, host, 20, 1, STREAM), (host, 4096, 20, 2, STREAM)]


def test_memory_is_given_back_when_the_work_is_done(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    memory = driver.allocate(1000)
    assert (memory.pointer, memory.nbytes) == (4096, 1000)
    driver.free(memory)
    assert fake_cupy.stream.synchronized
    assert fake_cupy.named("free") == [(4096,)]


def test_what_is_sent_goes_through_pinned_memory_and_a_stream_of_its_own(
    fake_cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = fake_cupy.notes
    pinned: list[np.ndarray] = []

    class Stream(FakeStream):
        ptr = STREAM + 1

        def wait_event(self, event: object) -> None:
            notes.append(("wait", self.ptr, event))

    class Event:
        def __init__(self, disable_timing: bool):
            assert disable_timing

        def record(self, stream: FakeStream) -> None:
            notes.append(("record", stream.ptr, self))

        def synchronize(self) -> None:
            notes.append(("done", self))

    class Pinned(np.ndarray):
        """Host memory that knows its address, as CuPy's pointers do."""

        @property
        def ptr(self) -> int:
            return int(self.ctypes.data)

        mem = property(lambda self: SimpleNamespace(size=self.nbytes))

    def pointer(memory: np.ndarray, offset: int) -> Pinned:
        assert offset == 0
        pinned.append(memory)
        return memory.view(Pinned)

    driver = CupyDriver()
    monkeypatch.setattr(fake_cupy.cuda, "Stream", Stream)
    for name, value in {
        "Event": Event,
        "PinnedMemory": lambda nbytes: np.zeros(nbytes, np.uint8),
        "PinnedMemoryPointer": pointer,
    }.items():
        setattr(fake_cupy.cuda, name, value)
    sent = [driver.send(4096 * (k % 2), np.full((2, 3), k, np.uint8), f"mark {k}") for k in range(1, 5)]
    assert len(pinned) == 2 and [buffer.tolist() for buffer in pinned] == [[3] * 6, [4] * 6]
    assert fake_cupy.named("wait") == [(STREAM + 1, f"mark {k}") for k in range(1, 5)]
    assert fake_cupy.named("record") == [(STREAM + 1, event) for event in sent]
    addresses = [buffer.ctypes.data for buffer in pinned] * 2
    copies = [(4096 * (k % 2), address, 6, 1, STREAM + 1) for k, address in enumerate(addresses, 1)]
    assert fake_cupy.named("memcpyAsync") == copies
    assert fake_cupy.named("done") == [(sent[0],), (sent[1],)]  # before its buffer is filled again
    order = [note[0] for note in notes if note[0] in ("wait", "memcpyAsync", "record", "done")]
    assert order == ["wait", "memcpyAsync", "record"] * 2 + ["done", "wait", "memcpyAsync", "record"] * 2
    driver.send(0, np.zeros(7, np.uint8), "mark 5")
    assert [len(buffer) for buffer in pinned] == [6, 6, 7]
    fake_cupy.stream.wait_event = lambda event: notes.append(("main waits", event))
    driver.wait_for(sent[3])
    assert fake_cupy.named("main waits") == [(sent[3],)]
    driver.close()


class FakeEvent:
    """An event that counts the time in half milliseconds, one more at each record."""

    time = 0.0

    def __init__(self) -> None:
        self.at: float | None = None
        self.waited = False

    def record(self, stream: FakeStream) -> None:
        assert stream.ptr == STREAM
        FakeEvent.time += 0.5
        self.at = FakeEvent.time

    def synchronize(self) -> None:
        self.waited = True


def elapsed(first: FakeEvent, last: FakeEvent) -> float:
    assert last.waited, "CUDA refuses to tell the time between events that are not done"
    assert first.at is not None and last.at is not None
    return last.at - first.at


def test_events_on_the_stream_tell_the_time_and_only_the_later_one_is_waited_for(fake_cupy: FakeCupy) -> None:
    fake_cupy.cuda.Event, fake_cupy.cuda.get_elapsed_time = FakeEvent, elapsed
    driver = CupyDriver()
    events = [driver.event() for _ in range(4)]
    assert not any(event.waited for event in events)
    assert driver.elapsed_ms(events[0], events[3]) == 1.5
    assert [event.waited for event in events] == [False, False, False, True]


def test_work_that_failed_is_told_by_the_event_behind_it(fake_cupy: FakeCupy) -> None:
    def broken(first: FakeEvent, last: FakeEvent) -> float:
        raise CudaError(700)

    fake_cupy.cuda.Event, fake_cupy.cuda.get_elapsed_time = FakeEvent, broken
    driver = CupyDriver()
    with pytest.raises(DeviceError, match=r"finish its work.*700"):
        driver.elapsed_ms(driver.event(), driver.event())


# ---- what goes wrong on a GPU ----


def test_too_little_memory_says_what_is_free_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCupy(malloc=2))
    with pytest.raises(
        DeviceError, match=rf"3\.00 of 12\.00 GiB free \({3 * 2**30} bytes\) and 4\.00 GiB .*gpunet fit"
    ):
        CupyDriver().allocate(2**32)


def test_errors_of_cuda_say_what_was_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCupy(malloc=700, memcpyAsync=700, memsetAsync=700))
    driver = CupyDriver()
    values = np.zeros(3)
    for action, message in (
        (lambda: driver.allocate(16), "allocate 16 bytes: cudaError700"),
        (lambda: driver.copy_in(4096, values), "take values: cudaError700"),
        (lambda: driver.copy_out(4096, values), "give values: cudaError700"),
        (lambda: driver.fill(4096, 0, 1), "fill memory: cudaError700"),
    ):
        with pytest.raises(DeviceError, match=message):
            action()


@pytest.mark.parametrize("error", [CompileError("relu.cu(3): error"), RuntimeError("libnvrtc.so cannot be loaded")])
def test_a_kernel_that_cannot_be_compiled_is_named(fake_cupy: FakeCupy, error: Exception) -> None:
    fake_cupy.compile_error = error
    driver = CupyDriver()
    with pytest.raises(DeviceError, match=r"relu\.cu cannot be compiled .*") as caught:
        driver.launch("relu", "relu_forward", 1, 1, real=np.dtype(np.float32))
    assert str(error) in str(caught.value)
    assert 'pip install "gpunet[cuda12]"' in str(caught.value)


# ---- where something is missing ----


def test_without_a_driver_or_with_an_old_one_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, message in ((None, "no NVIDIA driver .*--device cpu"), (11, "knows CUDA 11 and 12 is needed")):
        monkeypatch.setattr(present, "driver_version", lambda version=version: version)
        with pytest.raises(DeviceError, match=message):
            CupyDriver()


@pytest.mark.parametrize("version, extra", [(12, "cuda12"), (13, "cuda13"), (14, "cuda13")])
def test_without_cupy_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch, version: int, extra: str) -> None:
    monkeypatch.setattr(present, "driver_version", lambda: version)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=rf'CuPy cannot be imported .*pip install "gpunet\[{extra}\]"'):
        CupyDriver()


@pytest.mark.parametrize(
    "status, message",
    [(35, r'newer CUDA than the 12 .*pip install "gpunet\[cuda12\]"'), (100, "shows no GPU"), (999, "cudaError999")],
)
def test_a_gpu_that_cannot_be_opened_is_explained(monkeypatch: pytest.MonkeyPatch, status: int, message: str) -> None:
    install(monkeypatch, FakeCupy(getDeviceProperties=status))
    with pytest.raises(DeviceError, match=message):
        CupyDriver()


def test_a_gpu_that_is_too_old_is_named(fake_cupy: FakeCupy) -> None:
    fake_cupy.properties.update(major=6, minor=1)
    with pytest.raises(DeviceError, match=r"compute capability 6\.1 and 7\.5 is needed"):
        CupyDriver()


def test_the_driver_of_this_machine_is_asked() -> None:
    """Either there is one, whose CUDA release is a small number, or nobody opens a GPU here."""
    version = present.driver_version()
    if version is None:
        with pytest.raises(DeviceError, match="no NVIDIA driver"):
            CupyDriver()
    else:
        assert 9 < version < 100


def install_pathfinder(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], Any]) -> None:
    """Put `load` in the place of what finds CUDA's libraries for CuPy."""
    pathfinder = SimpleNamespace(load_nvidia_dynamic_lib=load)
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(pathfinder=pathfinder))
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", pathfinder)


class DynamicLibNotFoundError(RuntimeError):
    """As the pathfinder's."""


@pytest.mark.parametrize("kind", [DynamicLibNotFoundError, OSError, RuntimeError])
def test_a_cublas_that_is_missing_or_broken_has_its_command(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def missing(name: str) -> None:
        raise kind("libcublas.so: file too short")

    install_pathfinder(monkeypatch, missing)
    with pytest.raises(DeviceError, match=r"cuBLAS cannot be loaded \(libcublas.so: file too short\): pip install"):
        driver_module._load_cublas()


def test_a_file_that_is_no_cublas_has_the_command_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libcublas.so").write_text("no library")
    found = SimpleNamespace(abs_path=str(tmp_path / "libcublas.so"))
    install_pathfinder(monkeypatch, lambda name: found)
    with pytest.raises(DeviceError, match=r"cuBLAS cannot be loaded .*pip install"):
        driver_module._load_cublas()


def test_a_cupy_without_cudas_pathfinder_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    with pytest.raises(DeviceError, match=r"CuPy is too old to find cuBLAS .*pip install"):
        driver_module._load_cublas()


# ---- closing ----


def test_closing_after_a_fault_tells_the_fault_and_lets_go_of_everything(
    fake_cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, closed = CupyDriver(), []

    def fault() -> None:
        raise CudaError(700)

    def close() -> None:
        closed.append(True)
        raise DeviceError("cuBLAS: cublasDestroy_v2 returned CUBLAS_STATUS_NOT_INITIALIZED")

    monkeypatch.setattr(fake_cupy.stream, "synchronize", fault)
    driver._cublas.close = close
    device = CudaDevice(driver)
    device.allocate(64)
    with pytest.raises(DeviceError, match="cudaError700"):
        device.close()
    assert closed == [True]
