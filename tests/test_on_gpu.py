"""Whole training steps on the CUDA device beside the CPU: what they compute, what they allocate, how large they may be.

Each test runs on the emulator, and on a GPU under -m gpu, there with larger sizes where those matter.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gpunet
from bench.gpu import tiny_steps
from gpunet import FC, Conv, MaxPool, Model, Net, ReLU
from gpunet.devices.cuda.arrays import Allocation
from gpunet.devices.device import Device
from gpunet.optimize.optimizers import OPTIMIZERS
from tests.conftest import ON_GPU, make_device
from tests.nets import small

BOUNDS = {"float64": 1e-12, "float32": 1e-5}


@dataclass
class Batch:
    """Images as floats and as the pixels that they come from, and labels."""

    pixels: np.ndarray
    floats: np.ndarray
    labels: np.ndarray


def batch_for(net: Net, n: int, rng: np.random.Generator) -> Batch:
    pixels = rng.integers(0, 256, (n, *net.input.shape), np.uint8)
    floats = (pixels * np.float32(net.scale) + np.float32(net.shift)).astype(np.float32)
    return Batch(pixels, floats, rng.integers(0, net.classes, n))


def packs() -> Net:
    """Depths that are whole packs of 16 bytes, as those of real nets are: the kernels' fast paths."""
    layers = [Conv(8), ReLU(), MaxPool(2), Conv(16), ReLU(), Conv(12), MaxPool(2), FC(8), ReLU(), FC(4)]
    return Net("12x8x4", layers, name="packs")


NETS = {"small": small, "packs": packs, "tiny": tiny_steps.net, "vgg_cifar": lambda: gpunet.load("vgg_cifar")}

CASES = [
    *(pytest.param("emulated", name, 3, id=f"emulated-{name}") for name in ("small", "packs", "tiny")),
    *(pytest.param("cuda", name, 5, id=f"cuda-{name}", marks=pytest.mark.gpu) for name in NETS),
]
"""vgg_cifar takes minutes in the emulator; `packs` is its twin, with the same layers and paths in small."""


@pytest.fixture
def cpu_device() -> Iterator[Device]:
    device = make_device("cpu")
    yield device
    device.close()


