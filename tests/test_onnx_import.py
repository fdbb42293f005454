"""ONNX files brought here: the scores of onnxruntime, whoever wrote them; what cannot be said, all of it at once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from gpunet import Augment, ConfigError, DataError, Imported, Net, import_weights, load
from tests.conftest import Run
from tests.onnx_files import DATA, KEPT, apart, everything, export, model, net_scores, node, runtime_scores
from tests.torchvision_nets import torchvision_net

SIDES = {"alexnet_torchvision": 64, "squeezenet1_1": 64, "googlenet_bn": 64}
NETS = (
    "vgg11",
    "vgg11_bn",
    "resnet18",
    "resnet50",
    "squeezenet1_1",
    "densenet121",
    "googlenet_bn",
    "alexnet_torchvision",
)


def written(folder: Path, content: bytes, name: str = "x.onnx") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def random(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def words(net: Net) -> list[str]:
    return [one.layer.word for one in net.nodes]


# -- what exporters write


@pytest.mark.parametrize("name", ["dynamo", "script"])
def test_what_pytorchs_exporters_wrote_gives_the_same_scores(rng: np.random.Generator, name: str) -> None:
    """Of everything at once, weights in a file beside; no layer is left over from what was taken apart."""
    found = import_weights(KEPT / f"{name}.onnx")
    x = random(rng, 2, 32, 32, 3)
    scores = net_scores(found.net, found.weights, x)
    wanted = runtime_scores(KEPT / f"{name}.onnx", np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(np.exp(scores) / np.exp(scores).sum(1, keepdims=True), wanted, atol=1e-6)
    made = Counter(words(found.net))
    assert made == Counter(
        [
            "CONV",
            "RELU6",
            "LRN",
            "POOL",
            "CONV",
            "GAP",
            "CONV",
            "HARDSIGMOID",
            "MULTIPLY",
            "ADD",
            "SHUFFLE",
            "SLICE",
            "SLICE",
            "LRELU",
            "MAXIMUM",
            "CONCAT",
            "SILU",
            "HARDSWISH",
            "GELU",
            "SOFTPLUS",
            "ELU",
            "PRELU",
            "AVGPOOL",
            "ADD",
            "AVGPOOL",
            "FC",
        ]
    )
    assert "written by pytorch 2.13.0" in str(found) and "the softmax at the end left out" in str(found)
    assert {"stem_0", "deep", "gate_1", "ending_3"} <= {one.name for one in found.net.nodes}


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", [*NETS, "everything"])
def test_nets_exported_by_pytorch_give_the_same_scores(
    tmp_path: Path, rng: np.random.Generator, name: str, dynamo: bool
) -> None:
    side = SIDES.get(name, 32)
    module = everything() if name == "everything" else torchvision_net(name, 1 / 16, classes=7, maps=1)
    path = export(module.eval(), tmp_path / "x.onnx", dynamo=dynamo, image=(3, side, side))
    found = import_weights(path)
    x = random(rng, 2, side, side, 3)
    scores = net_scores(found.net, found.weights, x)
    if name == "everything":
        scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    wanted = runtime_scores(path, np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    assert np.abs(scores - wanted).max() <= 1e-5 * np.abs(wanted).max()


def keras_like(rng: np.random.Generator) -> bytes:
    """As converters of Keras write: maps last, transposes, SAME, norms and biases apart, flattened H, W, D."""
    constants = {
        "w1": random(rng, 6, 3, 3, 3),
        "b1": random(rng, 1, 6, 1, 1),
        "scale": random(rng, 6),
        "shift": random(rng, 6),
        "mean": random(rng, 6),
        "variance": rng.uniform(0.5, 1.5, 6).astype(np.float32),
        "slopes": random(rng, 1, 1, 6),
        "shape": np.array([-1, 4 * 3 * 6]),
        "w2": random(rng, 4 * 3 * 6, 5),
        "b2": random(rng, 5),
        "w3": random(rng, 6, 6),
        "pads": np.array([0, 1, 1, 0, 0, 1, 1, 0]),
    }
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w1", "c", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Add", "c b1", "d"),
        node("BatchNormalization", "d scale shift mean variance", "n", epsilon=1e-3),
        node("Transpose", "n", "last", perm=[0, 2, 3, 1]),
        node("PRelu", "last slopes", "p"),
        node("MatMul", "p w3", "m"),
        node("Pad", "m pads", "padded"),
        node("Transpose", "padded", "first", perm=[0, 3, 1, 2]),
        node("MaxPool", "first", "q", kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID"),
        node("Transpose", "q", "again", perm=[0, 2, 3, 1]),
        node("Reshape", "again shape", "flat"),
        node("MatMul", "flat w2", "s"),
        node("Add", "s b2", "y"),
    ]
    nodes.insert(7, node("Relu", "m", "r"))
    nodes[8] = node("Pad", "r pads", "padded")
    return model(nodes, constants, ("N", 15, 11, 3))


def test_what_keras_converters_write_gives_the_same_scores(tmp_path: Path, rng: np.random.Generator) -> None:
    path = written(tmp_path, keras_like(rng))
    found = import_weights(path)
    assert apart(path, found, rng, last=True) < 1e-5
    assert words(found.net) == ["CONV", "BN", "PRELU", "CONV", "RELU", "POOL", "FC"]
    assert found.net.input.shape == (15, 11, 3) and found.net.nodes[0].layer.bias  # type: ignore[attr-defined]
    assert "inputs, outputs turned" in str(found)


LIGHT = {
    "bvlc_alexnet": "alexnet",
    "vgg19": "vgg19",
    "squeezenet": "squeezenet1_1",
    "resnet50": "resnet50",
    "inception_v1": "googlenet",
    "densenet121": None,
    "inception_v2": None,
    "shufflenet": None,
    "zfnet512": None,
}
"""The model zoo's nets, and the shipped one of the same parameters."""


