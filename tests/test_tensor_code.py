"""What is known of the kernels on tensor cores without a GPU: registers, spills, what their main loops are made of."""

import pytest

from gpunet.devices.cuda.source import compose, kernel_files
from gpunet.planning.efficiency import share
from tests.emulator.builder import find_kernels
from tests.ptx.builder import nvrtc_of
from tests.static.compiled import compile_text, reports
from tests.static.sass import disassemble
from tests.static.table import LEAST_PER_READ

FILES = [file for file in kernel_files() if file.startswith(("tensor_", "thrice_"))]

CASES = [
    ("float32", "86"),
    ("float16", "75"),
    ("float16", "86"),
    ("float32", "90"),
    ("bfloat16", "90"),
    ("bfloat16", "120"),
]

NEAR = 0.1
"""By how much, as a fraction, a figure of the table of efficiencies may be off."""


def cases() -> list[object]:
    """Files, types and architectures; float32 alone is multiplied three times. One by default, the rest take long."""
    found: list[object] = []
    for file in FILES:
        for real, architecture in CASES:
            if real == "float32" or not file.startswith("thrice"):
                often = (file, real, architecture) == ("tensor_forward", "bfloat16", "90")
                found.append(pytest.param(file, real, architecture, marks=() if often else pytest.mark.slow))
    return found


@pytest.mark.parametrize("file, real, architecture", cases())
def test_nothing_leaves_the_registers_and_reads_serve_many_products(file: str, real: str, architecture: str) -> None:
    source = compose(file)
    code, log = compile_text(nvrtc_of(13), source, real, f"sm_{architecture}")
    assert "warning" not in log
    found = reports(log)
    assert sorted(found) == sorted(name for _, name in find_kernels(source))
    assert {name: report for name, report in found.items() if report.spills} == {}
    for name, kernel in disassemble(code).items():
        assert kernel.product is not None and kernel.local == 0
        assert kernel.product.per_read == 0 or kernel.product.per_read >= LEAST_PER_READ, name


@pytest.mark.parametrize("file", FILES)
def test_where_there_are_no_tensor_cores_the_kernels_are_empty(file: str) -> None:
    _, log = compile_text(nvrtc_of(13), compose(file), "float32", "sm_75")
    assert max(report.registers for report in reports(log).values()) <= 8


@pytest.mark.parametrize("name, file", [("half_tiles", "tensor_forward"), ("norm_half_tiles", "tensor_norm_forward")])
def test_what_a_warp_issues_for_halves_is_as_the_table_of_efficiencies_says(name: str, file: str) -> None:
    code, _ = compile_text(nvrtc_of(13), compose(file), "bfloat16", "sm_90")
    product = disassemble(code)[f"{file}_128x128"].product
    assert product is not None
    assert abs(share(name).issued * product.share - 1) <= NEAR
