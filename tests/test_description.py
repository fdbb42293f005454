"""What `gpunet describe` says is so: fields against what outputs really see, work against the definition, the rules."""

import json
from math import prod

import numpy as np
import pytest
from typer.testing import CliRunner

import gpunet
from gpunet import FC, LRN, AvgPool, Conv, GlobalAvgPool, L2Pool, LocallyConnected, MaxPool, Model, Net, ReLU, describe
from gpunet.cli.app import app
from gpunet.net.graph import INPUT
from gpunet.program.field import Field, Window, union
from gpunet.program.volume import pair
from gpunet.report.as_json import as_text
from gpunet.report.console import show
from gpunet.report.description_json import description_json
from gpunet.report.description_table import description_parts
from tests.nets import random_net, vgg16

ALEXNET = (
    "INPUT[227x227x3] -> CONV11-96(S=4, P=0) -> RELU -> LRN -> POOL3(S=2) -> CONV5-256 -> RELU -> LRN -> POOL3(S=2) -> "
    "[CONV3-384 -> RELU]*2 -> CONV3-256 -> RELU -> POOL3(S=2) -> [FC-4096 -> RELU -> DROPOUT]*2 -> FC-1000"
)


def rules(pattern: str) -> dict[str, list[str]]:
    """The hints on a net by rule."""
    found: dict[str, list[str]] = {}
    for hint in describe(gpunet.load(pattern)).hints:
        found.setdefault(hint.rule, []).append(hint.text)
    return found


def seen(net: Net) -> np.ndarray:
    """(H, W, H2, W2): whether an output position changes with a pixel, which is 2 in one image and 1 in the first."""
    H, W, D = net.input.shape
    images = np.ones((1 + H * W, H, W, D))
    for number, image in enumerate(images[1:]):
        image[divmod(number, W)] = 2
    with Model(net, len(images), "cpu", mode="infer", dtype="float64") as model:
        for name in model.parameters:
            shape = model.parameters[name].shape
            model.parameters[name] = np.zeros(shape) if name.endswith(".b") else np.ones(shape)
        scores = model.forward(images)
    return (scores[1:] != scores[0]).reshape(H, W, *net.output.shape).any(axis=-1)


def check_fields(net: Net) -> None:
    """What is seen lies in the field, and reaches from its first to its last row and column where it is all image."""
    last = describe(net).layers[-1]
    looks = seen(net)
    for i in range(net.output.H):
        for j in range(net.output.W):
            for axis, field, at in ((0, last.rows, i), (1, last.columns, j)):
                found = np.flatnonzero(looks[:, :, i, j].any(axis=1 - axis))
                if not found.size:  # padding alone, along this axis or the other
                    continue
                start = field.start + at * field.stride
                first, end = max(start, 0), min(start + field.size, net.input.shape[axis])
                if (first, end) == (start, start + field.size):
                    assert (found.min(), found.max()) == (first, end - 1), (net.nodes, i, j)
                assert ((first <= found) & (found < end)).all(), (net.nodes, i, j)


@pytest.mark.parametrize(
    "layers",
    [
        [Conv(2)],
        [Conv(2, P=0), ReLU(), MaxPool(), Conv(2, F=5, S=2, P=1), MaxPool(3, S=2, P=1)],
        [MaxPool(3, S=2), AvgPool(2, S=1), Conv(2, F=1), Conv(1, F=4, S=3, P=2)],
        [Conv(2), MaxPool(2), FC(3)],
        [Conv(2, F=2, S=2, P=0), GlobalAvgPool(), FC(2)],
        [L2Pool(2, S=1), LRN(3, over="map", alpha=1.0, k=1.0), Conv(1)],
        [LocallyConnected(2, F=3, S=2), Conv(1)],
    ],
    ids=str,
)
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_outputs_see_exactly_the_field_that_is_told(layers: list, fit: str) -> None:
    check_fields(Net("17x14x2", layers, fit=fit))


@pytest.mark.parametrize(
    "pattern",
    [
        "CONV3-2 -> { CONV1-2 | CONV3-2 -> RELU | POOL3(S=1, P=1) -> CONV5-2 } -> CONV3-2",
        "CONV3-4 -> RELU -> { CONV3-6(S=2, P=1) -> RELU -> CONV3-6 + CONV1-6(S=2) } -> RELU -> CONV3-2",
        "{ CONV3-2 -> CONV3-2 + ID } -> { CONV2-2(P=0) -> CONV2-2(P=1) | ID }",
    ],
)
def test_a_merge_sees_what_its_branches_see(pattern: str) -> None:
    net = gpunet.load(f"INPUT[17x13x2] -> {pattern}")
    check_fields(net)
    assert describe(net).blocks.departure