@pytest.mark.parametrize("name", LIGHT)
def test_the_nets_of_the_model_zoo_are_read(name: str) -> None:
    from gpunet.formats.onnx.reader import read

    found = read(DATA / "light" / f"light_{name}.onnx")
    assert found.net is not None and found.net.input.shape == (224, 224, 3) and found.net.classes == 1000
    if (shipped := LIGHT[name]) is not None:
        assert found.net.parameters == load(shipped).parameters
    proto = onnx.load(DATA / "light" / f"light_{name}.onnx")
    convolutions = sum(one.op_type == "Conv" for one in proto.graph.node)
    assert words(found.net).count("CONV") == convolutions


CASES = [
    "AvgPool2d",
    "AvgPool2d_stride",
    "BatchNorm2d_eval",
    "BatchNorm2d_momentum_eval",
    "Conv2d",
    "Conv2d_depthwise",
    "Conv2d_depthwise_padded",
    "Conv2d_depthwise_strided",
    "Conv2d_depthwise_with_multiplier",
    "Conv2d_dilated",
    "Conv2d_groups",
    "Conv2d_groups_thnn",
    "Conv2d_no_bias",
    "Conv2d_padding",
    "Conv2d_strided",
    "ELU",
    "GLU",
    "LeakyReLU",
    "LeakyReLU_with_negval",
    "Linear",
    "Linear_no_bias",
    "MaxPool2d",
    "PReLU_1d",
    "PReLU_2d",
    "PReLU_2d_multiparam",
    "ReLU",
    "SELU",
    "Sigmoid",
    "Softmin",
    "Softplus",
    "Tanh",
    "operator_clip",
    "operator_conv",
    "operator_selu",
    "single_relu_model",
]
"""The one-layer cases of the onnx package that layers here can say."""


