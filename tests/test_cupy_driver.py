"""The driver of a GPU on a CuPy that notes what is asked of it; and what it says where something is missing."""

import ctypes
import gc
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from weakref import finalize

import numpy as np
import pytest

from gpunet.devices.cuda import driver as driver_module
from gpunet.devices.cuda import libcuda, libraries, modules, present
from gpunet.devices.cuda.arrays import DeviceArray, Matrix, Product
from gpunet.devices.cuda.copies import PART_BYTES
from gpunet.devices.cuda.cublas import settings
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.driver import CupyDriver
from gpunet.devices.cuda.libcuda import Visible
from gpunet.devices.cuda.nvrtc import CompileError
from gpunet.devices.cuda.packing import Packed, pack
from gpunet.errors import DeviceError, OutOfMemory

STREAM = 77
CONTEXT = 1000
"""That of the first GPU, behind it those of the others."""

GIB = 2**30


class CudaError(RuntimeError):
    """As CuPy's: with a status."""

    def __init__(self, status: int):
        super().__init__(f"cudaError{status}")
        self.status = status


class FakeStream:
    """A stream whose copies are made as late as CUDA may make them: when somebody waits for it."""

    def __init__(self, cupy: "FakeCupy", ptr: int):
        self.cupy, self.ptr = cupy, ptr
        self.synchronized = False
        self.late: list[Callable[[], None]] = []
        self.begun = 0

    def synchronize(self) -> None:
        self.cupy.note("synchronize", self.ptr)
        self.synchronized = True
        self.reach(self.begun + len(self.late))

    def wait_event(self, event: object) -> None:
        self.cupy.note("wait_event", self.ptr, event)

    def begin_capture(self) -> None:
        self.cupy.note("begin_capture", self.ptr)

    def end_capture(self) -> SimpleNamespace:
        self.cupy.note("end_capture", self.ptr)
        return SimpleNamespace(launch=lambda stream: self.cupy.note("graph", stream.ptr))

    def reach(self, point: int) -> None:
        """All that was asked for before that point is done."""
        while self.late and self.begun < point:
            self.late.pop(0)()
            self.begun += 1


class FakeEvent:
    """An event that counts the time in half milliseconds, one more at each record."""

    time = 0.0

    def __init__(self, cupy: "FakeCupy"):
        self.cupy = cupy
        self.waited = False

    def record(self, stream: FakeStream) -> None:
        self.cupy.note("record", stream.ptr)
        FakeEvent.time += 0.5
        self.at, self.stream, self.point = FakeEvent.time, stream, stream.begun + len(stream.late)

    def synchronize(self) -> None:
        self.cupy.note("wait", self.stream.ptr)
        self.waited = True
        self.stream.reach(self.point)


class Pinned(np.ndarray):
    """Host memory that knows its address, as CuPy's pointers do."""

    @property
    def ptr(self) -> int:
        return int(self.ctypes.data)

    mem = property(lambda self: SimpleNamespace(size=self.nbytes))


class FakeModule(SimpleNamespace):
    """A module of kernels; that it goes can be watched."""


