"""The units of later nets: values and slopes against float64 formulas, edges, far out, in place, nets, and PyTorch."""

from math import erfc, exp, expm1, log1p, pi, sqrt, tanh

import numpy as np
import pytest

from gpunet import (
    ELU,
    FC,
    GELU,
    Clip,
    ConfigError,
    Conv,
    HardSigmoid,
    HardSwish,
    Net,
    ReLU6,
    SiLU,
    Softplus,
    load,
    plan,
)
from gpunet.devices.cpu.normal import normal_below
from tests.layer_checks import check_net, check_slopes, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op


def sigmoid(x):
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def gate(x):
    return min(max(0.0, x + 3), 6) / 6


def normal(x):
    return erfc(-x / sqrt(2)) / 2


def bend(x):
    return tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))


def gelu_by_tanh_slope(x):
    steepness = sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
    return (1 + bend(x)) / 2 + x / 2 * (1 - bend(x) ** 2) * steepness


# By name: the op, its numbers, its value at x, its slope at x, and whether backward looks at x.
UNITS = {
    "clip": ("clip", {"low": -0.5, "high": 2.0}, lambda x: min(max(-0.5, x), 2), lambda x: float(-0.5 < x < 2), False),
    "hard_sigmoid": ("hard_sigmoid", {}, gate, lambda x: float(-3 < x < 3) / 6, False),
    "elu": (
        "elu",
        {"alpha": 0.5},
        lambda x: x if x > 0 else 0.5 * expm1(x),
        lambda x: 1.0 if x > 0 else exp(x) / 2,
        False,
    ),
    "softplus": ("softplus", {}, lambda x: max(x, 0) + log1p(exp(-abs(x))), sigmoid, False),
    "silu": ("silu", {}, lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))), True),
    "hard_swish": ("hard_swish", {}, lambda x: x * gate(x), lambda x: (x > -3) * min(x / 3 + 0.5, 1 + (x < 3)), True),
    "gelu": (
        "gelu",
        {"by_tanh": 0},
        lambda x: x * normal(x),
        lambda x: normal(x) + x * exp(-x * x / 2) / sqrt(2 * pi),
        True,
    ),
    "gelu_by_tanh": ("gelu", {"by_tanh": 1}, lambda x: x * (1 + bend(x)) / 2, gelu_by_tanh_slope, True),
}


def spread(rng, dtype, shape=(3, 5, 7, 4)):
    """Numbers of every size, NaN first, none where a slope jumps."""
    x = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 2, shape)).astype(dtype)
    x.reshape(-1)[:8] = [np.nan, 1e4, -80, 30, -30, 1e-6, -1e-6, -2.9]
    return x


def each(rule, x):
    values = [v if v != v else rule(v) for v in x.reshape(-1).astype(np.float64).tolist()]
    return np.reshape(values, x.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("in_place", [None, {0: 0}, {0: 1}])
@pytest.mark.parametrize("name", UNITS)
def test_values_and_slopes_are_those_of_the_definition(device, rng, name, in_place, dtype):
    op, numbers, rule, slope, sees_x = UNITS[name]
    x, eps = spread(rng, dtype), np.finfo(dtype).eps
    places = None if in_place is None else {0: 0}
    (y,) = run_op(device, f"{op}_forward", [x], [(x.shape, dtype)], in_place=places, **numbers)
    np.testing.assert_allclose(y, each(rule, x), rtol=32 * eps, atol=8 * eps)
    assert np.isnan(y).sum() == 1
    dy = rng.standard_normal(x.shape).astype(dtype)
    seen = x if sees_x else y
    (dx,) = run_op(device, f"{op}_backward", [dy, seen], [(x.shape, dtype)], in_place=in_place, **numbers)
    np.testing.assert_allclose(dx.reshape(-1)[1:], (dy * each(slope, x)).reshape(-1)[1:], rtol=64 * eps, atol=32 * eps)


@pytest.mark.parametrize("unit", ["softplus", "elu", "hard_sigmoid", "clip"])
def test_small_results_keep_their_digits(device, unit):
    x = np.array([-20, -12, 1e-7], np.float32).reshape(1, 1, 1, 3)
    numbers = {"elu": {"alpha": 1.0}, "clip": {"low": 0.0, "high": 6.0}}.get(unit, {})
    rules = {"softplus": UNITS["softplus"][2], "elu": lambda x: x if x > 0 else expm1(x), "hard_sigmoid": gate}
    (y,) = run_op(device, f"{unit}_forward", [x], [(x.shape, np.float32)], **numbers)
    np.testing.assert_allclose(y, each(rules.get(unit, lambda x: min(max(0, x), 6)), x), rtol=3e-7)


@pytest.mark.parametrize(("unit", "ends", "numbers"), [
    ("clip", (0, 6), {"low": 0.0, "high": 6.0}),
    ("hard_sigmoid", (0, 1), {}),
])  # fmt: skip
def test_at_its_ends_a_ceiling_has_no_slope_and_infinite_gradients_are_zero_there(device, unit, ends, numbers):
    y = np.array([*ends, 0.5, np.nan]).reshape(1, 1, 1, 4)
    dy = np.array([np.inf, -np.inf, 6, 6]).reshape(y.shape)
    (dx,) = run_op(device, f"{unit}_backward", [dy, y], [(y.shape, y.dtype)], **numbers)
    np.testing.assert_array_equal(dx.reshape(-1)[:2], [0, 0])
    assert dx.reshape(-1)[2] == dx.reshape(-1)[3] == (6 if unit == "clip" else 1)


@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 4e-6), (np.float64, 2e-14)])
def test_the_normal_distribution_keeps_the_digits_of_small_probabilities(dtype, digits):
    x = np.linspace(-6, 6, 1001).astype(dtype)
    np.testing.assert_allclose(normal_below(x), each(normal, x), rtol=digits)
    far = normal_below(np.array([-1e5, 1e5, np.nan], dtype))
    np.testing.assert_allclose(far, [0, 1, np.nan], rtol=0, atol=1e-290)


