"""Loss scaling: the ops against their definition on every device, and models whose gradients overflow."""

import numpy as np
import pytest

from gpunet import FC, Conv, Model, Net, ReLU
from gpunet.data import Dataset, Split
from gpunet.layers.scaling import PATIENCE, SCALE, SCALING
from gpunet.train.diverged import Diverged
from gpunet.train.trainer import Trainer
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import run_op


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_gradients_are_scaled_and_brought_back_to_the_same_bits(device, rng, scale):
    dx = rng.standard_normal((3, 1, 1, 7)).astype(np.float32)
    dx[0, 0, 0, :2] = np.nan, np.inf
    scaling = np.array([scale, 5], np.float32)
    (y,) = run_op(device, "scale_gradient", [dx, scaling], [(dx.shape, dx.dtype)])
    np.testing.assert_array_equal(y, dx * np.float32(scale))
    (back,) = run_op(device, "unscale", [scaling], [y])
    np.testing.assert_array_equal(back, dx)


@pytest.mark.parametrize(
    "loss, square_sum, before, after, settled",
    [
        (0.5, 3.0, (1024, 0), (1024, 1), 0.5),
        (0.5, 3.0, (1024, 8), (2048, 0), 0.5),  # the tenth step, patience being 9
        (0.5, np.inf, (1024, 7), (512, 0), np.nan),
        (0.5, np.nan, (1024, 8), (512, 0), np.nan),
        (0.5, np.inf, (1, 0), (1, 0), np.nan),
        (0.5, 1.0, (2**24, 8), (2**24, 0), 0.5),
        (np.nan, np.nan, (1024, 3), (1024, 3), np.nan),
        (np.inf, 1.0, (1024, 3), (1024, 3), np.inf),
    ],
)
def test_the_scale_halves_on_an_overflow_and_doubles_after_so_many_fine_steps(
    device, loss, square_sum, before, after, settled
):
    given = [np.array([value], np.float32) for value in (loss, square_sum)]
    outputs = [np.array(before, np.float32), ((1,), np.float32)]
    scaling, seen = run_op(device, "settle_scaling", given, outputs, patience=9)
    np.testing.assert_array_equal(scaling, after)
    np.testing.assert_array_equal(seen, [settled])


def small_net(**settings):
    return Net("6x6x2", [Conv(4), ReLU(), FC(3)], **settings)


def batch(rng, size=8):
    return rng.standard_normal((size, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, size)


def test_a_step_that_overflows_learns_nothing_and_halves_the_scale(rng):
    images, labels = batch(rng)
    with Model(small_net(), 8, "cpu", dtype="float16", optimizer="adam") as model:
        model.step(images, labels)
        assert list(model.state[SCALING]) == [SCALE, 1]
        model.state[SCALING] = np.array([2.0**24, 7])  # gradients of float16 end at 65504
        before = {name: model.state[name] for name in model.state if name != SCALING}
        model.step(images, labels)
        assert list(model.state[SCALING]) == [2.0**23, 0]
        for name, values in before.items():
            np.testing.assert_array_equal(model.state[name], values)
        for _ in range(12):
            model.step(images, labels)
        assert model.state[SCALING][0] < 2.0**20
        assert any((model.state[name] != values).any() for name, values in before.items())


def test_the_scale_grows_again_and_changes_no_gradient(rng):
    images, labels = batch(rng)
    with Model(small_net(), 8, "cpu", dtype="float16") as model:
        gradients = model.gradients(images, labels)
        model.state[SCALING] = np.array([256.0, PATIENCE - 1])
        for name, dw in model.gradients(images, labels).items():
            np.testing.assert_allclose(dw, gradients[name], rtol=0, atol=1e-3 * np.abs(gradients[name]).max())
        model.step(images, labels)
        assert list(model.state[SCALING]) == [512, 0]


def test_small_gradients_are_not_lost(rng):
    """Below 3e-8 a float16 is 0: the gradients of a mean over many images, by small weights, come to that."""
    images, labels = batch(rng, 512)
    found = []
    for dtype, scale in (("float32", 1), ("float16", SCALE), ("float16", 1)):
        with Model(small_net(), 512, "cpu", dtype=dtype) as model:
            model.parameters["fc1.w"] = model.parameters["fc1.w"] * 1e-3
            if dtype == "float16":
                model.state[SCALING] = np.array([scale, 0])
            found.append(model.gradients(images, labels)["conv1.w"])
    exact, scaled, lost = found
    assert np.abs(scaled - exact).max() < 0.05 * np.abs(exact).max() < np.abs(lost - exact).max()


def test_a_run_whose_gradients_always_overflow_ends_and_says_why():
    """Of weights of 6e4 sums of gradients are above 65504, though their products with small images are not."""
    images = np.full((30, 6, 6, 2), 1e-4, np.float32)
    with Model(small_net(), 1, "cpu", dtype="float16", learning_rate=0.5) as model:
        model.parameters["conv1.w"] = np.ones(model.parameters["conv1.w"].shape)
        signs = np.array([[6e4], [-6e4], [-6e4]])
        model.parameters["fc1.w"] = np.broadcast_to(signs, model.parameters["fc1.w"].shape)
        wrong = Split(images, np.arange(30) % 2 + 1)
        with pytest.raises(Diverged, match=r"overflow float16 in every step.*use bfloat16, or float32, or try"):
            Trainer(model, Dataset("dark", wrong, wrong), epochs=1).run()
        assert model.scale == 1


def call_scale_gradient(draw: Draw) -> Call:
    x = draw.values(*draw.volume())
    scaling = np.array([2.0 ** draw.size(0, 16), 3], draw.dtype)
    return Call("scale_gradient", (x, scaling), ((x.shape, draw.dtype),), aliases=({0: 0},))


def call_unscale(draw: Draw) -> Call:
    return Call("unscale", (np.array([2.0 ** draw.size(0, 16), 3], draw.dtype),), (draw.values(*draw.volume()),))


def call_settle_scaling(draw: Draw) -> Call:
    given = tuple(np.array([draw.rng.choice([1, 2, np.inf])], draw.dtype) for _ in range(2))
    scaling = np.array([2.0 ** draw.size(0, 24), draw.size(0, 4)], draw.dtype)
    return Call("settle_scaling", given, (scaling, ((1,), draw.dtype)), attributes={"patience": draw.size(1, 5)})


MUTANTS = [
    *mutants_of("scaling.cu", "scale_gradient", ("as it is", "*= scale", "*= real(1)")),
    *mutants_of("scaling.cu", "unscale", ("as it is", "*= inverse", "*= real(1)")),
    *mutants_of(
        "scaling.cu",
        "settle_scaling",
        ("never fine", "fine = is_number(square_sum[0])", "fine = false"),
        ("steps stay", "steps = scaling[1] + real(1)", "steps = scaling[1]"),
        ("it does not end", "scale * 2 < most ? scale * 2 : most", "scale * 2"),
        ("it may vanish", "scale / 2 > least ? scale / 2 : least", "scale / 2"),
        ("a loss that is no number counts", "if (!is_number(loss[0])) return;", ""),
    ),
]
