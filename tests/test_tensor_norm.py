"""Normalization in front of a convolution on tensor cores: the bits of the separate ops, in every type and mode."""

from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet.devices.cuda import tensor_tiles
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.tensor_tiles import LITTLE_SHARED_KIB, OWN_BYTES, RESIDENT, SHARED_KIB, TILES, shared_bytes
from gpunet.net.net import Net
from tests.conftest import make_device
from tests.geometries import Geometry
from tests.mutations import mutants_of
from tests.ptx.driver import PtxDriver
from tests.static import table
from tests.test_conv_norm import PLAIN, Normed, dense, ops_of, residual, trained
from tests.test_implicit import Case
from tests.test_tensor_products import HalfCase, deep

SLOW = pytest.mark.slow
MODES = ["tf32", pytest.param("3xtf32", marks=SLOW)]
HALVES = ["bfloat16", pytest.param("float16", marks=SLOW)]
PASSES = ("forward", "backward_weights")
GEOMETRIES = [
    Geometry(7, 5, F=3, S=1, P=1),
    Geometry(9, 6, F=(1, 2), S=2, P=0),
    Geometry(5, 6, F=3, S=1, P=(2, 0, 1, 3)),
]


def in_halves(rng: np.random.Generator, geometry: Geometry, dtype: str, **sizes: int) -> Normed:
    """Without NaN, whose bits depend on who rounds it."""
    normed = Normed(rng, HalfCase(rng, geometry, dtype, **sizes))
    normed.case.x[0, 0, 0, 0] = 1
    return normed


def check(normed: Normed, device: Any, **how: Any) -> None:
    """By every tile, with packs and without."""
    for pass_ in PASSES:
        for relu in (False, True):
            expected = normed.apart(device, pass_, relu, tile=3, **how)
            for tile in TILES:
                assert normed.together(device, pass_, relu, tile=tile, **how).tobytes() == expected, (pass_, relu, tile)
            if pass_ == "forward":  # one value behind: no pack
                found = normed.together(device, pass_, relu, tile=2, behind={0: 1}, **how)
                assert found.tobytes() == expected


@pytest.mark.parametrize("algorithm", MODES)
@pytest.mark.parametrize("D, K", [(20, 36), (3, 5)])
def test_every_tile_gives_the_bits_of_the_ops_one_after_the_other(cuda_device, rng, algorithm, D, K):
    geometry = GEOMETRIES[int(rng.integers(len(GEOMETRIES)))]
    check(Normed(rng, Case(rng, geometry, N=2, D=D, K=K)), cuda_device, algorithm=algorithm, slices=2)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("D, K", [(40, 24), (3, 5)])
def test_so_it_does_in_halves_rounded_as_where_it_is_stored(cuda_device, rng, dtype, D, K):
    geometry = GEOMETRIES[int(rng.integers(len(GEOMETRIES)))]
    check(in_halves(rng, geometry, dtype, N=2, D=D, K=K), cuda_device, algorithm="halves", slices=2)


@SLOW
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_so_it_does_for_all_geometries_and_groups(cuda_device, rng, geometry, groups):
    for D, K in ((8, 16), (40, 132), (3, 5)):
        for algorithm in ("tf32", "3xtf32"):
            check(Normed(rng, Case(rng, geometry, D=D, K=K, groups=groups)), cuda_device, algorithm=algorithm, slices=1)
        for dtype in ("float16", "bfloat16"):
            normed = in_halves(rng, geometry, dtype, D=D, K=K, groups=groups)
            check(normed, cuda_device, algorithm="halves", slices=3)


def test_tiles_that_are_partly_full_and_maps_of_many_steps(cuda_device, rng):
    normed = Normed(rng, Case(rng, Geometry(9, 8, F=3, S=1, P=1), N=2, D=36, K=132))
    check(normed, cuda_device, algorithm="tf32", slices=1)


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_steps_ahead_change_no_bit(rng, stages):
    normed = Normed(rng, Case(rng, Geometry(6, 5, F=3, S=1, P=1), N=3, D=24, K=20))
    for pass_ in PASSES:
        wanted = normed.apart(make_device("emulated"), pass_, True, algorithm="tf32", tile=3)
        assert normed.together(deep(stages), pass_, True, algorithm="tf32", tile=3).tobytes() == wanted


def test_maps_of_a_wider_volume_and_sums_that_are_added_to(cuda_device, rng):
    normed = Normed(rng, Case(rng, Geometry(6, 5, F=3, S=1, P=1), D=8, K=8))
    how = {"algorithm": "tf32", "tile": 3}
    for places in ({0: (4, 20)}, {4: (8, 24)}, {0: (3, 17)}):
        found = normed.together(cuda_device, "forward", True, within=places, **how)
        assert found.tobytes() == normed.apart(cuda_device, "forward", True, **how), places
    normed.case.x[0, 0, 0, 0] = 0
    found = normed.together(cuda_device, "backward_weights", True, **how)
    both = normed.together(cuda_device, "backward_weights", True, onto=normed.case.w.copy(), **how)
    np.testing.assert_array_equal(both, normed.case.w + found)


