"""The sections of the bench for a GPU, on the emulated device with PyTorch on the CPU as the peer."""

import json
import time
from typing import Any

import numpy as np
import pytest
import torch

import gpunet
from bench.gpu import agreement, full_sizes, kernel_cases, kernels, layers, memory, predictions, products, steps, tune
from bench.gpu.findings import Findings
from bench.gpu.kernel import Sizes
from bench.gpu.nets import Case, as_floats
from bench.gpu.setting import Setting
from bench.peer.net import torch_net
from gpunet import FC, Conv, Dropout, MaxPool, Model, Net, ReLU
from gpunet.compile.fuse import FUSIONS
from gpunet.data.dataset import Dataset, Split
from gpunet.devices import target
from gpunet.devices.cards import find
from gpunet.devices.cuda import reserve
from gpunet.devices.cuda.device import CudaDevice
from gpunet.net.config import Config, TrainConfig
from gpunet.planning import efficiency, roofline, tuned
from gpunet.profile.convolutions import conv_cases
from gpunet.profile.steps import random_batch
from tests.chosen import chosen
from tests.conftest import make_device
from tests.emulator.driver import EmulatorDriver

SIZES = Sizes(N=2, side=6, D=4, classes=5, weights=37)


def tiny() -> Net:
    return Net("8x6x3", [Conv(4), ReLU(), MaxPool(2), Conv(5), ReLU(), FC(7), ReLU(), FC(3)], name="tiny")


@pytest.fixture
def setting(tmp_path):
    made = Setting(Findings(tmp_path / "findings.json"), open=lambda: make_device("emulated"), peer="cpu")
    yield made
    made.close()


def on_disk(setting: Setting) -> dict[str, Any]:
    """What another process would find."""
    assert setting.findings.path is not None
    return json.loads(setting.findings.path.read_text())


def break_op(setting: Setting, monkeypatch: pytest.MonkeyPatch, name: str, function: Any) -> None:
    """Let an op of the device do something else."""
    monkeypatch.setattr(setting.device, "_ops", {**setting.device.ops, name: function})


# -- nets and peers -------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["vgg_digits", "14x10x3 -> conv", "two fc"])
def test_the_peer_computes_the_same_scores(net):
    nets = {
        "14x10x3 -> conv": lambda: Net("15x11x3", [Conv(6, F=5, S=2, P=2), ReLU(), MaxPool(2, S=2), Conv(4, F=2, P=0)]),
        "two fc": tiny,
    }
    made = nets[net]() if net in nets else gpunet.load(net)
    images, _ = random_batch(made, 4)
    with Model(made, 4, "cpu", seed=2) as model:
        scores = model.forward(as_floats(made, images))
        peer = torch_net(made, model.parameters)
    found = peer(torch.from_numpy(as_floats(made, images)).permute(0, 3, 1, 2))
    np.testing.assert_allclose(found.detach().numpy(), scores, rtol=1e-4, atol=1e-4 * np.abs(scores).max())


def test_a_net_that_drops_values_has_no_peer():
    net = Net("9x9x2", [Dropout(0.5), FC(3)])
    with Model(net, 1, "cpu") as model, pytest.raises(NotImplementedError, match="dropout1: no peer for"):
        torch_net(net, model.parameters)


# -- sections -------------------------------------------------------------------------------------


def test_steps_beside_pytorch(setting):
    steps.run(setting, [Case(tiny(), 3)], seconds=0.05)
    (row,) = on_disk(setting)["values"]["cases"]
    assert row["case"] == "tiny batch 3"
    names = [
        "gpunet",
        "gpunet from host",
        "gpunet from host, op by op",
        "PyTorch",
        "PyTorch from host",
        *(f"PyTorch {way}" for way in steps.VARIANTS),
    ]
    assert list(row["milliseconds"]) == names
    assert all(row["fastest"][name] <= ms for name, ms in row["milliseconds"].items())
    assert row["ratio"] == row["milliseconds"]["PyTorch"] / row["milliseconds"]["gpunet"]
    assert row["first_losses"][0] == pytest.approx(row["first_losses"][1], rel=1e-4)
    assert not setting.findings.failures
    speed, others, peaks = steps.tables(on_disk(setting)["values"])
    assert [line[:2] for line in speed.rows] == [("tiny batch 3", "on the device"), ("tiny batch 3", "from host")]
    assert len(others.rows[0]) == len(others.columns)
    assert peaks.rows[0][1] != "-" and peaks.rows[0][2] == "-"