def test_fields_of_random_nets_are_what_their_outputs_see(rng: np.random.Generator) -> None:
    for _ in range(15):
        net = random_net(rng, layers=5)
        check_fields(Net(net.input, net.nodes[:-1]))  # without the FC, which sees everything


def test_vgg16_is_described_as_the_literature_has_it() -> None:
    made = describe(gpunet.load("vgg16"))
    facts = {one.name: one for one in made.layers}
    assert facts["pool5"].rows == facts["pool5"].columns == Field(size=212, stride=32, start=-90)
    assert facts["pool5"].rows.centre == 15.5
    assert made.multiply_adds == 15_470_264_320
    assert made.net.parameters == sum(one.parameters for one in made.layers) == 138_357_544
    assert made.blocks.N == (2, 2, 3, 3, 3) and made.blocks.K == 2 and not made.blocks.departure
    assert describe(gpunet.load(ALEXNET)).layers[-8].rows.size == 195


def test_multiply_adds_are_those_of_the_definition(rng: np.random.Generator) -> None:
    for _ in range(20):
        net = random_net(rng)
        for one, node in zip(describe(net).layers, net.nodes, strict=True):
            inputs, volume = net.inputs(node)[0], net.volumes[node.name]
            window, K = prod(pair(getattr(node.layer, "F", 0))), volume.D
            wanted = {"conv": volume.H * volume.W * K * window * inputs.D, "fc": inputs.values * K}
            assert one.multiply_adds == wanted.get(node.layer.type, 0)


def test_fields_join_and_grow() -> None:
    assert union([Field(3, 4, -1), Field(1, 4, 0)]) == Field(3, 4, -1)
    assert union([Field(5, 2, -4), Field(5, 2, 0)]) == Field(9, 2, -4)
    assert Field(3, 2, -1).through(Window(F=3, S=2, before=2, after=2, dilation=2)) == Field(11, 4, -5)


@pytest.mark.parametrize(
    ("layers", "N", "K"),
    [
        ("FC-2", (), 0),
        ("[FC-3 -> RELU]*2 -> FC-2", (), 2),
        ("CONV3-2 -> RELU -> FC-2", (1,), 0),
        ("[[CONV3-2 -> RELU]*2 -> POOL2]*3 -> FC-2", (2, 2, 2), 0),
        ("CONV3-2 -> RELU -> LRN -> POOL2 -> [CONV3-2 -> RELU]*3 -> FC-4 -> RELU -> DROPOUT -> FC-2", (1, 3), 1),
        ("POOL2 -> CONV3-2 -> RELU -> FC-2", (0, 1), 0),
    ],
)
def test_nets_of_the_pattern_are_counted(layers: str, N: tuple[int, ...], K: int) -> None:
    found = describe(gpunet.load(f"INPUT[16x16x3] -> {layers}")).blocks
    assert (found.N, found.M, found.K, found.departure) == (N, len(N), K, "")


@pytest.mark.parametrize(
    ("layers", "departure"),
    [
        ("CONV3-2 -> POOL2 -> FC-2", "at pool1: POOL where RELU would stand"),
        ("CONV3-2 -> TANH -> FC-2", "at tanh1: TANH where RELU would stand"),
        ("LOCAL3-3 -> RELU -> FC-2", "at local1: LOCAL where CONV, POOL or FC would stand"),
        ("RELU -> FC-2", "at relu1: RELU where CONV, POOL or FC would stand"),
        ("FC-2 -> FC-2", "at fc2: FC where RELU or the end would stand"),
        ("FC-2 -> RELU -> CONV1-2", "at conv1: CONV where FC would stand"),
        ("CONV3-2 -> RELU -> { CONV3-2 + ID } -> FC-2", "at add1, which takes conv2 and relu1: a branch or a merge"),
        ("FC-2 -> RELU", "at its end: relu1 where a last FC would stand"),
        ("CONV3-2 -> RELU -> GAP", "at gap1: GAP where CONV, POOL or FC would stand"),
    ],
)
def test_where_a_net_departs_from_the_pattern_is_said(layers: str, departure: str) -> None:
    found = describe(gpunet.load(f"INPUT[16x16x3] -> {layers}")).blocks
    assert found.departure == departure and not found.N


def test_a_large_filter_is_compared_with_a_stack_of_small_ones() -> None:
    (seven,) = rules("INPUT[32x32x64] -> CONV7-64 -> RELU -> FC-2")["large filters"]
    assert "200,704 weights (49*C*C); 3 layers of 3x3 see as much with 110,592 (27*C*C)" in seven
    assert rules("INPUT[32x32x64] -> CONV5-64 -> RELU -> FC-2")["large filters"][0].count("(25*C*C)") == 1


