"""Optimizer updates against their formulas in float64 and against PyTorch over many steps."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gpunet.devices.cpu.threads import BLOCK, thread_count
from gpunet.optimize.optimizers import OPTIMIZERS, Optimizer, optimizer
from gpunet.program.program import Now
from tests import oracle
from tests.conftest import make_device
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op

DTYPES = [np.float32, np.float64]
SHAPES = [(5, 3, 3, 7), (9,), (3, 70001)]
EVERY = pytest.mark.parametrize("name", OPTIMIZERS)


def update(
    device: Any, rule: Optimizer, dw: np.ndarray, state: list[np.ndarray], rate: float, step: int, loss: float = 0.5
) -> Any:
    """The parameter and its caches after one step from `state`."""
    given, attributes = arguments(rule, rate, step, dw.dtype, loss)
    return run_op(device, f"{rule.name}_update", given, [dw, *state], **attributes)[1:]


def arguments(
    rule: Optimizer, rate: float, step: int, dtype: Any, loss: float = 0.5
) -> tuple[list[Any], dict[str, Any]]:
    """(loss and numbers, attributes) of an update: what changes from step to step stands behind something else."""
    changing = rule.changing(1.0)
    numbers = np.array([np.nan, *(number.value(Now(rate, step, 0)) for number in changing.values())])
    places = {name: place for place, name in enumerate(changing, 1)}
    return [np.array([loss], dtype), numbers], {**places, **rule.constants()}


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sgd_goes_down_the_gradient(device, rng, shape, dtype, weight_decay):
    dw, w = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    (found,) = update(device, optimizer("sgd", weight_decay=weight_decay), dw, [w], 0.1, 1)
    dw, w = dw.astype(np.float64), w.astype(np.float64)
    oracle.assert_near(found, w - 0.1 * (dw + weight_decay * w))


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_momentum_gathers_velocity(device, rng, shape, dtype, weight_decay):
    dw, w, v = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    found, velocity = update(device, optimizer("momentum", weight_decay=weight_decay), dw, [w, v], 0.1, 1)
    dw, w, v = (a.astype(np.float64) for a in (dw, w, v))
    v = 0.9 * v + dw + weight_decay * w
    oracle.assert_near(velocity, v)
    oracle.assert_near(found, w - 0.1 * v)


def adam_formula(w, g, m, v, rate, step):
    """Algorithm 1 of Kingma & Ba 2015."""
    m, v = 0.8 * m + (1 - 0.8) * g, 0.95 * v + (1 - 0.95) * g**2
    return w - rate * (m / (1 - 0.8**step)) / (np.sqrt(v / (1 - 0.95**step)) + 0.01), m, v


@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("sgd", "momentum")])
def test_a_step_follows_its_formula_from_any_caches(device, rng, name, shape, dtype, weight_decay):
    settings = {"momentum": 0.7, "alpha": 0.9, "beta1": 0.8, "beta2": 0.95, "eps": 0.01, "weight_decay": weight_decay}
    rule = optimizer(name, **{key: settings[key] for key in OPTIMIZERS[name].settings()})
    dw, w, *caches = (rng.standard_normal(shape).astype(dtype) for _ in range(2 + len(rule.caches)))
    if name != "nesterov":
        caches[-1] = np.abs(caches[-1])
    found = update(device, rule, dw, [w, *caches], 0.1, 3)
    dw, w, *caches = (array.astype(np.float64) for array in (dw, w, *caches))
    g, c = dw + weight_decay * w, caches[-1]
    expected = {
        "nesterov": lambda: (w - 0.1 * (g + 0.7 * (0.7 * c + g)), 0.7 * c + g),
        "adagrad": lambda: (w - 0.1 * g / (np.sqrt(c + g**2) + 0.01), c + g**2),
        "rmsprop": lambda: (w - 0.1 * g / (np.sqrt(0.9 * c + 0.1 * g**2) + 0.01), 0.9 * c + 0.1 * g**2),
        "adam": lambda: adam_formula(w, g, *caches, 0.1, 3),
        "adamw": lambda: adam_formula(w - 0.1 * weight_decay * w, dw, *caches, 0.1, 3),
    }[name]()
    for one, other in zip(found, expected, strict=True):
        oracle.assert_near(one, other)


PEERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda w, **rest: torch.optim.SGD(w, momentum=0.9, **rest),
    "nesterov": lambda w, **rest: torch.optim.SGD(w, momentum=0.9, nesterov=True, **rest),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


KEPT = {
    "sgd": [],
    "momentum": ["momentum_buffer"],
    "nesterov": ["momentum_buffer"],
    "adagrad": ["sum"],
    "rmsprop": ["square_avg"],
    "adam": ["exp_avg", "exp_avg_sq"],
    "adamw": ["exp_avg", "exp_avg_sq"],
}
"""What PyTorch calls our caches."""


@pytest.mark.parametrize("decay", [{}, {"weight_decay": 0.02}])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])
@EVERY
def test_pytorch_takes_the_same_hundred_steps(device, rng, name, dtype, tolerance, decay):
    """Both with their own defaults, but for the weight decay; the learning rate changes, as a schedule changes it."""
    rule = optimizer(name, **decay)
    w = rng.standard_normal((6, 11)).astype(dtype)
    state = [w, *(np.zeros_like(w) for _ in rule.caches)]
    theirs = torch.nn.Parameter(torch.tensor(w))
    peer = PEERS[name]([theirs], lr=1, **decay)
    scale = rng.choice([1e-4, 1e-2, 1, 10], w.shape)  # some gradients are far smaller than others
    for step in range(1, 101):
        dw, rate = (scale * rng.standard_normal(w.shape)).astype(dtype), 0.1 / step
        theirs.grad = torch.tensor(dw)
        peer.param_groups[0]["lr"] = rate
        peer.step()
        state = update(device, rule, dw, state, rate, step)
        if step in (1, 2, 10, 100):
            kept = [peer.state[theirs][cache].numpy() for cache in KEPT[name]]
            for mine, other in zip(state, [theirs.detach().numpy(), *kept], strict=True):
                oracle.assert_near(mine, other, tolerance)


@EVERY
def test_no_gradient_is_no_step(device, rng, name):
    """Dead weights have gradients of exactly 0 from the first step on: 0 is not divided by 0."""
    rule = optimizer(name, weight_decay=0)
    w = rng.standard_normal((3, 5)).astype(np.float32)
    state = [w, *(np.zeros_like(w) for _ in rule.caches)]
    for found, before in zip(update(device, rule, np.zeros_like(w), state, 0.1, 1), state, strict=True):
        np.testing.assert_array_equal(found, before)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_first_step_is_as_long_as_the_learning_rate_whatever_the_gradient(device, rng, name):
    dw = (rng.choice([-1, 1], (4, 7)) * 10.0 ** rng.uniform(-3, 6, (4, 7))).astype(np.float32)
    zeros = np.zeros_like(dw)
    found = update(device, optimizer(name), dw, [zeros, zeros, zeros], 0.125, 1)[0]
    np.testing.assert_allclose(found, -0.125 * np.sign(dw), rtol=2e-5)


def test_a_step_of_the_far_future_needs_no_correction(device, rng):
    """beta**step is then 0 and no error."""
    dw, w, m = (rng.standard_normal((4, 5)) for _ in range(3))
    v = np.square(rng.standard_normal((4, 5)))
    found = update(device, optimizer("adam", eps=0.1), dw, [w, m, v], 0.1, 10**9)
    m, v = 0.9 * m + 0.1 * dw, 0.999 * v + 0.001 * dw**2
    oracle.assert_near(found[0], w - 0.1 * m / (np.sqrt(v) + 0.1))


@EVERY
def test_a_nan_gradient_is_not_swept_under_the_rug(device, rng, name):
    rule = optimizer(name)
    dw, w = (rng.standard_normal((4, 5)).astype(np.float32) for _ in range(2))
    dw[1, 2] = np.nan
    found = update(device, rule, dw, [w, *(np.zeros_like(w) for _ in rule.caches)], 0.1, 1)
    for array in found:
        assert np.argwhere(np.isnan(array)).tolist() == [[1, 2]]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
@EVERY
def test_of_a_loss_that_is_no_number_nothing_is_learnt(device, rng, name, loss):
    rule = optimizer(name)
    dw, *state = (rng.standard_normal((4, 5)).astype(np.float32) for _ in range(2 + len(rule.caches)))
    state[-1] = np.abs(state[-1])
    dw[1] = np.nan
    for found, before in zip(update(device, rule, dw, state, 0.1, 2, loss), state, strict=True):
        assert found.tobytes() == before.tobytes()


@EVERY
def test_one_call_for_many_parameters_gives_the_bits_of_one_for_each(device, rng, name):
    """More than a table has room for, and some of more values than a block takes."""
    rule = optimizer(name, weight_decay=0.1)
    sizes = [1, 3, 4, 5, 4096, 4097, 8197, *range(6, 150)]
    draws = [[rng.random(size).astype(np.float32) for _ in range(2 + len(rule.caches))] for size in sizes]
    given, attributes = arguments(rule, 0.1, 2, np.float32)
    states = [array for _, *state in draws for array in state]
    joint = run_op(device, f"{name}_update", given, [*(dw for dw, *_ in draws), *states], **attributes)[len(sizes) :]
    alone = [array for dw, *state in draws for array in update(device, rule, dw, state, 0.1, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(joint, alone, strict=True))
    if device.name != "cpu":
        launches = [one for one in device.driver.launched if one == f"update.{name}_update"]
        assert len(launches) == 2 + len(sizes)


@EVERY
def test_an_update_on_the_cpu_allocates_nothing_that_grows(name):
    rule = optimizer(name, weight_decay=0.1)
    device, peaks = make_device("cpu"), []
    for count in (300_000, 3_000_000):
        arrays = [np.ones(count, np.float32) for _ in range(2 + len(rule.caches))]
        given, attributes = arguments(rule, 0.1, 1, np.float32)
        device.ops[f"{name}_update"](*given, *arrays, **attributes)
        tracemalloc.start()
        device.ops[f"{name}_update"](*given, *arrays, **attributes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < BLOCK * 4 * (thread_count() + 1)  # a block for each worker, and small things


# Random calls of each op, for the tests that go through all ops.


def _update(draw: Draw, name: str, **settings: float) -> Call:
    rule = optimizer(name, weight_decay=0.5, **settings)
    shapes = [draw.volume() for _ in range(draw.size(1, 3))]
    states = [[draw.values(*shape) for _ in range(1 + len(rule.caches))] for shape in shapes]
    if "eps" in settings:
        for state in states:
            state[-1] = np.abs(state[-1])  # squares
    found = [*(draw.values(*shape) for shape in shapes), *(array for state in states for array in state)]
    loss = draw.rng.choice([0.5, np.nan]) if draw.size(0, 9) == 0 else 0.5
    given, attributes = arguments(rule, 0.25, draw.size(1, 9), draw.dtype, loss)
    return Call(f"{name}_update", tuple(given), tuple(found), attributes=attributes, spent=len(shapes))


def call_sgd_update(draw: Draw) -> Call:
    return _update(draw, "sgd")


def call_momentum_update(draw: Draw) -> Call:
    return _update(draw, "momentum", momentum=0.75)


def call_nesterov_update(draw: Draw) -> Call:
    return _update(draw, "nesterov", momentum=0.75)


def call_adagrad_update(draw: Draw) -> Call:
    return _update(draw, "adagrad", eps=0.125)


def call_rmsprop_update(draw: Draw) -> Call:
    return _update(draw, "rmsprop", alpha=0.75, eps=0.125)


def call_adam_update(draw: Draw) -> Call:
    return _update(draw, "adam", beta1=0.75, beta2=0.875, eps=0.125)


def call_adamw_update(draw: Draw) -> Call:
    return _update(draw, "adamw", beta1=0.75, beta2=0.875, eps=0.125)


MUTANTS = [
    *mutants_of(
        "table.cuh",
        "table",
        ("the entry before", "blockIdx.x < Of::end(table, middle)", "blockIdx.x <= Of::end(table, middle)"),
        ("the first share of each", "first = (blockIdx.x - before) * SHARE;", "first = 0;"),
        ("blocks of all entries before", "entry > 0 ? Of::end(table, entry - 1) : 0", "0"),
        ("shares overlap", "left < SHARE ? left : SHARE", "left < SHARE ? left : SHARE + 1"),
        ("the last values are left out", "item < count; item += BLOCK", "item < packs * WIDTH; item += BLOCK"),
        (
            "a pack too many",
            "packable ? count / WIDTH : 0;\n    for (int pack",
            "packable ? count / WIDTH + 1 : 0;\n    for (int pack",
        ),
    ),
    *mutants_of(
        "update.cu",
        "sgd_update",
        ("weights grow", "weights.value[lane] -= learning_rate * g;", "weights.value[lane] += learning_rate * g;"),
        ("no learning rate", "weights.value[lane] -= learning_rate * g;", "weights.value[lane] -= g;"),
        (
            "whatever the loss is",
            "    if (!is_number(*loss)) return;\n    const real learning_rate = real(numbers[rate]);\n    typedef",
            "    const real learning_rate = real(numbers[rate]);\n    typedef",
        ),
        (
            "the last value is left out",
            "within_share(count, aligned(dw, w),",
            "within_share(count - 1, aligned(dw, w),",
        ),
    ),
    *mutants_of(
        "update.cu",
        "momentum_update",
        (
            "no momentum",
            "velocity = momentum * velocity + g;\n        weight -= learning_rate * velocity;",
            "velocity = velocity + g;\n        weight -= learning_rate * velocity;",
        ),
        ("the gradient alone", "weight -= learning_rate * velocity;", "weight -= learning_rate * g;"),
        ("the learning rate inside", "weight -= learning_rate * velocity;", "weight -= velocity *= learning_rate;"),
        (
            "no weight decay",
            "entries, weight_decay, [=](real g, real& weight, real& velocity) {\n"
            "        velocity = momentum * velocity + g;\n        weight -= learning_rate * velocity;",
            "entries, real(0), [=](real g, real& weight, real& velocity) {\n"
            "        velocity = momentum * velocity + g;\n        weight -= learning_rate * velocity;",
        ),
        ("the velocity is not kept", "            store(cache, pack, caches);\n", ""),
        (
            "the last value is left out",
            "within_share(count, aligned(dw, w, cache)",
            "within_share(count - 1, aligned(dw, w, cache)",
        ),
        ("packs at any address", "aligned(dw, w, cache)", "aligned(dw, w)"),
    ),
    *mutants_of(
        "update.cu",
        "nesterov_update",
        ("plain momentum", "(g + momentum * velocity)", "velocity"),
        ("twice as far ahead", "(g + momentum * velocity)", "(g + velocity)"),
        ("no gradient", "(g + momentum * velocity)", "(momentum * velocity)"),
    ),
    *mutants_of(
        "update.cu",
        "adagrad_update",
        ("forgets", "total += g * g;", "total = g * g;"),
        ("no squares", "total += g * g;", "total += g;"),
        ("no root", "sqrt(total) + eps", "total + eps"),
        ("eps inside the root", "sqrt(total) + eps", "sqrt(total + eps)"),
        ("no eps", "sqrt(total) + eps", "sqrt(total)"),
    ),
    *mutants_of(
        "update.cu",
        "rmsprop_update",
        ("forgets nothing", "alpha * mean + rest", "mean + rest"),
        ("the other way round", "alpha * mean + rest", "rest * mean + alpha"),
        ("no root", "sqrt(mean) + eps", "mean + eps"),
        ("eps inside the root", "sqrt(mean) + eps", "sqrt(mean + eps)"),
    ),
    *mutants_of(
        "update.cu",
        "adam_update",
        ("the mean is the gradient", "+= rest1 * (g - means.value[lane])", "= g"),
        ("the mean only grows", "rest1 * (g - means.value[lane])", "rest1 * g"),
        ("the squares are not kept", "            store(v, pack, squares);\n", ""),
        ("the mean is not kept", "            store(m, pack, means);\n", ""),
        ("the rest of a rounded beta2", "rest2 * g * g", "(1 - beta2) * g * g"),
        ("squares are not corrected", "sqrt(squares.value[lane]) / root", "sqrt(squares.value[lane])"),
        (
            "eps before the correction",
            "(sqrt(squares.value[lane]) / root + eps)",
            "((sqrt(squares.value[lane]) + eps) / root)",
        ),
        ("no root", "sqrt(squares.value[lane]) / root", "squares.value[lane] / root"),
        ("no weight decay", "now, scale, weight_decay, real(1)", "now, scale, real(0), real(1)"),
        ("weights fade", "weight_decay, real(1), rest1", "weight_decay, real(0.99), rest1"),
        (
            "the last value is left out",
            "within_share(count, aligned(dw, w, m, v)",
            "within_share(count - 1, aligned(dw, w, m, v)",
        ),
        ("packs at any address", "aligned(dw, w, m, v)", "aligned(dw, w, m)"),
    ),
    *mutants_of(
        "update.cu",
        "adamw_update",
        ("no decay", "real(0), kept, rest1", "real(0), real(1), rest1"),
        ("the decay is divided, too", "real(0), kept, rest1", "1 - kept, real(1), rest1"),
        (
            "the decay comes after",
            "keep * weights.value[lane] - rate * step",
            "keep * (weights.value[lane] - rate * step)",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