def test_a_step_that_computes_something_else_than_pytorch_is_a_failure(setting, monkeypatch):
    monkeypatch.setattr(steps, "as_floats", lambda net, images: as_floats(net, images) * 2)
    monkeypatch.setattr(steps.TorchTrainer, "step_from_host", lambda self, images, labels: 0.5)
    steps.run(setting, [Case(tiny(), 2)], seconds=0.01)
    assert "PyTorch's is 0.5" in setting.findings.failures[0]


def test_a_case_takes_a_smaller_batch_where_memory_is_short_and_is_left_out_where_that_does_not_help(tmp_path):
    net = tiny()

    def needed(batch: int) -> int:
        return int((1 + steps.PEER_FACTOR) * gpunet.plan(net, batch).arena_bytes)

    for batch, total in ((8, needed(8)), (None, needed(8) - 1)):
        setting = Setting(open=lambda total=total: _device_with(total), peer="cpu")
        steps.run(setting, [Case(net, 64), Case(net, 32)], seconds=0.01)
        rows = setting.findings.values.get("cases", [])
        assert [row["batch"] for row in rows] == ([batch] if batch else [])
        assert bool(setting.findings.skipped) == (batch is None)


def _device_with(total: int) -> Any:
    return CudaDevice(EmulatorDriver(total_bytes=total))


def test_nothing_is_begun_when_time_is_up(setting):
    setting.ends_at = time.monotonic()
    layers.run(setting, [Case(tiny(), 2)])
    assert on_disk(setting)["skipped"] == ["tiny batch 2: no time left"]
    assert "cases" not in setting.findings.values


def test_time_by_layer(setting):
    layers.run(setting, [Case(tiny(), 3)], steps=2, peer_seconds=0.001)
    (case,) = on_disk(setting)["values"]["cases"]
    ran = [(op.layer, op.name, op.phase) for op in gpunet.plan(tiny(), 3).program.ops[1:]]
    assert [(op["layer"], op["op"], op["phase"]) for op in case["ops"]] == list(dict.fromkeys(ran))
    assert all(op["ms"] > 0 and op["host_ms"] > 0 for op in case["ops"])
    assert {layer: set(times) for layer, times in case["peer_conv_ms"].items()} == {
        "conv1": {"forward", "dw"},
        "conv2": {"forward", "dw", "dx"},
    }
    top, by_op, convolutions = layers.tables(on_disk(setting)["values"])
    assert len(top.rows) == layers.TOP
    assert sum(float(row[2].rstrip("%")) for row in by_op.rows) == pytest.approx(100, abs=1)
    assert [row[0] for row in convolutions.rows] == ["conv1", "conv2", "all"]


def test_kernels_and_products_beside_pytorch(setting):
    chosen = [
        products.Product("plain", 3, 4, 5),
        products.Product("b transposed", 6, 5, 3, transpose_b=True),
        products.Product("a transposed", 2, 7, 4, transpose_a=True),
    ]
    kernels.run(setting, SIZES, chosen, seconds=0, copy_bytes=4000)
    values = on_disk(setting)["values"]
    assert not setting.findings.failures
    assert not setting.findings.skipped
    named = {row["kernel"].partition(",")[0] for row in values["kernels"]}
    assert named >= {"relu_forward", "max_pool_forward", "max_pool_backward", "im2col", "col2im", "bias_backward"}
    assert named >= {"softmax_forward", "momentum_update", "image_to_float", "add_bias", "relu_backward"}
    assert named >= {"adam_update", "augment", "clip_by_norm"}
    assert named >= {"batch_norm_relu", "batch_norm_relu_backward", "add_relu_backward"}
    relu = next(row for row in values["kernels"] if row["kernel"] == "relu_backward")
    assert relu["nbytes"] == 3 * 4 * 2 * 6 * 6 * 4
    assert relu["gb_per_s"] == pytest.approx(relu["nbytes"] / (relu["ms"] * 1e6))
    assert [row["product"] for row in values["products"]] == [product.name for product in chosen]
    for row in values["kernels"]:
        row["in_cache"], row["host_ms"]["gpunet"] = row is relu, row["ms"] if row is relu else 0
    shown, multiplied = kernels.tables(values)
    assert len(shown.rows) == len(values["kernels"])
    assert [row[0] for row in shown.rows if row[4].endswith("% L2")] == ["relu_backward"]
    assert [row[0] for row in shown.rows if row[2].endswith("*")] == ["relu_backward"]
    assert all(len(row) == len(multiplied.columns) for row in multiplied.rows)