class FakeCupy(SimpleNamespace):
    """As much of CuPy as the driver uses. `notes`: what was asked for; `broken`: the statuses that calls end with.

    `current` is the device that the thread's calls go to, None where it has no context yet, `used` those that they went
    to, `opened` those with a context; a copy to the GPU is put into `arrived` at (pointer of the GPU).
    """

    def __init__(self, **broken: int):
        self.notes: list[tuple[Any, ...]] = []
        self.broken = broken
        self.current: int | None = None
        self.used: set[int | None] = set()
        self.opened: set[int] = set()
        self.arrived: dict[int, bytes] = {}
        self.pinned: list[np.ndarray] = []
        self.streams: dict[int, FakeStream] = {}
        self.functions: list[str] = []
        self.shared: list[int] = []  # bytes of dynamic shared memory of each launch
        self.free_bytes, self.total_bytes = 3 * GIB, 12 * GIB
        answers: dict[str, Any] = {"malloc": 4096, "getDeviceProperties": {"multiProcessorCount": 28}}
        names = ("malloc", "free", "memsetAsync", "getDeviceProperties")
        calls = {name: self._call(name, lambda name=name: answers.get(name)) for name in names}
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                CUDARuntimeError=CudaError,
                memcpyHostToDevice=1,
                memcpyDeviceToHost=2,
                runtimeGetVersion=lambda: 12090,
                memGetInfo=self._call("memGetInfo", lambda: (self.free_bytes, self.total_bytes)),
                memcpyAsync=self._copy,
                setDevice=self._set_device,
                **calls,
            ),
            driver=SimpleNamespace(
                CUDADriverError=CudaError,
                launchKernel=self._launch,
                ctxGetCurrent=lambda: 0 if self.current is None else CONTEXT + self.current,
                ctxSetCurrent=self._set_context,
                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
                funcSetAttribute=lambda *numbers: self.note("funcSetAttribute", *numbers),
            ),
            function=SimpleNamespace(Module=self._module),
            Stream=self._open_stream,
            Event=lambda disable_timing=False: FakeEvent(self),
            PinnedMemory=lambda nbytes: np.zeros(nbytes, np.uint8),
            PinnedMemoryPointer=self._pinned,
            get_elapsed_time=self._elapsed,
        )

    def note(self, name: str, *arguments: Any) -> None:
        """What was asked for, and of which device."""
        self.used.add(self.current)
        self.notes.append((name, *arguments))
        if name in self.broken:
            raise CudaError(self.broken[name])

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [note[1:] for note in self.notes if note[0] == name]

    @property
    def stream(self) -> FakeStream:
        """The one that is worked on."""
        return self.streams[STREAM]

    def _call(self, name: str, answer: Callable[[], Any]) -> Any:
        def call(*arguments: Any) -> Any:
            self.note(name, *arguments)
            return answer()

        return call

    def _set_device(self, number: int) -> None:
        self.current = number
        self.opened.add(number)
        self.note("setDevice", number)

    def _set_context(self, context: int) -> None:
        assert context - CONTEXT in self.opened, "CUDA knows no such context"
        self.current = context - CONTEXT

    def _open_stream(self, non_blocking: bool) -> FakeStream:
        assert non_blocking
        ptr = STREAM + len(self.streams)
        self.note("open stream", ptr)
        self.streams[ptr] = FakeStream(self, ptr)
        return self.streams[ptr]

    def _copy(self, target: int, source: int, nbytes: int, kind: int, stream: int) -> None:
        self.note("memcpyAsync", target, source, nbytes, kind, stream)

        def copy() -> None:
            if kind == 1:
                self.arrived[target] = ctypes.string_at(source, nbytes)

        self.streams[stream].late.append(copy)

    def _pinned(self, memory: np.ndarray, offset: int) -> Pinned:
        assert offset == 0
        self.pinned.append(memory)
        return memory.view(Pinned)

    def _elapsed(self, first: FakeEvent, last: FakeEvent) -> float:
        self.note("elapsed")
        assert last.waited, "CUDA refuses to tell the time between events that are not done"
        return last.at - first.at

    def _module(self) -> FakeModule:
        def get_function(name: str) -> Any:
            self.functions.append(name)
            return SimpleNamespace(ptr=len(self.functions))

        return FakeModule(load=lambda code: self.note("load", code), get_function=get_function)

    def _launch(self, function: int, *numbers: int) -> None:
        (*grid, shared, stream, parameters, extra) = numbers
        assert extra == 0
        self.shared.append(shared)
        self.note(self.functions[function - 1], *grid, stream, parameters)


