"""The table of efficiencies stands by what is known of the compiled kernels: each figure is theirs, or of their age."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gpunet.planning import efficiency
from gpunet.planning.efficiency import Share, share
from tests.static import table

TABLE: dict[str, dict[str, Any]] = tomllib.loads(
    Path(efficiency.__file__).with_name("efficiency.toml").read_text(encoding="utf-8")
)["kernels"]

STATIC = table.read()["kernels"]

NOBODYS = {"other", "product"}
"""What is no kernel of this project."""

PRODUCTS_IN_ONE = {"thrice_tiles": 3, "norm_thrice_tiles": 3}
"""Products on tensor cores that are made for one."""

HALVES = {"half_tiles", "norm_half_tiles"}
"""What the static table, which is of float32 and float64, does not show: see tests/test_tensor_code.py."""

NEAR = 0.1
"""By how much, as a fraction, a figure may be off."""


def near(figure: float, known: float) -> bool:
    return abs(figure - known) <= NEAR * known


def row_of(name: str) -> dict[str, float]:
    row: dict[str, float] = STATIC[f"{TABLE[name].get('of', name)} float32 sm_86"]
    return row


def astray(name: str, numbers: dict[str, Any], row: dict[str, float]) -> str:
    """What no longer is as the table of efficiencies has it, in words; "" where all is."""
    if "issued" in numbers:
        known, figure, what = 1 / row["fused"], numbers["issued"], "instructions for a product"
        known *= PRODUCTS_IN_ONE.get(name, 1)
    elif "loop" in numbers:
        known, figure, what = row["loop"], numbers["loop"], "instructions in its hot loop"
    elif "fused" in numbers:
        known, figure, what = row["fused"], numbers["fused"], "of its main loop multiply and add"
    elif numbers["slots"] == 0:
        known, figure, what = row["fused"], numbers["peak"], "of its main loop multiply and add"
    elif "trips" in numbers:
        instructions = row["loop"] + (numbers["trips"] - 1) * row["trip"]
        known, figure, what = instructions * 16 / numbers["moved"], numbers["slots"], "slots"
    else:
        known, figure, what = row["slots"], numbers["slots"], "slots"
    return (
        "" if near(figure, known) else f"{name}: {known:g} {what}, not {figure:g}: see gpunet/planning/efficiency.toml"
    )


@pytest.mark.parametrize("name", [name for name in TABLE if name not in NOBODYS | HALVES])
def test_a_figure_is_that_of_the_compiled_kernel(name: str) -> None:
    assert astray(name, TABLE[name], row_of(name)) == ""


@pytest.mark.parametrize("name", ["relu_forward", "tiles", "max_pool_forward", "lrn_forward", "winograd_product"])
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_kernel_that_moves_away_from_its_figure_is_told(name: str, factor: float) -> None:
    moved = {what: factor * figure for what, figure in row_of(name).items()}
    assert astray(name, TABLE[name], moved).startswith(f"{name}: ")


def test_what_ties_a_figure_is_no_part_of_it() -> None:
    assert share("max_pool_forward") == Share(0.93, TABLE["max_pool_forward"]["slots"])
    assert share("a kernel that nobody knows") == share("other") == Share(0.93, 15, 0.5)