def test_what_fits_into_the_cache_is_held_against_a_copy_that_fits_too(setting, monkeypatch):
    moved = []
    right = kernels.copy_of
    monkeypatch.setattr(kernels, "copy_of", lambda setting, nbytes: moved.append(nbytes) or right(setting, nbytes))
    assert right(setting, 4096)().nbytes == 2048
    monkeypatch.setattr(kernels, "kernels", lambda sizes: iter([kernel_cases.relu(sizes)]))
    monkeypatch.setattr(kernels, "measure_copy", lambda *arguments: 1e-9)
    kernels.run(setting, SIZES, [], seconds=0, copy_bytes=4000)
    (row,) = on_disk(setting)["values"]["kernels"]
    assert moved == [row["nbytes"]] and row["in_cache"]  # far more than memory gives


@pytest.mark.parametrize(
    "op, kernel",
    [
        ("relu_backward", "relu_backward"),
        ("max_pool_forward", "max_pool_forward"),
        ("momentum_update", "momentum_update"),
        ("softmax_forward", "softmax_forward"),
        ("image_to_float", "image_to_float"),
        ("augment", "augment, a window"),
        ("clip_by_norm", "clip_by_norm"),
        ("adam_update", "adam_update"),
    ],
)
def test_a_kernel_that_does_nothing_is_a_failure(setting, monkeypatch, op, kernel):
    monkeypatch.setattr(kernels, "kernels", _only(kernel))
    break_op(setting, monkeypatch, op, lambda *arrays, **numbers: None)
    kernels.run(setting, SIZES, [], seconds=0, copy_bytes=4000)
    assert [message.partition(":")[0] for message in setting.findings.failures] == [kernel]


def _only(name: str) -> Any:
    all_of_them = kernels.kernels
    return lambda sizes: [kernel for kernel in all_of_them(sizes) if kernel.name == name]


def test_a_wrong_product_is_a_failure(setting, monkeypatch):
    right = products.matmul
    monkeypatch.setattr(products, "matmul", lambda a, b, c, **ways: right(b, a, c, **ways))
    products.measure_products(setting, [products.Product("p", 4, 4, 4)], seconds=0)
    assert "p: the product differs" in setting.findings.failures[0]


def test_the_products_are_those_that_vgg16s_plan_runs():
    """Rows and lengths of the im2col matrices of a plan that has them."""
    made_by_im2col = gpunet.plan(gpunet.load("vgg16"), 32, device=chosen("3060", "im2col"), without=FUSIONS)
    tensors = {planned.name: planned.tensor.shape for planned in made_by_im2col.tensors}
    made = {product.name: product for product in products.products(32)}
    for theirs, ours in (("conv1_1", "conv1"), ("conv2_2", "conv4"), ("conv4_2", "conv9"), ("conv5_1", "conv11")):
        forward = made[f"{theirs} forward"]
        weights = made[f"{theirs} dw"]
        assert tensors[f"{ours}.columns"] == (forward.M, forward.K)
        assert (weights.K, weights.N) == (forward.M, forward.K)
        assert tensors[f"{ours}.w"][0] == weights.M == forward.N
    assert made["fc6 forward"].shapes[1] == tensors["fc1.w"]


class FakeMeter:
    """What a GPU would show: a context, then the arenas that the device has, and `growth` bytes more at each look."""

    def __init__(self, setting: Setting, context: int, growth: int = 0, pool: int = 0) -> None:
        self.setting, self.context, self.growth, self.pool = setting, context, growth, pool
        self.looks = 0

    def __call__(self) -> dict[str, int]:
        self.looks += 1
        used = 1000
        if "device" in vars(self.setting):
            free, total = self.setting.device.driver.memory()
            used += self.context + total - free
        return {"device": used + self.growth * self.looks, "pool": self.pool * self.looks}


