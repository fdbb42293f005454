"""Every kernel compiles for every GPU generation that we support, without a GPU, and keeps its values in registers."""

import re
import sys
from typing import Any

import pytest

from gpunet.devices.cuda.driver import REALS, compile_options
from gpunet.devices.cuda.source import compose, kernel_files, kernel_folder
from tests.emulator.builder import find_kernels

CAPABILITIES = ("75", "80", "86", "89", "90", "100", "120")
ADDED_BY_CUPY = ("-ftz=true", "--device-as-default-execution-space")
REPORT = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads",
    re.DOTALL,
)
"""What ptxas says of each kernel."""


def find_nvrtc() -> Any:
    """CuPy's NVRTC, which needs no GPU."""
    try:
        from cupy.cuda import nvrtc
    except ImportError as error:
        pytest.fail(f'the kernels cannot be compiled ({error}): pip install -e ".[nvrtc]", or cuda12 or cuda13')
    return nvrtc


def compile_kernels(source: str, capability: str, real: str) -> tuple[bytes, str]:
    """The machine code of a text and the log of NVRTC and ptxas; fails with that log."""
    nvrtc = find_nvrtc()
    program = nvrtc.createProgram(source, "kernels.cu", (), ())
    options = (*compile_options(real), *ADDED_BY_CUPY, f"-arch=sm_{capability}", "--ptxas-options=-v")
    try:
        nvrtc.compileProgram(program, options)
        return nvrtc.getCUBIN(program), nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("file", kernel_files())
def test_kernels_compile_without_warnings_and_spills(file: str, capability: str, real: str) -> None:
    source = compose(file)
    code, log = compile_kernels(source, capability, real)
    assert code.startswith(b"\x7fELF")
    assert "warning" not in log, log
    reports = {match["name"]: match for match in REPORT.finditer(log)}
    assert sorted(reports) == sorted(name for _, name in find_kernels(source))  # by these names they are launched
    for report in reports.values():
        assert (report["stack"], report["stores"], report["loads"]) == ("0", "0", "0"), report[0]


def test_values_that_leave_the_registers_are_seen() -> None:
    """64 sums picked by an index that only the run knows cannot stay in registers."""
    kernel = """extern "C" __global__ void __launch_bounds__(256) pick(const REAL* x, REAL* y, int k) {
        REAL held[64] = {};
        for (int i = 0; i < 999; ++i) held[(k * i) % 64] += x[i];
        y[threadIdx.x] = held[threadIdx.x % 64];
    }"""
    _, log = compile_kernels(kernel, "80", "float32")
    (report,) = REPORT.finditer(log)
    assert report["name"] == "pick"
    assert int(report["stack"]) >= 256


@pytest.mark.parametrize("file", kernel_files())
def test_messages_point_into_the_files(file: str) -> None:
    source = compose(file) + "\nnot_a_type mistake;\n"
    line = len((kernel_folder() / f"{file}.cu").read_text(encoding="utf-8").splitlines())
    with pytest.raises(pytest.fail.Exception, match=rf"{file}\.cu\({line + 3}\): error"):
        compile_kernels(source, "80", "float32")


def test_without_cupy_the_command_that_brings_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    with pytest.raises(pytest.fail.Exception, match=r'pip install -e "\.\[nvrtc\]"'):
        compile_kernels("", "80", "float32")


def test_two_files_never_share_the_name_of_a_kernel() -> None:
    names = [name for file in kernel_files() for _, name in find_kernels(compose(file))]
    assert sorted(names) == sorted(set(names))