def test_nets_with_them_learn(device):
    gated = [
        Conv(4),
        ReLU6(),
        Conv(3),
        HardSwish(),
        FC(6),
        GELU(),
        FC(5),
        ELU(0.5),
        FC(5),
        HardSigmoid(),
        FC(5),
        Clip(-1, 1),
    ]
    check_slopes(Net("5x4x2", [*gated, FC(4)]), device)
    check_net(Net("5x4x2", [Conv(3), SiLU(), FC(4), Softplus(), FC(3)]), device)


def test_what_gates_itself_runs_in_place_where_nothing_learns():
    net = Net("8x6x2", [Conv(4), SiLU(), FC(3)])
    assert plan(net, 2, mode="infer", device="cpu").program.takes_over == {"silu1.y": "conv1.y"}


def test_the_words(tmp_path):
    text = """INPUT[4x3x2] -> CLIP(low=-1, high=2) -> RELU6 -> HARDSIGMOID -> ELU(alpha=0.5) -> SOFTPLUS -> SILU
        -> HARDSWISH -> GELU -> GELU(approximate=tanh)"""
    units = [Clip(-1, 2), ReLU6(), HardSigmoid(), ELU(0.5), Softplus(), SiLU(), HardSwish(), GELU(), GELU("tanh")]
    check_words(text, Net("4x3x2", units), tmp_path)


@pytest.mark.parametrize(("said", "why"), [
    ("CLIP(low=6, high=6)", "low must be below high; got low=6 and high=6"),
    ("ELU(alpha=0)", "alpha must be a number above 0; got 0"),
    ("GELU(approximate=erf)", "approximate must be one of none, tanh; got 'erf'"),
    ("relu6", "layers are written in capitals: RELU6"),
    ("HARD_SWISH", "write HARDSWISH"),
    ("Swish", "write SILU"),
    ("HARDTANH", r"write CLIP\(low=-1, high=1\)"),
    ("MISH", "that function is not there"),
    ("RELU7", "RELU takes no number behind it"),
])  # fmt: skip
def test_what_they_cannot_be_is_said(said, why):
    with pytest.raises(ConfigError, match=why):
        load(f"INPUT[4x3x2] -> {said}")


# Random calls of each op, for the tests that go through all ops.


def _forward(draw: Draw, name: str) -> Call:
    op, numbers, *_ = UNITS[name]
    x = 3 * draw.activations()
    return Call(f"{op}_forward", (x,), ((x.shape, draw.dtype),), attributes=numbers, aliases=({0: 0},))


def _backward(draw: Draw, name: str) -> Call:
    op, numbers, rule, _, sees_x = UNITS[name]
    x = draw.activations()
    return draw.slope(f"{op}_backward", x if sees_x else each(rule, x), **numbers)


def call_clip_forward(draw: Draw) -> Call:
    return _forward(draw, "clip")


