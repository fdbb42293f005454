"""Batch normalization against float64 loops, slopes and PyTorch: statistics of a batch, running ones, and in nets."""

from typing import Any

import numpy as np
import pytest
import torch

import gpunet
from gpunet import FC, BatchNorm, BudgetError, ConfigError, Conv, DataError, MaxPool, Model, Net, ReLU, ShapeError
from gpunet.compile.chunk import chunk_cuts, cut_points
from gpunet.compile.recompute import saved
from gpunet.compile.ways import Ways
from gpunet.data.dataset import Dataset, Split
from gpunet.layers.bias import BLOCK_ROWS
from gpunet.planning.fitter import ladder, survey
from gpunet.train.trainer import Trainer
from gpunet.train.weights import restore_weights, save_weights
from tests import oracle
from tests.layer_checks import check_net, check_only_given_images, check_words
from tests.mutations import mutants_of
from tests.op_calls import Call, Draw
from tests.ops import Spec, run_op
from tests.test_ways import LIMIT, lowered, planned

DTYPES = [np.float32, np.float64]
SHAPES = [(3, 5, 4, 7), (5, 1, 1, 33), (2, 3, 7, 1), (7, 3, 5, 8), (2, 1, 1, 3)]
"""Odd sizes, single positions and maps, whole packs, and more maps than a block of threads takes."""
EPS = 1e-3
PATTERN = (
    "INPUT[6x4x2] -> CONV3-4 -> BN -> RELU -> POOL2 -> CONV2-5(P=1) -> BN(affine=false) -> FC-6 -> BN -> RELU -> FC-3"
)


def small(**options) -> Net:
    """Statistics over positions and behind FC; one that learns nothing itself."""
    layers = [Conv(4), BatchNorm(**options), ReLU(), MaxPool(2), Conv(5, F=2, P=1), BatchNorm(affine=False)]
    return Net("6x4x2", [*layers, FC(6), BatchNorm(), ReLU(), FC(3)])