@pytest.mark.parametrize("name", CASES)
def test_the_one_layer_cases_of_onnx_itself_come_out_as_they_say(name: str) -> None:
    folder = next(DATA.glob(f"*/test_{name}"))
    found = import_weights(folder / "model.onnx")
    given, wanted = (
        numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"{which}_0.pb"))
        for which in ("input", "output")
    )
    x = given.transpose(0, 2, 3, 1) if given.ndim == 4 else given.reshape(len(given), *found.net.input.shape)
    scores = net_scores(found.net, found.weights, np.ascontiguousarray(x, np.float32))
    if "softmax" in str(found):
        scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    if wanted.ndim == 4:
        wanted = wanted.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(scores, wanted.reshape(len(wanted), -1), rtol=1e-4, atol=1e-5)


def test_the_other_cases_of_onnx_are_refused_in_a_sentence_that_names_the_file() -> None:
    others = [path for path in DATA.glob("*/test_*/model.onnx") if path.parent.name[5:] not in CASES]
    few = [path for path in others if path.parent.parent.name != "real"]
    assert len(few) > 80
    for path in few:
        if path.parent.name == "test_operator_addconstant":  # which is said, but of numbers that float32 does not have
            continue
        with pytest.raises(DataError) as caught:
            import_weights(path)
        assert str(path) in str(caught.value)


# -- nodes by themselves

CONSTANTS: dict[str, np.ndarray] = {
    "one": np.float32(1),
    "two": np.float32(2),
    "three": np.float32(3),
    "six": np.float32(6),
    "zero": np.float32(0),
    "half": np.float32(0.5),
    "twenty": np.float32(20),
    "root": np.float32(2**0.5),
    "maps": np.array([[[0.5]], [[2]], [[-1]]], np.float32),
    "more": np.array([[[1]], [[0]], [[3]]], np.float32),
    "cube": np.float32(0.044715),
    "wide": np.float32((2 / np.pi) ** 0.5),
}

