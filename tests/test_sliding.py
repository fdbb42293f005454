"""Sliding: FC as CONV and back, one pass against the crops one by one, and what cannot slide."""

import numpy as np
import pytest

from bench.borders import compare
from gpunet import Conv, Model, Net, load
from gpunet.devices.device import Device
from gpunet.errors import ConfigError, GpunetError, ShapeError
from gpunet.layers.fc import FC
from gpunet.net.weights import convert_weights
from gpunet.use.sliding import Axis, ScoreMap, net_stride, plan_sweep, slide

HEADED = """
INPUT[14x12x2] -> CONV3-4 -> RELU -> { CONV3-3 | ID } -> POOL2 -> AUX(weight=0.3)[FC-6 -> RELU -> FC-5]
-> { CONV3-7 + ID } -> RELU -> FC-8 -> BN -> RELU -> DROPOUT -> FC-5
"""


def drawn(net: Net, *, mode: str = "train", seed: int = 3) -> dict[str, np.ndarray]:
    """Weights of a net, no bias or statistic at its start value."""
    rng = np.random.default_rng(seed)
    with Model(net, 2, "cpu", mode=mode, dtype="float64", seed=seed) as model:  # type: ignore[arg-type]
        found = dict(model.parameters)
    return {name: v + rng.uniform(0.1, 0.4, v.shape) if v.ndim == 1 else v for name, v in found.items()}


def scores(net: Net, weights: dict[str, np.ndarray], images: np.ndarray, device: str | Device = "cpu") -> np.ndarray:
    """The scores of images by a net planned to infer."""
    with Model(net, len(images), device, mode="infer", dtype="float64") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        return model.forward(images)


