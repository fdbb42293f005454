"""Every kernel compiles for every GPU generation that we support, without a GPU, and keeps its values in registers.

By the very function and options that the driver compiles with, and by both CUDA releases, as the older one alone knows
GPUs before compute capability 7.5.
"""

import re
from typing import Any

import pytest

from gpunet.devices.cuda.libraries import packaged_files
from gpunet.devices.cuda.nvrtc import REALS, CompileError
from gpunet.devices.cuda.source import compose, kernel_files, kernel_folder
from tests.emulator.builder import find_kernels
from tests.half_calls import HALF_FILES
from tests.ptx.builder import EXTRAS, missing, nvrtc_of, ptx_of
from tests.static.compiled import compile_text, reports

ARCHITECTURES = {12: ("sm_52", "sm_61", "sm_70", "sm_90"), 13: ("sm_75", "sm_86", "sm_90", "sm_120")}
"""One of each generation of registers and instructions, and the newest old enough for both releases with both."""

OFTEN = {
    "float32": ((12, "sm_52"), (13, "sm_86")),
    "float64": ((13, "sm_86"),),
}
"""What is always compiled for, by type: the oldest, and what tests/test_static.py looks at, once for both."""


def _case(release: int, architecture: str, real: str) -> Any:
    often = (release, architecture) in OFTEN[real]
    return pytest.param(release, architecture, real, marks=() if often else pytest.mark.slow)


CASES = [
    _case(release, architecture, real)
    for release, found in ARCHITECTURES.items()
    for architecture in found
    for real in REALS
]
"""Each architecture with both types, some of them when there is time (`make test-all`)."""

HALF_CASES = [
    *((13, architecture, "float16") for architecture in ("sm_75", "sm_86", "sm_90", "sm_120")),
    *((13, architecture, "bfloat16") for architecture in ("sm_86", "sm_90", "sm_120")),
    *((12, "sm_90", half) for half in ("float16", "bfloat16")),
]
"""The same for half types, from the architectures on that have them."""

OLD = re.compile(r"nvrtc: warning: Architectures prior to .* are deprecated.*")
"""What CUDA 12 says of GPUs that CUDA 13 does not know."""

FLUSHING = re.compile(r"^\s*(?:@!?%p\d+\s+)?((?!ex2\.approx|rcp\.approx)[a-z0-9_.]*\.ftz[a-z0-9_.]*)", re.MULTILINE)
"""Instructions that take float32 values below 1.2e-38 for 0, but those in NVIDIA's exp and tanh, which mend that."""


@pytest.mark.parametrize("release", EXTRAS)
def test_nvrtc_is_there(release: int) -> None:
    assert release in packaged_files("NVRTC"), missing(release)


def compile_kernels(source: str, release: int, architecture: str, real: str) -> tuple[bytes, str]:
    """The code of a text and the log of NVRTC and ptxas; fails with that log."""
    try:
        return compile_text(nvrtc_of(release), source, real, architecture)
    except CompileError as error:
        pytest.fail(str(error))


ON_TENSOR_CORES = ("tensor_", "thrice_")
"""How files begin whose kernels take long to compile: by default for one architecture, in tests/test_tensor_code.py."""


FILES = [
    pytest.param(file, marks=pytest.mark.slow if file.startswith(ON_TENSOR_CORES) else ()) for file in kernel_files()
]


@pytest.mark.parametrize("release, architecture, real", CASES)
@pytest.mark.parametrize("file", FILES)
def test_kernels_compile_without_warnings_and_spills(file: str, release: int, architecture: str, real: str) -> None:
    source = compose(file)
    code, log = compile_kernels(source, release, architecture, real)
    assert code.startswith(b"\x7fELF")
    assert "warning" not in OLD.sub("", log), log
    found = reports(log)
    assert sorted(found) == sorted(name for _, name in find_kernels(source))  # by these names they are launched
    if real != "float64" or not file.startswith("winograd2"):  # no plan has it in float64
        assert {name: report for name, report in found.items() if report.spills} == {}


@pytest.mark.slow
@pytest.mark.parametrize("release, architecture, half", HALF_CASES)
@pytest.mark.parametrize("file", HALF_FILES)
def test_so_do_those_of_halves(file: str, release: int, architecture: str, half: str) -> None:
    test_kernels_compile_without_warnings_and_spills(file, release, architecture, half)


def test_values_that_leave_the_registers_are_seen() -> None:
    """64 sums picked by an index that only the run knows cannot stay in registers."""
    kernel = """extern "C" __global__ void __launch_bounds__(256) pick(const REAL* x, REAL* y, int k) {
        REAL held[64] = {};
        for (int i = 0; i < 999; ++i) held[(k * i) % 64] += x[i];
        y[threadIdx.x] = held[threadIdx.x % 64];
    }"""
    _, log = compile_kernels(kernel, 13, "sm_80", "float32")
    report = reports(log)["pick"]
    assert report.spills and report.stack >= 256


@pytest.mark.parametrize("file", FILES)
def test_the_smallest_float32_values_are_no_zeros(file: str) -> None:
    """ReLU, switches of max-pooling and slopes tell them from 0, as on the CPU."""
    assert FLUSHING.findall(ptx_of(compose(file), file, "float32", "75", 13)) == []


def test_a_flush_of_small_values_would_be_seen() -> None:
    ptx = ptx_of(compose("relu"), "relu", "float32", "75", 13, ("-ftz=true",))
    assert {"setp.gt.ftz.f32", "setp.le.ftz.f32"} & set(FLUSHING.findall(ptx))


HEADERS = ("relu", "softmax", "pool", "implicit_pool_forward")
"""Files with no header of their own, with one, and with some that ask for others."""


@pytest.mark.parametrize(
    "file", [pytest.param(file, marks=() if file in HEADERS else pytest.mark.slow) for file in kernel_files()]
)
def test_messages_point_into_the_files(file: str) -> None:
    source = compose(file) + "\nnot_a_type mistake;\n"
    line = len((kernel_folder() / f"{file}.cu").read_text(encoding="utf-8").splitlines())
    with pytest.raises(pytest.fail.Exception, match=rf"{file}\.cu\({line + 3}\): error"):
        compile_kernels(source, 13, "sm_80", "float32")


@pytest.mark.parametrize("release, extra", EXTRAS.items())
def test_without_nvrtc_the_command_that_brings_it_is_said(
    monkeypatch: pytest.MonkeyPatch, release: int, extra: str
) -> None:
    monkeypatch.setattr("tests.ptx.builder.packaged_files", lambda library: {})
    with pytest.raises(pytest.skip.Exception, match=rf'pip install -e "\.\[{extra}\]"'):
        compile_kernels("", release, "sm_75", "float32")
    monkeypatch.setattr("tests.test_compile.packaged_files", lambda library: {})
    with pytest.raises(AssertionError, match=rf'pip install -e "\.\[{extra}\]"'):
        test_nvrtc_is_there(release)


def test_two_files_never_share_the_name_of_a_kernel() -> None:
    names = [name for file in kernel_files() for _, name in find_kernels(compose(file))]
    assert sorted(names) == sorted(set(names))