SPELLINGS: dict[str, tuple[str, list[Any]]] = {
    "hard-swish by a clip": (
        "HARDSWISH",
        [
            node("Add", "x three", "a"),
            node("Clip", "a zero six", "b"),
            node("Mul", "x b", "c"),
            node("Div", "c six"),
        ],
    ),
    "hard-sigmoid by a minimum": (
        "HARDSIGMOID",
        [node("Add", "x three", "a"), node("Relu", "a", "b"), node("Min", "b six", "c"), node("Div", "c six")],
    ),
    "hard-swish by its gate": ("HARDSWISH", [node("HardSigmoid", "x", "a", alpha=1 / 6), node("Mul", "a x")]),
    "SiLU by its formula": (
        "SILU",
        [node("Neg", "x", "a"), node("Exp", "a", "b"), node("Add", "b one", "c"), node("Div", "x c")],
    ),
    "GELU by erf": (
        "GELU",
        [
            node("Div", "x root", "a"),
            node("Erf", "a", "b"),
            node("Add", "b one", "c"),
            node("Mul", "x half", "d"),
            node("Mul", "d c"),
        ],
    ),
    "GELU by tanh": (
        "GELU",
        [
            node("Mul", "x x", "s"),
            node("Mul", "s x", "a"),
            node("Mul", "a cube", "b"),
            node("Add", "x b", "c"),
            node("Mul", "c wide", "d"),
            node("Tanh", "d", "e"),
            node("Add", "e one", "f"),
            node("Mul", "x f", "g"),
            node("Mul", "g half"),
        ],
    ),
    "softplus with a threshold": (
        "SOFTPLUS",
        [node("Softplus", "x", "a"), node("Greater", "x twenty", "b"), node("Where", "b x a")],
    ),
    "leaky ReLU by a maximum": ("LRELU", [node("Mul", "x half", "a"), node("Max", "x a")]),
    "ReLU by a maximum with 0": ("RELU", [node("Max", "x zero")]),
    "a clip without an end": ("CLIP", [node("Clip", "x one")]),
    "a scale and a shift": ("SCALE", [node("Mul", "x maps", "a"), node("Add", "a more")]),
    "a shift, then a scale": ("SCALE", [node("Sub", "x more", "a"), node("Div", "a maps")]),
    "a number less": ("SCALE", [node("Sub", "two x")]),
    "coefficients": ("ADD", [node("Mul", "half x", "a"), node("Sub", "a x")]),
    "a mean of two": ("ADD", [node("Mean", "x x")]),
    "a product with itself": ("MULTIPLY", [node("Mul", "x x")]),
    "a mean of positions": ("GAP", [node("ReduceMean", "x", axes=[2, 3], keepdims=0)]),
    "a maximum of positions": ("GMP", [node("GlobalMaxPool", "x")]),
    "lengths of windows": ("L2POOL", [node("LpPool", "x", kernel_shape=[3, 2], pads=[1, 0, 1, 1], p=2)]),
    "dilated identity and dropout": ("DROPOUT", [node("Identity", "x", "a"), node("Dropout", "a half")]),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_chains_of_nodes_that_are_one_layer_become_that(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    word, nodes = SPELLINGS[name]
    used = {one for each in nodes for one in each.input}
    path = written(tmp_path, model(nodes, {key: values for key, values in CONSTANTS.items() if key in used}))
    found = import_weights(path)
    assert words(found.net) == [word], found.net.nodes
    assert apart(path, found, rng) < 1e-5


def squares(pool: dict[str, Any], power: float | None) -> list[Any]:
    ending = [node("Sqrt", "k", "z")] if power is None else [node("Pow", "k beta", "z")]
    return [
        node("Mul", "x x", "s"),
        node("AveragePool", "s", "m", **pool),
        node("Mul", "m half", "a"),
        node("Add", "a two", "k"),
        *ending,
        node("Div", "x z"),
    ]


@pytest.mark.parametrize("power", [None, 0.75])
def test_lrn_within_a_map_taken_apart_is_lrn(tmp_path: Path, rng: np.random.Generator, power: float | None) -> None:
    pool = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}
    constants = {**{key: CONSTANTS[key] for key in ("half", "two")}, "beta": np.float32(power or 0)}
    path = written(tmp_path, model(squares(pool, power), constants))
    found = import_weights(path)
    assert words(found.net) == ["LRN"] and apart(path, found, rng) < 1e-5
    pool["pads"] = [0, 0, 2, 2]  # not around the middle: that is no LRN
    path = written(tmp_path, model(squares(pool, power), constants))
    with pytest.raises(DataError, match=r"n_z \((Sqrt|Pow)\): there is no layer here"):
        import_weights(path)


POOLS = [
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 0, 0], "count_include_pad": 1}),
    ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", {"kernel_shape": [4, 4], "strides": [3, 3], "auto_pad": "SAME_UPPER"}),
]


@pytest.mark.parametrize(("op", "numbers"), POOLS)
def test_pools_at_the_edges_are_those_of_the_runtime(
    tmp_path: Path, rng: np.random.Generator, op: str, numbers: dict[str, Any]
) -> None:
    path = written(tmp_path, model([node(op, "x", **numbers)], {}, ("N", 2, 9, 6), opset=19))
    assert apart(path, import_weights(path), rng) < 1e-6


@pytest.mark.parametrize("fill", [0.0, -np.inf])
def test_zeros_around_a_volume_become_the_padding_of_what_takes_it(
    tmp_path: Path, rng: np.random.Generator, fill: float
) -> None:
    constants = {"pads": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "fill": np.float32(fill), "w": random(rng, 4, 2, 3, 3)}
    pad = node("Pad", "r pads fill", "p")
    nodes = [node("Relu", "x", "r"), pad, node("MaxPool", "p", kernel_shape=[3, 3], strides=[2, 2])]
    if fill == 0:
        nodes += [node("AveragePool", "p", "a", kernel_shape=[3, 3], strides=[2, 2])]
        nodes += [node("Conv", "p w", "c", strides=[2, 2]), node("Concat", "y a c", "z", axis=1)]
    path = written(tmp_path, model(nodes, constants, ("N", 2, 8, 6), outputs=("y" if fill else "z",)))
    found = import_weights(path)
    assert apart(path, found, rng) < 1e-5 and "PAD" not in words(found.net)
    nodes[2] = node("Sigmoid", "p")
    with pytest.raises(DataError, match=r"n_y \(Sigmoid\): what comes there has zeros around it"):
        import_weights(written(tmp_path, model(nodes[:3], constants, ("N", 2, 8, 6))))


