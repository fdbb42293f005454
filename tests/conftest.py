"""What all tests share: the devices and seeded random numbers."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from typer.testing import CliRunner, Result

from gpunet.cli.app import app
from gpunet.devices import open_device
from gpunet.devices.cuda import reserve
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.source import compose, kernel_folder
from gpunet.devices.device import Device
from gpunet.system import cache
from tests.emulator.bench import Bench
from tests.emulator.driver import ORDERS, EmulatorDriver

ON_GPU = pytest.param("cuda", marks=pytest.mark.gpu)


ROOT = Path(__file__).parent.parent

if not os.access(ROOT, os.W_OK):  # Hypothesis would write into the checkout, and warn where it cannot
    set_hypothesis_home_dir(tempfile.mkdtemp(prefix="gpunet-hypothesis-"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: programs still hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


_numbers = count()
"""Of the caches of the tests."""


def make_device(name: str) -> Device:
    """A device by the name that the fixtures use: cpu, cuda, or emulated with the order of its threads."""
    if name.startswith("emulated"):
        return CudaDevice(EmulatorDriver(name.partition("-")[2] or "ascending"))
    return open_device(name)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test: no figure may depend on what was measured on this machine before."""
    path = tmp_path_factory.getbasetemp() / "caches" / str(next(_numbers)) / "gpunet"  # mktemp looks through all others
    path.parent.mkdir(parents=True)
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(path))
    return path


@pytest.fixture(autouse=True)
def no_gpu_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan depends on the GPU of this machine, but for the tests that need one."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr("gpunet.devices.cuda.target.gpu_here", lambda number=0: None)


@pytest.fixture(params=["cpu", "emulated", ON_GPU])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Every device in turn."""
    yield from _opened(request.param)


@pytest.fixture(params=["emulated", ON_GPU])
def cuda_device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """The CUDA device: emulated, and on a GPU."""
    yield from _opened(request.param)


@pytest.fixture(params=[f"emulated-{order}" for order in ORDERS])
def ordered_device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """The emulated CUDA device with each order of its threads."""
    yield from _opened(request.param)


def _opened(name: str) -> Iterator[Device]:
    device = make_device(name)
    yield device
    device.close()


Run = Callable[..., Result]
"""The program with these arguments, run inside this process: its exit code and what it printed."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers; the same ones for a test in every run."""
    name: Any = request.node.originalname or request.node.name
    return np.random.default_rng(list(name.encode()))


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Makes a bench for the kernels of a text; see Bench."""
    return lambda kernels, order="ascending", **options: Bench(tmp_path, kernels, order, **options)


GPU = "Card 5, driver 580.65"
"""A GPU that is not there."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Puts that GPU into this machine, for what is asked of its name alone; calling it puts in another, or none."""

    def put(name: str | None) -> None:
        monkeypatch.setattr(reserve, "hardware", lambda number=0: name)

    put(GPU)
    return put


@pytest.fixture
def composed(tmp_path: Path) -> Callable[..., str]:
    """Makes the whole text of a kernel file beside the project's headers and others."""

    def compose_with(text: str, **headers: str) -> str:
        for name in ("common", "half", "ptx"):
            (tmp_path / f"{name}.cuh").write_bytes((kernel_folder() / f"{name}.cuh").read_bytes())
        for name, header in headers.items():
            (tmp_path / f"{name}.cuh").write_text(header)
        (tmp_path / "try.cu").write_text(text)
        return compose("try", tmp_path)

    return compose_with
