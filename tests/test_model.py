"""Models: what a step computes, against float64 loops and PyTorch; what it allocates; what it refuses."""

import tracemalloc

import numpy as np
import pytest
import torch

import gpunet
from bench.peer.net import torch_loss
from gpunet import (
    FC,
    BudgetError,
    ConfigError,
    Conv,
    DataError,
    Hinge,
    MaxPool,
    Model,
    Net,
    ReLU,
    ShapeError,
    SoftmaxCrossEntropy,
)
from gpunet.compile.fuse import FUSIONS
from gpunet.devices.cuda.device import CudaDevice
from gpunet.errors import DeviceError
from gpunet.model.bound import BoundProgram
from gpunet.program.volume import windows
from tests import reference
from tests.conftest import make_device
from tests.emulator.driver import EmulatorDriver
from tests.nets import random_net, small


@pytest.fixture
def cpu_device():
    device = make_device("cpu")
    yield device
    device.close()


@pytest.fixture
def emulated_device():
    device = make_device("emulated")
    yield device
    device.close()


def batch_for(net: Net, n: int, rng: np.random.Generator, dtype: str = "float32"):
    images = rng.standard_normal((n, *net.input.shape)).astype(dtype)
    return images, rng.integers(0, net.classes, n)


LOSSES = (SoftmaxCrossEntropy(), Hinge(), SoftmaxCrossEntropy(0.1), Hinge(0.5, squared=True))


def with_loss(net: Net, number: int) -> Net:
    """The net with another of the losses."""
    return Net(net.input, net.nodes, name=net.name, fit=net.fit, loss=LOSSES[number % len(LOSSES)])


def close(got, wanted, relative):
    """Within `relative` of the largest value."""
    scale = max(np.abs(wanted).max(), 1e-30)
    assert np.abs(np.asarray(got, np.float64) - wanted).max() <= relative * scale


def nudge_biases(model: Model, rng: np.random.Generator) -> None:
    """Biases start at zero, which would hide a wrong one."""
    for name in model.parameters:
        if name.endswith(".b"):
            model.parameters[name] = rng.standard_normal(model.parameters[name].shape)


@pytest.mark.parametrize("seed", range(12))
def test_random_nets_agree_with_float64_loops(device, seed):
    rng = np.random.default_rng(seed)
    net = with_loss(random_net(rng, layers=int(rng.integers(2, 8))), seed)
    n = int(rng.integers(2, 5))
    limit = int(rng.integers(200, 20_000))
    for dtype, bound in (("float64", 1e-12), ("float32", 1e-4)):
        images, labels = batch_for(net, n, rng, dtype)
        model = Model(net, batch=n, device=device, dtype=dtype, seed=seed, scratch_limit=limit, debug=True)
        nudge_biases(model, rng)
        wanted = reference.run(net, dict(model.parameters), images, labels)
        loss, _ = model.evaluate(images, labels)
        close(model.forward(images), wanted.scores, bound)
        close(np.array([loss]), np.array([wanted.loss]), bound)
        gradients = model.gradients(images, labels)
        assert set(gradients) == set(wanted.gradients) == set(model.parameters)
        for name, gradient in gradients.items():
            close(gradient, wanted.gradients[name], bound)
        model.close()


class TorchNet(torch.nn.Module):
    """The same chain in PyTorch, from the parameters of a Model: NHWC to NCHW and back at the borders."""

    def __init__(self, net: Net, parameters: dict[str, np.ndarray]):
        super().__init__()
        self.net = net
        self.values = {name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in parameters.items()}

    def forward(self, images):
        x = images
        for node in self.net.nodes:
            w, b = self.values.get(f"{node.name}.w"), self.values.get(f"{node.name}.b")
            layer = node.layer
            if isinstance(layer, ReLU):
                x = torch.relu(x)
            elif isinstance(layer, MaxPool | Conv):
                x = self._windows(layer, x, self.net.volumes[node.name], w, b)
            else:
                x = (x.reshape(len(x), -1) @ w.T + b)[:, None, None, :]
        return x.reshape(len(x), -1)

    @staticmethod
    def _windows(layer, x, volume, w, b):
        """Pad or crop by hand to exactly what the windows see."""
        dilation = layer.dilation if isinstance(layer, Conv) else 1
        down, across = windows(layer.F, layer.S, layer.P, dilation)
        seen = [
            (out - 1) * axis.S + axis.extent - size - axis.before
            for axis, out, size in zip((down, across), volume.shape[:2], x.shape[1:3], strict=True)
        ]
        fill = 0.0 if isinstance(layer, Conv) else -torch.inf
        x = x.permute(0, 3, 1, 2)
        x = torch.nn.functional.pad(x, (across.before, seen[1], down.before, seen[0]), value=fill)
        if isinstance(layer, Conv):
            numbers = {"stride": layer.S, "dilation": dilation, "groups": layer.groups}
            y = torch.nn.functional.conv2d(x, w.permute(0, 3, 1, 2), b, **numbers)
        else:
            y = torch.nn.functional.max_pool2d(x, layer.F, layer.S)
        return y.permute(0, 2, 3, 1)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("seed", range(4))