def batch(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 1 + rng.standard_normal((n, 6, 4, 2)), rng.integers(0, 3, n)


def statistics(device, x, block_rows=512, training=1, running=None, spare=0):
    D = x.shape[-1]
    if running is None:
        running = [np.full(D, np.nan, x.dtype)] * 2  # not to be looked at
    scratch = (2 * -(-x.size // D // block_rows) + spare, D), x.dtype
    outputs, numbers = [((D,), x.dtype)] * 2, {"block_rows": block_rows, "training": training}
    return run_op(device, "batch_norm_statistics", [x, *running, counters(D)], outputs, [scratch], **numbers)


def counters(D: int) -> np.ndarray:
    """As a plan has them for so many maps."""
    return np.zeros(-(-D // 8), np.int32)


def backward(device, dy, x, scale, eps=EPS, block_rows=512):
    """dx, dscale and dshift."""
    each, D = statistics(device, x, block_rows), x.shape[-1]
    scratch = (2 * -(-x.size // D // block_rows), D), x.dtype
    sums = [((D,), x.dtype)] * 2
    inputs = [dy, x, *each]
    given = [*inputs, counters(D)]
    sums = run_op(device, "batch_norm_backward_sums", given, sums, [scratch], block_rows=block_rows, eps=eps)
    (dx,) = run_op(device, "batch_norm_backward", [*inputs, scale, *sums], [(x.shape, x.dtype)], eps=eps)
    return dx, *sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block_rows", [1, 4, 512])
def test_values_and_gradients_are_those_of_the_loops(device, rng, shape, dtype, block_rows):
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    scale, shift = (rng.standard_normal(shape[-1]).astype(dtype) for _ in range(2))
    y, mean, variance = oracle.batch_norm(x, scale, shift, EPS)
    found = statistics(device, x, block_rows)
    for one, expected in zip(found, (mean, variance), strict=True):
        oracle.assert_near(one, expected)
    (values,) = run_op(device, "batch_norm_forward", [x, *found, scale, shift], [(shape, dtype)], eps=EPS)
    oracle.assert_near(values, y)
    wanted = oracle.batch_norm_backward(dy, x, scale, EPS)
    largest = max(np.abs(one).max() for one in wanted)  # two rows leave gradients of almost 0
    for one, expected in zip(backward(device, dy, x, scale, block_rows=block_rows), wanted, strict=True):
        np.testing.assert_allclose(one, expected, rtol=0, atol=(3e-5 if dtype == np.float32 else 1e-12) * largest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 4, 7), (2, 3, 3, 8), (4, 1, 1, 33)])
def test_the_gradient_through_frozen_statistics_is_a_factor(device, rng, shape, dtype):
    dy = rng.standard_normal(shape).astype(dtype)
    variance, scale = rng.uniform(0.1, 3, shape[-1]).astype(dtype), rng.standard_normal(shape[-1]).astype(dtype)
    inputs = [dy, variance, scale]
    (dx,) = run_op(device, "batch_norm_backward_frozen", inputs, [(shape, dtype)], eps=0.125)
    wanted = np.empty(shape)
    for at in np.ndindex(*shape):
        wanted[at] = float(dy[at]) * float(scale[at[3]]) / (float(variance[at[3]]) + 0.125) ** 0.5
    oracle.assert_near(dx, wanted)


@pytest.mark.parametrize("offset", [1e3, -1e5, 2.0**22])
def test_a_large_mean_takes_no_digits_from_a_small_variance(device, rng, offset):
    """In float32, where the square of the offset alone has fewer digits than the variance needs."""
    x = (offset + rng.standard_normal((5, 31, 17, 3))).astype(np.float32)
    mean, variance = statistics(device, x, 64)
    exact = x.astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=2e-7)
    squares = np.mean(x * x, axis=(0, 1, 2)) - np.mean(x, axis=(0, 1, 2)) ** 2  # what must not be done
    assert np.abs(squares / variance - 1).max() > 1e-3


@pytest.mark.parametrize("shape", [(32, 4, 4, 8), (256, 8, 8, 8), (16, 17, 13, 4)])
def test_sums_lose_hardly_more_than_pytorchs(device, rng, shape):
    """Values of one sign, in float32, against float64: one sum after the other loses ten times as much."""
    x, dy = (rng.random(shape) + 1).astype(np.float32), np.abs(rng.standard_normal(shape)).astype(np.float32)
    D = shape[-1]
    scratch = [((2 * -(-x.size // D // BLOCK_ROWS), D), np.float32)]
    running = [np.zeros(D, np.float32), np.ones(D, np.float32)]
    made = [((D,), np.float32)] * 2
    numbers = {"block_rows": BLOCK_ROWS}
    mean, variance = run_op(
        device, "batch_norm_statistics", [x, *running, counters(D)], made, scratch, training=1, **numbers
    )
    given = [dy, x, mean, variance, counters(D)]
    dshift = run_op(device, "batch_norm_backward_sums", given, made, scratch, eps=1e-5, **numbers)[1]
    exact = x.reshape(-1, D).astype(np.float64)
    sums = dy.reshape(-1, D).astype(np.float64).sum(0)
    peer = np.abs(torch.tensor(dy).sum((0, 1, 2)).numpy() / sums - 1).max()
    assert np.abs(mean / exact.mean(0) - 1).max() < 1.2e-7
    assert np.abs(dshift / sums - 1).max() < max(2 * peer, 1.2e-7)
    assert np.abs(variance / exact.var(0) - 1).max() < (2e-7 if device.name == "cpu" else 6e-7)


def test_a_first_value_far_from_the_others_is_borne(device):
    x = np.zeros((4, 16, 16, 2), np.float32)
    x[0, 0, 0] = 1000, -1e6
    exact = x.astype(np.float64).reshape(-1, 2).var(axis=0)
    np.testing.assert_allclose(statistics(device, x)[1], exact, rtol=1e-3)


def test_a_map_of_equal_values_has_variance_0_and_its_output_is_the_shift(device):
    x = np.full((3, 5, 7, 2), 0.1, np.float32) * np.array([1, 1e6], np.float32)
    mean, variance = statistics(device, x, 8)
    np.testing.assert_array_equal(mean, x[0, 0, 0])
    np.testing.assert_array_equal(variance, [0, 0])
    scale, shift = np.array([3, 4], np.float32), np.array([-1, 2], np.float32)
    (y,) = run_op(device, "batch_norm_forward", [x, mean, variance, scale, shift], [(x.shape, x.dtype)], eps=1e-5)
    np.testing.assert_array_equal(y, np.broadcast_to(shift, x.shape))
    dy = np.arange(x.size, dtype=np.float32).reshape(x.shape)
    assert all(np.isfinite(one).all() for one in backward(device, dy, x, scale, eps=1e-5))


def test_nan_and_infinity_stay_in_their_map(device, rng):
    x = rng.standard_normal((3, 4, 5, 4)).astype(np.float32)
    x[2, 1, 0, 1], x[0, 0, 0, 2], x[1, 2, 3, 3] = np.nan, np.inf, -np.inf
    _, variance = statistics(device, x, 16)
    np.testing.assert_array_equal(np.isnan(variance), [False, True, True, True])


def test_more_than_65535_rows(device, rng):
    x, dy = (rng.standard_normal((2, 257, 130, 2)).astype(np.float32) for _ in range(2))
    exact = x.astype(np.float64).reshape(-1, 2)
    mean, variance = statistics(device, x)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-5)
    _, dscale, dshift = backward(device, dy, x, np.ones(2, np.float32), eps=1e-12)
    normal = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    np.testing.assert_allclose(dshift, dy.astype(np.float64).sum(axis=(0, 1, 2)), rtol=0, atol=1e-2)
    np.testing.assert_allclose(dscale, (dy.reshape(-1, 2) * normal).sum(axis=0), rtol=0, atol=1e-2)


def test_a_smaller_batch_in_the_scratch_of_a_larger_one_and_twice_the_same_bits(device, rng):
    x = rng.standard_normal((3, 11, 7, 5)).astype(np.float32)
    first, second = statistics(device, x, 16), statistics(device, x, 16, spare=9)
    assert [one.tobytes() for one in first] == [one.tobytes() for one in second]


def test_where_not_training_the_running_statistics_are_used(device, rng):
    x, running = rng.standard_normal((2, 3, 4, 9)), [rng.random(9), rng.random(9)]
    found = statistics(device, x, training=0, running=running)
    np.testing.assert_array_equal(found, running)


def test_images_behind_the_last_are_left_alone(device, rng):
    x, y = (1 + rng.random((3, 4, 5, 3)) for _ in range(2))
    names = [f"batch_norm_{name}" for name in ("forward", "backward")]
    for name, inputs, each in zip(names, ([x], [y, x]), (4, 5), strict=True):
        device_arrays = [np.ones(4) for _ in range(each)]  # one more than the maps: such arrays are cut by one value
        check_only_given_images(device, name, [*inputs, *device_arrays], x, eps=EPS)


# -- PyTorch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_pytorch_agrees(device, rng, shape):
    D = shape[-1]
    values, dy, scale, shift = (rng.standard_normal(s) for s in (shape, shape, D, D))
    running = [rng.standard_normal(D), rng.random(D)]
    x = torch.tensor(values.transpose(0, 3, 1, 2), requires_grad=True)
    w, b = (torch.tensor(one, requires_grad=True) for one in (scale, shift))
    judged = [torch.tensor(one) for one in running]
    y = torch.nn.functional.batch_norm(x, *judged, w, b, training=True, momentum=0.25, eps=EPS)
    y.backward(torch.tensor(dy).permute(0, 3, 1, 2))
    each = statistics(device, values)
    (found,) = run_op(device, "batch_norm_forward", [values, *each, scale, shift], [(shape, "f8")], eps=EPS)
    oracle.assert_near(found, y.detach().numpy().transpose(0, 2, 3, 1), 1e-12)
    dx, dscale, dshift = backward(device, dy, values, scale)
    np.testing.assert_allclose(dx, x.grad.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-11)
    np.testing.assert_allclose(dscale, w.grad.numpy(), rtol=0, atol=1e-11)
    np.testing.assert_allclose(dshift, b.grad.numpy(), rtol=0, atol=1e-11)
    numbers = {"momentum": 0.25, "images": shape[0], "positions": shape[1] * shape[2]}
    for one, expected in zip(
        run_op(device, "batch_norm_update", [np.ones(1), *each], running, **numbers), judged, strict=True
    ):
        oracle.assert_near(one, expected.numpy(), 1e-12)


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_running_statistics_stay_where_the_loss_is_no_number(device, rng, loss):
    each, running = ([np.abs(rng.standard_normal(7)).astype(np.float32) for _ in range(2)] for _ in range(2))
    each.insert(0, np.array([loss], np.float32))
    found = run_op(device, "batch_norm_update", each, running, momentum=0.25, images=3, positions=4)
    assert [values.tobytes() for values in found] == [values.tobytes() for values in running]


class Judge(torch.nn.Module):
    """`small()` in PyTorch, with the same parameters; frozen layers learn nothing and have constant statistics."""

    def __init__(self, parameters, frozen=()):
        super().__init__()
        self.frozen = frozen
        self.values = {name: torch.tensor(value) for name, value in parameters.items()}
        self.learnt = {
            name: torch.nn.Parameter(value)
            for name, value in self.values.items()
            if name in parameters_to_learn() and name.split(".")[0] not in frozen
        }
        self.values |= self.learnt

    def forward(self, images):
        at = self.values
        x = torch.nn.functional.conv2d(
            images.permute(0, 3, 1, 2), at["conv1.w"].permute(0, 3, 1, 2), at["conv1.b"], 1, 1
        )
        x = torch.nn.functional.max_pool2d(torch.relu(self.norm("bn1", x)), 2)
        x = torch.nn.functional.conv2d(x, at["conv2.w"].permute(0, 3, 1, 2), at["conv2.b"], 1, 1)
        x = self.norm("bn2", x).permute(0, 2, 3, 1).flatten(1)
        x = torch.relu(self.norm("bn3", x @ at["fc1.w"].T + at["fc1.b"]))
        return x @ at["fc2.w"].T + at["fc2.b"]

    def norm(self, name, x):
        running, each = (
            [self.values[f"{name}.{one}"] for one in two] for two in (("mean", "variance"), ("scale", "shift"))
        )
        return torch.nn.functional.batch_norm(x, *running, *each, self.training and name not in self.frozen)


def parameters_to_learn():
    net = small()
    return {f"{node.name}.{w.name}" for node in net.nodes for w in net.weights(node) if w.learnt}


def test_three_steps_and_an_evaluation_are_pytorchs(device):
    with Model(small(), 5, device, dtype="float64", learning_rate=0.1, seed=1, debug=True) as model:
        judge = Judge(model.parameters)
        optimizer = torch.optim.SGD(judge.learnt.values(), lr=0.1, momentum=0.9)
        for step, n in enumerate((5, 3, 4)):
            images, labels = batch(n, step)
            loss = torch.nn.functional.cross_entropy(judge(torch.tensor(images)), torch.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            gradients = model.gradients(images, labels)
            assert set(gradients) == set(judge.learnt)
            for name, gradient in gradients.items():
                np.testing.assert_allclose(gradient, judge.learnt[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)
            optimizer.step()
            assert model.step(images, labels) == pytest.approx(loss.item(), rel=1e-10)
        for name, value in model.parameters.items():
            np.testing.assert_allclose(value, judge.values[name].detach().numpy(), rtol=0, atol=1e-10, err_msg=name)
        judge.eval()
        images, labels = batch(5, 9)
        expected = judge(torch.tensor(images)).detach().numpy()
        np.testing.assert_allclose(model.forward(images), expected, rtol=1e-10)
        np.testing.assert_allclose(model.forward(images[:1]), expected[:1], rtol=1e-10)
        with Model(small(), 5, device, dtype="float64", mode="infer", debug=True) as infer:
            for name, value in model.parameters.items():
                infer.parameters[name] = value
            np.testing.assert_allclose(infer.forward(images), expected, rtol=1e-10)


# -- in a net --------------------------------------------------------------------------------------


def test_nets_with_it_learn(device):
    check_net(Net("4x3x2", [Conv(3), BatchNorm(), ReLU(), Conv(2), BatchNorm(affine=False), FC(3)]), device)


def test_only_a_step_moves_the_running_statistics(device):
    images, labels = batch(5)
    with Model(small(), 5, device, debug=True) as model:
        start = {name: value.tobytes() for name, value in model.parameters.items()}
        model.gradients(images, labels)
        model.forward(images)
        model.evaluate(images, labels)
        assert {name: value.tobytes() for name, value in model.parameters.items()} == start
        model.step(images, labels)
        moved = {name for name, value in model.parameters.items() if value.tobytes() != start[name]}
    assert moved == set(start) - {"bn2.scale", "bn2.shift"}  # these are not learnt


def test_it_starts_as_the_identity_and_only_what_is_learnt_counts():
    net = Net("4x4x3", [BatchNorm(), Conv(2), BatchNorm(affine=False), FC(2)])
    assert [net.layer_parameters(node) for node in net.nodes] == [6, 56, 0, 66]
    assert net.parameters == 128
    with Model(net, 2, "cpu") as model:
        for name, start in (("scale", 1), ("shift", 0), ("mean", 0), ("variance", 1)):
            np.testing.assert_array_equal(model.parameters[f"bn2.{name}"], start)
        images = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
        assert set(model.gradients(images, np.zeros(2, int))) == {
            *("bn1.scale", "bn1.shift", "conv1.w", "conv1.b", "fc1.w", "fc1.b")
        }


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_without_affine_scale_and_shift_can_be_set_to_nothing_else(mode):
    net = Net("4x4x3", [BatchNorm(), Conv(2), BatchNorm(affine=False), FC(2)])
    with Model(net, 2, "cpu", mode=mode) as model:
        for name, start in (("scale", 1), ("shift", 0)):
            model.parameters[f"bn2.{name}"] = np.full(2, start)
            for wrong in (start + 1, np.nan):
                with pytest.raises(ConfigError, match=rf"bn2.{name} is {start} for ever in this net"):
                    model.parameters[f"bn2.{name}"] = np.full(2, wrong)
            np.testing.assert_array_equal(model.parameters[f"bn2.{name}"], start)
        model.parameters["bn2.mean"] = np.full(2, 3)


def test_running_statistics_have_no_gradient_and_no_cache_and_outlive_steps():
    plan = gpunet.plan(small(), 8, device="cpu", optimizer="adam")
    kept = {p.tensor.name: p for p in plan.program.parameters}
    for name in ("bn1.mean", "bn1.variance", "bn2.scale"):
        assert kept[name].gradient is None and kept[name].caches == ()
        assert plan.program.lifetimes[name] == (0, plan.steps)
    assert kept["bn1.scale"].gradient is not None and len(kept["bn1.scale"].caches) == 2


def test_they_are_saved_with_the_weights(tmp_path):
    images, labels = batch(5)
    file = tmp_path / "weights.safetensors"
    with Model(small(), 5, "cpu") as model, Model(small(), 5, "cpu", seed=7) as other:
        model.step(images, labels)
        save_weights(file, model.parameters, {})
        restore_weights(other, file)
        np.testing.assert_array_equal(other.forward(images), model.forward(images))


def test_two_vectors_a_map_are_stored_beside_x_and_the_normalized_values_are_not():
    program = gpunet.plan(small(), 8, device="cpu").program
    reads = {t.name for op in program.ops if op.layer == "bn1" and op.phase == "backward" for t in op.inputs}
    assert {"conv1.y", "bn1.batch_mean", "bn1.batch_variance"} == reads & set(saved(program))
    assert "bn1.y" not in saved(program)


def test_in_inference_it_is_one_op_that_runs_in_place():
    program = gpunet.plan(small(), 8, device="cpu", mode="infer").program
    assert [op.name for op in program.ops if op.layer == "bn1"] == ["batch_norm_forward"]
    assert program.takes_over["bn1.y"] == "conv1.y"
    assert chunk_cuts(program) == cut_points(program)


def test_what_is_made_again_does_not_move_the_statistics_twice():
    names = "conv1.y", "pool1.y", "bn1.batch_mean", "bn1.batch_variance"
    program = planned(small(), 5, "cpu", Ways(LIMIT, names)).program
    count = [op.name for op in program.ops].count
    assert count("batch_norm_statistics") == 4 and count("batch_norm_update") == 3


# -- rounds and small batches ----------------------------------------------------------------------

DEEP = "INPUT[24x24x3] -> CONV3-16 -> RELU -> POOL2 -> [CONV3-16 -> BN -> RELU]*3 -> POOL2 -> FC-5"


def test_chunks_are_cut_only_before_it():
    program = lowered(gpunet.load(DEEP), 8, "cpu")
    assert chunk_cuts(program) == ["conv1.y", "relu1.y", "pool1.y", "conv2.y"]
    assert "relu4.y" in cut_points(program)


def test_a_budget_is_met_by_recomputation_and_by_rounds_of_what_comes_before(device):
    net = gpunet.load(DEEP)
    options = dict(device=device.name, scratch_limit=64 * 1024, max_cost=1.0)
    free, least = gpunet.plan(net, 32, **options), gpunet.plan(net, 32, budget=1, **options)
    assert least.total_bytes < free.total_bytes and "recompute" in least.ways.names
    assert least.ways.cut in ("", "conv1.y", "relu1.y", "pool1.y", "conv2.y")
    rng = np.random.default_rng(3)
    images, labels = rng.standard_normal((32, 24, 24, 3)).astype(np.float32), rng.integers(0, 5, 32)
    losses = []
    for plan in (free, gpunet.plan(net, 32, budget=least.total_bytes, **options)):
        assert plan.fits
        with Model(net, 32, device, plan=plan) as model:
            losses.append([model.step(images, labels) for _ in range(2)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_micro_batches_are_refused_by_name():
    told = "bn1 takes its statistics over all images of a batch, so net cannot be trained in micro-batches"
    for ask in (gpunet.plan, gpunet.fit, survey):
        with pytest.raises(ConfigError, match=told):
            ask(small(), budget="1GiB", **({"batch": 8} if ask is gpunet.plan else {}), ways=["micro-batches"])
    assert gpunet.plan(small(), 8, budget="1GiB", mode="infer", ways=["micro-batches"]).fits
    assert ("micro-batches",) not in [rung.ways for rung in ladder(small(), "80MiB", device="cpu")]


def flat() -> Net:
    """With batch normalization where an image has a single position."""
    return gpunet.load("INPUT[6x4x2] -> FC-5 -> BN -> RELU -> FC-3")


def test_one_image_of_many_positions_is_trained_on_as_in_pytorch(device):
    """Its statistics are over the positions; a last batch of one image is no reason to refuse a run."""
    wide = gpunet.load("INPUT[6x4x2] -> CONV3-4 -> BN -> RELU -> FC-3")
    images, labels = batch(1)
    assert gpunet.plan(wide, 1).batch == 1 and gpunet.fit(wide, "1GiB", device="cpu").batch > 1
    with Model(wide, 1, device, seed=2, dtype="float64") as model:
        w = torch.tensor(model.parameters["conv1.w"]).permute(0, 3, 1, 2)
        norm = torch.nn.BatchNorm2d(4, dtype=torch.float64)
        norm(torch.nn.functional.conv2d(torch.tensor(images).permute(0, 3, 1, 2), w, padding=1))
        model.step(images, labels)
        np.testing.assert_allclose(model.parameters["bn1.mean"], norm.running_mean, rtol=1e-9)
        np.testing.assert_allclose(model.parameters["bn1.variance"], norm.running_var, rtol=1e-9)
    split = Split(np.random.default_rng(1).integers(0, 255, (5, 6, 4, 2), dtype=np.uint8), np.arange(5) % 3)
    with Model(wide, 4, "cpu") as model:
        rows = Trainer(model, Dataset("some", split, split, ("a", "b", "c")), epochs=2).run()
    assert len(rows) == 2 and np.isfinite([row.train_loss for row in rows]).all()


def test_a_batch_of_one_is_refused_where_it_would_be_trained_on(device):
    images, labels = batch(3)
    with pytest.raises(ConfigError, match=r"bn1 takes its statistics .* batch 1; use a batch of 2 or more"):
        gpunet.plan(flat(), 1)
    gpunet.plan(flat(), 1, mode="infer")
    with Model(flat(), 3, device) as model:
        before = dict(model.parameters)
        for ask in (model.step, model.gradients, model.calls):
            with pytest.raises(ShapeError, match=r"bn1 takes its statistics .* 1 image cannot be; give at least 2"):
                ask(images[:1], labels[:1])
        assert model.steps == 0
        assert all((model.parameters[name] == value).all() for name, value in before.items())
        model.evaluate(images[:1], labels[:1])


def test_the_smallest_batch_to_fit_is_two():
    least = gpunet.plan(flat(), 2, device="cpu", budget=1, max_cost=0).total_bytes
    assert gpunet.fit(flat(), least, device="cpu", max_cost=0).batch >= 2
    with pytest.raises(BudgetError, match="a batch of 2 images, the least to train on, takes"):
        gpunet.fit(flat(), least - 1, device="cpu", max_cost=0)
    assert gpunet.fit(flat(), "70MiB", device="cpu", mode="infer").batch > 1


@pytest.mark.parametrize(
    "images, size, told", [(9, 4, "use a batch of 3, or"), (1, 4, "add images"), (3, 2, "of 3, or")]
)
def test_a_last_batch_of_one_is_refused_before_the_first_step(images, size, told):
    rng = np.random.default_rng(1)
    split = Split(rng.integers(0, 255, (images, 6, 4, 2), dtype=np.uint8), np.arange(images) % 3)
    data = Dataset("some", split, split, ("a", "b", "c"))
    with Model(flat(), size, "cpu") as model:
        with pytest.raises(
            DataError, match=f"{images} images in batches of {size} leave a last batch of 1, and bn1"
        ) as e:
            Trainer(model, data, epochs=1)
        assert told in str(e.value)
    if images > 1:
        with Model(flat(), 3, "cpu") as model:
            assert len(Trainer(model, data, epochs=2).run()) == 2


def test_the_words(tmp_path):
    check_words(PATTERN, small(), tmp_path)
    layers = [BatchNorm(eps=0.5, momentum=0.25, affine=False)]
    check_words("INPUT[4x3x2] -> BN(eps=0.5, momentum=0.25, affine=false)", Net("4x3x2", layers), tmp_path)


@pytest.mark.parametrize(
    "fields, told",
    [
        ({"eps": 0}, "eps must be a number of at least 1e-12; got 0"),
        ({"momentum": -1}, "momentum must be a number of at least 0; got -1"),
        ({"momentum": 1.5}, "momentum must be a number from 0 to 1; got 1.5"),
        ({"affine": 1}, "affine must be true or false; got 1"),
    ],
)
def test_numbers_that_do_not_work_are_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        BatchNorm(**fields)


# Random calls of each op, for the tests that go through all ops.


def _batch_norm(draw: Draw) -> tuple[np.ndarray, list[np.ndarray], dict[str, Any]]:
    """x; a mean, a variance, a scale and a shift; eps, and the number of rows in a part."""
    x = draw.values(*draw.volume())
    each = [draw.values(x.shape[-1]) for _ in range(4)]
    each[1] = np.abs(each[1])
    return x, each, {"eps": 0.125}


def _batch_norm_parts(draw: Draw, x: np.ndarray) -> tuple[tuple[Spec], dict[str, int]]:
    """Scratch for two more parts than needed, and how many rows a part has."""
    block_rows, D = draw.size(1, 40), x.shape[-1]
    return (((2 * (2 - (-x.size // D // block_rows)), D), draw.dtype),), {"block_rows": block_rows}


def call_batch_norm_statistics(draw: Draw) -> Call:
    x, each, _ = _batch_norm(draw)
    scratch, numbers = _batch_norm_parts(draw, x)
    numbers |= {"training": int(draw.size(0, 3) > 0)}
    given = x, *each[:2], counters(x.shape[-1])
    return Call("batch_norm_statistics", given, ((x.shape[-1:], draw.dtype),) * 2, scratch, numbers)


def call_batch_norm_forward(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    return Call("batch_norm_forward", (x, *each), ((x.shape, draw.dtype),), attributes=eps, aliases=({0: 0},))


def call_batch_norm_backward_sums(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    scratch, numbers = _batch_norm_parts(draw, x)
    inputs = draw.values(*x.shape), x, *each[:2], counters(x.shape[-1])
    return Call("batch_norm_backward_sums", inputs, ((x.shape[-1:], draw.dtype),) * 2, scratch, numbers | eps)


def call_batch_norm_backward(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    inputs = draw.values(*x.shape), x, *each, draw.values(x.shape[-1])
    aliases = {0: 0}, {0: 1}
    return Call("batch_norm_backward", inputs, ((x.shape, draw.dtype),), attributes=eps, aliases=aliases)


def call_batch_norm_backward_frozen(draw: Draw) -> Call:
    x, each, eps = _batch_norm(draw)
    outputs = ((x.shape, draw.dtype),)
    return Call("batch_norm_backward_frozen", (x, *each[1:3]), outputs, attributes=eps, aliases=({0: 0},))


def call_batch_norm_update(draw: Draw) -> Call:
    layers = [_batch_norm(draw)[1] for _ in range(draw.size(1, 3))]
    numbers = {"momentum": 0.25, "images": draw.size(2, 9), "positions": draw.size(1, 99)}
    loss = np.array([0.5], draw.dtype)
    given = [array for each in layers for array in each[:2]]
    running = [array for each in layers for array in each[2:4]]
    return Call("batch_norm_update", (loss, *given), tuple(running), attributes=numbers)


LAST = "store(dx + (row * D + k), gradients);\n        }\n    });\n}\n\n// dy               (rows, D)  in"
"""The end of the kernel of frozen statistics."""

ROWS = "\n        for (; row < rows; row += lines) {\n            auto "
"""Between what is found once a map and what is done in every row."""

MUTANTS = [
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_relu_forward",
        ("no sum", "if (z) value += added.value[lane];", ""),
        ("no ReLU", "if (relu && !passes(value)) value = real(0);", ""),
        ("ReLU swallows NaN", "return !(normal <= real(0));", "return normal > real(0);"),
        (
            "packs at any address",
            "aligned(x, mean, variance, scale, shift, z, y)",
            "aligned(x, mean, variance, scale, shift)",
        ),
    ),
    *mutants_of("batch_norm.cu", "batch_norm_relu_backward_sums", ("whatever ReLU did", "gradient = real(0);", "")),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_relu_backward",
        ("whatever ReLU did", "                    gradients.value[lane] = real(0);\n", ""),
        ("no shift", "forward.value[lane], shifts.value[lane])", "forward.value[lane], real(0))"),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_statistics",
        ("no differences", "values.value[lane] - start.value[lane];", "values.value[lane];"),
        ("squares as if the first row were the mean", "squares.value[lane] -= sum * (sum / (real)(last - first));", ""),
        (
            "squares over the totals",
            "store(partials + (parts + part) * D + k, squares);",
            "store(partials + part * D + k, squares);",
        ),
        (
            "no squares",
            "so_far.of[1].value[lane] += difference * difference;",
            "so_far.of[1].value[lane] += difference;",
        ),
        ("packs across rows", "D % WIDTH == 0 && x_row % WIDTH == 0 && aligned(x, partials)", "aligned(x, partials)"),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_statistics",
        ("all parts are full", "left < block_rows ? left : block_rows", "block_rows"),
        ("parts are no part of the variance", " + count * difference * difference", ""),
        (
            "every part counts once",
            "so_far.of[0].value[0] += count * difference",
            "so_far.of[0].value[0] += difference",
        ),
        ("the first part's mean", "start + (above + further)", "start + above"),
        ("the first row's place", "start + (above + further)", "above + further"),
        ("no differences of first rows", "x[part * block_rows * x_row + k] - start + ", ""),
        ("nothing of the means", "squares = sums.of[1].value[0] - one * further", "squares = sums.of[1].value[0]"),
        ("a sum, not a mean", "squares / (real)rows", "squares"),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_recall",
        ("the mean twice", "variance[k] = running_variance[k]", "variance[k] = running_mean[k]"),
        (
            "the last map is left out",
            "k < D; k += item_stride()) {\n        mean[k]",
            "k < D - 1; k += item_stride()) {\n        mean[k]",
        ),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_forward",
        (
            "no scale",
            "factors.value[lane] /= spread.value[lane];\n    return factors;",
            "factors.value[lane] = 1 / spread.value[lane];\n    return factors;",
        ),
        ("no root", "= sqrt(values.value[lane] + eps);", "= values.value[lane] + eps;"),
        ("no eps", "= sqrt(values.value[lane] + eps);", "= sqrt(values.value[lane]);"),
        (
            "the last row is left out",
            "row < rows; row += lines) {\n            auto values",
            "row < rows - 1; row += lines) {\n            auto values",
        ),
        (
            "packs at any depth",
            "const bool packs = packable(D, x_row, y_row) && aligned(x, mean, variance, scale, shift, y)",
            "const bool packs = aligned(x, mean, variance, scale, shift, y)",
        ),
        (
            "packs at any address",
            "aligned(x, mean, variance, scale, shift, y)",
            "aligned(x, mean, variance, scale, y)",
        ),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_backward_sums",
        ("no mean", "gradient * (value - middle.value[lane]);", "gradient * value;"),
        ("no gradient", "+= gradient * (value", "+= (value"),
        ("no deviation", "sums.of[1].value[lane] /= spread.value[lane];", ""),
        (
            "the gradients are not summed",
            "so_far.of[0].value[lane] += gradient;",
            "so_far.of[0].value[lane] = gradient;",
        ),
        ("packs at any address", "aligned(dy, x, mean, variance, scale, shift, partials)", "true"),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_backward_sums",
        (
            "the sums are exchanged",
            "dshift[k] = sums.of[0].value[0];\n        dscale[k] = sums.of[1].value[0];",
            "dshift[k] = sums.of[1].value[0];\n        dscale[k] = sums.of[0].value[0];",
        ),
        (
            "the last part alone",
            "[0].value[0] += fresh(partials + part * D",
            "[0].value[0] = fresh(partials + part * D",
        ),
        (
            "the first part is left out",
            "[1].value[0] += fresh(partials + (parts + part) * D + k);\n    });",
            "[1].value[0] += part ? fresh(partials + (parts + part) * D + k) : 0;\n    });",
        ),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_backward",
        ("the statistics stand still", "(gradients.value[lane] - common)", "gradients.value[lane]"),
        (
            "the mean stands still",
            "(dshifts.value[lane] + normal * dscales.value[lane]) * share",
            "normal * dscales.value[lane] * share",
        ),
        (
            "the deviation stands still",
            "(dshifts.value[lane] + normal * dscales.value[lane]) * share",
            "dshifts.value[lane] * share",
        ),
        ("sums, not means", "dscales.value[lane]) * share", "dscales.value[lane])"),
        ("no scale", "factors.value[lane] *= inverses.value[lane];", "factors.value[lane] = inverses.value[lane];"),
        ("no deviation", "factors.value[lane] *= inverses.value[lane];", ""),
        ("divided, not multiplied", "inverses.value[lane] = 1 / inverses.value[lane];", ""),
        (
            "packs at any address",
            "aligned(dy, x, mean, variance, scale, shift, dscale, dshift, dx)",
            "aligned(dy, x, mean, variance, scale, shift, dscale, dx)",
        ),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_backward_frozen",
        (
            "no scale",
            f"factors.value[lane] /= spread.value[lane];{ROWS}grad",
            f"factors.value[lane] = 1 / spread.value[lane];{ROWS}grad",
        ),
        (
            "the gradients are forgotten",
            "gradients.value[lane] *= factors.value[lane];",
            "gradients.value[lane] = factors.value[lane];",
        ),
        (
            "the last row is left out",
            LAST,
            f"if (row < rows - 1) {LAST}",
        ),
        (
            "packs at any depth",
            "const bool packs = D % WIDTH == 0 && aligned(dy, variance, scale, dx)",
            "const bool packs = aligned(dy, variance, scale, dx)",
        ),
        ("packs at any address", "aligned(dy, variance, scale, dx)", "aligned(dy, variance, scale)"),
    ),
    *mutants_of(
        "batch_norm.cu",
        "batch_norm_update",
        ("whatever the loss is", "    if (!is_number(*loss)) return;\n", ""),
        ("forgets all", "running_mean[k] = kept * running_mean[k] + momentum", "running_mean[k] = momentum"),
        (
            "forgets nothing",
            "running_variance[k] = kept * running_variance[k]",
            "running_variance[k] = running_variance[k]",
        ),
        ("biased", "momentum * (unbiased * variance[k])", "momentum * variance[k]"),
        ("no momentum", "momentum * mean[k]", "mean[k]"),
        (
            "the last map is left out",
            "k < count; k += BLOCK) {\n            running_mean[k]",
            "k < count - 1; k += BLOCK) {\n            running_mean[k]",
        ),
    ),
]
"""Changes of its kernels that the tests above, and those of all ops, must notice."""
