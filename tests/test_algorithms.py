"""Which algorithm a convolution runs: chosen by shape alone, and kept in the op."""

from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet import FC, Conv, Net
from gpunet.cli.app import app
from gpunet.devices import open_device, target
from gpunet.devices.algorithms import AlgorithmName, Pass, algorithm_for, candidates
from gpunet.errors import ConfigError
from gpunet.program.filters import ConvShape, Filters
from tests import oracle
from tests.geometries import COMMON, FILTERS, Geometry
from tests.ops import run_op

PASSES = get_args(Pass)
SHAPE = ConvShape(4, 9, 8, 6, 9, 8, 10, 1, Filters(3, 3, 1, 1, 1, 1, 1, 1))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("pass_", PASSES)
def test_the_choice_is_the_first_candidate_and_what_a_target_says(device, pass_):
    how = dict(dtype="float32", math="exact", scratch_limit_bytes=10**6)
    where = target(device)
    found = algorithm_for(pass_, SHAPE, device=device, capability=where.compute_capability, **how)
    all_of_them = candidates(pass_, SHAPE, device=device, capability=where.compute_capability, **how)
    assert found == all_of_them[0] == where.conv_algorithm(pass_, SHAPE, **how)
    assert len(set(all_of_them)) == len(all_of_them)
    assert "im2col" in {one.name for one in all_of_them}


def test_the_choice_stands_in_the_op():
    plan = gpunet.plan(Net("9x8x6", [Conv(10), Conv(4, F=1), FC(3)]), 4, device="cpu")
    ops = [op for op in plan.program.ops if op.name.startswith("conv_")]
    assert len(ops) == 5 and all(op.attributes["algorithm"] in get_args(AlgorithmName) for op in ops)


def test_x_is_its_own_matrix_where_filters_of_one_position_see_all_of_it():
    one = Filters(1, 1, 1, 1, 0, 0, 1, 1)
    assert ConvShape(2, 5, 6, 3, 5, 6, 4, 1, one).is_product
    assert not ConvShape(2, 5, 6, 3, 5, 5, 4, 1, one).is_product
    assert not ConvShape(2, 5, 6, 3, 5, 6, 4, 1, Filters(1, 1, 2, 1, 0, 0, 1, 1)).is_product
    assert not SHAPE.is_product and (SHAPE.length, SHAPE.positions, SHAPE.maps) == (54, 288, 6)


@pytest.mark.parametrize("name", [name for name in get_args(AlgorithmName) if name != "im2col"])
@pytest.mark.parametrize("geometry", [*COMMON[:4], *FILTERS[-6:]], ids=str)
def test_the_cpu_specifies_every_algorithm_without_scratch_that_is_planned(rng, geometry, name):
    cpu, g = open_device("cpu"), geometry
    x, dy, w = _arrays(rng, g)
    how = {**g.conv_numbers, "algorithm": name, "tile": 1, "slices": 2}
    dx, dw = oracle.conv_backward(x, w, dy, **g.conv_numbers)
    expected = oracle.conv_forward(x, w, np.zeros(len(w)), g.H2, g.W2, **g.conv_numbers)
    none = [None, None]
    oracle.assert_near(run_op(cpu, "conv_forward", (x, w, None), [(dy.shape, "float64")], none, **how)[0], expected)
    oracle.assert_near(run_op(cpu, "conv_backward_input", (dy, w), [(x.shape, "float64")], none, **how)[0], dx)
    oracle.assert_near(run_op(cpu, "conv_backward_weights", (x, dy), [(w.shape, "float64")], none, **how)[0], dw)
    more = run_op(cpu, "conv_backward_weights", (x, dy), [dw], none, **how, accumulate=1)
    oracle.assert_near(more[0], 2 * dw)


def _arrays(rng: np.random.Generator, g: Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, dy and w of float64, three images, two maps and three filters a group."""
    F = (g.F, g.F) if isinstance(g.F, int) else g.F
    x = rng.standard_normal((3, g.H, g.W, 2 * g.groups))
    return x, rng.standard_normal((3, g.H2, g.W2, 3 * g.groups)), rng.standard_normal((3 * g.groups, *F, 2))


WINOGRAD = "INPUT[16x16x32] -> CONV3-64(P=1) -> RELU -> POOL2 -> FC-4"
"""A net whose convolution runs by Winograd's algorithm on the CPU, unless it is not to."""


def used(plan: gpunet.Plan) -> set[object]:
    return {op.attributes["algorithm"] for op in plan.program.ops if "algorithm" in op.attributes}


def test_direct_leaves_winograd_out_wherever_it_is_said(tmp_path) -> None:
    net = gpunet.load(WINOGRAD)
    assert {"winograd4"} <= used(gpunet.plan(net, 16, device="cpu"))
    assert used(gpunet.plan(net, 16, device="cpu", math="direct")) == {"im2col"}
    with gpunet.Model(net, 16, "cpu", math="direct") as model:
        assert used(model.plan) == {"im2col"}
        model.save(tmp_path / "m.safetensors")
    with gpunet.Model.load(tmp_path / "m.safetensors", device="cpu") as again:
        assert used(again.plan) == {"im2col"}
    with gpunet.Model.load(tmp_path / "m.safetensors", device="cpu", math="exact") as again:
        assert "winograd4" in used(again.plan)
    for arguments, left_out in ((["--math", "direct"], True), (["--math", "exact"], False)):
        result = CliRunner().invoke(app, ["plan", WINOGRAD, "--device", "cpu", "--json", *arguments])
        assert result.exit_code == 0, result.output
        assert ("winograd" not in result.output) is left_out
    (tmp_path / "net.toml").write_text('input = "16x16x32"\nnet = "CONV3-64(P=1) -> FC-4"\n[train]\nmath = "Direct"\n')
    result = CliRunner().invoke(app, ["plan", str(tmp_path / "net.toml"), "--device", "cpu", "--json"])
    assert result.exit_code == 0 and "winograd" not in result.output
    with pytest.raises(ConfigError, match="math must be exact, direct, tf32 or 3xtf32; got 'fast'"):
        gpunet.plan(net, device="cpu", math="fast")  # type: ignore[arg-type]