def test_three_training_steps_agree_with_pytorch(device, optimizer, seed):
    rng = np.random.default_rng(100 + seed)
    net = with_loss(random_net(rng, layers=6), seed)
    model = Model(net, batch=4, device=device, optimizer=optimizer, seed=seed, learning_rate=0.02, scratch_limit=3000)
    nudge_biases(model, rng)
    peer = TorchNet(net, dict(model.parameters))
    momentum = 0.9 if optimizer == "momentum" else 0.0
    trainer = torch.optim.SGD(peer.values.values(), lr=0.02, momentum=momentum)
    for _ in range(3):
        images, labels = batch_for(net, 4, rng)
        trainer.zero_grad()
        scores = peer(torch.from_numpy(images))
        loss = torch_loss(net, scores, torch.from_numpy(labels))
        loss.backward()
        close(model.forward(images), scores.detach().numpy(), 1e-4)
        for name, gradient in model.gradients(images, labels).items():
            close(gradient, peer.values[name].grad.numpy(), 1e-4)
        close(np.array([model.step(images, labels)]), np.array([loss.item()]), 1e-4)
        trainer.step()
    for name, value in model.parameters.items():
        close(value, peer.values[name].detach().numpy(), 1e-4)


def test_gradients_agree_with_numeric_ones(device):
    net = Net("5x4x2", [Conv(3), ReLU(), MaxPool(2), Conv(2, F=1, P=0), gpunet.FC(3)], fit="crop")
    rng = np.random.default_rng(3)
    model = Model(net, batch=3, device=device, dtype="float64", seed=1)
    nudge_biases(model, rng)
    images, labels = batch_for(net, 3, rng, "float64")
    analytic = model.gradients(images, labels)
    step = 1e-5
    for name, gradient in analytic.items():
        start = model.parameters[name]
        for index in np.ndindex(start.shape):
            losses = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * step
                model.parameters[name] = moved
                losses.append(model.evaluate(images, labels)[0])
            model.parameters[name] = start
            assert gradient[index] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_a_smaller_batch_gives_its_own_mean_loss_and_gradients_in_the_same_arena(device):
    net, rng = small(), np.random.default_rng(8)
    large = Model(net, batch=7, device=device, dtype="float64", seed=2, debug=True, scratch_limit=5000)
    images, labels = batch_for(net, 7, rng, "float64")
    large.gradients(images, labels)  # leaves other values behind
    for n in (1, 3, 7):
        exact = Model(net, batch=n, device=device, dtype="float64", seed=2, scratch_limit=5000)
        assert large.evaluate(images[:n], labels[:n])[0] == pytest.approx(
            exact.evaluate(images[:n], labels[:n])[0], rel=1e-12
        )
        assert large.forward(images[:n]).shape == (n, net.classes)
        wanted = exact.gradients(images[:n], labels[:n])
        for name, gradient in large.gradients(images[:n], labels[:n]).items():
            close(gradient, wanted[name], 1e-12)


