"""`gpunet tune`: which algorithm of a convolution is fastest here, and the plans that use it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import FC, ConfigError, Model, Net, ReLU
from gpunet.devices import open_device, target
from gpunet.devices.cuda import reserve
from gpunet.devices.device import Device
from gpunet.memory.plan import Plan
from gpunet.planning import tuned
from gpunet.profile import convolutions
from gpunet.profile import tune as tuning
from gpunet.profile.tune import Timed, Tuned, tune
from gpunet.program.algorithm import Algorithm
from gpunet.train.resume import circumstances

BATCH = 3
SMALL = "INPUT[8x7x4] -> [CONV3-4 -> RELU]*2 -> CONV1-6 -> FC-3"
GPU = "NVIDIA GeForce RTX 3060, driver 580.65"


def small() -> Net:
    return gpunet.load(SMALL)


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both devices have three algorithms of each convolution, the CPU, which specifies them all, for itself."""

    def candidates(pass_: Any, shape: Any, **known: Any) -> Sequence[Algorithm]:
        im2col = Algorithm("im2col", needs_columns=not shape.is_product)
        exact = known["math"] == "exact" and known["dtype"] == "float32"
        return (im2col, *((Algorithm("winograd2"),) if exact else ()), Algorithm("implicit", tile=2))

    for device in ("cpu", "cuda"):
        monkeypatch.setattr(f"gpunet.devices.{device}.algorithms.candidates", candidates)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds by algorithm, in place of measured ones."""
    ms = {"im2col": 3.0, "winograd2": 2.0, "implicit": 1.0}

    def race(ops: Sequence[Any], device: Device, rounds: int) -> list[float]:
        return [ms[op.attributes["algorithm"]] for op in ops]

    monkeypatch.setattr(tuning, "_race", race)
    return ms


def found(net: Net, device: str = "cpu", **options: Any) -> list[Tuned]:
    return list(tune(net, BATCH, open_device("cpu"), where=target(device), **options))


def names(plan: Plan) -> set[str]:
    return {str(op.attributes["algorithm"]) for op in plan.program.ops if op.name.startswith("conv_")}


# -- what is timed ---------------------------------------------------------------------------------


def test_each_distinct_convolution_is_timed_once_by_all_that_there_is(device: Device, gpu) -> None:
    made = list(tune(small(), BATCH, device, rounds=1))
    assert len({one.key for one in made}) == len(made)
    passes = [(one.pass_, one.layers) for one in made]
    assert ("forward", ("conv1", "conv2")) in passes  # the same convolution twice
    assert ("backward_input", ("conv2",)) in passes  # images need no gradient
    assert ("forward", ("conv3",)) in passes and len(made) == 6
    for one in made:
        assert one.timed and all(timed.ms > 0 for timed in one.timed)
        known = convolutions.candidates_on(target(device.name), one.pass_, one.shape, "float32", 64 * 2**20)
        assert [timed.algorithm.name for timed in one.timed] == [algorithm.name for algorithm in known]


def test_the_fastest_comes_first_unless_it_is_hardly_faster() -> None:
    one, other = Algorithm("im2col"), Algorithm("implicit")

    def winner(preferred_ms: float, other_ms: float) -> str:
        timed = (Timed(one, preferred_ms), Timed(other, other_ms))
        return Tuned("", "forward", None, (), timed).winner.algorithm.name  # type: ignore[arg-type]

    assert winner(1.0, 0.9) == "implicit" and winner(1.0, 0.98) == winner(1.0, 1.1) == "im2col"


def test_algorithms_run_on_what_a_plan_gives_them(several: None) -> None:
    made = list(tune(small(), BATCH, open_device("cpu"), rounds=1))
    assert all([timed.algorithm.name for timed in one.timed] == ["im2col", "winograd2", "implicit"] for one in made)


# -- plans -----------------------------------------------------------------------------------------


def test_plans_for_this_machine_use_what_was_found_at_that_batch(several: None, clock: dict[str, float]) -> None:
    assert names(gpunet.plan(small(), BATCH, device="cpu")) == {"im2col"}
    found(small())
    plan = gpunet.plan(small(), BATCH, device="cpu")
    assert names(plan) == {"implicit"}
    assert all(op.attributes["tile"] == 2 for op in plan.program.ops if op.name.startswith("conv_"))
    assert names(gpunet.plan(small(), BATCH, device="cpu", tuned=False)) == {"im2col"}
    assert names(gpunet.plan(small(), BATCH + 1, device="cpu")) == {"im2col"}
    assert names(gpunet.plan(small(), BATCH)) == {"im2col"}  # for a GPU that is not here
    with Model(small(), BATCH, "cpu") as model:
        assert names(model.plan) == {"implicit"}


def test_what_may_not_be_chosen_is_passed_over(several: None, clock: dict[str, float]) -> None:
    clock |= {"winograd2": 0.5}
    found(small())
    assert names(gpunet.plan(small(), BATCH, device="cpu")) == {"winograd2"}
    orders = tuned.load(target("cpu"))
    exact = gpunet.plan(small(), BATCH, device="cpu", dtype="float64", tuned=orders)
    assert names(exact) == {"im2col"}  # whose key is another
    same = {key.replace("float32", "float64"): order for key, order in orders.items()}
    assert names(gpunet.plan(small(), BATCH, device="cpu", dtype="float64", tuned=same)) == {"implicit"}


def test_results_are_those_of_another_algorithm(
    several: None, clock: dict[str, float], rng: np.random.Generator
) -> None:
    images = rng.standard_normal((BATCH, 8, 7, 4)).astype(np.float32)
    with Model(small(), BATCH, "cpu") as model:
        before = model.forward(images)
    found(small())
    with Model(small(), BATCH, "cpu") as model:
        assert names(model.plan) == {"implicit"}
        np.testing.assert_allclose(model.forward(images), before, rtol=1e-4, atol=1e-5)


def test_the_choices_of_a_plan_make_the_same_plan_again(several: None, clock: dict[str, float]) -> None:
    found(small())
    plan = gpunet.plan(small(), BATCH, device="cpu")
    clock |= {"im2col": 0.1}
    found(small())
    assert names(gpunet.plan(small(), BATCH, device="cpu")) == {"im2col"}
    again = gpunet.plan(small(), BATCH, device="cpu", tuned=tuned.choices(plan))
    assert again.program == plan.program and again.placement == plan.placement
    in_json = json.loads(plan.to_json())[tuned.CONVOLUTIONS]
    assert tuned.read_orders(in_json) == tuned.choices(plan)


def test_what_was_found_on_another_gpu_or_driver_does_not_count(
    several: None, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "hardware", lambda number=0: GPU)
    found(small(), "cuda")
    assert names(gpunet.plan(small(), BATCH)) == {"implicit"}
    assert names(gpunet.plan(small(), BATCH, device="cpu")) == {"im2col"}
    monkeypatch.setattr(reserve, "hardware", lambda number=0: GPU.replace("580", "590"))
    assert names(gpunet.plan(small(), BATCH)) == {"im2col"}
    monkeypatch.setattr(reserve, "hardware", lambda number=0: None)
    assert names(gpunet.plan(small(), BATCH)) == {"im2col"}


@pytest.mark.parametrize("entry", [3, [["im2col"]], [[1, 2]], [["im2col", "x"]]])
def test_a_damaged_file_counts_as_none(entry: Any, caplog: pytest.LogCaptureFixture) -> None:
    where = target("cpu")
    tuned.cache.put(tuned.file_name("cpu", where.hardware() or ""), "key", entry)
    assert tuned.load(where) == {} and "damaged" in caplog.text
    assert names(gpunet.plan(small(), BATCH, device="cpu"))


def test_an_algorithm_that_is_no_more_is_passed_over() -> None:
    orders = {key: [("gone", 0)] for key in tuned.choices(gpunet.plan(small(), BATCH, device="cpu"))}
    plans = [gpunet.plan(small(), BATCH, device="cpu", tuned=order) for order in (orders, True)]
    assert plans[0].program == plans[1].program


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_what_is_no_choice_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="tuned must be True, False"):
        gpunet.plan(small(), BATCH, device="cpu", tuned=wrong)


# -- commands --------------------------------------------------------------------------------------


def test_the_command_shows_and_keeps_what_it_found(run, several: None, clock: dict[str, float]) -> None:
    shown = run("tune", SMALL, "--batch", BATCH, "--device", "cpu")
    assert shown.exit_code == 0 and "implicit, tile 2" in shown.output and "kept: plans" in shown.output
    rows = json.loads(run("tune", SMALL, "--batch", BATCH, "--device", "cpu", "--json").stdout)
    assert [one["algorithm"] for one in rows[0]["algorithms"]] == ["implicit", "winograd2", "im2col"]
    for words, expected in (((), "implicit"), (("--no-tuned",), "im2col")):
        plan = json.loads(run("plan", SMALL, "--batch", BATCH, "--device", "cpu", "--json", *words).stdout)
        assert {name for ((name, _),) in plan[tuned.CONVOLUTIONS].values()} == {expected}


def test_a_net_without_convolutions_has_nothing_to_choose(run) -> None:
    shown = run("tune", "INPUT[3x3x2] -> FC-2", "--device", "cpu")
    assert shown.exit_code == 0 and "nothing to choose" in shown.output


def test_where_nothing_can_be_kept_nothing_is_timed(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpunet.system.cache.fault", lambda: "nothing can be put into /there: Read-only file system")
    shown = run("tune", SMALL, "--batch", BATCH, "--device", "cpu")
    assert shown.exit_code == 2 and "could not be kept (set GPUNET_CACHE to another folder)" in shown.output


def test_ctrl_c_keeps_what_was_found(run, several: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def race(ops: Sequence[Any], device: Device, rounds: int) -> list[float]:
        asked.append(len(ops))
        if len(asked) > 2:
            raise KeyboardInterrupt
        return [3.0, 2.0, 1.0]

    monkeypatch.setattr(tuning, "_race", race)
    shown = run("tune", SMALL, "--batch", BATCH, "--device", "cpu")
    assert shown.exit_code == 130 and "forward" in shown.output
    assert len(tuned.load(target("cpu"))) == 2


@pytest.mark.parametrize("words", [("--rounds", "0"), ("--batch", "0"), ("--device", "tpu")])
def test_mistakes_are_answered(run, words: tuple[str, ...]) -> None:
    shown = run("tune", SMALL, "--device", "cpu", *words)
    assert shown.exit_code == 2 and "Traceback" not in shown.output


NET = "INPUT[8x8x1] -> CONV3-4 -> RELU -> FC-10"
SHORT = ("--device", "cpu", "--batch", "64", "--lr", "0.01")


def test_a_run_keeps_the_choice_that_it_began_with(run, several: None, clock: dict[str, float], tmp_path: Path) -> None:
    first = run("train", NET, "--data", "digits", *SHORT, "--epochs", "1", "--out", "run")
    assert first.exit_code == 0, first.output
    began = json.loads((tmp_path / "run" / "plan.json").read_text())[tuned.CONVOLUTIONS]
    list(tune(gpunet.load(NET), 64, open_device("cpu")))
    assert names(gpunet.plan(gpunet.load(NET), 64, device="cpu")) == {"implicit"}
    later = run("train", "--resume", "run", "--epochs", "2")
    assert later.exit_code == 0 and "other bits" not in later.output, later.output
    assert json.loads((tmp_path / "run" / "plan.json").read_text())[tuned.CONVOLUTIONS] == began
    refused = run("train", "--resume", "run", "--epochs", "3", "--no-tuned")
    assert refused.exit_code == 2 and "leave out --no-tuned" in refused.output


def test_circumstances_of_a_run_name_the_algorithms(several: None) -> None:
    with Model(small(), BATCH, "cpu") as one:
        words = circumstances(one)["convolutions"]
    with Model(Net("4x4x2", [FC(3), ReLU()]), BATCH, "cpu") as other:
        assert "convolutions" not in circumstances(other)
    assert words.startswith("im2col 6, sha256 ")
