"""Three products on tensor cores for each, as tests/test_tensor_products.py has one. They take long to build."""

import pytest

from tests.mutations import mutants_of
from tests.test_implicit import GEOMETRIES, Case
from tests.test_tensor_products import (
    PACKS_OF_SINGLE_VALUES,
    TILES,
    WITH_POOLS,
    check_every_tile,
)
from tests.test_tensor_products import test_one_kernel_gives_the_bits_of_the_separate_ones as one_kernel

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("D, K", [(3, 5), (20, 36)])
def test_every_tile_with_packs_and_without_gives_the_same_bits_near_those_of_the_loops(cuda_device, rng, D, K):
    geometry = GEOMETRIES[int(rng.integers(len(GEOMETRIES)))]
    check_every_tile(Case(rng, geometry, N=2, D=D, K=K), cuda_device, "3xtf32", int(rng.integers(1, 4)))


@pytest.mark.parametrize("tile", TILES)
def test_one_kernel_does_it(cuda_device, tile):
    one_kernel(cuda_device, 2, tile, "3xtf32")


MUTANTS = [
    *(
        mutant
        for pass_ in WITH_POOLS
        for mutant in mutants_of(f"thrice_{pass_}.cu", f"thrice_{pass_}", PACKS_OF_SINGLE_VALUES)
    ),
    *mutants_of(
        "mma.cuh",
        "thrice_products",
        ("the rest of a left value is lost", "multiply_add(Tf32(), sums[i][j], a_rest[i], b[j]);", ""),
        ("the rest of a right value is lost", "multiply_add(Tf32(), sums[i][j], a[i], b_rest);", ""),
        ("the rest of all bits", "float_of(bits & 0xFFFFE000u)", "float_of(bits & 0xFFFFF000u)"),
    ),
]
"""Changes of the kernels that the tests above must notice."""
