"""`gradcheck` passes nets whose gradients are slopes and fails those whose are not; kinks are told from mistakes."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet import FC, ConfigError, Conv, LeakyReLU, Model, Net, ReLU, gradcheck
from gpunet.cli.app import app
from gpunet.devices import open_device
from gpunet.devices.cpu import fc as cpu_fc
from gpunet.devices.device import Device
from gpunet.report.gradient_table import gradient_json
from gpunet.use.gradients import MOST_KINKS, CheckedTensor, Compared, compare

EVERYTHING = (
    "INPUT[8x7x3] -> CONV3-4 -> RELU -> POOL2(fit=pad) -> LRN -> LOCAL3-5 -> TANH -> DROPOUT -> AVGPOOL2(fit=crop) -> "
    "L2POOL2(S=1) -> LRELU -> FC-6 -> SIGMOID -> FC-4"
)


class WrongLeakyReLU(LeakyReLU):
    """Its backward has another slope than its forward."""

    def backward(self, emit, dy, *, needs_dx):
        return LeakyReLU(0.3).backward(emit, dy, needs_dx=needs_dx)


def test_a_net_of_every_layer_passes_on_every_device(device: Device) -> None:
    check = gradcheck(gpunet.load(EVERYTHING), device, samples=4)
    assert check.passed, check.failures
    names = [tensor.name for tensor in check.tensors]
    assert names == [f"{layer}.{letter}" for layer in ("conv1", "local1", "fc1", "fc2") for letter in "wb"] + ["input"]
    assert all(len(tensor.compared) == 4 and tensor.kinks <= 1 and not tensor.faint for tensor in check.tensors)
    assert check.device == device.name


@pytest.mark.parametrize(
    "pattern",
    [
        "{ CONV3-3 -> RELU -> CONV3-2 + ID } -> RELU -> FC-3",  # the image's gradient is a sum
        "CONV3-4 -> RELU -> { CONV1-2 | CONV3-3 -> TANH | POOL3(S=1, P=1) } -> { CONV3-9 + ID } -> GAP -> FC-3",
    ],
)
def test_branches_pass(pattern: str) -> None:
    check = gradcheck(gpunet.load(f"INPUT[6x5x2] -> {pattern}"), samples=10)
    assert check.passed and check.tensors[-1].name == "input", check.failures


def test_a_wrong_backward_fails_in_what_is_before_it() -> None:
    layers = [Conv(4), WrongLeakyReLU(0.2), FC(5), ReLU(), FC(3)]
    check = gradcheck(Net("6x5x2", layers))
    assert not check.passed
    failed = {tensor.name for tensor in check.tensors if tensor.failure}
    assert failed == {"conv1.w", "conv1.b", "input"}
    assert check.failures[0].startswith("conv1.w: gradient ") and ", slope " in check.failures[0]


def test_a_first_layer_whose_input_gradient_is_wrong_fails_in_the_images() -> None:
    check = gradcheck(Net("6x5x2", [WrongLeakyReLU(0.2), FC(3)]))
    assert [tensor.name for tensor in check.tensors if tensor.failure] == ["input"]


@pytest.mark.parametrize("factor", [1.001, 0.0, np.nan, np.inf])
def test_a_wrong_weight_gradient_fails(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    device = open_device("cpu")
    right = cpu_fc.fc_backward_weights

    def wrong(x, dy, dw, *rest, **numbers):
        right(x, dy, dw, *rest, **numbers)
        dw[-1] *= factor

    monkeypatch.setitem(device.ops, "fc_backward_weights", wrong)
    with np.errstate(invalid="ignore"):
        check = gradcheck(Net("3x3x1", [Conv(2), LeakyReLU(), ReLU(), FC(2)]), device)
    assert [tensor.name for tensor in check.tensors if tensor.failure] == ["fc1.w"]
    assert json.loads(json.dumps(gradient_json(check)))["passed"] is False


def test_dropout_drops_the_same_all_along_and_the_model_is_left_as_it_was() -> None:
    net = gpunet.load("INPUT[4x4x2] -> FC-30 -> TANH -> DROPOUT(p=0.6) -> FC-3")
    check = gradcheck(net, seed=3)
    assert check.passed and check.loss != gradcheck(net, seed=4).loss
    assert check == gradcheck(net, seed=3)


def test_the_loss_of_a_model_is_that_of_its_next_step(rng: np.random.Generator) -> None:
    net = gpunet.load("INPUT[4x4x2] -> FC-30 -> DROPOUT -> FC-3")
    images, labels = rng.standard_normal((4, 4, 4, 2)), rng.integers(0, 3, 4)
    with Model(net, 4, "cpu") as model:
        before = model.loss(images, labels)
        assert before == model.loss(images, labels) == model.step(images, labels)
        assert model.loss(images, labels) not in (before, model.evaluate(images, labels)[0])


def test_a_smooth_slope_agrees_and_a_wrong_one_does_not() -> None:
    for gradient, agrees in ((3.0, True), (3.0001, False), (0.0, False), (-3.0, False)):
        found = compare(gradient, lambda t: np.exp(3 * t), 1.0, 3.0)
        assert (found.agrees, found.kink) == (agrees, False), gradient


@pytest.mark.parametrize("corner", [0.0, 3e-9, -7e-9])
def test_a_corner_is_a_kink_whatever_the_gradient(corner: float) -> None:
    for gradient in (0.0, 1.0, 0.7):
        found = compare(gradient, lambda t: 2 + max(t, corner), 2 + max(0.0, corner), 1.0)
        assert found.kink and not found.agrees


@pytest.mark.parametrize("corner", [4e-6, 3e-7])
def test_a_corner_that_the_smaller_steps_do_not_reach_is_none(corner: float) -> None:
    def loss_at(t: float) -> float:
        return 2 + max(t, corner)

    assert compare(0.0, loss_at, loss_at(0), 1.0).agrees
    wrong = compare(0.5, loss_at, loss_at(0), 1.0)
    assert not wrong.agrees and not wrong.kink


def test_too_many_kinks_are_a_failure() -> None:
    fine, kink = Compared((0,), 1.0, 1.0, 0.0, True), Compared((1,), 1.0, 0.5, 0.5, False, kink=True)
    assert not CheckedTensor("a.w", 9, (fine, kink)).failure
    assert "2 of 3 values at kinks" in CheckedTensor("a.w", 9, (fine, kink, kink)).failure
    assert CheckedTensor("a.w", 9, (kink,)).worst is None and MOST_KINKS == 0.5


def test_a_net_that_is_all_kinks_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    device = open_device("cpu")

    def staircase(x, y):
        y[...] = np.maximum(0, np.round(x * 3e7) / 3e7)

    monkeypatch.setitem(device.ops, "relu_forward", staircase)
    check = gradcheck(Net("3x3x1", [Conv(2), LeakyReLU(), ReLU(), FC(2)]), device)
    told = {tensor.name: tensor.failure for tensor in check.tensors}
    assert "at kinks: too many to tell" in told["conv1.w"] and not told["fc1.w"]


def test_a_check_that_had_nothing_to_compare_fails() -> None:
    check = gradcheck(Net("2x2x1", [FC(2), FC(1)]))  # one class: the loss is 0 whatever the scores
    assert all(tensor.faint for tensor in check.tensors)
    assert not check.passed and "nothing was compared" in check.failures[0]


def test_few_values_are_all_compared_the_largest_gradient_among_few() -> None:
    check = gradcheck(Net("3x3x1", [Conv(2), FC(2)]), samples=100)
    assert [len(tensor.compared) for tensor in check.tensors] == [18, 2, 36, 2, 27]
    one = gradcheck(Net("3x3x1", [Conv(2), FC(2)]), samples=1)
    largest = [max(abs(value.gradient) for value in tensor.compared) for tensor in check.tensors]
    assert [abs(tensor.compared[0].gradient) for tensor in one.tensors] == largest


def test_numbers_that_make_no_sense_are_refused() -> None:
    net = gpunet.load("INPUT[2x2x1] -> FC-2")
    with pytest.raises(ConfigError, match="at least one sample of each tensor; got 0"):
        gradcheck(net, samples=0)
    with pytest.raises(ConfigError, match="the batch must be an integer"):
        gradcheck(net, batch=0)
    with pytest.raises(ConfigError, match="the seed must be"):
        gradcheck(net, seed=-1)
    with pytest.raises(ConfigError, match="there is no device 'tpu'"):
        gradcheck(net, "tpu")


def test_the_command_says_how_much_it_could_not_tell() -> None:
    """A bias in front of a batch normalization changes nothing."""
    net = "INPUT[6x6x1] -> CONV3-2 -> BN -> RELU -> FC-3"
    done = CliRunner().invoke(app, ["gradcheck", net, "--device", "cpu", "--samples", "3"])
    assert done.exit_code == 0
    assert "passed: every gradient is the slope of the loss; 1 of 7 tensors too faint to tell" in done.output


def test_the_command_passes_fails_and_tells_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["gradcheck", "INPUT[6x6x1] -> CONV3-2 -> RELU -> FC-3", "--device", "cpu", "--samples", "3"]
    done = CliRunner().invoke(app, small)
    assert done.exit_code == 0 and "passed: every gradient is the slope of the loss" in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    told = json.loads(CliRunner().invoke(app, [*small, "--json"]).output)
    assert told["passed"] and [tensor["compared"] for tensor in told["tensors"]] == [3, 2, 3, 3, 3]
    scaled = json.loads(CliRunner().invoke(app, [*small, "--json", "--width", "2", "--input", "4x4x1"]).output)
    assert [tensor["values"] for tensor in scaled["tensors"]] == [36, 4, 192, 3, 48]
    monkeypatch.setattr(gpunet.layers.relu.ReLU, "backward", WrongLeakyReLU.backward)
    failed = CliRunner().invoke(app, small)
    assert failed.exit_code == 1 and "failed\n  conv1.w: gradient" in failed.output
    mistaken = CliRunner().invoke(app, [*small, "--batch", "0"])
    assert mistaken.exit_code == 2 and "the batch must be" in mistaken.output and "Traceback" not in mistaken.output