def test_zeros_around_what_may_be_below_0_are_no_padding_of_a_maximum(tmp_path: Path) -> None:
    pads = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    nodes = [node("Pad", "x pads", "p"), node("MaxPool", "p", kernel_shape=[3, 3])]
    with pytest.raises(DataError, match=r"n_y \(MaxPool\): around what it takes there is 0, which may be the maximum"):
        import_weights(written(tmp_path, model(nodes, pads)))


def test_gates_may_be_repeated_before_a_product_and_nowhere_else(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        node("GlobalAveragePool", "x", "g"),
        node("Shape", "x", "s"),
        node("Expand", "g s", "e"),
        node("Mul", "e x"),
    ]
    path = written(tmp_path, model(nodes, {}))
    found = import_weights(path)
    assert words(found.net) == ["GAP", "MULTIPLY"] and apart(path, found, rng) < 1e-6
    nodes[3] = node("Relu", "e")
    with pytest.raises(DataError, match=r"n_e \(Expand\): it repeats 1x3x1x1, and here gates of products alone"):
        import_weights(written(tmp_path, model(nodes, {})))


def test_the_factors_of_a_gemm_are_in_the_weights(tmp_path: Path, rng: np.random.Generator) -> None:
    constants = {"w": random(rng, 12, 5), "b": random(rng, 1, 5)}
    path = written(tmp_path, model([node("Gemm", "x w b", alpha=0.5, beta=-2.0)], constants, ("N", 12)))
    assert apart_of_vectors(path, import_weights(path), rng) < 1e-6
    with pytest.raises(DataError, match="transA=1 turns the images"):
        import_weights(written(tmp_path, model([node("Gemm", "x w", transA=1)], constants, ("N", 12))))


def apart_of_vectors(path: Path, found: Imported, rng: np.random.Generator) -> float:
    x = random(rng, 3, found.net.input.D)
    scores = net_scores(found.net, found.weights, x.reshape(3, 1, 1, -1))
    return float(np.abs(scores - runtime_scores(path, x)).max())


def test_several_outputs_stand_side_by_side(tmp_path: Path, rng: np.random.Generator) -> None:
    constants = {"w": random(rng, 2, 48), "v": random(rng, 4, 48), "shape": np.array([0, -1])}
    nodes = [
        node("Reshape", "x shape", "flat"),
        node("Gemm", "flat w", "y", transB=1),
        node("Gemm", "flat v", "s", transB=1),
        node("Softmax", "s", "z"),
        node("Relu", "x", "same"),
    ]
    found = import_weights(written(tmp_path, model(nodes, constants, ("N", 3, 4, 4), outputs=("y", "z", "same"))))
    assert "2 outputs stand side by side in the scores: y 1x1x2, z 1x1x4" in str(found)
    assert "left out: same" in str(found) and found.net.classes == 6


def test_what_is_one_array_there_in_two_ways_is_two_here(tmp_path: Path, rng: np.random.Generator) -> None:
    """A matrix that two layers share, once turned: DHW is flattened in front of one, HWD of the other."""
    constants = {"w": random(rng, 12, 12), "shape": np.array([0, 12])}
    nodes = [
        node("Reshape", "x shape", "a"),
        node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
        node("Reshape", "t shape", "b"),
        node("Gemm", "a w", "c", transB=1),
        node("MatMul", "b w", "d"),
        node("Add", "c d"),
    ]
    path = written(tmp_path, model(nodes, constants, ("N", 3, 2, 2)))
    assert apart(path, import_weights(path), rng) < 1e-5


