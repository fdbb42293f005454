"""How long a step is predicted to take on a card: the model, its words, and what was found on such a card."""

import json
from dataclasses import replace
from typing import Any, get_args

import pytest

import gpunet
from gpunet import FC, Conv, MaxPool, Net, ReLU
from gpunet.compile.fuse import FUSIONS
from gpunet.compile.rewrite import REWRITES
from gpunet.devices.cards import Card, cards, find
from gpunet.devices.cuda import reserve
from gpunet.devices.device import Device
from gpunet.devices.target import DeviceTarget
from gpunet.memory.plan import Plan
from gpunet.planning import efficiency, roofline
from gpunet.planning.conv_work import ALGORITHMS, conv_shape, pass_of
from gpunet.planning.efficiency import Paces, rates, share
from gpunet.planning.kernel import Kernel, Product
from gpunet.planning.prediction import BY_TABLE, Range, found_paces, pace_key, predict, predicted, why_not
from gpunet.planning.roofline import L2_SPEED, LAUNCH_MS, price
from gpunet.planning.work import work
from gpunet.profile.keep import keep_paces
from gpunet.profile.measure import profile
from gpunet.program.algorithm import AlgorithmName
from gpunet.program.filters import ConvShape
from gpunet.program.tensor import Kind, Tensor
from tests.chosen import chosen
from tests.nets import blocks, vgg16

MIB = 2**20
CARD = find("3060")

KNOWN_REWRITES = {"pool-before-relu", "small-switches", "relu-masks", "late-gradients", "early-updates", "in-place"}
"""Those that the analysis was made with."""

ANALYSIS = {"3060": (880, 985, 1100), "1080 ti": (800, 904, 1000), "h200": (150, 177, 200)}
"""Milliseconds of a step of VGG-16 at batch 64 through im2col matrices, from an analysis of the kernels' code and of
the shapes that cuBLAS gets: at least, about, at most."""

CONVOLUTIONS = {
    "3060": {"conv1": (11.6, 6.4), "conv2": (61, 59, 55), "conv4": (43, 39, 37), "conv9": (31, 31, 29)},
    "1080 ti": {"conv1": (10.3, 6.2), "conv2": (55, 54, 49), "conv4": (39, 36, 34), "conv9": (29, 29, 27)},
    "h200": {"conv2": (9.7, 9.9, 7.8), "conv4": (7.6, 7.5, 6.0), "conv9": (6.3, 7.1, 5.0)},
}
"""From the same: forward, gradient of the weights, gradient of the input."""

PASSES = ("conv_forward", "conv_backward_weights", "conv_backward_input")
WITHIN = 0.25
"""Of one convolution, as a fraction."""


def small(K: int = 64) -> Net:
    return Net("32x32x64", [Conv(K), ReLU(), MaxPool(2), FC(10)])


def plan_of(net: Net, batch: int, where: DeviceTarget, **options: Any) -> Plan:
    """A plan with the kernels of the analysis alone."""
    return gpunet.plan(net, batch, device=where, without=tuple(set(REWRITES) - KNOWN_REWRITES), **options)


def ms_of(plan: Plan, *names: str, layer: str = "") -> float:
    """Milliseconds predicted of the ops of these names."""
    return sum(
        one.ms.likely for one in plan.predicted.ops if one.op.name in names and (not layer or one.op.layer == layer)
    )


# -- the model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", ANALYSIS)
def test_a_step_of_vgg16_takes_what_the_analysis_of_its_kernels_says(card: str) -> None:
    low, about, high = ANALYSIS[card]
    plan = plan_of(vgg16(), 64, chosen(card), scratch_limit="64MiB")
    found = plan.predicted
    assert low < found.ms.likely < high and found.ms.likely == pytest.approx(about, rel=0.1)
    assert found.ms.low < about < found.ms.high and found.ms.high < 1.35 * found.ms.low
    for layer, expected in CONVOLUTIONS[card].items():
        for name, ms in zip(PASSES, expected, strict=False):
            assert ms_of(plan, name, layer=layer) == pytest.approx(ms, rel=WITHIN), (layer, name)
    assert found.by_layer["conv2"].ms == max(one.ms for one in found.by_layer.values())