def test_pixels_enter_scaled_and_shifted(device):
    net = Net("6x5x2", [Conv(3), ReLU(), gpunet.FC(4)], scale=1 / 16, shift=-0.5)
    pixels = np.random.default_rng(4).integers(0, 256, (3, 6, 5, 2), dtype=np.uint8)
    labels = np.array([0, 3, 1])
    model = Model(net, batch=3, device=device, debug=True)
    floats = (pixels * np.float32(1 / 16) + np.float32(-0.5)).astype(np.float32)
    np.testing.assert_allclose(model.forward(pixels), model.forward(floats), rtol=1e-6, atol=1e-6)
    a, b = model.gradients(pixels, labels), model.gradients(floats, labels)
    for name in a:
        close(a[name], b[name], 1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(device):
    net, rng = small(), np.random.default_rng(9)
    data = [batch_for(net, 5, rng) for _ in range(3)]

    def train(seed: int, debug: bool = False):
        model = Model(net, batch=5, device=device, seed=seed, debug=debug)
        losses = [model.step(*pair) for pair in data]
        return losses, {name: value.tobytes() for name, value in model.parameters.items()}

    assert train(3) == train(3)
    assert train(3) != train(4)


def test_poisoning_what_is_fresh_or_free_changes_no_bit(device):
    rng = np.random.default_rng(10)
    for _ in range(4):
        net = random_net(rng, layers=7)
        data = [batch_for(net, n, rng) for n in (4, 2, 4)]
        results = []
        for debug in (False, True):
            model = Model(net, batch=4, device=device, seed=1, debug=debug, scratch_limit=2000)
            losses = [model.step(*pair) for pair in data]
            results.append((losses, {name: value.tobytes() for name, value in model.parameters.items()}))
        assert results[0] == results[1]
        assert np.isfinite(results[0][0]).all()


def test_a_step_learns(device):
    net, rng = small(), np.random.default_rng(12)
    images, labels = batch_for(net, 6, rng)
    model = Model(net, batch=6, device=device, learning_rate=0.02)
    losses = [model.step(images, labels) for _ in range(25)]
    assert losses[-1] < 0.3 * losses[0]
    model.evaluate(images, labels)
    assert model.correct == int((model.forward(images).argmax(axis=1) == labels).sum())


def test_cpu_and_emulated_cuda_agree(cpu_device, emulated_device):
    rng = np.random.default_rng(13)
    for seed in range(4):
        net = random_net(rng, layers=7)
        images, labels = batch_for(net, 4, rng)
        results = []
        for where in (cpu_device, emulated_device):
            model = Model(net, batch=4, device=where, seed=seed, scratch_limit=2500)
            results.append((model.gradients(images, labels), [model.step(images, labels) for _ in range(3)]))
        for name in results[0][0]:
            close(results[1][0][name], results[0][0][name], 1e-5)
        np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5)


def test_a_step_allocates_no_array_that_grows_with_the_batch(cpu_device):
    """The peak of what Python and NumPy allocate in a step, for a batch and for one eight times as large."""
    net = Net("16x16x3", [Conv(8), ReLU(), MaxPool(2), Conv(16), ReLU(), MaxPool(2), gpunet.FC(10)])
    rng = np.random.default_rng(14)
    peaks = []
    for n in (512, 4096):
        images, labels = batch_for(net, n, rng)
        model = Model(net, batch=n, device=cpu_device)
        model.step(images, labels)
        tracemalloc.start()
        model.step(images, labels)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    smallest = 512 * 16 * 16 * 8 * 4  # one activation of the smaller batch
    assert peaks[1] - peaks[0] < smallest / 4


def test_a_fault_of_the_gpu_is_told_of_its_own_op_where_each_is_waited_for(monkeypatch):
    """A GPU tells of a fault when it is next asked for something: without waiting, a later op would be blamed."""
    driver = EmulatorDriver()
    device, faults = CudaDevice(driver), []
    launch, synchronize = driver.launch, driver.synchronize

    def late_fault() -> None:
        if faults:
            raise DeviceError("the GPU could not finish its work: an illegal memory access")
        synchronize()

    def faulty(file, kernel, *arguments, **options):
        late_fault()
        launch(file, kernel, *arguments, **options)
        if kernel.startswith("max_pool_forward"):
            faults.append(kernel)

    monkeypatch.setattr(driver, "launch", faulty)
    monkeypatch.setattr(driver, "synchronize", late_fault)
    net = Net("6x6x2", [Conv(3), MaxPool(), FC(2)])
    images, labels = np.zeros((2, 6, 6, 2), np.float32), np.array([0, 1])
    with pytest.raises(DeviceError) as caught, Model(net, 2, device, debug=True, without=FUSIONS) as model:
        model.step(images, labels)
    assert str(caught.value) == ("pool1, max_pool_forward: the GPU could not finish its work: an illegal memory access")