@pytest.mark.parametrize("conv", ["CONV3-64", "CONV7-64(S=2, fit=crop)", "CONV7-512", "CONV4-64(P=1)"])
def test_what_a_stack_would_not_make_smaller_is_left_alone(conv: str) -> None:
    assert "large filters" not in rules(f"INPUT[32x32x3] -> {conv} -> RELU -> FC-2")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("POOL2(fit=crop)", "F=2, S=2 does not fit 15x12: it never sees the last 1 of 15 rows"),
        ("POOL2(fit=pad)", "F=2, S=2 does not fit 15x12: it hangs 1 over the end of the 15 rows"),
        (
            "CONV5-2(S=4, P=2, fit=crop)",
            "leaves 2 of 2 rows of padding at the end unused and never sees the last 1 of 12",
        ),
    ],
)
def test_a_stride_that_does_not_fit_is_told_with_what_is_dropped_or_added(layer: str, words: str) -> None:
    (found,) = rules(f"INPUT[15x12x2] -> {layer} -> FC-2")["fit"]
    assert words in found


def test_an_input_that_is_not_divisible_often_enough_is_told_with_what_would_be() -> None:
    net = "INPUT[30x48x3] -> [CONV3-4 -> RELU -> POOL2(fit=crop)]*3 -> FC-2"
    (found,) = rules(net)["divisible by 2"]
    assert "by 8" in found and "30x48 -> 15x24 -> 7x12 -> 3x6" in found and found.endswith("use 24x48 or 32x48")
    assert "divisible by 2" not in rules(net.replace("30x48", "32x48"))


def test_missing_padding_and_large_pools_are_told() -> None:
    found = rules("INPUT[28x20x1] -> CONV5-20(P=0) -> POOL4 -> CONV3-5(P=0) -> FC-2")
    assert len(found["padding"]) == 2 and "makes 28x20 into 24x16" in found["padding"][0]
    assert "P=2 keeps" in found["padding"][0] and "P=1 keeps" in found["padding"][1]
    (even,) = rules("INPUT[9x9x1] -> CONV2-4(P=0) -> CONV2-4(P=1) -> FC-2")["padding"]
    assert even.endswith("21% of the positions less; an odd F can keep the size and what is at the borders")
    assert "F=4, S=4 drops 94% of the activations" in found["large pools"][0]
    assert "large pools" not in rules("INPUT[7x7x4] -> AVGPOOL7 -> FC-2")  # the average of whole maps


def test_where_most_values_and_parameters_are_is_told() -> None:
    found = rules("vgg16")
    assert "up to conv3, hold 59% of the 15,237,608 values" in found["early memory"][0]
    assert "S=2" not in rules(ALEXNET)["early memory"][0]  # its first CONV has a stride already
    assert "102,764,544 of the 138,357,544 parameters" in found["heavy FC"][0]
    assert set(found) == {"early memory", "heavy FC"}


def test_a_net_that_keeps_the_rules_gets_no_hint() -> None:
    assert rules("vgg_digits") == {}


@pytest.mark.parametrize("net", ["vgg16", "vgg_cifar", "vgg_digits", ALEXNET])
def test_descriptions_fit_eighty_columns(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(*description_parts(describe(gpunet.load(net))))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_rows_and_columns_that_differ_are_both_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show(*description_parts(describe(gpunet.load("INPUT[8x6x1] -> FC-2"))))
    assert " 8x6       1      0  3.5x2.5" in capsys.readouterr().out


def test_json_has_all_of_it() -> None:
    found = json.loads(as_text(description_json(describe(vgg16()))))
    assert found["multiply_adds"] == 15_470_264_320 and found["pattern"]["N"] == [2, 2, 3, 3, 3]
    pool5 = next(one for one in found["layers"] if one["name"] == "pool5")
    assert pool5["output"] == [7, 7, 512]
    assert pool5["field"]["rows"] == {"size": 212, "stride": 32, "start": -90, "centre": 15.5}
    assert {hint["rule"] for hint in found["hints"]} == {"early memory", "heavy FC"}
    departed = description_json(describe(gpunet.load("INPUT[8x8x1] -> FC-2 -> RELU")))["pattern"]
    assert departed["N"] is None and departed["departure"] == "at its end: relu1 where a last FC would stand"


def test_the_command_describes_and_tells_mistakes() -> None:
    done = CliRunner().invoke(app, ["describe", "vgg16"])
    assert done.exit_code == 0 and "N=2,2,3,3,3, M=5, K=2" in done.output
    assert json.loads(CliRunner().invoke(app, ["describe", "vgg16", "--json"]).output)["parameters"] == 138_357_544
    failed = CliRunner().invoke(app, ["describe", "INPUT[8x8x1] -> CNV3-4"])
    assert failed.exit_code == 2 and "CNV3 is not a layer" in failed.output
    with pytest.raises(gpunet.ConfigError, match="a net is needed"):
        describe("vgg16")  # type: ignore[arg-type]
    assert INPUT not in {one.name for one in describe(vgg16()).layers}