def test_a_copy_is_bound_by_memory_a_product_by_arithmetic_and_what_is_tiny_by_its_launch() -> None:
    able = rates(CARD)
    copy = price(Kernel("copy", 2e9), CARD)
    assert copy.bound == "memory"
    assert copy.ms == pytest.approx(2e9 / able.bytes_per_ms / share("copy").memory + LAUNCH_MS)
    product = price(Kernel("product", 3 * 4 * 4096**2, product=Product(4096, 4096, 4096)), CARD)
    least = 2 * 4096**3 / able.flops_per_ms["float32"]
    assert product.bound == "arithmetic" and 1 < product.ms / least < 1.4
    tiny = price(Kernel("copy", 1000), CARD)
    assert tiny.bound == "launches" and LAUNCH_MS < tiny.ms < 1.1 * LAUNCH_MS
    assert price(Kernel("copy", 1000, launches=7), CARD).ms == pytest.approx(7 * tiny.ms)


def test_where_memory_is_fast_the_instructions_of_a_kernel_bound_it() -> None:
    kernel = Kernel("im2col_scalar", 1e9)  # four bytes a thread
    on_h200, on_gtx = price(kernel, find("h200")), price(kernel, find("1650"))
    assert on_h200.bound == "arithmetic"
    assert on_h200.arithmetic_ms == pytest.approx(
        1e9 / 512 * share("im2col_scalar").slots / rates(find("h200")).slots_per_ms
    )
    assert on_h200.arithmetic_ms / on_h200.memory_ms > 2 * on_gtx.arithmetic_ms / on_gtx.memory_ms
    assert price(Kernel("relu_forward", 1e9), find("h200")).bound == "memory"


def test_one_tile_more_than_there_are_sms_takes_another_wave() -> None:
    def ms(tiles: int) -> float:
        product = Product(128 * tiles, 128, 4096, slices=1, tile=(128, 128))
        return price(Kernel("tiles", 0.0, product=product), CARD).arithmetic_ms

    full = ms(CARD.multiprocessors)
    assert ms(CARD.multiprocessors + 1) == 2 * full == ms(2 * CARD.multiprocessors)
    assert ms(1) == full  # the other SMs have nothing to do


def test_a_library_cuts_long_sums_of_few_results_and_pays_for_the_slices() -> None:
    few = price(Kernel("product", 0.0, product=Product(64, 64, 10**6)), CARD)
    whole = price(Kernel("product", 0.0, product=Product(64, 64, 10**6, slices=1)), CARD)
    assert few.ms < whole.ms / 10 and few.memory_ms > whole.memory_ms == 0


def test_scratch_that_stays_in_the_l2_cache_is_cheaper() -> None:
    def ms(size: float) -> float:
        return price(Kernel("copy", 0.0, scratch_bytes=1e9, scratch_size=size), CARD).memory_ms

    assert ms(CARD.l2_mib * MIB) == pytest.approx(L2_SPEED * ms(CARD.l2_mib * MIB / 4))


# -- algorithms ------------------------------------------------------------------------------------


def test_every_algorithm_has_a_price() -> None:
    assert set(ALGORITHMS) == set(get_args(AlgorithmName))
    for name in ALGORITHMS:
        assert gpunet.plan(small(), 4, device=chosen("3060", name, MIB)).predicted.ms.low > 0