def close(got: Any, wanted: Any, bound: float) -> None:
    """Within `bound` of the largest value."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert np.isfinite(got).all()
    assert np.abs(got - wanted).max() <= bound * max(np.abs(wanted).max(), 1e-30)


def results(model: Model, batch: Batch) -> tuple[np.ndarray, tuple[float, int], dict[str, np.ndarray]]:
    """(scores, (loss, correct), gradients) of a batch of floats."""
    scores = model.forward(batch.floats)
    return scores, model.evaluate(batch.floats, batch.labels), model.gradients(batch.floats, batch.labels)


def set_biases(model: Model) -> None:
    """Biases start at zero, which would hide a wrong one."""
    rng = np.random.default_rng(1)
    for name in model.parameters:
        if name.endswith(".b"):
            model.parameters[name] = rng.standard_normal(model.parameters[name].shape)


def bits(model: Model) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in model.parameters.items()}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("where, name, n", CASES)
def test_scores_losses_and_gradients_are_those_of_the_cpu(where, name, n, dtype, cpu_device, rng):
    net = NETS[name]()
    device = make_device(where)
    batch = batch_for(net, n, rng)
    limit = 20_000 if name != "vgg_cifar" else None
    # sums over thousands of values in another order, ten layers deep
    bound = BOUNDS[dtype] * (10 if name == "vgg_cifar" else 1)
    with Model(net, n, cpu_device, dtype=dtype, seed=3) as model:
        set_biases(model)
        scores, (loss, correct), gradients = results(model, batch)
    with Model(net, n, device, dtype=dtype, seed=3, scratch_limit=limit) as model:
        set_biases(model)
        found_scores, (found_loss, found_correct), found_gradients = results(model, batch)
    close(found_scores, scores, bound)
    close([found_loss], [loss], bound)
    assert found_correct == correct
    assert set(found_gradients) == set(gradients)
    for parameter, gradient in gradients.items():
        close(found_gradients[parameter], gradient, bound)
    device.close()


@pytest.mark.parametrize("where, name, n", CASES)
def test_training_follows_the_cpu_with_pixels_and_with_a_smaller_last_batch(where, name, n, cpu_device, rng):
    net = NETS[name]()
    device = make_device(where)
    batches = [batch_for(net, size, rng) for size in (n, n, n - 2)]
    losses = []
    for one in (cpu_device, device):
        with Model(net, n, one, seed=5, learning_rate=0.003) as model:
            losses.append([model.step(batch.pixels, batch.labels) for batch in batches])
    close(losses[1], losses[0], 1e-4)
    device.close()


def test_pixels_and_the_floats_they_stand_for_give_the_same_step(cuda_device, rng):
    net = packs()
    batch = batch_for(net, 4, rng)
    ends = []
    for images in (batch.pixels, batch.floats):
        with Model(net, 4, cuda_device, seed=1) as model:
            loss = model.step(images, batch.labels)
            ends.append((loss, model.parameters["conv1.w"], model.parameters["fc2.w"]))
    for got, wanted in zip(*ends, strict=True):
        close(got, wanted, 1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_seed_gives_the_same_bits_poisoned_or_not(cuda_device, optimizer, rng):
    net = tiny_steps.net()
    batches = [batch_for(net, n, rng) for n in (5, 5, 2)]
    ends = []
    for debug in (False, False, True):
        options: dict[str, Any] = dict(optimizer=optimizer, seed=9, debug=debug, scratch_limit=16_000)
        with Model(net, 5, cuda_device, **options) as model:
            losses = [model.step(batch.pixels, batch.labels) for batch in batches]
            ends.append((losses, bits(model)))
    assert ends[0] == ends[1] == ends[2]
    assert np.isfinite(ends[0][0]).all()


class Counting:
    """Counts what a driver allocates and frees."""

    def __init__(self, driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allocated: list[int] = []
        self.freed: list[int] = []
        allocate, free = driver.allocate, driver.free

        def counting_allocate(nbytes: int) -> Allocation:
            self.allocated.append(nbytes)
            return allocate(nbytes)

        def counting_free(allocation: Allocation) -> None:
            self.freed.append(allocation.nbytes)
            free(allocation)

        monkeypatch.setattr(driver, "allocate", counting_allocate)
        monkeypatch.setattr(driver, "free", counting_free)


def pool_bytes() -> int:
    """What CuPy's pools hold; nothing where CuPy has no GPU to work on."""
    cupy = sys.modules.get("cupy")
    if cupy is None or not cupy.cuda.is_available():
        return 0
    return cupy.get_default_memory_pool().total_bytes() + cupy.get_default_pinned_memory_pool().n_free_blocks()


def test_the_arena_is_the_only_allocation_and_exactly_as_large_as_planned(cuda_device, rng, monkeypatch):
    net = small()
    counting = Counting(cuda_device.driver, monkeypatch)
    batches = [batch_for(net, n, rng) for n in (5, 2)]
    with Model(net, 5, cuda_device) as model:
        before = pool_bytes()
        for batch in batches:
            for images in (batch.pixels, batch.floats):
                model.step(images, batch.labels)
                model.forward(images)
                model.evaluate(images, batch.labels)
            model.gradients(batch.floats, batch.labels)
        assert pool_bytes() == before
        assert counting.allocated == [model.plan.arena_bytes]
        assert not counting.freed
    assert counting.freed == counting.allocated


