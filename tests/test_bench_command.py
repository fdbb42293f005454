"""`gpunet bench`: the nets and layers of convnet-benchmarks, its passes, its check against float64, its tables."""

import json
import re
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import FC, BatchNorm, Conv, MaxPool, Net, ReLU
from gpunet.bench import measure as measuring
from gpunet.bench.cases import LAYERS, NETS, Case, layer_cases, net_cases
from gpunet.bench.check import TOLERANCE, WrongResult, check, require_right
from gpunet.bench.measure import measure
from gpunet.bench.passes import PASSES, Passes, pass_of
from gpunet.devices import open_device, target
from gpunet.devices.device import Device
from gpunet.errors import OutOfMemory
from gpunet.program.tensor import Kind

FORWARD = {"alexnet": 714_188_480, "overfeat": 2_801_403_904, "vgg_a": 7_609_090_048, "googlenet": 1_582_671_872}
PARAMETERS = {"alexnet": 61_100_840, "overfeat": 145_920_872, "vgg_a": 132_863_336, "googlenet": 6_998_552}
"""Of the nets of convnet-benchmarks: multiply-adds of an image, parameters."""

OF_LAYERS = {"L1": 485_223_552, "L2": 2_080_899_072, "L3": 764_411_904, "L4": 80_281_600, "L5": 160_579_584}


def small() -> Case:
    layers = [Conv(5), BatchNorm(), ReLU(), MaxPool(2), Conv(6, F=2, P=0), ReLU(), FC(7), ReLU(), FC(4)]
    return Case("small", Net("10x12x3", layers, name="small", fit="pad"), 3)


def multiply_adds(case: Case) -> float:
    plan = gpunet.plan(case.net, 1, mode="infer")
    return sum(op.flops for op in plan.program.ops) / 2


def break_op(device: Device, monkeypatch: pytest.MonkeyPatch, name: str, function: Any) -> None:
    """Let an op of the device do something else."""
    monkeypatch.setattr(device, "_ops", {**device.ops, name: function})


# -- what is timed ---------------------------------------------------------------------------------


def test_the_nets_have_the_parameters_and_the_arithmetic_of_convnet_benchmarks() -> None:
    cases = net_cases()
    assert [case.name for case in cases] == list(NETS)
    assert {case.name: case.net.parameters for case in cases} == PARAMETERS
    assert {case.name: multiply_adds(case) for case in cases} == FORWARD
    assert [case.batch for case in cases] == [128, 128, 64, 128]
    sizes = [volume.H for name, volume in cases[1].net.volumes.items() if name.startswith(("conv", "pool"))]
    assert sizes == [56, 28, 24, 12, 12, 12, 12, 6]


def test_the_layers_are_its_five() -> None:
    cases = layer_cases()
    assert {case.name: multiply_adds(case) for case in cases} == OF_LAYERS
    assert all(case.input_gradient and case.batch == 128 for case in cases)
    outputs = [case.net.volumes["conv1"].shape for case in cases]
    assert outputs == [(118, 118, 96), (56, 56, 128), (24, 24, 128), (10, 10, 128), (11, 11, 384)]


def test_vgg_a_is_planned_within_twelve_gigabytes() -> None:
    (case,) = net_cases(["vgg_a"])
    assert gpunet.plan(case.net, case.batch, gpu="rtx 3060").fits


# -- passes ----------------------------------------------------------------------------------------


def test_passes_are_all_of_a_step_but_loss_and_updates_and_no_tensor_shares_bytes() -> None:
    case = small()
    with Passes(case, open_device("cpu"), target("cpu")) as passes:
        ops = [op for op, _ in passes.calls]
        assert all(op.phase in ("forward", "backward") and op.layer != "loss" for op in ops)
        by_pass = {pass_: [op for op in ops if pass_of(op) == pass_] for pass_ in PASSES}
        learnt = {t.name for p in passes.plan.program.parameters if p.gradient for t in [p.gradient]}
        assert learnt <= {tensor.name for op in by_pass["backward_weights"] for tensor in op.outputs}
        assert not any(t.kind is Kind.PARAMETER_GRADIENT for op in by_pass["backward_inputs"] for t in op.outputs)
        assert passes.arena_bytes > passes.plan.arena_bytes
        products = {pass_: passes.flops(pass_) for pass_ in PASSES}
        first = next(op for op in by_pass["forward"] if op.name.startswith("conv")).flops
        assert products["backward_weights"] == products["forward"]
        assert products["backward_inputs"] == products["forward"] - first  # images need no gradient


def test_a_pass_that_is_run_again_gives_the_same_bits(device: Device) -> None:
    with Passes(small(), device, target(device.name)) as passes:
        passes.run_all()
        before = results(passes)
        for pass_ in (*PASSES, *PASSES[::-1], *PASSES):
            passes.run(pass_)
        assert all(np.array_equal(found, before[name]) for name, found in results(passes).items())


def results(passes: Passes) -> dict[str, np.ndarray]:
    """All that the passes made, by name."""
    outputs = {tensor.name: tensor for op, _ in passes.calls for tensor in op.outputs}
    return {name: passes.device.read(passes.view(tensor)) for name, tensor in outputs.items()}


def test_times_are_those_of_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr(measuring, "perf_counter", lambda: next(seconds))
    said: list[str] = []
    found = measure(small(), open_device("cpu"), target("cpu"), steps=4, dry=1, watch=said.append)
    assert found.ms == dict.fromkeys(PASSES, 250.0)  # a second for each loop of four
    assert (found.forward_ms, found.backward_ms, found.total_ms) == (250, 500, 750)
    assert found.gflop_per_s == pytest.approx(sum(found.flops.values()) / 0.75 / 1e9)
    assert len(said) == 4