def test_without_a_matrix_its_bytes_and_its_launches_are_saved() -> None:
    plans = {name: gpunet.plan(small(), 64, device=chosen("3060", name, slices=8)) for name in ("im2col", "implicit")}
    forward = {name: next(op for op in plan.program.ops if op.name == "conv_forward") for name, plan in plans.items()}
    kernels = {name: work(op, 64, 64) for name, op in forward.items()}
    assert {kernel.name for kernel in kernels["im2col"]} == {"im2col", "product", "add_bias"}
    assert [kernel.name for kernel in kernels["implicit"]] == ["tiles"]
    x_bytes = y_bytes = 64 * 32 * 32 * 64 * 4
    assert sum(k.scratch_bytes * k.launches for k in kernels["im2col"]) == 2 * 9 * x_bytes  # written, and read
    assert kernels["implicit"][0].nbytes == x_bytes + y_bytes + 9 * 64 * 64 * 4
    assert ms_of(plans["implicit"], *PASSES) < ms_of(plans["im2col"], *PASSES)


def test_winograd_multiplies_less_and_moves_what_it_transforms() -> None:
    shapes = {}
    for size, name in ((2, "winograd2"), (4, "winograd4")):
        plan = gpunet.plan(small(), 64, device=chosen("3060", name, 8 * MIB), without=tuple(FUSIONS))
        op = next(op for op in plan.program.ops if op.name == "conv_forward")
        filters, volumes, products = work(op, 64, 64)
        points, tiles = (size + 2) ** 2, 64 * (32 // size) ** 2
        assert products.product is not None and products.product.count == points
        pieces = products.launches
        assert products.product.m * pieces >= tiles > products.product.m * (pieces - 1)
        assert filters.scratch_bytes == points * 64 * 64 * 4
        assert volumes.scratch_bytes * volumes.launches == pytest.approx(points * tiles * 128 * 4)
        shapes[name] = products.product.flops * pieces / op.flops
    assert shapes["winograd2"] == pytest.approx(16 / 36, rel=0.1)
    assert shapes["winograd4"] == pytest.approx(36 / 144, rel=0.1)


def test_winograd_in_scratch_for_its_filters_alone_moves_no_tile_through_memory() -> None:
    filters = 16 * 64 * 64 * 4
    plan = gpunet.plan(small(), 64, device=chosen("3060", "winograd2", filters), without=tuple(FUSIONS))
    op = next(op for op in plan.program.ops if op.name == "conv_forward")
    _, fused = work(op, 64, 64)
    assert fused.scratch_bytes == 0 and fused.launches == 1


def test_sums_of_winograds_gradients_in_slices_are_written_and_read_once() -> None:
    filters, slices = 16 * 64 * 64 * 4, 8
    plan = gpunet.plan(
        small(), 64, device=chosen("3060", "winograd2", slices * filters, slices), without=tuple(FUSIONS)
    )
    op = next(op for op in plan.program.ops if op.name == "conv_backward_weights")
    sums, back = work(op, 64, 64)
    assert sums.product == Product(64, 64, 64 * 16 * 16, 16, slices) and sums.product.flops == op.flops * 16 / 36
    assert back.scratch_bytes == slices * filters and back.launches == sums.launches == 1


def test_groups_of_one_map_are_bound_by_memory() -> None:
    net = Net("32x32x64", [Conv(64, groups=64), FC(10)])
    (one, *_) = [op for op in gpunet.plan(net, 64, device=chosen("3060", "depthwise")).predicted.ops if pass_of(op.op)]
    assert one.bound == "memory" and one.op.name == "conv_forward"


def test_an_op_that_is_fused_with_others_is_priced_as_the_convolution_that_it_is() -> None:
    plan = plan_of(small(), 16, chosen("3060", "implicit"))
    forward = next(op for op in plan.program.ops if op.name == "conv_forward")
    mask = Tensor("mask", Kind.ACTIVATION, (16, 32, 32, 8), "uint8", "conv1", batched=True)
    fused = replace(forward, name="conv_forward_relu", outputs=(mask, *forward.outputs))
    assert pass_of(fused) == "forward" and work(fused, 16, 16) == work(forward, 16, 16)
    backward = next(op for op in plan.program.ops if op.name == "conv_backward_weights")
    masked = replace(
        backward, name="conv_backward_weights_masked", inputs=(backward.inputs[0], mask, backward.inputs[1])
    )
    assert pass_of(masked) == "backward_weights" and work(masked, 16, 16) == work(backward, 16, 16)
    other = replace(forward, inputs=forward.inputs[:1])  # not one that is known
    assert pass_of(other) is None and work(other, 16, 16)[0].flops == other.flops


def test_with_a_pool_a_convolution_is_priced_by_the_volume_before_it() -> None:
    together, plain = (gpunet.plan(small(), 16, gpu="3060", math="direct", without=names) for names in ((), FUSIONS))

    def shapes(plan: Plan) -> dict[tuple[str, str], ConvShape]:
        passes = ((op, pass_of(op)) for op in plan.program.ops)
        return {(op.layer, pass_): conv_shape(op, pass_, 16) for op, pass_ in passes if pass_}

    assert any(op.name == "conv_pool_forward" for op in together.program.ops)
    assert shapes(together) == shapes(plain)


def test_a_profile_tells_algorithms_apart() -> None:
    keys = [{pace_key(op) for op in plan_of(small(), 4, chosen("3060", name)).program.ops} for name in ALGORITHMS]
    assert "conv_forward im2col" in keys[0] and "conv_forward implicit" in keys[1]


def test_rounds_are_counted_each_with_its_launches() -> None:
    tight, loose = (
        gpunet.plan(blocks(), 8, budget=1, max_cost=1.0, ways=["micro-batches"], without=FUSIONS),
        gpunet.plan(blocks(), 8, without=FUSIONS),
    )
    loops, plain = (predict(plan, CARD) for plan in (tight, loose))
    assert loops.ms.likely > plain.ms.likely
    rounds = tight.program.loops[0]
    op = next(one for one in loops.ops[rounds.first : rounds.last] if one.op.name == "conv_forward")
    once = next(one for one in plain.ops if one.op.name == "conv_forward" and one.op.layer == op.op.layer)
    assert op.ms_by["launches"] == pytest.approx(8 // rounds.images * once.ms_by["launches"])


# -- what is told ----------------------------------------------------------------------------------


def test_a_range_turns_around_where_it_is_divided_by() -> None:
    assert Range(1, 2, 4).over(8) == Range(2, 4, 8)
    assert Range(1, 2, 4).times(3) == Range(3, 6, 12)


def test_figures_of_a_prediction_agree_with_each_other() -> None:
    found = gpunet.plan(blocks(), 32, gpu="3060").predicted
    assert found.ms.likely == pytest.approx(sum(one.ms for one in found.by_layer.values()))
    assert found.images_per_second.likely == pytest.approx(32e3 / found.ms.likely)
    assert found.hours(64_000).high == pytest.approx(2000 * found.ms.high / 3.6e6)
    assert sum(found.shares.values()) == pytest.approx(1) and set(found.shares) == {"memory", "arithmetic", "launches"}
    assert found.ms.low < found.ms.likely < found.ms.high and len(found.ops) == gpunet.plan(blocks(), 32).steps


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(device="cpu"), "none for the CPU: gpunet profile"),
        (dict(gpu="3060", dtype="float64"), "none in float64"),
        (dict(budget="6GiB"), "name one, like --gpu 3060"),
    ],
)
def test_where_nothing_is_predicted_it_is_said_why(options: dict[str, Any], words: str) -> None:
    plan = gpunet.plan(blocks(), 4, **options)
    assert plan.predicted is None and words in why_not(plan)
    assert plan.to_dict()["predicted"] is None and words in str(plan)