def test_memory_planned_against_measured(setting):
    memory.run(setting, [Case(tiny(), 3), Case(tiny(), 7)], FakeMeter(setting, 300 * 2**20))
    values = on_disk(setting)["values"]
    assert values["baseline"] == {"device": 1000, "pool": 0}
    for row, batch in zip(values["cases"], (3, 7), strict=True):
        plan = gpunet.plan(tiny(), batch)
        assert (row["arena_bytes"], row["planned_bytes"]) == (plan.arena_bytes, plan.total_bytes)
        assert row["measured_reserve_bytes"] == 300 * 2**20
        assert row["pool_growth_bytes"] == row["growth_bytes"] == row["left_bytes"] == 0
    assert not setting.findings.failures
    (table,) = memory.tables(values)
    assert table.rows[0][2] == "300 MiB"


@pytest.mark.parametrize(
    "meter, words",
    [
        (dict(context=600 * 2**20), "the stated reserve of 512 MiB is too small, 600 MiB were measured"),
        (dict(context=0, growth=5), "grew by"),
        (dict(context=0, pool=3), "CuPy's pool grew by"),
    ],
)
def test_memory_that_is_not_as_planned_is_a_failure(setting, meter, words):
    memory.run(setting, [Case(tiny(), 3)], FakeMeter(setting, **meter))
    assert any(words in message for message in setting.findings.failures)


def small_digits(images: int = 40) -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 17, (images, 8, 8, 1), np.uint8)
    labels = (pixels[:, :, :4].sum((1, 2, 3)) > pixels[:, :, 4:].sum((1, 2, 3))).astype(np.int32)
    return Dataset("halves", Split(pixels, labels), Split(pixels[:10], labels[:10]))


def small_config() -> Config:
    net = Net("8x8x1", [Conv(4), ReLU(), MaxPool(2), FC(2)], name="halves", scale=0.125, shift=-1.0)
    return Config(net, TrainConfig(epochs=2, batch=16))


def test_agreement_of_cpu_and_gpu(setting):
    agreement.run(setting, small_digits(), small_config(), least_accuracy=0.0)
    values = on_disk(setting)["values"]
    assert [row["dtype"] for row in values["losses"]] == ["float64", "float32"]
    for row, bound in zip(values["losses"], (1e-12, 1e-5), strict=True):
        assert len(row["gpu"]) == len(row["cpu"]) == 3
        assert row["difference"] == row["difference_over_the_epoch"] < bound
    assert values["same_bits_twice"] is True
    assert values["training"]["epochs"] == 2
    assert not setting.findings.failures
    assert len(agreement.tables(values)[0].rows) == 7


def test_a_loss_that_strays_from_the_cpus_and_a_poor_accuracy_are_failures(setting, monkeypatch):
    right = setting.device.ops["momentum_update"]

    def heavier(*arrays: Any, weight_decay: float, **numbers: float) -> None:
        right(*arrays, weight_decay=weight_decay + 1, **numbers)

    break_op(setting, monkeypatch, "momentum_update", heavier)
    agreement.run(setting, small_digits(), small_config(), least_accuracy=1.01)
    words = ("float64 differ from the CPU's", "float32 differ from the CPU's", "at least 101%")
    assert len(setting.findings.failures) == len(words)
    assert all(word in message for word, message in zip(words, setting.findings.failures, strict=True))


def test_bits_that_change_from_run_to_run_are_a_failure(setting, monkeypatch):
    right = setting.device.ops["momentum_update"]
    bound: list[int] = []

    def drifting(*arrays: Any, momentum: float, **numbers: float) -> None:
        bound.append(1)
        right(*arrays, momentum=momentum * (1 - 1e-7 * len(bound)), **numbers)

    break_op(setting, monkeypatch, "momentum_update", drifting)
    agreement.run(setting, small_digits(), small_config(), least_accuracy=0.0)
    assert any("different bits" in message for message in setting.findings.failures)


# -- convolutions and predictions -----------------------------------------------------------------

GROUPS = "INPUT[7x5x4] -> CONV3-8(groups=4) -> CONV3-6(S=2) -> CONV2-4(P=0x1x1x0) -> FC-3"