@pytest.mark.parametrize(
    "architecture, dtype",
    [
        ("80", "float32"),
        pytest.param("120", "float32", marks=SLOW),
        pytest.param("75", "float16", marks=SLOW),
        pytest.param("80", "bfloat16", marks=SLOW),
    ],
)
def test_the_device_code_gives_the_same_without_races(rng, architecture, dtype):
    device = CudaDevice(PtxDriver("random", architecture=architecture, watches=True))
    geometry = Geometry(7, 5, F=3, S=1, P=1)
    if dtype == "float32":
        check(Normed(rng, Case(rng, geometry, N=2, D=20, K=36)), device, algorithm="tf32", slices=2)
    else:
        check(in_halves(rng, geometry, dtype, N=2, D=40, K=24), device, algorithm="halves", slices=2)


# ---- programs ----


@pytest.mark.parametrize("net", [residual, pytest.param(dense, marks=SLOW)])
@pytest.mark.parametrize(
    "how", [{"math": "tf32"}, {"dtype": "bfloat16"}, pytest.param({"dtype": "float16"}, marks=SLOW)]
)
def test_training_gives_the_same_bits(cuda_device, net, how):
    assert trained(net(), cuda_device, (), **how) == trained(net(), cuda_device, PLAIN, **how)
    found = ops_of(net(), device=cuda_device.name, **how)
    assert found["conv_norm_forward"] and found["conv_norm_backward_weights"]


def test_what_is_normalized_is_nowhere_in_halves_either():
    net: Net = gpunet.load("resnet20")
    plan, apart = (
        gpunet.plan(net, 16, device="cuda", dtype="bfloat16", max_cost=0, without=names) for names in ((), PLAIN)
    )
    gone = {t.name for t in apart.tensors} - {t.name for t in plan.tensors}
    assert len([name for name in gone if name.endswith(".y")]) == 9
    assert plan.arena_bytes < 0.9 * apart.arena_bytes


# ---- shared memory ----


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)])
def test_a_multiprocessor_has_room_for_as_many_blocks_as_it_has_registers_for(capability):
    """Of the steps, of what stands beside them, and of what CUDA takes; fewer than two steps there cannot be."""
    declared: dict[int, int] = {}
    for name, row in table.read()["kernels"].items():
        kernel = name.split()[0]
        if table.ON_TENSOR_CORES.match(kernel) and "float64" not in name:
            threads = next(tile.threads for tile in TILES.values() if tile.name in kernel)
            declared[threads] = max(declared.get(threads, 0), row["shared"])
    of_all = SHARED_KIB.get(capability, LITTLE_SHARED_KIB) * 1024
    for tile in TILES.values():
        assert declared[tile.threads] <= tensor_tiles.PLACES_BYTES[tile.threads]
        for notes in (False, True):
            stages = tensor_tiles.stages(capability, tile, notes=notes)
            needed = shared_bytes(tile, stages, notes=notes) + declared[tile.threads] + OWN_BYTES
            blocks = of_all // needed
            assert blocks >= RESIDENT[tile.threads] or (stages == 2 and blocks >= 2), (tile, notes, stages, blocks)


KERNELS = ("tensor_norm_forward", "tensor_norm_backward_weights", "thrice_norm_forward", "thrice_norm_backward_weights")

MUTANTS = [
    *(
        mutant
        for kernel in KERNELS
        for mutant in mutants_of(
            f"{kernel}.cu", kernel, ("notes of another tile", "WithNotes<Warps64x32>", "Warps64x32")
        )
    ),
    *mutants_of(
        "mma_normalized.cuh",
        "tensor_norm",
        ("padding is normalized", "note |= this->inside[pack] << pack;", "note |= 1 << pack;"),
        ("the maps of the first group", "int note = (map0 + this->order.along()", "int note = (this->order.along()"),
        ("the maps of the turn", "+ further * STEP_OF<Stored>) << 8;", ") << 8;"),
        (
            "one by one, of the first group",
            "norm.table + (map0 + this->order.along());",
            "norm.table + this->order.along();",
        ),
        (
            "the first maps of the tile",
            "const int map = map0 + (n0 + column) % c.maps;",
            "const int map = map0 + column % c.maps;",
        ),
        (
            "the column of the thread",
            "change(places.numbers[0] + where(Share::row()), T::N,",
            "change(places.numbers[0], T::N,",
        ),
        (
            "all that is left is there",
            "note |= inside << pack;\n            } else",
            "note |= 1 << pack;\n            } else",
        ),
    ),
]
"""Changes of the kernels that the tests above must notice."""