def compiled(nvrtc: Any, file: str, real: str, capability: tuple[int, int]) -> bytes:
    """What the compiler makes, told in words."""
    return f"{file} in {real} for {capability}".encode()


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    return install(monkeypatch, FakeCupy())


def install(monkeypatch: pytest.MonkeyPatch, cupy: FakeCupy, capability: tuple[int, int] = (8, 6)) -> FakeCupy:
    """Put it in CuPy's place, with a driver of CUDA 12, two GPUs, NVRTC 12.9 and any cuBLAS."""
    nvrtc = SimpleNamespace(version=(12, 9), architectures=[(5, 0), (8, 6)])
    monkeypatch.setattr(present, "driver_version", lambda: 12)
    monkeypatch.setattr(present, "lends_memory", lambda: False)
    monkeypatch.setattr(driver_module, "lends_memory", lambda: present.lends_memory())
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(driver_module, "visible", lambda number: Visible(number, 2, capability, "u", "b", 12 * GIB))
    monkeypatch.setattr(driver_module, "at_hand", lambda release: nvrtc)
    monkeypatch.setattr(modules, "compiled", compiled)
    monkeypatch.setattr(driver_module, "_load_cublas", lambda release: None)

    def cublas(library: None, stream: int) -> SimpleNamespace:
        cupy.note("cublasCreate", stream)
        return SimpleNamespace(
            close=lambda: cupy.note("cublasDestroy"),
            prepare=lambda product: lambda: cupy.note("gemm"),
            version=lambda: "12.9.1",
        )

    monkeypatch.setattr(driver_module, "Cublas", cublas)
    return cupy


# ---- what is asked of CuPy ----