def test_every_kernel_and_convolution_is_compared_at_full_size(setting):
    full_sizes.run(setting, [Case(gpunet.load(GROUPS), 3)], SIZES)
    values = on_disk(setting)["values"]
    assert not setting.findings.failures and not setting.findings.skipped
    compared = [row for row in values["compared"] if row["algorithm"]]
    assert {row["what"].rpartition(", ")[2] for row in compared} == {"forward", "backward_input", "backward_weights"}
    cases = conv_cases(gpunet.load(GROUPS), 3, target("cuda"), "float32")
    assert len(compared) == sum(len(case.algorithms) for case in cases) >= 8
    assert all(0 < row["difference"] < 1e-5 for row in compared)
    assert {row["what"] for row in values["compared"] if not row["algorithm"]} == {
        k.name for k in kernel_cases.kernels(SIZES)
    }
    (table,) = full_sizes.tables(values)
    assert len(table.rows[0]) == len(table.columns)


@pytest.mark.parametrize("op", ["conv_forward", "conv_backward_input", "conv_backward_weights"])
def test_a_convolution_that_is_wrong_at_full_size_is_a_failure(setting, monkeypatch, op):
    monkeypatch.setattr(full_sizes, "check_kernels", lambda setting, sizes: None)
    break_op(setting, monkeypatch, op, lambda *arrays, **numbers: None)
    full_sizes.run(setting, [Case(gpunet.load(GROUPS), 3)], SIZES)
    assert setting.findings.failures
    assert all(
        f"{op.removeprefix('conv_')} by " in message and "inf" in message for message in setting.findings.failures
    )


def test_what_is_not_written_is_wrong_where_fresh_memory_is_zero(monkeypatch):
    setting = Setting(open=lambda: make_device("cpu"), peer="cpu")
    ops = {**setting.device.ops, "conv_forward": lambda *arrays, **numbers: None}
    monkeypatch.setitem(vars(setting.device), "ops", ops)
    full_sizes.check_convolutions(setting, Case(gpunet.load(GROUPS), 2))
    assert [message for message in setting.findings.failures if "inf" in message]


def test_nets_are_tuned_and_no_convolution_twice(setting, monkeypatch):
    monkeypatch.setattr(reserve, "hardware", lambda number=0: "NVIDIA GeForce RTX 3060, driver 580.65")
    tune.run(setting, [Case(tiny(), 2), Case(tiny(), 2)], rounds=1)
    rows = on_disk(setting)["values"]["tuned"]
    assert len({row["key"] for row in rows}) == len(rows) == 5
    assert set(tuned.load(target("cuda"))) == {row["key"] for row in rows}
    (table,) = tune.tables(on_disk(setting)["values"])
    assert len(table.rows) == 5 and len(table.rows[0]) == len(table.columns)


def test_predictions_stand_beside_measurements_and_make_paces(setting, monkeypatch):
    monkeypatch.setattr(roofline, "LAUNCH_MS", 0.0)  # all that shows of a net so small
    card = find("3060")
    predictions.run(setting, [Case(tiny(), 3)], card, steps=1, copy_bytes=4000)
    values = on_disk(setting)["values"]
    (case,) = values["cases"]
    ops = [op for kind in case["kinds"].values() for op in kind["ops"]]
    assert sum(op["ms"] for op in ops) == pytest.approx(case["ops_ms"])
    assert sum(op["predicted_ms"] for op in ops) == pytest.approx(case["predicted_ms"][1])
    assert case["kinds"]["relu_forward"]["share_of_copy"] > 0 and case["kinds"]["fc_forward"]["share_of_copy"] is None
    paces = efficiency.load(card)
    assert paces.by_key == pytest.approx({name: kind["pace"] for name, kind in case["kinds"].items()})
    assert "bench/on_gpu.py" in paces.source and values["paces_file"].endswith("rtx-3060-12gb.json")
    for table in predictions.tables(values):
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_card_that_is_not_known_is_not_predicted(setting):
    predictions.run(setting, [Case(tiny(), 3)])
    assert "not in gpunet's table of cards" in setting.findings.skipped[0] and not predictions.tables({})


def test_a_convolution_without_a_peer_is_left_out_by_name(setting):
    net = Net("5x4x2", [Conv(3, F=2, P=(0, 1, 0, 1)), FC(2)], name="lopsided")
    layers.run(setting, [Case(net, 2)], steps=1, peer_seconds=0.001)
    assert on_disk(setting)["values"]["cases"][0]["peer_conv_ms"] == {}
    assert "conv1 of lopsided: P=0x1x0x1 pads opposite sides differently" in setting.findings.skipped[0]