def test_old_files_say_with_attributes_what_new_ones_say_with_inputs(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        node("Clip", "x", "a", min=-0.5, max=0.75),
        node("Slice", "a", "b", axes=[1], starts=[1], ends=[9]),
        node("Dropout", "b", "c", ratio=0.25),
        node("Split", "c", "d e", axis=1, split=[1, 1]),
        node("Sum", "d e", "f"),
        node("Unsqueeze", "f", "g", axes=[1]),
        node("Squeeze", "g", "h", axes=[1]),
        node("ReduceMean", "h", axes=[2, 3], keepdims=0),
    ]
    path = written(tmp_path, model(nodes, {}, (2, 3, 5, 4), opset=9))
    found = import_weights(path)
    assert apart(path, found, rng) < 1e-6
    assert words(found.net) == ["CLIP", "SLICE", "DROPOUT", "SLICE", "SLICE", "ADD", "GAP"]


# -- images


def test_a_scale_at_the_beginning_is_how_pixels_enter(tmp_path: Path, rng: np.random.Generator) -> None:
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    w = random(rng, 2, 3, 3, 3)
    bytes_ = [node("Cast", "x", "f", to=1), node("Div", "f white", "p"), node("Sub", "p mean", "q")]
    floats = [node("Sub", "x mean", "q")]
    rest = [node("Div", "q std", "r"), node("Transpose", "r", "t", perm=[0, 3, 1, 2]), node("Conv", "t w")]
    for first, dtype, white in (
        (bytes_, TensorProto.UINT8, {"white": np.float32(255)}),
        (floats, TensorProto.FLOAT, {}),
    ):
        constants = {"mean": mean, "std": std, "w": w, **white}
        path = written(tmp_path, model([*first, *rest], constants, ("N", 6, 5, 3), dtype=dtype))
        found = import_weights(path)
        assert words(found.net) == ["CONV"] and "n_r, a scale of the images, is how pixels enter" in str(found)
        assert found.net.augment is not None
        np.testing.assert_allclose(found.net.augment.statistics, (mean, std), rtol=1e-6)
        pixels = rng.integers(0, 256, (2, 6, 5, 3), np.uint8)
        given = pixels if dtype == TensorProto.UINT8 else (pixels / 255).astype(np.float32)
        np.testing.assert_allclose(
            net_scores(found.net, found.weights, pixels), runtime_scores(path, given), rtol=1e-4, atol=1e-5
        )


def test_height_and_width_that_a_file_leaves_open_are_asked_for(
    run: Run, tmp_path: Path, rng: np.random.Generator
) -> None:
    content = model(
        [node("Conv", "x w"), node("GlobalAveragePool", "y", "z")], {"w": random(rng, 2, 3, 3, 3)}, ("N", 3, "H", "W")
    )
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=r"x\.onnx: its input is Nx3xHxW, of no fixed size; say it as --input"):
        import_weights(path)
    assert import_weights(path, input="7x6x3").net.input.shape == (7, 6, 3)
    with pytest.raises(DataError, match="its input is Nx3xHxW, which is not 7x6x1"):
        import_weights(path, input="7x6x1")
    result = run("import", "x.onnx", "--input", "7x6x3")
    assert result.exit_code == 0 and "x.safetensors has the weights and the net" in result.output


# -- what cannot be said