def call_clip_backward(draw: Draw) -> Call:
    return _backward(draw, "clip")


def call_hard_sigmoid_forward(draw: Draw) -> Call:
    return _forward(draw, "hard_sigmoid")


def call_hard_sigmoid_backward(draw: Draw) -> Call:
    return _backward(draw, "hard_sigmoid")


def call_elu_forward(draw: Draw) -> Call:
    return _forward(draw, "elu")


def call_elu_backward(draw: Draw) -> Call:
    return _backward(draw, "elu")


def call_softplus_forward(draw: Draw) -> Call:
    return _forward(draw, "softplus")


def call_softplus_backward(draw: Draw) -> Call:
    return _backward(draw, "softplus")


def call_silu_forward(draw: Draw) -> Call:
    return _forward(draw, "silu")


def call_silu_backward(draw: Draw) -> Call:
    return _backward(draw, "silu")


def call_hard_swish_forward(draw: Draw) -> Call:
    return _forward(draw, "hard_swish")


def call_hard_swish_backward(draw: Draw) -> Call:
    return _backward(draw, "hard_swish")


def call_gelu_forward(draw: Draw) -> Call:
    return _forward(draw, ("gelu", "gelu_by_tanh")[draw.size(0, 1)])


def call_gelu_backward(draw: Draw) -> Call:
    return _backward(draw, ("gelu", "gelu_by_tanh")[draw.size(0, 1)])


MUTANTS = [
    *mutants_of(
        "units.cu",
        "clip_forward",
        ("no ceiling", "value > high ? high : value", "value"),
        ("no floor", "value < low ? low : ", ""),
        ("the last value is left out", "elementwise(count, aligned(x, y)", "elementwise(count - 1, aligned(x, y)"),
        ("packs at any address in", "aligned(x, y)", "aligned(y)"),
        ("packs at any address out", "aligned(x, y)", "aligned(x)"),
    ),
    *mutants_of(
        "units.cu",
        "clip_backward",
        ("a slope at the floor", "output <= low ||", "output < low ||"),
        ("a slope at the ceiling", "output >= high ?", "output > high ?"),
        ("packs at any address in", "aligned(dy, seen, dx)", "aligned(seen, dx)"),
        ("packs at any address of what is seen", "aligned(dy, seen, dx)", "aligned(dy, dx)"),
        ("packs at any address out", "aligned(dy, seen, dx)", "aligned(dy, seen)"),
    ),
    *mutants_of("units.cu", "hard_sigmoid_forward", ("half of it", "real(6)) / real(6)", "real(6)) / real(3)")),
    *mutants_of("units.cu", "hard_sigmoid_backward", ("too steep", "above / real(6)", "above")),
    *mutants_of("units.cu", "elu_forward", ("no alpha", "alpha * expm1(value)", "expm1(value)")),
    *mutants_of("units.cu", "elu_backward", ("no alpha", "above * (output + alpha)", "above * (output + real(1))")),
    *mutants_of(
        "units.cu",
        "softplus_forward",
        ("only left of 0", "(value < real(0) ? real(0) : value) + log1p", "log1p"),
        ("digits are lost", "log1p(exp(-fabs(value)))", "log(real(1) + exp(-fabs(value)))"),
    ),
    *mutants_of("units.cu", "softplus_backward", ("a sign", "above * -expm1(-output)", "above * expm1(-output)")),
    *mutants_of(
        "units.cu",
        "silu_forward",
        ("no gate", "value * sigmoid_of(value); }", "value; }"),
        ("overflows", "exp(-fabs(value));\n    return (value", "exp(-value);\n    return (value"),
    ),
    *mutants_of(
        "units.cu", "silu_backward", ("the wrong side", "value * sigmoid_of(-value)", "value * sigmoid_of(value)")
    ),
    *mutants_of("units.cu", "hard_swish_forward", ("no gate", "value * hard_gate(value)", "value")),
    *mutants_of(
        "units.cu",
        "hard_swish_backward",
        ("steep far right", "value >= real(3) ? real(1) : ", ""),
        ("half as steep", "value / real(3) + real(0.5)", "value / real(6) + real(0.5)"),
    ),
    *mutants_of("units.cu", "gelu_forward", ("always by tanh", "value * (by_tanh ?", "value * (true ?")),
    *mutants_of(
        "units.cu",
        "gelu_backward",
        ("the density is left out", "normal_below(value) + value * density", "normal_below(value)"),
        ("the cube is left out", "real(3) * CUBIC", "real(2) * CUBIC"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