def each_crop(net: Net, weights: dict[str, np.ndarray], image: np.ndarray, stride: tuple[int, int]) -> np.ndarray:
    """The definition: every crop by itself, by the net as it is."""
    rows, columns = ((image.shape[i] - net.input.shape[i]) // stride[i] + 1 for i in (0, 1))
    crops = [
        image[i * stride[0] :, j * stride[1] :][: net.input.H, : net.input.W]
        for i in range(rows)
        for j in range(columns)
    ]
    return scores(net, weights, np.array(crops)).reshape(rows, columns, -1)


# -- FC as CONV and back ---------------------------------------------------------------------------


def test_the_first_fc_sees_all_and_the_later_ones_a_position() -> None:
    net = load("vgg16").convolutional()
    dense = [node for node in net.nodes if node.name.startswith("fc")]
    assert [node.layer for node in dense] == [
        Conv(4096, F=7, P=0, fit="error"),
        Conv(4096, F=1, P=0, fit="error"),
        Conv(1000, F=1, P=0, fit="error"),
    ]
    assert net.parameters == 138_357_544 and net.output.shape == (1, 1, 1000)
    over = net.remade(net.nodes, "384x384x3")
    assert over.volumes["pool5"].shape == (12, 12, 512) and over.output.shape == (6, 6, 1000)


def test_a_graph_with_heads_goes_to_conv_and_back_with_its_weights() -> None:
    net = load(HEADED)
    conv = net.convolutional()
    assert not any(isinstance(node.layer, FC) for node in conv.nodes)
    assert [(node.name, node.inputs, node.head) for node in conv.nodes] == [
        (node.name, node.inputs, node.head) for node in net.nodes
    ]
    assert conv.fully_connected() == net
    weights = drawn(net)
    made = convert_weights(weights, conv)
    assert made["fc1.w"].shape == (6, 7, 6, 7) and made["fc2.w"].shape == (5, 1, 1, 6)
    back = convert_weights(made, net)
    assert all((back[name] == weights[name]).all() and back[name].shape == weights[name].shape for name in weights)


def test_the_scores_stay(device: Device, rng: np.random.Generator) -> None:
    net = load(HEADED)
    weights, images = drawn(net), rng.random((2, *net.input.shape))
    conv = net.convolutional()
    found = scores(conv, convert_weights(weights, conv), images, device)
    np.testing.assert_allclose(found, scores(net, weights, images), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    ["CONV(F=6x5, K=4, P=1)", "CONV(F=6x5, K=4, P=0, groups=2)", "CONV3-4"],
)
def test_what_no_fc_does_stays_a_conv(layer: str) -> None:
    net = load(f"INPUT[6x5x2] -> {layer}")
    assert net.fully_connected() == net


@pytest.mark.parametrize("layer", ["CONV(F=6x5, K=4, P=0)", "CONV(F=6x5, K=4, P=0, S=3)"])
def test_a_conv_that_sees_all_becomes_an_fc(layer: str) -> None:
    assert load(f"INPUT[6x5x2] -> {layer}").fully_connected().nodes[0].layer == FC(4)


def test_weights_of_another_net_are_not_reshaped() -> None:
    net = load("INPUT[4x6x2] -> FC-6")
    with pytest.raises(ShapeError, match=r"no fc1\.b"):
        convert_weights({"fc1.w": np.zeros((6, 48))}, net)
    for shape in ((3, 96), (48, 6), (6, 2, 24), (6, 49)):
        with pytest.raises(ShapeError, match=r"fc1.w has shape .* does not become \(6, 48\).*another net"):
            convert_weights({"fc1.w": np.zeros(shape), "fc1.b": np.zeros(6)}, net)


# -- one pass is all crops -------------------------------------------------------------------------

NOTES = "INPUT[126x94x3] -> [CONV3-2(P=0) -> RELU -> POOL2]*5 -> FC-6 -> RELU -> DROPOUT -> FC-5"
"""VGG's five pools, and no padding: each of 36 crops at stride 32 is scored by one pass."""


def test_36_crops_are_one_pass_of_6x6(device: Device, rng: np.random.Generator) -> None:
    net = load(NOTES)
    weights, image = drawn(net), rng.random((126 + 5 * 32, 94 + 5 * 32, 3))
    sweep = plan_sweep(net, image.shape)
    assert sweep.passes == 1 and sweep.net.output.shape == (6, 6, 5)
    with Model(sweep.net, 1, device, mode="infer", dtype="float64") as model:
        for name, values in convert_weights(weights, sweep.net).items():
            model.parameters[name] = values
        found = sweep.run(model, image)
    wanted = each_crop(net, weights, image, (32, 32))
    assert wanted.std(axis=(0, 1)).min() > 1e-3  # the crops differ
    np.testing.assert_allclose(found.scores, wanted, rtol=0, atol=1e-12)


SMALL = "INPUT[11x14x2] -> CONV(F=2x3, K=3, P=0) -> POOL2 -> RELU -> CONV(F=2x3, K=4, P=0) -> POOL2 -> FC-5"


@pytest.mark.parametrize("stride", [None, 1, 2, 4])
@pytest.mark.parametrize("H, W", [(11, 14), (12, 14), (17, 21), (23, 16)])
def test_finer_strides_are_the_crops_too_whatever_is_left_at_the_edge(
    H: int, W: int, stride: int | None, rng: np.random.Generator
) -> None:
    net = load(SMALL)
    weights, image = drawn(net), rng.random((H, W, 2))
    found = slide(net, weights, image, stride, device="cpu", dtype="float64")
    step = stride or 4
    np.testing.assert_allclose(found.scores, each_crop(net, weights, image, (step, step)), rtol=0, atol=1e-12)
    assert found.crop == (11, 14) and found.stride == (step, step)


def test_an_average_of_whole_maps_slides_and_heads_are_left_behind(rng: np.random.Generator) -> None:
    net = load(
        "INPUT[10x10x2] -> CONV3-4(P=0) -> POOL2 -> AUX(weight=0.5)[FC-3] -> { CONV1-3 | CONV1-2 } -> GAP -> FC-3"
    )
    weights, image = drawn(net), rng.random((15, 12, 2))
    sweep = plan_sweep(net, image.shape, 1)
    assert not sweep.net.heads and sweep.passes == 4 and sweep.unseen == (0, 0)
    found = slide(net, weights, image, 1, device="cpu", dtype="float64")
    np.testing.assert_allclose(found.scores, each_crop(net, weights, image, (1, 1)), rtol=0, atol=1e-12)


def test_strides_along_rows_and_columns_may_differ(rng: np.random.Generator) -> None:
    net = load("INPUT[9x9x1] -> CONV(F=3, S=2x3, K=3, P=0) -> RELU -> FC-2")
    assert net_stride(net.convolutional()) == (2, 3)
    weights, image = drawn(net), rng.random((13, 15, 1))
    found = slide(net, weights, image, device="cpu", dtype="float64")
    np.testing.assert_allclose(found.scores, each_crop(net, weights, image, (2, 3)), rtol=0, atol=1e-12)


def test_padding_changes_the_borders_of_a_crop_and_nothing_else(rng: np.random.Generator) -> None:
    net = load("INPUT[12x12x2] -> CONV3-3 -> RELU -> POOL2 -> FC-4")
    weights, image = drawn(net), rng.random((16, 16, 2))
    found = slide(net, weights, image, device="cpu", dtype="float64").scores
    wanted = each_crop(net, weights, image, (2, 2))
    assert np.abs(found - wanted).min() > 1e-6  # no crop of 12 has all borders on those of 16
    alone = slide(net, weights, image[:12, :12], device="cpu", dtype="float64").scores
    np.testing.assert_allclose(alone[0, 0], wanted[0, 0], rtol=0, atol=1e-12)


def test_the_measure_of_borders_is_rounding_without_padding(rng: np.random.Generator) -> None:
    for padding, least, most in (("P=0", 0, 1e-5), ("P=1", 1e-3, 10)):
        net = load(f"INPUT[12x12x2] -> CONV3-3({padding}) -> RELU -> POOL2 -> FC-4")
        found = compare(net, drawn(net), rng.random((17, 16, 2)))
        assert found["crops"] == 9 and least <= found["relative_rms"] <= found["relative_spread"] <= most
        assert found["same_class"] == 1 or padding == "P=1"


@pytest.mark.parametrize("size, crop, own", [(384, 224, 32), (390, 224, 32), (224, 224, 32), (255, 224, 32)])
@pytest.mark.parametrize("stride", [32, 16, 1])
def test_every_crop_is_in_one_pass(size: int, crop: int, own: int, stride: int) -> None:
    axis = Axis.over(size, crop, own, stride)
    starts = sorted(p * stride + i * own for p in range(axis.passes) for i in range(axis.each))
    wanted = list(range(0, size - crop + 1, stride))
    assert starts[: axis.crops] == wanted and len(wanted) == axis.crops
    assert axis.reach == starts[-1] + crop if axis.each > 1 else axis.reach >= starts[-1] + crop


# -- what is told of the scores --------------------------------------------------------------------


def test_probabilities_means_and_places() -> None:
    values = np.log(np.array([[[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], [[0.6, 0.1, 0.3], [0.2, 0.8, 1e-9]]])) + 1000
    found = ScoreMap(values, (8, 8), (4, 3))
    np.testing.assert_allclose(found.probabilities[0], [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], rtol=1e-9)
    np.testing.assert_allclose(found.mean, [0.4, 0.325, 0.275], rtol=1e-8)
    assert found.top(2) == [0, 1] and found.top(9) == [0, 1, 2]
    assert [found.best(label) for label in (0, 1, 2)] == [(0, 0), (4, 3), (0, 3)]


# -- what does not slide ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "net, shape, stride, error, words",
    [
        (SMALL, (10, 20, 2), None, ShapeError, "10x20 is smaller than the 11x14 .* --scale 14"),
        (SMALL, (20, 20, 3), None, ShapeError, r"takes images of \(H, W, 2\)"),
        (SMALL, (20, 20), None, ShapeError, r"takes images of \(H, W, 2\)"),
        (SMALL, (20, 20, 2), 3, ConfigError, "a stride of 3 does not divide the 4 of net; use one of 1, 2, 4"),
        (SMALL, (20, 20, 2), 8, ConfigError, "does not divide"),
        (SMALL, (20, 20, 2), 0, ConfigError, "does not divide"),
        ("INPUT[8x8x2] -> CONV3-4 -> RELU", (20, 20, 2), None, ShapeError, "ends in 8x8x4.*end it in an FC"),
        ("INPUT[8x8x2] -> LOCAL3-4 -> FC-3", (20, 20, 2), None, ShapeError, "local1 has other weights"),
        (
            "INPUT[8x6x2] -> CONV3-4 -> ADAPTIVE5 -> FC-3",
            (20, 20, 2),
            None,
            ShapeError,
            "adaptive1 averages parts of 8x6",
        ),
    ],
)
def test_what_cannot_slide_is_told(
    net: str, shape: tuple[int, ...], stride: int | None, error: type[GpunetError], words: str
) -> None:
    with pytest.raises(error, match=words):
        plan_sweep(load(net), shape, stride)