def test_the_gpu_is_opened_with_a_stream_of_its_own(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    assert driver.multiprocessors == 28
    assert fake_cupy.named("cublasCreate") == [(STREAM,)]
    assert driver.memory() == (3 * GIB, 12 * GIB)


def test_a_kernel_is_compiled_once_and_launched_on_the_stream_with_arguments_cast(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    x = DeviceArray(4096, (3,), np.dtype(np.float32), driver)
    work = driver.prepare("relu", "relu_forward", 5, 256, x, None, 3, 0.5, real=np.dtype(np.float32))
    assert not fake_cupy.named("relu_forward")  # prepared and not begun
    driver.run([work, work])
    driver.launch("relu", "relu_backward", 5, 256, x, real=np.dtype(np.float32))
    assert fake_cupy.named("load") == [(b"relu in float32 for (8, 6)",)]
    launched = fake_cupy.named("relu_forward")
    assert len(launched) == 2 and launched[0] == launched[1]
    *sizes, stream, parameters = launched[0]
    assert (sizes, stream) == ([5, 1, 1, 256, 1, 1], STREAM)
    addresses = (ctypes.c_void_p * 4).from_address(parameters)
    kinds = (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_float)
    found = [kind.from_address(address or 0).value for kind, address in zip(kinds, addresses, strict=True)]
    assert found == [4096, 0, 3, 0.5]
    driver.launch("relu", "relu_forward", 5, 256, x, real=np.dtype(np.float64))
    assert fake_cupy.named("load")[1] == (b"relu in float64 for (8, 6)",)


def test_packed_arguments_live_as_long_as_the_work_that_reads_them(
    fake_cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA gets their address alone."""
    gone: list[bool] = []

    def watched(*arguments: Any) -> Packed:
        packed = pack(*arguments)
        finalize(packed, gone.append, True)
        return packed

    monkeypatch.setattr(driver_module, "pack", watched)
    work = CupyDriver().prepare("relu", "relu_forward", 1, 256, 3, real=np.dtype(np.float32))
    gc.collect()
    assert not gone
    del work
    gc.collect()
    assert gone


def test_a_graph_is_captured_on_the_stream_and_launched_there(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver(1)
    real = np.dtype(np.float32)
    works = [driver.prepare("relu", name, 1, 256, 3, real=real) for name in ("relu_forward", "relu_backward")]
    driver.run(works)
    fake_cupy.notes.clear()
    fake_cupy.used.clear()
    graph = driver.capture(works)
    names = ["begin_capture", "relu_forward", "relu_backward", "end_capture"]
    assert [note[0] for note in fake_cupy.notes] == names
    driver.run([graph, graph])
    assert fake_cupy.named("graph") == [(STREAM,), (STREAM,)]
    assert fake_cupy.used == {1}


@pytest.mark.parametrize("broken", ["begin_capture", "relu_forward", "end_capture"])
def test_what_goes_wrong_with_a_graph_names_the_way_out(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    cupy = install(monkeypatch, FakeCupy())
    driver = CupyDriver()
    work = driver.prepare("relu", "relu_forward", 1, 256, 3, real=np.dtype(np.float32))
    cupy.broken[broken] = 900
    with pytest.raises(DeviceError, match="relu_forward" if broken == "relu_forward" else "--no-graph"):
        driver.capture([work])
    assert ("end_capture", STREAM) in cupy.notes or broken == "begin_capture"


def test_fills_go_through_the_stream_and_reads_wait_for_it(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    values = np.arange(5, dtype=np.float32)
    driver.fill(8192, 0xFF, 20)
    assert not fake_cupy.stream.synchronized
    driver.copy_out(4096, values)
    assert fake_cupy.stream.synchronized
    assert fake_cupy.named("memsetAsync") == [(8192, 0xFF, 20, STREAM)]
    assert fake_cupy.named("memcpyAsync") == [(values.ctypes.data, 4096, 20, 2, STREAM)]


def test_every_call_is_made_on_the_drivers_own_device(fake_cupy: FakeCupy) -> None:
    """Whatever the thread's current one is: cudaSetDevice, PyTorch and other threads change it behind our back."""
    driver = CupyDriver(1)
    values, real = np.zeros(3, np.float32), np.dtype(np.float32)
    matrix = Matrix(4096, 1, 1, 1, real, driver)

    def work() -> None:
        memory = driver.allocate(16)
        driver.copy_in(4096, values)
        driver.wait_for(driver.send(8192, values, driver.event()))
        driver.copy_out(4096, values)
        driver.fill(4096, 0, 4)
        driver.launch("relu", "relu_forward", 1, 256, 3, real=real)
        driver.gemm(Product(matrix, matrix, matrix))
        driver.memory()
        driver.elapsed_ms(driver.event(), driver.event())
        driver.synchronize()
        driver.free(memory)

    work()
    fake_cupy._set_device(2)
    fake_cupy.used.clear()
    other = Thread(target=work)
    other.start()
    other.join()
    driver.close()
    asked = {note[0] for note in fake_cupy.notes}
    assert {"malloc", "memcpyAsync", "wait_event", "relu_forward", "gemm", "record", "free", "cublasDestroy"} <= asked
    assert fake_cupy.used == {1}
    assert fake_cupy.current == 2  # and left as it was


def test_no_other_gpu_is_begun_to_be_used(fake_cupy: FakeCupy) -> None:
    """Others may fill it, or have it for themselves alone: then CUDA refuses."""
    driver = CupyDriver(1)
    driver.copy_in(4096, np.zeros(3, np.float32))
    driver.close()
    assert fake_cupy.opened == {1} and fake_cupy.current == 1


def test_a_gpu_is_opened_beside_another_that_stays_current(fake_cupy: FakeCupy) -> None:
    fake_cupy._set_device(0)
    driver = CupyDriver(1)
    assert fake_cupy.current == 0
    fake_cupy.used.clear()
    driver.close()
    assert fake_cupy.used == {1} and fake_cupy.current == 0


def test_kernels_are_unloaded_on_the_device_that_they_are_on(fake_cupy: FakeCupy) -> None:
    """CuPy unloads a module as it goes, wherever the thread is."""
    driver = CupyDriver(1)
    driver.launch("relu", "relu_forward", 1, 256, 3, real=np.dtype(np.float32))
    fake_cupy._set_device(0)
    unloaded: list[int | None] = []
    (module,) = driver._modules._modules.values()
    finalize(module, lambda: unloaded.append(fake_cupy.current))
    del module
    driver.close()
    assert unloaded == [1]


def test_a_gpu_that_fails_before_any_work_is_begun_says_so_in_our_words(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    work = driver.prepare("relu", "relu_forward", 1, 256, 3, real=np.dtype(np.float32))

    def fail() -> int:
        raise CudaError(700)

    fake_cupy.cuda.driver.ctxGetCurrent = fail
    with pytest.raises(DeviceError, match="could not begin its work: cudaError700"):
        driver.run([work])
    with pytest.raises(DeviceError, match="could not allocate 16 bytes: cudaError700"):
        driver.allocate(16)


def test_what_the_caller_changes_after_a_copy_was_asked_for_arrives_as_it_was(fake_cupy: FakeCupy) -> None:
    """CUDA may read host memory late, and pinned memory it does read late: here as late as it can."""
    driver = CupyDriver()
    values = np.arange(PART_BYTES * 5 // 2, dtype=np.uint8)
    expected = values.tobytes()
    driver.copy_in(4096, values)
    labels = np.array([7], np.int32)
    driver.copy_in(2**30, labels)
    values[:] = labels[:] = 0
    driver.synchronize()
    assert b"".join(fake_cupy.arrived[4096 + first] for first in range(0, len(expected), PART_BYTES)) == expected
    assert fake_cupy.arrived[2**30] == np.array([7], np.int32).tobytes()
    assert [len(buffer) for buffer in fake_cupy.pinned] == [PART_BYTES] * 2


def test_a_batch_that_must_be_converted_arrives_part_by_part(fake_cupy: FakeCupy) -> None:
    """The device converts into one small array again and again."""
    device = CudaDevice(CupyDriver())
    values = np.arange(3 * 2**20, dtype=np.int64).reshape(3, -1)
    device.write(DeviceArray(4096, values.shape, np.dtype(np.float32), device.driver), values)
    device.synchronize()
    arrived = b"".join(fake_cupy.arrived[pointer] for pointer in sorted(fake_cupy.arrived))
    assert arrived == values.astype(np.float32).tobytes()


def test_memory_is_given_back_when_the_work_is_done(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    memory = driver.allocate(1000)
    assert (memory.pointer, memory.nbytes) == (4096, 1000)
    driver.free(memory)
    assert fake_cupy.stream.synchronized
    assert fake_cupy.named("free") == [(4096,)]


def test_what_is_sent_goes_through_pinned_memory_and_a_stream_of_its_own(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    sent = [driver.send(4096 * k, np.full((2, 3), k, np.uint8), f"mark {k}") for k in range(1, 5)]
    assert fake_cupy.named("wait_event") == [(STREAM + 1, f"mark {k}") for k in range(1, 5)]
    assert {copy[-1] for copy in fake_cupy.named("memcpyAsync")} == {STREAM + 1}
    order = [note[0] for note in fake_cupy.notes if note[0] in ("wait_event", "memcpyAsync", "record", "wait")]
    first, later = ["wait_event", "memcpyAsync", "record"], ["wait_event", "wait", "memcpyAsync", "record"]
    assert order == first * 2 + later * 2  # a buffer is filled again behind its last copy
    driver.send(0, np.zeros(7, np.uint8), "mark 5")
    assert [len(buffer) for buffer in fake_cupy.pinned] == [6, 6, 7]
    driver.wait_for(sent[3])
    assert fake_cupy.named("wait_event")[-1] == (STREAM, sent[3])
    driver.close()
    assert [fake_cupy.arrived[4096 * k] for k in range(1, 5)] == [bytes([k] * 6) for k in range(1, 5)]


def test_what_goes_beside_has_a_stream_of_its_own_between_two_events(fake_cupy: FakeCupy) -> None:
    driver, real, streams = CupyDriver(), np.dtype(np.float32), []
    with driver.aside():
        works = driver.record(lambda: driver.launch("relu", "relu_forward", 1, 256, 3, real=real))
    works.append(lambda: driver.on_stream(streams.append))
    begin = len(fake_cupy.notes)
    event = driver.beside(works)
    driver.launch("relu", "relu_forward", 1, 256, 3, real=real)
    driver.on_stream(streams.append)
    driver.wait_for(event)
    side = STREAM + 2
    order = [
        (name, numbers[-2] if name == "relu_forward" else numbers[0]) for name, *numbers in fake_cupy.notes[begin:]
    ]
    beside = [("record", STREAM), ("wait_event", side), ("relu_forward", side), ("record", side)]
    assert [note for note in order if note[0] != "load"] == [*beside, ("relu_forward", STREAM), ("wait_event", STREAM)]
    assert fake_cupy.named("wait_event")[-1] == (STREAM, event)
    assert streams == [side, STREAM]


def test_events_on_the_stream_tell_the_time_and_only_the_later_one_is_waited_for(fake_cupy: FakeCupy) -> None:
    driver = CupyDriver()
    events = [driver.event() for _ in range(4)]
    assert not any(event.waited for event in events)
    assert driver.elapsed_ms(events[0], events[3]) == 1.5
    assert [event.waited for event in events] == [False, False, False, True]


def test_work_that_failed_is_told_by_the_event_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCupy(elapsed=700))
    driver = CupyDriver()
    with pytest.raises(DeviceError, match=r"finish its work.*700"):
        driver.elapsed_ms(driver.event(), driver.event())


def test_what_bits_depend_on_is_told(fake_cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings():
        monkeypatch.delenv(name)
    about = {"compute capability": "8.6", "multiprocessors": "28", "CUDA": "12.9", "NVRTC": "12.9", "cuBLAS": "12.9.1"}
    device = CudaDevice(CupyDriver(1), 1)
    assert device.arithmetic() == about and device.name == "cuda:1"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert device.arithmetic() == {**about, "NVIDIA_TF32_OVERRIDE": "1"}


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


def test_where_the_system_would_lend_memory_what_is_free_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and WSL give more than there is; the GPU then computes in memory of the host."""
    cupy = install(monkeypatch, FakeCupy())
    assert CupyDriver().allocate(2**32).nbytes == 2**32  # elsewhere CUDA itself refuses
    monkeypatch.setattr(present, "lends_memory", lambda: True)
    driver = CupyDriver()
    asked = len(cupy.named("malloc"))
    with pytest.raises(OutOfMemory, match=rf"3\.00 of 12\.00 GiB free \({3 * GIB} bytes\) and 4\.00 GiB .*gpunet fit"):
        driver.allocate(2**32)
    assert len(cupy.named("malloc")) == asked
    assert driver.allocate(3 * GIB).nbytes == 3 * GIB


@pytest.mark.parametrize(
    "platform, wsl, lends", [("win32", False, True), ("linux", True, True), ("linux", False, False)]
)
def test_windows_and_linux_within_it_lend_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, wsl: bool, lends: bool
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(present, "WSL", tmp_path if wsl else tmp_path / "nothing")
    assert present.lends_memory() == lends


def test_a_kernel_that_cannot_be_compiled_is_named(fake_cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> bytes:
        raise CompileError("relu.cu(3): error")

    monkeypatch.setattr(modules, "compiled", broken)
    monkeypatch.setattr(modules, "install_command", lambda: 'pip install "gpunet[cuda12]"')
    driver = CupyDriver()
    with pytest.raises(DeviceError, match=r"relu\.cu cannot be compiled .*") as caught:
        driver.launch("relu", "relu_forward", 1, 1, real=np.dtype(np.float32))
    assert "relu.cu(3): error" in str(caught.value)
    assert 'pip install "gpunet[cuda12]"' in str(caught.value)


# ---- where something is missing ----


def test_without_a_driver_or_with_an_old_one_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, message in ((None, "no NVIDIA driver .*--device cpu"), (11, "knows CUDA 11 and 12 is needed")):
        monkeypatch.setattr(present, "driver_version", lambda version=version: version)
        with pytest.raises(DeviceError, match=message):
            CupyDriver()


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let these packages of CuPy be there, and no other."""

    def version(package: str) -> str:
        if package not in packages:
            raise PackageNotFoundError(package)
        return "14.2"

    monkeypatch.setattr(present, "version", version)


@pytest.mark.parametrize("version, extra", [(12, "cuda12"), (13, "cuda13"), (14, "cuda13")])
def test_without_cupy_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch, version: int, extra: str) -> None:
    installed(monkeypatch)
    monkeypatch.setattr(present, "driver_version", lambda: version)
    monkeypatch.setattr(present, "capabilities", lambda: [(8, 6)])
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=rf'CuPy cannot be imported .*pip install "gpunet\[{extra}\]"'):
        CupyDriver()


@pytest.mark.parametrize(
    "status, message",
    [
        (35, r'newer CUDA than the 12 .*pip uninstall --yes cupy-cuda13x && pip install "gpunet\[cuda12\]"'),
        (100, "shows no GPU"),
        (999, "cudaError999"),
    ],
)
def test_a_gpu_that_cannot_be_opened_is_explained(monkeypatch: pytest.MonkeyPatch, status: int, message: str) -> None:
    install(monkeypatch, FakeCupy(getDeviceProperties=status))
    installed(monkeypatch, "cupy-cuda13x")
    monkeypatch.delenv(libcuda.VISIBLE, raising=False)
    with pytest.raises(DeviceError, match=message):
        CupyDriver()


# ---- which CUDA for which GPU ----


def nvrtc_of(release: int) -> Any:
    """As much of it as a check of a GPU asks."""
    return SimpleNamespace(version=(release, 5), architectures={12: [(5, 0), (12, 1)], 13: [(7, 5), (12, 1)]}[release])


def test_how_old_a_gpu_may_be_is_what_nvrtc_supports(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "cupy-cuda13x")
    present.check_gpu((6, 1), nvrtc_of(12))
    present.check_gpu((7, 5), nvrtc_of(13))
    with pytest.raises(DeviceError) as caught:
        present.check_gpu((6, 1), nvrtc_of(13))
    assert str(caught.value) == (
        "the GPU has compute capability 6.1 and CUDA 13 needs 7.5: pip uninstall --yes cupy-cuda13x && "
        'pip install "gpunet[cuda12]", or use the CPU (--device cpu)'
    )
    with pytest.raises(DeviceError, match=r"capability 3\.5 and CUDA 12 needs 5\.0: use the CPU \(--device cpu\)"):
        present.check_gpu((3, 5), nvrtc_of(12))


@pytest.mark.parametrize("release", [12, 13])
def test_a_gpu_is_checked_by_the_nvrtc_that_is_installed(monkeypatch: pytest.MonkeyPatch, release: int) -> None:
    """The library itself says what it has code for."""
    installed(monkeypatch, f"cupy-cuda{release}x")
    present.check_gpu((7, 5))
    if release == 12:
        present.check_gpu((6, 1))
    else:
        with pytest.raises(DeviceError, match=r"6\.1 and CUDA 13 needs 7\.5: .*gpunet\[cuda12\]"):
            present.check_gpu((6, 1))


def test_a_gpu_that_is_too_old_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = install(monkeypatch, FakeCupy(), capability=(3, 7))
    with pytest.raises(DeviceError, match=r"compute capability 3\.7 and CUDA 12 needs 5\.0"):
        CupyDriver()
    assert cupy.notes == []


@pytest.mark.parametrize(
    "driver, capabilities, extra",
    [
        (13, [(6, 1)], "cuda12"),  # a 1080 Ti's driver says CUDA 13, which has nothing for it
        (13, [(8, 6), (7, 0)], "cuda12"),  # serves both
        (13, [(7, 5)], "cuda13"),
        (12, [(9, 0)], "cuda12"),
        (14, [], "cuda13"),
    ],
)
def test_the_install_command_is_for_the_gpus_and_their_driver(
    monkeypatch: pytest.MonkeyPatch, driver: int, capabilities: list[tuple[int, int]], extra: str
) -> None:
    monkeypatch.setattr(present, "driver_version", lambda: driver)
    monkeypatch.setattr(present, "capabilities", lambda: capabilities)
    installed(monkeypatch)
    assert present.install_command() == f'pip install "gpunet[{extra}]"'
    installed(monkeypatch, "cupy-cuda12x", "cupy-cuda13x")
    other = {"cuda12": "cupy-cuda13x", "cuda13": "cupy-cuda12x"}[extra]
    assert present.install_command() == f'pip uninstall --yes {other} && pip install "gpunet[{extra}]"'


def test_the_driver_of_this_machine_is_asked() -> None:
    """Either there is one, whose CUDA release is a small number, or nobody opens a GPU here."""
    version = present.driver_version()
    if version is None:
        with pytest.raises(DeviceError, match="no NVIDIA driver"):
            CupyDriver()
    else:
        assert 9 < version < 100


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose CUDA libraries come with a toolkit, if at all."""
    monkeypatch.setattr(libraries, "packaged_files", lambda library: {})


def install_pathfinder(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], Any]) -> None:
    """Put `load` in the place of what finds CUDA's libraries for CuPy."""
    pathfinder = SimpleNamespace(load_nvidia_dynamic_lib=load)
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(pathfinder=pathfinder))
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", pathfinder)


class DynamicLibNotFoundError(RuntimeError):
    """As the pathfinder's."""


@pytest.mark.usefixtures("no_packages")
@pytest.mark.parametrize("kind", [DynamicLibNotFoundError, OSError, RuntimeError])
def test_a_cublas_that_is_missing_or_broken_has_its_command(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def missing(name: str) -> None:
        raise kind("libcublas.so: file too short")

    install_pathfinder(monkeypatch, missing)
    with pytest.raises(DeviceError, match=r"cuBLAS cannot be loaded \(libcublas.so: file too short\): pip .*install"):
        driver_module._load_cublas(12)


@pytest.mark.usefixtures("no_packages")
def test_a_file_that_is_no_library_has_the_command_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libcublas.so").write_text("no library")
    found = SimpleNamespace(abs_path=str(tmp_path / "libcublas.so"))
    install_pathfinder(monkeypatch, lambda name: found)
    with pytest.raises(DeviceError, match=r"cuBLAS cannot be loaded .*pip .*install"):
        driver_module._load_cublas(12)
    with pytest.raises(DeviceError, match=r"NVRTC cannot be loaded .*pip .*install"):
        driver_module._find_nvrtc(12)


@pytest.mark.usefixtures("no_packages")
def test_a_cupy_without_cudas_pathfinder_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)
    with pytest.raises(DeviceError, match=r"CuPy is too old to find cuBLAS .*pip .*install"):
        driver_module._load_cublas(12)


def test_libraries_are_those_of_the_release_that_cupy_is_made_for() -> None:
    """Packages of several may be there, as they are here."""
    found = {release: driver_module._find_nvrtc(release) for release in (12, 13)}
    assert {release: nvrtc.version[0] for release, nvrtc in found.items()} == {12: 12, 13: 13}
    assert found[12].architectures[0] < (7, 5) == found[13].architectures[0]


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