def test_used_bytes_are_the_planned_bytes(device):
    for mode in ("train", "infer"):
        model = Model(small(), batch=3, device=device, mode=mode)
        assert model.arena_bytes == model.plan.arena_bytes
        assert max(t.offset + -(-t.nbytes // 256) * 256 for t in model.plan.tensors) == model.plan.arena_bytes


def test_inference_gives_the_scores_of_the_training_program(device):
    net, rng = small(), np.random.default_rng(15)
    images, labels = batch_for(net, 4, rng)
    train, infer = Model(net, 4, device, seed=6), Model(net, 4, device, mode="infer", seed=6, debug=True)
    assert np.array_equal(train.forward(images), infer.forward(images))
    with pytest.raises(ConfigError, match="mode='infer'"):
        infer.step(images, labels)


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        (np.zeros((2, 10, 12, 3)), [0, 4], DataError, "label 4 is out of range; 4 classes are labelled 0 to 3"),
        (np.zeros((2, 10, 12, 3)), [0, -1], DataError, "label -1 is out of range"),
        (np.zeros((2, 10, 12, 3)), [0.0, 1.0], DataError, "labels must be integers"),
        (np.zeros((2, 10, 12, 3)), [0], ShapeError, r"2 images need labels of shape \(2,\); got \(1,\)"),
        (np.zeros((2, 12, 10, 3)), [0, 1], ShapeError, r"takes images of shape \(n, 10, 12, 3\); got \(2, 12, 10, 3\)"),
        (np.zeros((2, 360)), [0, 1], ShapeError, "takes images of shape"),
        (np.zeros((5, 10, 12, 3)), [0] * 5, ShapeError, "got 5 images; this model was planned for 1 to 3"),
        (np.zeros((0, 10, 12, 3)), [], ShapeError, "got 0 images"),
        (np.full((2, 10, 12, 3), np.nan), [0, 1], DataError, "image 0 of the batch holds NaN"),
        (np.full((2, 10, 12, 3), 1e300), [0, 1], DataError, "or values that are infinite in float32"),
        ([[1, 2], [3]], [0, 1], ShapeError, "images must be one array"),
        (np.zeros((2, 10, 12, 3)), None, ShapeError, r"2 images need labels of shape \(2,\); got \(\)"),
        (np.zeros((2, 10, 12, 3), complex), [0, 1], DataError, "uint8 or floats; got complex128"),
        (np.zeros((2, 10, 12, 3), np.int64), [0, 1], DataError, "uint8 or floats; got int64"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_are_refused_and_change_nothing(cpu_device, images, labels, error, words):
    model = Model(small(), batch=3, device=cpu_device)
    before = {name: value.tobytes() for name, value in model.parameters.items()}
    with pytest.raises(error, match=words):
        model.step(images, labels if labels is None else np.array(labels))
    assert {name: value.tobytes() for name, value in model.parameters.items()} == before


def test_one_infinite_value_is_found_and_its_image_named(cpu_device):
    model = Model(small(), batch=3, device=cpu_device)
    images = np.zeros((3, 10, 12, 3), np.float32)
    images[1, 9, 11, 2] = -np.inf
    with pytest.raises(DataError, match="image 1"):
        model.forward(images)


def test_parameters_are_copies_and_assigning_sets_them(device):
    model = Model(small(), batch=2, device=device)
    assert model.parameters["conv1.w"].shape == (5, 3, 3, 3)
    assert model.parameters["fc1.w"].shape == (7, model.net.volumes["pool2"].values)
    model.parameters["fc2.b"][:] = 9
    assert not model.parameters["fc2.b"].any()
    model.parameters["fc2.b"] = [1, 2, 3, 4]
    assert model.parameters["fc2.b"].tolist() == [1, 2, 3, 4]
    with pytest.raises(ShapeError, match=r"fc2\.b has shape \(4,\); got \(5,\)"):
        model.parameters["fc2.b"] = np.zeros(5)
    with pytest.raises(ConfigError, match=r"^small has no parameter 'fc9\.w'; it has conv1\.w"):
        model.parameters["fc9.w"]
    assert "fc9.w" not in model.parameters
    assert model.parameters.get("fc9.w") is None


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_a_seed_that_is_none_is_refused(cpu_device, seed):
    with pytest.raises(ConfigError, match="the seed must be an integer of at least 0"):
        Model(small(), batch=2, device=cpu_device, seed=seed)


def test_labels_are_missed_wherever_a_loss_is_asked_for(cpu_device):
    model = Model(small(), batch=2, device=cpu_device)
    images = np.zeros((2, 10, 12, 3), np.float32)
    for ask in (model.step, model.evaluate, model.gradients, model.calls):
        with pytest.raises(ShapeError, match="2 images need labels"):
            ask(images, None)
    with pytest.raises(ConfigError, match="mode='infer'"):
        _ = Model(small(), batch=2, device=cpu_device, mode="infer").correct


@pytest.mark.parametrize("net", ["vgg16", None, 3])
def test_what_is_no_net_is_refused_with_the_way_to_one(net):
    for use in (gpunet.plan, lambda net: gpunet.fit(net, "1GiB"), lambda net: Model(net, batch=2, device="cpu")):
        with pytest.raises(ConfigError, match=r"a net is needed.*got .*gpunet\.load"):
            use(net)
    with pytest.raises(ConfigError, match=r"gpunet\.load"):
        Model(net, 2, "cpu", plan=gpunet.plan(small(), 2, device="cpu"))


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -0.1, "0.1", None, 1j])
def test_a_learning_rate_that_is_none_is_refused_whenever_it_is_set(cpu_device, rate):
    with pytest.raises(ConfigError, match="the learning rate must be a number of at least 0"):
        Model(small(), batch=2, device=cpu_device, learning_rate=rate)
    model = Model(small(), batch=2, device=cpu_device, learning_rate=np.float32(0.5))
    with pytest.raises(ConfigError, match="the learning rate"):
        model.learning_rate = rate
    assert model.learning_rate == 0.5 and type(model.learning_rate) is float


def test_a_batch_may_be_an_integer_of_numpy(cpu_device):
    assert gpunet.plan(small(), np.int64(4)).arena_bytes == gpunet.plan(small(), 4).arena_bytes
    assert type(gpunet.plan(small(), np.uint8(4)).batch) is int
    with Model(small(), np.int32(3), cpu_device) as model:
        assert model.batch == 3
    for batch in (np.float64(4), 4.0, "4", True, np.True_, np.int64(0), np.zeros(2, int)):
        with pytest.raises(ConfigError, match="the batch must be an integer from 1"):
            gpunet.plan(small(), batch)


def test_what_goes_wrong_in_a_model_is_told_even_if_closing_it_fails_too(cpu_device, monkeypatch):
    def broken(self):
        raise DeviceError("the GPU could not give memory back")

    monkeypatch.setattr(BoundProgram, "free", broken)
    with pytest.raises(ZeroDivisionError), Model(small(), 2, cpu_device):
        _ = 1 / 0
    with pytest.raises(DeviceError, match="give memory back"), Model(small(), 2, cpu_device):
        pass


def test_a_budget_too_small_is_refused_naming_the_batch_that_fits(cpu_device):
    budget = gpunet.plan(small(), 5, device="cpu").total_bytes
    with pytest.raises(BudgetError, match="the largest batch that fits is 5"):
        Model(small(), batch=6, device=cpu_device, budget=budget)
    Model(small(), batch=5, device=cpu_device, budget=budget).close()


def test_auto_chooses_the_cpu_where_there_is_no_gpu(monkeypatch):
    from gpunet.model import model as module

    def refuse(name):
        raise DeviceError("no GPU")

    monkeypatch.setattr(module, "open_device", refuse)
    assert module.choose_device("auto") == "cpu"
    assert module.choose_device("cuda") == "cuda"
    with pytest.raises(ConfigError, match="there is no device 'gpu'"):
        module.choose_device("gpu")