def test_all_that_cannot_be_said_is_told_at_once(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    constants = {"w": random(rng, 2, 3, 3, 3), "v": random(rng, 2, 2, 3, 3), "position": random(rng, 1, 2, 6, 6)}
    nodes = [
        node("Conv", "x w", "a"),
        node("Softsign", "a", "b"),
        node("MaxPool", "a", "c", kernel_shape=[2, 2], dilations=[2, 2]),
        node("ConvTranspose", "a v", "d"),
        node("Add", "a position", "e"),
        node("Concat", "b e", "f", axis=2),
        node("Sum", "b c d e f", "y"),
        node("Hardmax", "a", "unused"),
    ]
    written(tmp_path, model(nodes, constants))
    result = run("import", "x.onnx")
    assert result.exit_code == 2 and "unused" not in result.output and not list(tmp_path.glob("*.safetensors"))
    for line in (
        "x.onnx has nodes that cannot be said here:",
        "n_b (Softsign): there is no layer here that does it",
        "n_c (MaxPool): dilations [2, 2]: here the windows of pools have no gaps",
        "n_d (ConvTranspose): there is no layer here that does it",
        "n_e (Add): its constant is 1x2x6x6, and here there is a number for each map",
    ):
        assert line in result.output


def test_what_comes_behind_a_node_that_cannot_be_said_is_looked_at_where_its_size_is_known(tmp_path: Path) -> None:
    sized = onnx.helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 3, 8, 8])
    nodes = [node("Mish", "x", "a"), node("MaxPool", "a", kernel_shape=[2, 2], dilations=[2, 2])]
    made = onnx.load_from_string(model(nodes, {}))
    made.graph.value_info.append(sized)
    with pytest.raises(DataError, match=r"(?s)n_a \(Mish\).*n_y \(MaxPool\): dilations"):
        import_weights(written(tmp_path, made.SerializeToString()))


