"""PReLU, and scales and shifts by map: float64 sums, PyTorch, rounds, nets, words, and what is refused."""

import numpy as np
import pytest
import torch

from gpunet import FC, BatchNorm, ConfigError, Conv, Learning, Model, Net, PReLU, Scale, load
from tests import oracle
from tests.layer_checks import batch_for, check_net, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPES = pytest.mark.parametrize("shape", [(3, 5, 7, 4), (2, 3, 1, 37), (1, 1, 1, 1)])


def sums(device, op, dy, x, D, block_rows=4, onto=None):
    """A gradient of numbers for maps, or its sum with `onto`."""
    parts = -(-dy.size // dy.shape[-1] // block_rows) + 2
    output, more = (((D,), dy.dtype), {}) if onto is None else (onto, {"accumulate": 1})
    scratch = [((parts, dy.shape[-1]), dy.dtype)]
    (found,) = run_op(device, op, [dy, x], [output], scratch, block_rows=block_rows, **more)
    return found


@DTYPES
@SHAPES
@pytest.mark.parametrize("shared", [False, True])
def test_slopes_below_zero_and_their_gradients_are_those_of_the_definition(device, rng, shape, shared, dtype):
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    a = rng.standard_normal(1 if shared else shape[-1]).astype(dtype)
    for in_place in (None, {0: 0}):
        (y,) = run_op(device, "prelu_forward", [x, a], [(shape, dtype)], in_place=in_place)
        oracle.assert_near(y, np.where(x > 0, x, x.astype(np.float64) * a))
    for in_place in (None, {0: 0}, {0: 1}):
        (dx,) = run_op(device, "prelu_backward", [dy, x, a], [(shape, dtype)], in_place=in_place)
        oracle.assert_near(dx, np.where(x > 0, dy, dy.astype(np.float64) * a))
    products = np.where(x > 0, 0, dy.astype(np.float64) * x)
    expected = products.sum(axis=(0, 1, 2), keepdims=True).reshape(-1)
    da = sums(device, "prelu_backward_slopes", dy, x, a.size)
    oracle.assert_near(da, expected.sum(keepdims=True) if shared else expected)


@DTYPES
@SHAPES
@pytest.mark.parametrize("bias", [False, True])
def test_scales_and_shifts_and_their_gradients_are_those_of_the_definition(device, rng, shape, bias, dtype):
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    scale, shift = (rng.standard_normal(shape[-1]).astype(dtype) for _ in range(2))
    for in_place in (None, {0: 0}):
        given = [x, scale, shift if bias else None]
        (y,) = run_op(device, "scale_forward", given, [(shape, dtype)], in_place=in_place)
        oracle.assert_near(y, x.astype(np.float64) * scale + (shift if bias else 0))
        (dx,) = run_op(device, "scale_backward", [dy, scale], [(shape, dtype)], in_place=in_place)
        oracle.assert_near(dx, dy.astype(np.float64) * scale)
    expected = (dy.astype(np.float64) * x).sum(axis=(0, 1, 2))
    oracle.assert_near(sums(device, "scale_backward_weights", dy, x, shape[-1]), expected)


@pytest.mark.parametrize(
    ("op", "D"), [("prelu_backward_slopes", 5), ("prelu_backward_slopes", 1), ("scale_backward_weights", 5)]
)
def test_rounds_are_added_up_one_after_the_other(device, rng, op, D):
    x, dy = (rng.standard_normal((5, 4, 3, 5)).astype(np.float32) for _ in range(2))
    parts = [sums(device, op, dy[part], x[part], D) for part in (slice(3), slice(3, 5))]
    both = sums(device, op, dy[3:], x[3:], D, onto=parts[0])
    np.testing.assert_array_equal(both, parts[0] + parts[1])


def test_nan_stays_nan_and_is_seen_in_the_slope_of_its_map_alone(device):
    x, a = np.array([np.nan, -2, 3, 0]).reshape(1, 1, 2, 2), np.array([0.5, 2])
    (y,) = run_op(device, "prelu_forward", [x, a], [(x.shape, x.dtype)])
    np.testing.assert_array_equal(y.reshape(-1), [np.nan, -4, 3, 0])
    np.testing.assert_array_equal(sums(device, "prelu_backward_slopes", np.ones_like(x), x, 2), [np.nan, -2])


def test_pytorch_agrees(device, rng):
    values, dy = (rng.standard_normal((2, 3, 4, 5)) for _ in range(2))
    x, a = torch.tensor(values.transpose(0, 3, 1, 2), requires_grad=True), torch.tensor([0.3] * 5, requires_grad=True)
    torch.nn.functional.prelu(x, a.double()).backward(torch.tensor(dy.transpose(0, 3, 1, 2)))
    oracle.assert_near(sums(device, "prelu_backward_slopes", dy, values, 5), a.grad.numpy(), 1e-6)


def test_nets_with_them_learn(device):
    check_net(Net("5x4x2", [Conv(3), PReLU(), Scale(), FC(3), PReLU(shared=True), Scale(bias=False), FC(3)]), device)


def test_what_is_frozen_stays_and_hands_gradients_on(device):
    net = Net("6x5x2", [Conv(3), PReLU(), Scale(), FC(2)])
    images, labels = batch_for(net)
    with Model(net, 5, device, optimizer=Learning(freeze=["prelu1", "scale1"]), debug=True) as model:
        before = dict(model.parameters.items())
        model.step(images, labels)
        changed = {name for name, value in before.items() if not np.array_equal(value, model.parameters[name])}
    assert changed == {"conv1.w", "conv1.b", "fc1.w", "fc1.b"}


def test_they_start_where_they_change_little(device):
    net = Net("6x5x2", [BatchNorm(affine=False), Scale(), PReLU(start=0.1), PReLU(shared=True), FC(2)])
    assert net.parameters == 2 + 2 + 2 + 1 + 60 * 2 + 2
    with Model(net, 2, device) as model:
        starts = {name: value.tolist() for name, value in model.parameters.items() if not name.startswith(("fc", "bn"))}
    assert starts["scale1.scale"] == [1, 1] and starts["scale1.shift"] == [0, 0] and starts["prelu2.a"] == [0.25]
    np.testing.assert_allclose(starts["prelu1.a"], 0.1, rtol=1e-6)


def test_the_words(tmp_path):
    layers = [PReLU(), PReLU(True, 0.1), Scale(), Scale(bias=False)]
    check_words(
        "INPUT[4x3x2] -> PRELU -> PRELU(shared=true, start=0.1) -> SCALE -> SCALE(bias=false)",
        Net("4x3x2", layers),
        tmp_path,
    )


@pytest.mark.parametrize(("said", "why"), [
    ("PRELU(shared=2)", "shared must be true or false"),
    ("PRELU3", "PRELU takes no number behind it"),
    ("prelu", "layers are written in capitals: PRELU"),
    ("SCALE(bias=1)", "bias must be true or false"),
])  # fmt: skip
def test_what_they_cannot_be_is_said(said, why):
    with pytest.raises(ConfigError, match=why):
        load(f"INPUT[4x3x2] -> {said}")


# Random calls of each op, for the tests that go through all ops.


def _slopes(draw: Draw, D: int) -> np.ndarray:
    return draw.values(D if draw.size(0, 1) else 1)


def call_prelu_forward(draw: Draw) -> Call:
    x = draw.activations()
    return Call("prelu_forward", (x, _slopes(draw, x.shape[3])), ((x.shape, draw.dtype),), aliases=({0: 0},))


def call_prelu_backward(draw: Draw) -> Call:
    x = draw.activations()
    given = draw.values(*x.shape), x, _slopes(draw, x.shape[3])
    return Call("prelu_backward", given, ((x.shape, draw.dtype),), aliases=({0: 0}, {0: 1}))


def _sums(draw: Draw, op: str, D: int | None = None) -> Call:
    N, H, W, _ = draw.volume()
    maps, block_rows = draw.size(1, 70), draw.size(1, 40)
    x = draw.values(N, H, W, maps)
    dw, accumulate = draw.sum((D or maps,))
    partials = (-(-N * H * W // block_rows) + 1, maps), draw.dtype
    return Call(op, (draw.values(*x.shape), x), (dw,), (partials,), {"block_rows": block_rows, **accumulate})


def call_prelu_backward_slopes(draw: Draw) -> Call:
    return _sums(draw, "prelu_backward_slopes", draw.size(0, 1) or None)


def call_scale_forward(draw: Draw) -> Call:
    x = draw.activations()
    shift = draw.values(x.shape[3]) if draw.size(0, 1) else None
    return Call("scale_forward", (x, draw.values(x.shape[3]), shift), ((x.shape, draw.dtype),), aliases=({0: 0},))


def call_scale_backward(draw: Draw) -> Call:
    dy = draw.activations()
    return Call("scale_backward", (dy, draw.values(dy.shape[3])), ((dy.shape, draw.dtype),), aliases=({0: 0},))


def call_scale_backward_weights(draw: Draw) -> Call:
    return _sums(draw, "scale_backward_weights")


MUTANTS = [
    *mutants_of(
        "by_map.cu",
        "prelu_forward",
        ("one slope for all maps", "slopes == 1 ? 0 : d", "0"),
        ("no slope for all", "slopes == 1 ? 0 : d", "d"),
        ("the slope of the first lane", "pack % D * COUNT", "pack % D"),
        ("packs at any address", "D % WIDTH == 0 && aligned(x, y), rows * D, x, a", "D % WIDTH == 0, rows * D, x, a"),
        ("packs across positions", "D % WIDTH == 0 && aligned(x, y), rows * D, x, a", "aligned(x, y), rows * D, x, a"),
    ),
    *mutants_of(
        "by_map.cu",
        "prelu_backward",
        ("packs at any address", "D % WIDTH == 0 && aligned(dy, x, dx)", "D % WIDTH == 0 && aligned(dy, x)"),
        ("packs across positions", "D % WIDTH == 0 && aligned(dy, x, dx)", "aligned(dy, x, dx)"),
    ),
    *mutants_of(
        "by_map.cu",
        "prelu_backward_slopes",
        ("above 0 too", "return value > real(0) ? real(0) : above * value;", "return above * value;"),
    ),
    *mutants_of("by_map.cu", "scale_maps", ("one scale for all", "*= scale[d + lane]", "*= scale[d]")),
    *mutants_of("by_map.cu", "scale_and_shift", ("no shift", "if (shift) values", "if (false) values")),
    *mutants_of(
        "by_map.cu",
        "scale_backward_weights",
        ("rows behind the last", "after < rows ? after : rows", "after"),
        ("all threads add the same rows", "part * block_rows + lane;", "part * block_rows;"),
        ("partial sums overlap", "partials[part * D + d] = sum", "partials[part + d] = sum"),
        ("a tile is left out", "tile < parts * tiles;", "tile < parts * tiles - 1;"),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