def test_memory_that_is_not_there_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpunet.bench.passes.free_bytes", lambda name: 10_000)
    with pytest.raises(OutOfMemory, match=r"small, batch 3: its passes take .* use a smaller --batch"):
        Passes(small(), open_device("cpu"), target("cpu"))


# -- the check -------------------------------------------------------------------------------------


def test_every_op_is_compared_with_float64(device: Device) -> None:
    found = check(small(), device, target(device.name))
    assert 0 < found.error < 1e-5 and found.holds


def test_a_gradient_that_is_left_out_is_found(monkeypatch: pytest.MonkeyPatch, cuda_device: Device) -> None:
    break_op(cuda_device, monkeypatch, "fc_backward_weights", lambda *arrays, **numbers: None)
    found = check(small(), cuda_device, target("cuda"))
    assert found.error == float("inf") and "fc_backward_weights into fc2.dw" in found.where
    with pytest.raises(WrongResult, match=r"small: fc2, fc_backward_weights into fc2.dw is off .* it was not timed"):
        require_right(small(), cuda_device, target("cuda"))


def test_what_is_left_out_is_found_where_fresh_memory_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = open_device("cpu")
    ops = {**cpu.ops, "conv_backward_weights": lambda *arrays, **numbers: None}  # in float64, too
    monkeypatch.setitem(vars(cpu), "ops", ops)
    assert check(small(), cpu, target("cpu")).error == float("inf")


def test_a_value_that_is_slightly_off_is_found(monkeypatch: pytest.MonkeyPatch, cuda_device: Device) -> None:
    leaky = cuda_device.ops["leaky_relu_forward"]
    break_op(cuda_device, monkeypatch, "relu_forward", lambda x, y: leaky(x, y, alpha=0.01))
    found = check(small(), cuda_device, target("cuda"))
    assert TOLERANCE < found.error < 0.1 and "relu_forward into" in found.where


# -- the command -----------------------------------------------------------------------------------

ONCE = ("--batch", "1", "--steps", "1", "--dry", "1", "--device", "cpu")
NET = "INPUT[9x8x3] -> CONV3-4 -> RELU -> FC-5"


def test_tables_are_those_of_convnet_benchmarks(run) -> None:
    found = run("bench", NET, *ONCE, "--check")
    assert found.exit_code == 0
    lines = found.output.splitlines()
    assert lines[0].startswith("gpunet ") and "1 runs of each pass after 1 of all" in lines[0]
    (heading, rule, row) = [line for line in lines if line.startswith("|")]
    assert [cell.strip() for cell in heading.split("|")[1:5]] == [
        "Library",
        "Time (ms)",
        "forward (ms)",
        "backward (ms)",
    ]
    assert set(rule) == set("|:-") and row.startswith("| gpunet ") and len({len(heading), len(rule), len(row)}) == 1


def test_json_has_every_pass(run) -> None:
    found = json.loads(run("bench", NET, *ONCE, "--check", "--json").output)
    (case,) = found["cases"]
    assert case["total_ms"] == case["forward_ms"] + case["backward_inputs_ms"] + case["backward_weights_ms"]
    assert case["error"] < 1e-5 and case["worst"] and case["arena_bytes"] < case["passes_bytes"]
    assert (found["device"], found["steps"], found["dry"], found["dtype"]) == ("cpu", 1, 1, "float32")


def test_the_layers_stand_side_by_side_with_what_was_published(run, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dict.fromkeys(LAYERS, ("7x6x3", 4, 3))
    monkeypatch.setattr("gpunet.bench.cases.LAYERS", tiny)
    found = run("bench", "--layers", *ONCE, "--published")
    assert found.exit_code == 0 and "| gpunet " in found.output
    assert (
        re.search(r"Caffe, Titan Black \(published\) +\| +1,231 \|", found.output)
        and "of another machine" in found.output
    )


def test_ctrl_c_keeps_what_was_timed(run, monkeypatch: pytest.MonkeyPatch) -> None:
    times = measuring.measure

    def stopped(case: Case, *others: Any, **options: Any) -> Any:
        if case.batch == 16:  # lenet's own
            raise KeyboardInterrupt
        return times(case, *others, **options)

    monkeypatch.setattr(measuring, "measure", stopped)
    monkeypatch.setattr("gpunet.cli.bench._cases", lambda nets, layers: [small(), small().of(16)])
    found = run("bench", "a", "b", "--steps", "1", "--dry", "1", "--device", "cpu")
    assert found.exit_code == 130 and "### small" in found.output


def test_a_wrong_result_is_exit_code_1_and_the_others_are_shown(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(case: Case, *others: Any) -> Any:
        if "9x8" in str(case.net.input):
            raise WrongResult("its gradient is wrong")

    monkeypatch.setattr("gpunet.bench.check.require_right", wrong)
    found = run("bench", NET, NET.replace("9x8", "7x6"), *ONCE, "--check")
    assert found.exit_code == 1 and "its gradient is wrong" in found.output and found.output.count("###") == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("alexnte",), 2),
        (("--batch", "0"), 2),
        (("--steps", "0"), 2),
        (("--dry", "0"), 2),
        ((NET, "--batch", "many"), 2),
    ],
)
def test_mistakes_are_answered(run, words: tuple[str, ...], code: int) -> None:
    found = run("bench", *words, "--device", "cpu")
    assert found.exit_code == code and "Traceback" not in found.output