def test_weights_kept_as_bytes_are_read(tmp_path: Path, rng: np.random.Generator) -> None:
    """With a scale for each filter and a zero, or one for all; the same array twice."""
    scale = rng.uniform(0.001, 0.01, 4).astype(np.float32)
    arrays = {
        "w": rng.integers(-128, 128, (4, 3, 3, 3), np.int8),
        "scale": scale,
        "zero": rng.integers(-9, 9, 4, np.int8),
        "b": rng.integers(-1000, 1000, 4, np.int32),
        "fc": rng.integers(0, 256, (144, 5), np.uint8),
        "one": np.float32(0.001),
        "middle": np.uint8(128),
    }
    nodes = [
        node("DequantizeLinear", "w scale zero", "wf", axis=0),
        node("DequantizeLinear", "b scale", "bf", axis=0),
        node("Conv", "x wf bf", "c", kernel_shape=[3, 3]),
        node("DequantizeLinear", "w scale zero", "again", axis=-4),
        node("Flatten", "c", "f"),
        node("DequantizeLinear", "fc one middle", "fcf"),
        node("MatMul", "f fcf"),
    ]
    path = written(tmp_path, model(nodes, arrays, opset=21))
    found, images = import_weights(path), random(rng, 2, 3, 8, 8)
    wanted = ReferenceEvaluator(str(path)).run(None, {"x": images})[0]  # onnxruntime rounds what meets bytes
    got = net_scores(found.net, found.weights, np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    exact = (arrays["w"] - arrays["zero"][:, None, None, None].astype(np.float32)) * scale[:, None, None, None]
    np.testing.assert_array_equal(found.weights["n_c.w"], exact.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([node("QuantizeLinear", "x q"), node("Relu", "y")], "it rounds what goes through the net to bytes"),
        ([node("DequantizeLinear", "x q")], r"n_y \(DequantizeLinear\): it rounds what goes"),
        ([node("QLinearConv", "x q q q q q q q")], "import the float net that it was made of"),
        ([node("Conv", "x x")], "its weights are no constants"),
        ([node("Softmax", "x", "a", axis=1), node("Relu", "a")], "a softmax belongs to the loss here"),
        ([node("Softmax", "x", axis=2)], "axis=2 is over H, and here a softmax is over the maps"),
        ([node("Transpose", "x", perm=[1, 0, 2, 3])], "moves the axis of the images"),
        ([node("ReduceMean", "x", axes=[1])], "it is over the axes D, and here over all rows and columns"),
        ([node("Concat", "x x", axis=3)], "axis=3 puts W behind one another, and here maps are"),
        ([node("Identity", "x")], "has no layer between its input and its output"),
        ([node("Conv", "missing missing")], "it takes nothing"),
        ([node("Relu", "x", "r"), node("Tanh", "x", "t"), node("Add", "r t x")], "it takes 2 inputs, and there are 3"),
    ],
)
def test_nodes_that_do_what_no_layer_does_are_told_with_the_reason(tmp_path: Path, nodes: list[Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        import_weights(written(tmp_path, model(nodes, {})))


def test_inputs_that_are_no_images_are_told(tmp_path: Path) -> None:
    relu = [node("Relu", "x")]
    for image, dtype, told in (
        (("N", 3, 4, 5, 6), TensorProto.FLOAT, "its input is Nx3x4x5x6"),
        (("N", 3, 4, 5), TensorProto.INT64, "its input holds <i8 values, and images are floats"),
    ):
        with pytest.raises(DataError, match=told):
            import_weights(written(tmp_path, model(relu, {}, image, dtype=dtype)))


# -- the net, or another


def small(rng: np.random.Generator) -> bytes:
    constants = {
        "w": random(rng, 4, 3, 3, 3),
        "b": random(rng, 4),
        "v": random(rng, 5, 4 * 36),
        "shape": np.array([0, -1]),
    }
    nodes = [
        node("Conv", "x w b", "c"),
        node("Relu", "c", "r"),
        node("Reshape", "r shape", "f"),
        node("Gemm", "f v", transB=1),
    ]
    return model(nodes, constants)


def test_a_net_that_is_given_takes_the_weights_in_their_order(tmp_path: Path, rng: np.random.Generator) -> None:
    path = written(tmp_path, small(rng))
    own = import_weights(path)
    pattern = "INPUT[8x8x3] -> CONV3-4(P=0) -> RELU -> DROPOUT -> FC-9(bias=false)"
    with pytest.raises(ConfigError, match=r"conv1\.w from w"):
        import_weights(path, pattern)
    found = import_weights(path, pattern, by_order=True)
    assert found.net.classes == 5
    for ours, theirs in (("conv1.w", "n_c.w"), ("conv1.b", "n_c.b"), ("fc1.w", "n_y.w")):
        np.testing.assert_array_equal(found.weights[ours], own.weights[theirs])
    with pytest.raises(DataError, match=r"other shape: conv1 takes w \(6, 3, 3, 3\)"):
        import_weights(path, pattern.replace("3-4", "3-6"), by_order=True)


def test_an_onnx_file_that_is_used_at_once_is_told_the_way(run: Run, tmp_path: Path, rng: np.random.Generator) -> None:
    written(tmp_path, small(rng))
    result = run("eval", "x.onnx", "--data", "digits")
    assert result.exit_code == 2 and "it is a file of ONNX: gpunet import x.onnx" in result.output
    assert run("import", "x.onnx").exit_code == 0
    np.savez(tmp_path / "set.npz", images=rng.integers(0, 256, (20, 8, 8, 3), np.uint8), labels=np.arange(20) % 5)
    result = run("eval", "x.safetensors", "--data", "set.npz")
    assert result.exit_code == 0, result.output


def test_what_was_imported_says_so(tmp_path: Path, rng: np.random.Generator) -> None:
    found = import_weights(written(tmp_path, small(rng)))
    assert isinstance(found, Imported) and found.net.augment in (None, Augment())
    lines = str(found).splitlines()
    assert lines[0].endswith("x.onnx: ONNX, 3 arrays of 832 numbers, of x by ONNX's own names")
    assert (
        "laid out anew, K, D, H, W to K, H, W, D: n_c" in lines
        and "laid out anew, inputs D, H, W to H, W, D: n_y" in lines
    )