def test_steps_leave_the_free_memory_of_the_device_as_it_is(cuda_device, rng):
    net = small()
    batch = batch_for(net, 5, rng)
    before = cuda_device.driver.memory()[0]
    with Model(net, 5, cuda_device) as model:
        model.step(batch.pixels, batch.labels)  # the first step compiles and loads kernels
        free = cuda_device.driver.memory()[0]
        assert free <= before - model.plan.arena_bytes
        for _ in range(5):
            model.step(batch.pixels, batch.labels)
        assert cuda_device.driver.memory()[0] == free


LARGE = pytest.mark.parametrize(
    "cuda_device, N", [("emulated", 5), pytest.param("cuda", 2**31 // (4 * 4 * 64) + 3, marks=ON_GPU.marks)],
    indirect=["cuda_device"],
)  # fmt: skip
"""N images of 4x4x64: on a GPU that is more than 2**31 values, so that 32-bit indices would go wrong."""

FILL = 0xBF
FILLED = float(np.frombuffer(bytes([FILL] * 4), np.float32)[0])
"""What four such bytes are as a float32: -1.498..."""


@LARGE
def test_relu_reaches_the_last_of_more_values_than_an_int_counts(cuda_device, N, rng):
    arena = room(cuda_device, N * 4096)
    x = arena.view(0, (N, 4, 4, 64), "float32")
    ends = {row: rng.standard_normal((1, 4, 4, 64)).astype(np.float32) for row in (0, N // 2, N - 1)}
    for row, values in ends.items():
        cuda_device.write(x.rows(row, row + 1), values)
    cuda_device.ops["relu_forward"](x, x)
    for row, values in ends.items():
        np.testing.assert_array_equal(cuda_device.read(x.rows(row, row + 1)), np.maximum(values, 0))
    assert not cuda_device.read(x.rows(1, 2)).any()  # FILLED is negative
    arena.free()


@LARGE
def test_max_pool_reaches_the_last_of_more_values_than_an_int_counts(cuda_device, N, rng):
    sizes = [N * 4096, N * 1024, N * 256]
    arena = room(cuda_device, sum(sizes))
    x = arena.view(0, (N, 4, 4, 64), "float32")
    y = arena.view(sizes[0], (N, 2, 2, 64), "float32")
    switches = arena.view(sizes[0] + sizes[1], (N, 2, 2, 64), "uint8")
    values = rng.standard_normal((1, 4, 4, 64)).astype(np.float32)
    cuda_device.write(x.rows(N - 1, N), values)
    cuda_device.ops["max_pool_forward"](x, y, switches, F=2, S=2, P=0)
    windows = values.reshape(2, 2, 2, 2, 64).transpose(0, 2, 4, 1, 3).reshape(2, 2, 64, 4)
    np.testing.assert_array_equal(cuda_device.read(y.rows(N - 1, N))[0], windows.max(axis=3))
    np.testing.assert_array_equal(cuda_device.read(switches.rows(N - 1, N))[0], windows.argmax(axis=3))
    np.testing.assert_array_equal(cuda_device.read(y.rows(0, 1)), np.full((1, 2, 2, 64), FILLED, np.float32))
    cuda_device.ops["max_pool_backward"](y, switches, x, F=2, S=2, P=0)
    back = np.where(np.arange(4) == windows.argmax(axis=3)[..., None], windows.max(axis=3)[..., None], 0)
    expected = back.reshape(2, 2, 64, 2, 2).transpose(0, 3, 1, 4, 2).reshape(4, 4, 64)
    np.testing.assert_array_equal(cuda_device.read(x.rows(N - 1, N))[0], expected)
    arena.free()


def room(device: Device, nbytes: int) -> Any:
    """An arena filled with FILLED."""
    free = device.driver.memory()[0]
    if nbytes > free:
        pytest.skip(f"needs {nbytes / 2**30:.1f} GiB of the GPU's memory, {free / 2**30:.1f} are free")
    arena = device.allocate(nbytes)
    arena.fill(0, nbytes, FILL)
    return arena
