"""What is known of each kernel without a GPU: nothing that none may do, nothing worse than the table that is kept.

`make static` prints the table; `python -m tests.static --write` keeps it.
"""

import re
from copy import deepcopy
from pathlib import Path

import pytest

from gpunet.devices.cuda.source import compose, kernel_files
from tests.emulator.builder import find_kernels
from tests.half_calls import HALF_FILES
from tests.static import __main__ as command
from tests.static import sass, table
from tests.static.compiled import reports
from tests.static.sass import Code, Loop, disassemble
from tests.static.table import ALL, GPUS, IN_HALVES, OFTEN, Table, blocks, faults, launch_bounds, regressions, rows_of
from tests.test_compile import FILES, compile_kernels


def test_a_disassembler_is_there() -> None:
    """Where there is none, this test fails and says what to install; those that need it are skipped."""
    assert sass.disassembler()


@pytest.fixture
def disassembler() -> str:
    try:
        return sass.disassembler()
    except FileNotFoundError as error:
        pytest.skip(f"as test_a_disassembler_is_there says, {error}")


@pytest.mark.parametrize(
    "cases", [pytest.param(OFTEN, id="often"), pytest.param(ALL, id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("file", FILES)
def test_no_kernel_is_worse_than_the_table_says(
    disassembler: str, file: str, cases: tuple[tuple[str, str], ...]
) -> None:
    kept = table.read()
    names = dict(rows_of(file, cases))
    now: Table = {"made by": table.made_by(), "kernels": names}
    kernels = {name.split()[0] for name in names}
    assert faults(now) == []
    assert regressions(now, table.only(kept, kernels, cases)) == []


def test_the_table_has_all_kernels_and_no_others() -> None:
    kernels = {kernel for file in kernel_files() for _, kernel in find_kernels(compose(file))}
    kept = table.read()["kernels"]
    assert {name.split()[0] for name in kept} == kernels
    in_halves = {kernel for file in HALF_FILES for _, kernel in find_kernels(compose(file))}
    assert len(kept) == len(kernels) * 2 * len(GPUS) + len(in_halves) * len(IN_HALVES)


# ---- what the table tells is so ----


def test_a_division_in_a_loop_is_seen(disassembler: str) -> None:
    kernel = """extern "C" __global__ void __launch_bounds__(256) k(const float* x, float* y, TYPE n, TYPE d) {
        for (TYPE i = threadIdx.x; i < n; i += 256) y[i] = x[BY];
    }"""
    found = {}
    for type_of_index in ("int", "long long"):
        for by in ("n / (d + i)", "n % (d + i)", "d + i"):
            source = kernel.replace("TYPE", type_of_index).replace("BY", by)
            code = disassemble(compile_kernels(source, 13, "sm_86", "float32")[0])["k"]
            assert code.hot is not None
            found[type_of_index, by] = code.hot.divisions > 0
    assert found == {(index, by): by != "d + i" for index, by in found}


def test_the_hot_loop_is_that_of_packs(disassembler: str) -> None:
    kernel = """struct alignas(16) Four { float v[4]; };
    extern "C" __global__ void __launch_bounds__(256) k(const float* x, float* y, int n, int packs) {
        Four* to = reinterpret_cast<Four*>(y);
        for (int i = threadIdx.x; i < packs; i += 256) to[i] = reinterpret_cast<const Four*>(x)[i];
        for (int i = 4 * packs + threadIdx.x; i < n; i += 256) y[i] = x[i] * x[i] + y[i];
    }"""
    hot = disassemble(compile_kernels(kernel, 13, "sm_86", "float32")[0])["k"].hot
    assert hot is not None and (hot.widest("LDG"), hot.widest("STG"), hot.fused) == (16, 16, 0)


def test_loops_with_barriers_are_looked_into() -> None:
    inner = Loop(2, 5, (("LDG.E", ""), ("STG.E.64", "")))
    outer = Loop(0, 9, (*inner.instructions, ("BAR.SYNC.DEFER_BLOCKING", "")))
    assert inner in outer and outer not in inner
    assert Code((), (outer, inner)).hot == inner
    assert Code((), (outer,)).hot is None


def test_the_main_loop_of_a_product_is_the_innermost_one_with_its_multiply_adds() -> None:
    """Whatever short loops it has within, even such as divide by reals."""
    products, walk = (("FFMA", ""),) * 20, (("IADD3", ""), ("FFMA", ""))
    step, inner = Loop(2, 27, (*products, *walk, ("LDG.E", ""), ("BAR.SYNC", ""))), Loop(22, 24, walk)
    whole = Loop(0, 40, (*step.instructions, ("FFMA", ""), ("STG.E", "")))
    assert Code((), (inner, whole, step)).product == step
    assert Code((), (inner,)).product == inner
    assert Code((), (Loop(0, 2, (("IADD3", ""),) * 3),)).product is None


def test_of_two_ways_through_a_loop_a_warp_has_one_and_the_longer_one_counts() -> None:
    """Half of a block brings one factor, half the other: no warp does both. A short loop within counts once."""
    text = """
.L_x_1:
  /*0000*/ @P0 BRA `(.L_x_2) ;
  /*0010*/ FADD R0, R0, R1 ;
  /*0020*/ BRA `(.L_x_3) ;
.L_x_2:
  /*0030*/ IADD3 R2, R2, R3, RZ ;
  /*0040*/ @P2 BRA `(.L_x_2) ;
.L_x_3:
  /*0050*/ FFMA R4, R5, R6, R4 ;
  /*0060*/ FFMA R7, R5, R6, R7 ;
  /*0070*/ @P1 BRA `(.L_x_1) ;"""
    loop = max(sass._code(text.splitlines()).loops, key=lambda loop: loop.size)
    names = [name for name, _ in loop.way]
    assert loop.size == 8 and names == ["BRA", "FADD", "BRA", "FFMA", "FFMA", "BRA"]
    assert loop.share == 2 / 6
    straight = Loop(0, 1, (("FFMA", ""), ("BRA", "")))
    assert straight.share == 0.5


def test_every_product_is_held_to_a_share_and_what_it_may_lack_is_told_by_name() -> None:
    kernels = {name.split()[0] for name in table.read()["kernels"]}
    kernels = {kernel for kernel in kernels if not table.ON_TENSOR_CORES.match(kernel)}
    products = {kernel for kernel in kernels if table.PRODUCTS.search(kernel)}
    assert {"forward_128x128", "pool_backward_weights_64x64", "convolve", "unpool_sum_tiles"} <= products
    assert all(0 < table.least_fused(kernel) <= table.LEAST_FUSED for kernel in products)
    assert table.least_fused("forward_256x128") == table.LEAST_FUSED and table.least_fused("relu_forward") == 0
    for names in table.REACHED:
        assert any(re.fullmatch(names, kernel) for kernel in products), names


def test_registers_leave_room_for_so_many_blocks() -> None:
    assert [blocks(registers, 256) for registers in (32, 33, 80, 81, 128, 255)] == [8, 6, 3, 2, 2, 1]
    assert blocks(80, 128) == 6


def test_launch_bounds_are_worked_out() -> None:
    kernel = 'extern "C" __global__ void __launch_bounds__({}) {}(float* y) {{}}\n'
    text = "constexpr int BLOCK = 256;\nconstexpr int HALF = BLOCK / 2;\nconstexpr int WIDTH = 16 / sizeof(real);\n"
    text += kernel.format("HALF", "one") + kernel.format("BLOCK, 2", "two") + kernel.format("64", "three")
    assert launch_bounds(text) == {"one": 128, "two": 256, "three": 64}


def test_what_ptxas_says_is_read() -> None:
    log = "ptxas info    : Compiling entry function 'k' for 'sm_86'\n"
    log += "    8 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads\n"
    log += "ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]\n"
    report = reports(log)["k"]
    assert (report.registers, report.stack, report.stores, report.shared, report.spills) == (40, 8, 4, 1024, True)


# ---- faults and regressions ----

GOOD: Table = {
    "made by": {"12": "NVRTC 12.9", "13": "NVRTC 13.5"},
    "kernels": {
        "k float32 sm_86": {"registers": 40, "shared": 0, "blocks": 6, "loop": 40, "load": 16, "store": 16},
        "forward_128x128 float32 sm_86": {"registers": 128, "shared": 0, "blocks": 2, "fused": 0.86},
    },
    "traffic": {"k": {"reads": 1.0, "writes": 1.1, "wavefronts": 1.0}, "augment": {"reads": 1.4}},
}

BAD = {
    "spills": ("k float32 sm_86", {"spills": 8}, "8 bytes leave the registers"),
    "local memory": ("k float32 sm_86", {"local": 2}, "2 accesses to local memory"),
    "a division": ("k float32 sm_86", {"divisions": 1}, "1 divisions of integers in its hot loop"),
    "a lame product": ("forward_128x128 float32 sm_86", {"fused": 0.8}, "80.0% of its main loop multiply and add; 8"),
}

WORSE = {
    "registers": ({"registers": 41, "blocks": 5}, "41 registers, not 40: room for 5 blocks, not 6"),
    "shared memory": ({"shared": 4}, "4 bytes of shared memory, not 0"),
    "length": ({"loop": 45}, "45 instructions in its hot loop, not 40"),
    "width": ({"load": 4}, "loads 4 bytes at once, not 16"),
}


def changed(name: str, **values: float) -> Table:
    made = deepcopy(GOOD)
    made["kernels"][name] |= values
    return made


def test_a_good_table_has_no_faults() -> None:
    assert faults(GOOD) == [] and regressions(GOOD, GOOD) == []
    assert regressions(changed("k float32 sm_86", registers=36, loop=43), GOOD) == []


@pytest.mark.parametrize("case", BAD)
def test_what_no_kernel_may_do_is_told(case: str) -> None:
    name, values, message = BAD[case]
    (fault,) = faults(changed(name, **values))
    assert fault.startswith(f"{name}: ") and message in fault


@pytest.mark.parametrize("kind", table.KINDS)
def test_too_much_traffic_is_told(kind: str) -> None:
    made = deepcopy(GOOD)
    made["traffic"]["k"][kind] = 1.2
    (fault,) = faults(made)
    assert fault.startswith(f"k: {kind} take 1.2 times the least")


@pytest.mark.parametrize("case", WORSE)
def test_what_became_worse_is_told(case: str) -> None:
    values, message = WORSE[case]
    (worse,) = regressions(changed("k float32 sm_86", **values), GOOD)
    assert worse == f"k float32 sm_86: {message}"


def test_lengths_are_those_of_one_compiler() -> None:
    made = changed("k float32 sm_86", loop=90, blocks=3)
    made["made by"] = GOOD["made by"] | {"13": "NVRTC 14.0"}
    assert regressions(made, GOOD) == []


def test_kernels_that_the_table_lacks_are_named() -> None:
    made = deepcopy(GOOD)
    made["kernels"]["new float32 sm_86"] = made["kernels"].pop("k float32 sm_86")
    (missing,) = regressions(made, GOOD)
    assert "lacks ['new float32 sm_86'] and has ['k float32 sm_86'] too much: python -m tests.static --write" in missing


def test_the_command_prints_the_table_and_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "static.json"
    monkeypatch.setattr(command, "PATH", path)
    monkeypatch.setattr(command, "write", lambda made: table.write(made, path))
    monkeypatch.setattr(command, "read", lambda: table.read(path))
    monkeypatch.setattr(command, "measure", lambda: GOOD)
    assert command.main(["--write"]) == 0 and table.read(path) == GOOD
    assert "forward_128x128" in capsys.readouterr().out
    assert command.main([]) == 0
    monkeypatch.setattr(command, "measure", lambda: changed("k float32 sm_86", loop=50))
    assert command.main([]) == 1
    assert "50 instructions in its hot loop, not 40" in capsys.readouterr().out


def test_without_a_disassembler_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr(command, "measure", sass.disassembler)  # the first thing that it needs
    sass.disassembler.cache_clear()
    try:
        assert command.main([]) == 2
    finally:
        sass.disassembler.cache_clear()
    assert capsys.readouterr().err == 'there is no disassembler: pip install -e ".[static]"\n'