def test_a_gpu_that_is_in_no_table_is_not_predicted() -> None:
    plan = gpunet.plan(blocks(), 4, gpu="3060")
    other = replace(plan, target=replace(plan.target, card="NVIDIA Tomorrow 9000"))
    assert other.predicted is None and "NVIDIA Tomorrow 9000, which is not in the table" in why_not(other)
    same = replace(plan, target=replace(plan.target, card="NVIDIA GeForce RTX 3060"))
    assert same.predicted.ms == plan.predicted.ms


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_the_figures_of_each_card_agree_on_a_clock(card: Card) -> None:
    able = rates(card)
    clock_ghz = able.slots_per_ms / efficiency.ISSUED_PER_CLOCK / card.multiprocessors / 1e6
    assert 0.5 < clock_ghz < 2.8
    assert able.bytes_per_ms < card.bandwidth_gb_s * 1e6


def test_faster_cards_are_faster() -> None:
    ms = {
        name: predict(gpunet.plan(blocks(), 512), find(name)).ms.likely for name in ("1060 6gb", "3060", "3090", "h200")
    }
    assert sorted(ms, key=lambda name: -ms[name]) == list(ms)


# -- what was found on cards -----------------------------------------------------------------------


@pytest.fixture
def free_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets of tests are too small for anything but their launches to show."""
    monkeypatch.setattr(roofline, "LAUNCH_MS", 0.0)


def test_what_was_found_on_a_card_counts_for_it_and_makes_the_range_narrower(free_launches: None) -> None:
    plan = gpunet.plan(blocks(), 32, gpu="3060")
    before = plan.predicted
    paces = found_paces(plan, CARD, [2 * one.ms.likely for one in before.ops], "found by a test")
    assert set(paces.by_key.values()) == {0.5}
    path = efficiency.keep(CARD, paces)
    assert path.is_file() and efficiency.load(CARD) == paces
    after = predicted(plan)
    assert after.ms.likely == pytest.approx(2 * before.ms.likely) and after.source == "found by a test"
    assert after.ms.high / after.ms.low < 1.11 < before.ms.high / before.ms.low
    assert predict(plan, CARD, BY_TABLE).ms == before.ms
    assert efficiency.load(find("3090")) is None


TINY = Net("6x5x3", [Conv(4), ReLU(), FC(3)])


def test_ops_that_wait_for_their_launches_say_nothing_of_a_card() -> None:
    plan = gpunet.plan(TINY, 1, gpu="3060")
    assert {one.bound for one in plan.predicted.ops} == {"launches"}
    assert found_paces(plan, CARD, [1.0] * plan.steps, "found by a test").by_key == {}


def test_what_is_found_later_stands_beside_what_was_found_before() -> None:
    efficiency.keep(CARD, Paces("first", {"a": 0.5, "b": 0.7}))
    efficiency.keep(CARD, Paces("second", {"b": 0.9}))
    assert efficiency.load(CARD) == Paces("second", {"a": 0.5, "b": 0.9})


@pytest.mark.parametrize(
    "entry", [[], {"paces": {"a": 1}}, {"source": "x", "paces": {"a": 0}}, {"source": "x", "paces": [1]}]
)
def test_a_damaged_file_of_paces_counts_as_none(entry: Any, caplog: pytest.LogCaptureFixture) -> None:
    efficiency.keep(CARD, Paces("first", {"a": 0.5}))
    efficiency.cache.put(efficiency.file_name(CARD.name), efficiency.__version__, entry)
    assert efficiency.load(CARD) is None
    assert "damaged" in caplog.text


# -- the commands ----------------------------------------------------------------------------------

NET = "INPUT[32x32x3] -> CONV3-16 -> RELU -> POOL2 -> FC-10"


def test_plan_says_what_a_step_takes_and_what_bounds_it(run) -> None:
    found = run("plan", NET, "--gpu", "3060", "--images", "50000", "--times")
    assert found.exit_code == 0
    for words in (
        "ms a step, about",
        "on an RTX 3060 12GB; by gpunet's table",
        "an epoch of 50,000 images",
        "bound by",
    ):
        assert words in found.output
    made = json.loads(run("plan", NET, "--gpu", "3060", "--images", "50000", "--json").output)["predicted"]
    assert made["epoch_images"] == 50000 and made["epoch_hours"]["low"] < made["epoch_hours"]["high"]
    assert made["step_ms"]["likely"] == pytest.approx(sum(layer["ms"] for layer in made["layers"]))
    assert made["step_ms"]["low"] == pytest.approx(sum(op["ms"]["low"] for op in made["ops"]))
    assert {op["bound_by"] for op in made["ops"]} <= {"memory", "arithmetic", "launches"}


@pytest.mark.parametrize(("images", "unit"), [("1000", "seconds"), ("30000000", "minutes"), ("10000000000", "hours")])
def test_an_epoch_is_told_in_the_unit_that_suits_it(run, images: str, unit: str) -> None:
    assert f"{unit} an epoch of {int(images):,} images" in run("plan", NET, "--gpu", "3060", "--images", images).output


def test_plan_for_the_cpu_says_that_nothing_is_predicted(run) -> None:
    found = run("plan", NET, "--device", "cpu", "--times")
    assert found.exit_code == 0 and found.output.count("none for the CPU: gpunet profile measures one here") == 2


@pytest.mark.parametrize("words", [("--images", "0"), ("--images", "many"), ("--times", "--json")])
def test_mistakes_are_answered(run, words: tuple[str, ...]) -> None:
    found = run("plan", NET, *words)
    assert found.exit_code == 2 and "Traceback" not in found.output


def test_fit_tells_the_time_of_the_largest_batch_of_each_card(run) -> None:
    two = ("--gpu", "1060 3gb", "--gpu", "3060")
    rows = json.loads(run("fit", NET, *two, "--json").output)
    for row in rows:
        plan = gpunet.plan(gpunet.load(NET), row["batch"], gpu=row["card"])
        assert row["predicted_ms"]["likely"] == pytest.approx(plan.predicted.ms.likely)
    assert "predicted" in run("fit", NET, *two).output
    assert "predicted ms" in run("fit", NET, "--gpu", "3060").output


def test_two_cards_that_plan_alike_are_predicted_each_by_its_own_figures(run) -> None:
    slow, fast = json.loads(run("fit", NET, "--gpu", "4060", "--gpu", "4060 ti 8gb", "--json").output)
    assert slow["batch"] == fast["batch"]
    assert slow["predicted_ms"]["likely"] > fast["predicted_ms"]["likely"]


def test_a_profile_on_a_card_keeps_how_fast_it_was(
    cuda_device: Device, monkeypatch: pytest.MonkeyPatch, free_launches: None
) -> None:
    monkeypatch.setattr(reserve, "hardware", lambda number=0: "NVIDIA GeForce RTX 3060, driver 580.65")
    made = profile(blocks(), 4, cuda_device, steps=1, graph=False)
    path = keep_paces(made)
    assert path is not None and path.name == "rtx-3060-12gb.json"
    after = predict(made.plan, CARD)
    assert after.ms.likely == pytest.approx(made.ops_ms, rel=1e-6)
    assert "gpunet profile found with" in after.source and "batch 4, on the NVIDIA GeForce RTX 3060" in after.source


@pytest.mark.parametrize("hardware", [None, "NVIDIA Tomorrow 9000, driver 999"])
def test_a_profile_on_no_card_that_is_known_keeps_none(
    cuda_device: Device, monkeypatch: pytest.MonkeyPatch, hardware: str | None
) -> None:
    monkeypatch.setattr(reserve, "hardware", lambda number=0: hardware)
    assert keep_paces(profile(blocks(), 4, cuda_device, steps=1, graph=False)) is None
    assert keep_paces(profile(blocks(), 4, "cpu", steps=1)) is None


def test_a_profile_of_a_net_that_is_all_launches_keeps_none(
    cuda_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "hardware", lambda number=0: "NVIDIA GeForce RTX 3060, driver 580.65")
    assert keep_paces(profile(TINY, 1, cuda_device, steps=1, graph=False)) is None
