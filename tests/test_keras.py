"""Files of Keras: its scores come back, from every kind of file and form of config; hostile ones are refused.

What Keras gave for the files in tests/keras_files is kept beside them; see tests/keras_models.py.
"""

import builtins
import json
import struct
import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import strategies as st

from gpunet import ConfigError, DataError, Model, Net, import_weights, load
from gpunet.formats.keras.read import read
from gpunet.formats.known import foreign_format, read_foreign
from tests import fuzzing, keras_models
from tests.conftest import Run
from tests.fuzzing import edited, fuzz, limited
from tests.keras_models import FILES, MODELS

CONV: dict[str, Any] = {"filters": 2, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "activation": "relu"}


def near(found: np.ndarray, wanted: np.ndarray, apart: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= apart * max(np.abs(wanted).max(), 1e-3)


def scores(net: Net, weights: Mapping[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """Of images as they enter, or of bytes."""
    with Model(net, len(images), "cpu", mode="infer") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        return model.forward(images)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        import_weights(path, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


# -- files that the tests write


def sequential(*layers: tuple[str, dict[str, Any]], shape: Any = (None, 4, 5, 2)) -> dict[str, Any]:
    """A Sequential of classes and their settings, named by their place, as Keras 2 wrote it."""
    made = [
        {"class_name": kind, "config": {"name": f"layer{number}"} | said} for number, (kind, said) in enumerate(layers)
    ]
    made[0]["config"] = {"batch_input_shape": list(shape)} | made[0]["config"]
    return {"class_name": "Sequential", "config": {"name": "made", "layers": made}}


def write_h5(
    path: Path, config: object, arrays: Mapping[str, Mapping[str, np.ndarray]], version: str = "2.9.0"
) -> Path:
    """A whole model as .h5: arrays by layer and name; without a config the weights alone."""
    with h5py.File(path, "w") as file:
        root = file
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            file.attrs["keras_version"] = version
            root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in arrays]
        for layer, inside in arrays.items():
            group = root.create_group(layer)
            names = [name if "/" in name else f"{layer}/{name}:0" for name in inside]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, values in zip(names, inside.values(), strict=True):
                group[name] = values
    return path


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# -- what Keras wrote, and what it gave


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_the_scores_are_those_of_keras(name: str, ending: str) -> None:
    kept = np.load(FILES / f"{name}.npz")
    found = import_weights(FILES / f"{name}{ending}")
    images = kept["images"] if found.net.augment else kept["images"] / np.float32(255)
    got = scores(found.net, found.weights, images)
    near(softmax(got) if name == "chain" else got, kept["scores"])
    assert found.match.sure and found.net.name == name


def test_names_stay_and_what_was_done_is_said() -> None:
    found = import_weights(FILES / "chain.h5")
    names = [node.name for node in found.net.nodes]
    assert names[:3] == ["first_conv", "first_conv_relu", "batch_normalization"]
    assert {"separable_conv2d_depthwise", "separable_conv2d", "separable_conv2d_tanh"} <= {*names}
    said = str(found)
    for words in ("the softmax at the end left out", "H, W, D, K to K, H, W, D", "inputs, outputs turned"):
        assert words in said
    assert "zeros around what max_pooling2d takes come from filters" in str(import_weights(FILES / "branches.keras"))


def test_pixels_enter_as_the_first_layers_say() -> None:
    augment = import_weights(FILES / "chain.keras").net.augment
    assert augment is not None and augment.mean is not None and augment.std is not None
    pixels = np.array([0, 100, 255])[:, None]
    theirs = (pixels * [1 / 64, 1 / 50, 1 / 70] + [-1.5, -2, -1] - [0.1, 0.2, 0.3]) / np.sqrt([1.1, 0.9, 0.7])
    np.testing.assert_allclose((pixels / 255 - augment.mean) / augment.std, theirs, rtol=1e-6)


PLAIN = """INPUT[6x6x2] -> CONV3-4 -> BN(eps=0.001, momentum=0.01) -> RELU -> CONV3-4(groups=4, bias=false) -> PRELU
    -> CONV1-3 -> POOL2 -> FC-5 -> RELU -> DROPOUT -> FC-3"""


def test_weights_alone_are_counted_by_class(rng: np.random.Generator) -> None:
    whole, found = import_weights(FILES / "plain.keras"), import_weights(FILES / "plain.weights.h5", PLAIN)
    assert found.match.sure and "counted by class" in found.match.words
    images = drawn(rng, 2, 6, 6, 2)
    np.testing.assert_array_equal(*(scores(one.net, one.weights, images) for one in (whole, found)))
    assert "missing: dense_2.kernel" in refusal(FILES / "plain.weights.h5", net=f"{PLAIN} -> FC-2")


def test_where_branches_meet_their_order_is_looked_at_first(tmp_path: Path, rng: np.random.Generator) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name in ("conv2d", "conv2d_1", "conv2d_10"):
            file[f"layers/{name}/vars/0"], file[f"layers/{name}/vars/1"] = drawn(rng, 1, 1, 2, 2), drawn(rng, 2)
        file["optimizer/vars/0"] = 3
    net = "INPUT[4x5x2] -> { CONV1-2 + ID } -> CONV1-2"
    assert "left over: conv2d_10.kernel" in refusal(tmp_path / "w.h5", net=net)
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["layers/conv2d_10"]
    with pytest.raises(ConfigError, match="by_order=True"):
        import_weights(tmp_path / "w.h5", net)
    assert import_weights(tmp_path / "w.h5", net, by_order=True).weights["conv2.w"].shape == (2, 1, 1, 2)


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 43), marks=pytest.mark.slow)])
def test_old_weights_are_in_the_order_of_their_layers(tmp_path: Path, rng: np.random.Generator, seeds: range) -> None:
    net = load("INPUT[6x6x2] -> CONV3-4 -> RELU -> CONV3-4(groups=4, bias=false) -> BN -> FC-3")
    for _ in seeds:
        arrays = {
            "b": {"kernel": drawn(rng, 3, 3, 2, 4), "bias": drawn(rng, 4)},
            "a": {"depthwise_kernel": drawn(rng, 3, 3, 4, 1)},
            "c": {"gamma": drawn(rng, 4), "beta": drawn(rng, 4), "moving_mean": drawn(rng, 4)},
            "relu": {},
            "d": {"kernel": drawn(rng, 144, 3), "bias": drawn(rng, 3)},
        }
        arrays["c"]["moving_variance"] = drawn(rng, 4)
        path = write_h5(tmp_path / "w.h5", None, arrays)
        with pytest.raises(ConfigError, match="by_order=True"):
            import_weights(path, net)
        found = import_weights(path, net, by_order=True)
        np.testing.assert_array_equal(found.weights["conv1.w"], arrays["b"]["kernel"].transpose(3, 0, 1, 2))
        deep = arrays["a"]["depthwise_kernel"].transpose(2, 0, 1, 3)
        np.testing.assert_array_equal(found.weights["conv2.w"], deep)
        np.testing.assert_array_equal(found.weights["fc1.w"], arrays["d"]["kernel"].T)


# -- forms of configs


def test_keras_1_and_2_and_3_say_the_same_net(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {
        "c": {"c_W": drawn(rng, 3, 2, 2, 4), "c_b": drawn(rng, 4)},
        "d": {"d_W": drawn(rng, 12 * 4, 3), "d_b": drawn(rng, 3)},
    }
    first = {
        "name": "c",
        "nb_filter": 4,
        "nb_row": 3,
        "nb_col": 2,
        "subsample": [1, 1],
        "border_mode": "same",
        "dim_ordering": "tf",
        "activation": "relu",
        "bias": True,
        "batch_input_shape": [None, 6, 8, 2],
    }
    one = [
        {"class_name": "Convolution2D", "config": first},
        {"class_name": "MaxPooling2D", "config": {"name": "p", "pool_size": [2, 2], "strides": None}},
        {"class_name": "Dropout", "config": {"name": "o", "p": 0.25}},
        {"class_name": "Flatten", "config": {"name": "f"}},
        {"class_name": "Dense", "config": {"name": "d", "output_dim": 3, "activation": "softmax", "bias": True}},
    ]
    two = [
        ("Conv2D", first | {"filters": 4, "kernel_size": [3, 2], "strides": [1, 1], "padding": "same"}),
        ("MaxPooling2D", {"name": "p", "pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}),
        ("Dropout", {"name": "o", "rate": 0.25, "noise_shape": None}),
        ("Flatten", {"name": "f"}),
        ("Dense", {"name": "d", "units": 3, "activation": "softmax", "use_bias": True}),
    ]
    named = [{"class_name": kind, "name": said["name"], "config": said} for kind, said in two]
    start = {"class_name": "InputLayer", "name": "i", "config": {"batch_input_shape": [None, 6, 8, 2], "name": "i"}}
    before = ["i", "c", "p", "o", "f"]
    nodes = [[[[name, 0, 0, {}]]] for name in before]
    tensor = [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}} for name in before]

    def functional(nodes: list[Any]) -> dict[str, Any]:
        layers = [layer | {"inbound_nodes": node} for layer, node in zip(named, nodes, strict=True)]
        config = {"layers": [*reversed(layers), start | {"inbound_nodes": []}], "name": "made"}
        return {
            "class_name": "Functional",
            "config": config | {"input_layers": [["i", 0, 0]], "output_layers": [["d", 0, 0]]},
        }

    forms = {
        "1.2.0": {"class_name": "Sequential", "config": one},
        "2.1.0": sequential(*two),
        "2.9.0": functional(nodes),
        "3.0.0": functional([[{"args": [one], "kwargs": {}}] for one in tensor]),
    }
    nets = []
    for version, config in forms.items():
        found = import_weights(write_h5(tmp_path / "x.h5", config, arrays, version))
        nets.append(found.net)
        np.testing.assert_array_equal(found.weights["c.w"], arrays["c"]["c_W"].transpose(3, 0, 1, 2))
        np.testing.assert_array_equal(found.weights["d.w"], arrays["d"]["d_W"].T)
    assert all(net == nets[0] for net in nets)
    assert [node.name for node in nets[0].nodes] == ["c", "c_relu", "p", "o", "d"]


def test_arithmetic_of_tensorflow_is_read(tmp_path: Path, rng: np.random.Generator) -> None:
    """As MobileNetV3 was written by Keras 2: ReLU6(x + 3) / 6."""
    start = {"class_name": "InputLayer", "name": "i", "config": {"batch_input_shape": [None, 3, 4, 2], "name": "i"}}
    layers: list[dict[str, Any]] = [start | {"inbound_nodes": []}]
    kinds = [("Conv2D", CONV | {"activation": "linear"}, "c", [[["i", 0, 0, {}]]])]
    kinds += [("TFOpLambda", {"function": "__operators__.add"}, "a", [["c", 0, 0, {"y": 3.0, "name": None}]])]
    kinds += [("ReLU", {"max_value": 6.0}, "r", [[["a", 0, 0, {}]]])]
    kinds += [("TFOpLambda", {"function": "math.multiply"}, "m", [["r", 0, 0, {"y": 1 / 6, "name": None}]])]
    kinds += [("TFOpLambda", {"function": "math.add"}, "s", [["m", 0, 0, {"y": ["c", 0, 0]}]])]
    layers += [
        {"class_name": kind, "name": name, "config": {"name": name} | said, "inbound_nodes": nodes}
        for kind, said, name, nodes in kinds
    ]
    config = {"name": "n", "layers": layers, "input_layers": [["i", 0, 0]], "output_layers": [["s", 0, 0]]}
    kernel = drawn(rng, 3, 3, 2, 2)
    path = write_h5(
        tmp_path / "x.h5", {"class_name": "Functional", "config": config}, {"c": {"k": kernel, "b": drawn(rng, 2)}}
    )
    found = import_weights(path)
    images = drawn(rng, 2, 3, 4, 2)
    conv = scores(found.net.up_to("c"), found.weights, images)
    near(scores(found.net, found.weights, images), conv + np.clip(conv + 3, 0, 6) / 6)


def test_a_hard_sigmoid_is_that_of_the_version(tmp_path: Path, rng: np.random.Generator) -> None:
    config = sequential(("Conv2D", CONV | {"activation": "hard_sigmoid"}))
    arrays = {"layer0": {"kernel": 4 * drawn(rng, 3, 3, 2, 2), "bias": drawn(rng, 2)}}
    images = drawn(rng, 2, 4, 5, 2)
    for version, slope in (("2.9.0", 1 / 5), ("3.1.0", 1 / 6)):
        found = import_weights(write_h5(tmp_path / "x.h5", config, arrays, version))
        conv = scores(found.net.up_to("layer0"), found.weights, images)
        near(scores(found.net, found.weights, images), np.clip(conv * slope + 0.5, 0, 1))


@pytest.mark.parametrize("kind", ["AveragePooling2D", "MaxPooling2D"])
def test_pools_by_same_see_the_image_alone(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    """Where one more row of padding is behind than in front, too: TensorFlow's averages leave it out."""
    for H, W, F, S in ((4, 5, 2, 2), (5, 4, 3, 2), (7, 8, 3, 3), (6, 3, 2, 1), (8, 9, 1, 2), (3, 2, 5, 4)):
        said = {"pool_size": [F, F], "strides": [S, S], "padding": "same"}
        found = import_weights(write_h5(tmp_path / "x.h5", sequential((kind, said), shape=(None, H, W, 2)), {}))
        images = drawn(rng, 2, H, W, 2)
        rows, columns = (_seen(size, F, S) for size in (H, W))
        reduced = np.mean if kind.startswith("A") else np.max
        wanted = [[reduced(images[:, r][:, :, c], (1, 2)) for c in columns] for r in rows]
        near(scores(found.net, found.weights, images), np.array(wanted).transpose(2, 0, 1, 3).reshape(2, -1))


def _seen(size: int, F: int, S: int) -> list[slice]:
    """The rows of an axis that each window sees: as many windows as strides begin in it, in its middle."""
    count = len(range(0, size, S))
    over = max((count - 1) * S + F - size, 0)
    return [slice(max(i * S - over // 2, 0), min(i * S - over // 2 + F, size)) for i in range(count)]


# -- what cannot be said


def test_layers_that_cannot_be_said_are_all_named_with_their_class(tmp_path: Path) -> None:
    config = sequential(
        ("Conv2D", CONV | {"dim_ordering": "th"}),
        ("Conv2D", CONV),
        ("LayerNormalization", {}),
        ("Lambda", {"function": "harm"}),
        ("Dense", {"units": 3, "activation": "mish"}),
        ("BatchNormalisation", {}),
    )
    message = refusal(write_h5(tmp_path / "x.h5", config, {}))
    for words in (
        "layer0 (Conv2D): it has Theano's order of Keras 1; save the model with Keras 2 or later",
        "layer2 (LayerNormalization): there is no such layer here",
        "layer3 (Lambda): it is code of its author's, which is never run",
        "layer5 (BatchNormalisation): there is no such layer here; did you mean BatchNormalization?",
    ):
        assert words in message
    assert "layer1" not in message


def test_maps_come_first_or_last_as_layers_say(tmp_path: Path) -> None:
    first, last = {"data_format": "channels_first"}, {"data_format": "channels_last"}
    conv = ("Conv2D", CONV | first)
    vector = sequential(("Reshape", {"target_shape": [2, 3, 4]}), conv, ("Flatten", {}), shape=(None, 24))
    arrays = {"kernel": np.zeros((3, 3, 2, 2), np.float32), "bias": np.zeros(2, np.float32)}
    path = write_h5(tmp_path / "x.h5", vector, {"layer1": arrays})
    assert str(import_weights(path).net.input) == "3x4x2"
    for layers, words in (
        ([conv, ("Conv2D", CONV | last)], "layer1 (Conv2D): it takes channels last, and what comes has them"),
        ([("Conv2D", CONV | last), ("Flatten", first)], "layer1 (Flatten): it takes channels first, and what comes"),
        (
            [conv, ("Dense", {"units": 2})],
            "layer1 (Dense): it works along the last axis, which is not that of the maps",
        ),
        ([conv, ("BatchNormalization", {"axis": -1})], "layer1 (BatchNormalization): axis=-1: it works along the maps"),
        ([conv, ("Activation", {"activation": "softmax"})], "layer1 (Activation): its softmax is not that of the maps"),
        ([conv, ("PReLU", {"shared_axes": [1, 2]})], "layer1 (PReLU): it has a slope for each position"),
        ([("Rescaling", {"scale": [1, 2, 3]}), conv], "layer0 (Rescaling): it has numbers for columns"),
    ):
        assert words in refusal(write_h5(tmp_path / "y.h5", sequential(*layers, shape=(None, 4, 5, 6)), {})), words


MISTAKES = [
    (("Dense", {"units": 3, "activation": "mish"}), "activation 'mish' is not there"),
    (("Conv2D", CONV | {"padding": "causal"}), "padding=causal is neither same nor valid"),
    (("Conv2D", CONV | {"dilation_rate": [1, 0]}), "dilation_rate must be one or two integers"),
    (("Conv2D", {"kernel_size": 3}), "'filters' is missing"),
    (("Conv2D", CONV | {"kernel_size": [3, 3, 3]}), "its settings cannot be read"),
    (("Conv2D", CONV | {"kernel_size": -1}), "kernel_size must be one or two integers"),
    (("Conv2D", CONV | {"filters": 10**12}), "K must be an integer of at most"),
    (("ReLU", {"threshold": 0.5}), "threshold is not there"),
    (("ReLU", {"max_value": 4, "negative_slope": 0.1}), "both a slope and a ceiling"),
    (("Softmax", {"axis": 1}), "not that of the maps"),
    (("PReLU", {}), "slopes are by map here"),
    (("BatchNormalization", {"axis": 1}), "axis=1"),
    (("Reshape", {"target_shape": [4, 10]}), "is another volume than 4x5x2"),
    (("Permute", {"dims": [2, 1, 3]}), "rows and columns keep their order"),
    (("Dropout", {"rate": 1.0}), "p must be a number"),
    (("Dropout", {"rate": 0.5, "noise_shape": [None, 1, None, None]}), "neither one of values"),
    (("Rescaling", {"scale": [1, 2, 3]}), "it has 3 numbers for 2 maps"),
    (("Normalization", {}), "neither in its settings nor in the file"),
    (("Add", {}), "joins at least two outputs"),
]


@pytest.mark.parametrize(("layer", "words"), MISTAKES)
def test_what_a_layer_asks_for_in_vain_is_named(tmp_path: Path, layer: tuple[str, dict[str, Any]], words: str) -> None:
    """The first takes the pixels, so that none is the input alone."""
    message = refusal(write_h5(tmp_path / "x.h5", sequential(("Activation", {"activation": "relu"}), layer), {}))
    assert words in message and "layer1" in message


def test_a_layer_used_twice_and_several_inputs_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    config: dict[str, Any] = json.loads(json.dumps(sequential(("Conv2D", CONV))))
    layer = config["config"]["layers"][0] | {"name": "c", "inbound_nodes": [[["i", 0, 0, {}]], [["c", 0, 0, {}]]]}
    start = {
        "class_name": "InputLayer",
        "name": "i",
        "config": {"batch_input_shape": [None, 4, 5, 2]},
        "inbound_nodes": [],
    }
    said = {"name": "n", "layers": [start, layer], "input_layers": [["i", 0, 0]], "output_layers": [["c", 1, 0]]}
    arrays = {"c": {"kernel": drawn(rng, 3, 3, 2, 2), "bias": drawn(rng, 2)}}
    path = write_h5(tmp_path / "x.h5", {"class_name": "Functional", "config": said}, arrays)
    assert "c (Conv2D): it is used 2 times with the same weights" in refusal(path)
    said["input_layers"] = [["i", 0, 0], ["i", 0, 0]]
    assert "it has 2 inputs, and a net here has one" in refusal(
        write_h5(path, {"class_name": "Functional", "config": said}, arrays)
    )
    assert "is of class Mine, neither Sequential nor Functional" in refusal(
        write_h5(path, {"class_name": "Mine", "config": {}}, {})
    )
    layer["inbound_nodes"] = [[["d", 0, 0, {}]]]
    said |= {"input_layers": [["i", 0, 0]], "output_layers": [["c", 0, 0]]}
    said["layers"] = [start, layer, layer | {"name": "d", "inbound_nodes": [[["c", 0, 0, {}]]]}]
    assert "in a circle" in refusal(write_h5(path, {"class_name": "Functional", "config": said}, {}))


def test_the_size_of_images_may_be_left_open(tmp_path: Path, rng: np.random.Generator, run: Run) -> None:
    layers = ("Conv2D", CONV), ("GlobalAveragePooling2D", {})
    arrays = {"layer0": {"kernel": drawn(rng, 3, 3, 2, 2), "bias": drawn(rng, 2)}}
    path = write_h5(tmp_path / "x.h5", sequential(*layers, shape=(None, None, None, 2)), arrays)
    assert "give it, like --input 224x224x3" in refusal(path)
    assert import_weights(path, input="6x7x2").net.input.shape == (6, 7, 2)
    assert run("import", "x.h5").exit_code == 2
    assert run("import", "x.h5", "--input", "6x7x2").exit_code == 0


def test_digits_as_rows_and_as_vectors_become_volumes(tmp_path: Path, rng: np.random.Generator) -> None:
    dense = ("Dense", {"units": 3})
    arrays = {"layer1": {"kernel": drawn(rng, 12, 3), "bias": drawn(rng, 3)}}
    flat = import_weights(write_h5(tmp_path / "x.h5", sequential(("Flatten", {}), dense, shape=(None, 4, 3)), arrays))
    assert flat.net.input.shape == (4, 3, 1)
    shaped = sequential(("Reshape", {"target_shape": [4, -1, 1]}), ("Conv2D", CONV), shape=(None, 12))
    arrays = {"layer1": {"kernel": drawn(rng, 3, 3, 1, 2), "bias": drawn(rng, 2)}}
    assert import_weights(write_h5(tmp_path / "x.h5", shaped, arrays)).net.input.shape == (4, 3, 1)
    rows = sequential(("Dense", {"units": 3}), shape=(None, 4, 3))
    assert "rows and columns without maps" in refusal(write_h5(tmp_path / "x.h5", rows, {}))


def test_what_lacks_in_the_file_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {"layer0": {"kernel": drawn(rng, 3, 3, 2, 2)}}
    assert "missing: layer0.b (2,)" in refusal(write_h5(tmp_path / "x.h5", sequential(("Conv2D", CONV)), arrays))
    arrays["layer0"] |= {"bias": drawn(rng, 2), "more": drawn(rng, 2)}
    assert "it has 3 arrays, and 2 are known" in refusal(
        write_h5(tmp_path / "x.h5", sequential(("Conv2D", CONV)), arrays)
    )


def test_without_h5py_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert 'pip install "gpunet[keras]"' in refusal(FILES / "units.h5")


def test_other_commands_take_what_import_made(run: Run, tmp_path: Path) -> None:
    result = run("import", FILES / "chain.keras", "--out", "c.safetensors")
    assert result.exit_code == 0 and "images enter in the way that its first layers say" in result.output
    from PIL import Image

    Image.fromarray(np.load(FILES / "chain.npz")["images"][0]).save(tmp_path / "p.png")
    result = run("predict", "c.safetensors", "p.png", "--device", "cpu")
    assert result.exit_code == 0, result.output
    best = np.load(FILES / "chain.npz")["scores"][0].max()
    assert f"{100 * best:.1f}" in result.output
    result = run("eval", FILES / "chain.keras", "--data", "digits")
    assert result.exit_code == 2 and "it is a file of Keras: gpunet import" in result.output


# -- hostile files


def test_what_lies_elsewhere_or_claims_too_much_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = drawn(rng, 3, 3, 2, 2)
    config, kernel = sequential(("Conv2D", CONV)), drawn(rng, 3, 3, 2, 2)
    arrays = {"layer0": {"kernel": kernel, "bias": drawn(rng, 2)}}
    path = tmp_path / "x.h5"

    def changed(change: Any) -> str:
        write_h5(path, config, arrays)
        with h5py.File(path, "a") as file:
            group = file["model_weights/layer0/layer0"]
            del group["kernel:0"]
            change(group)
        with limited():
            return refusal(path)

    assert "layer0/kernel:0" in changed(
        lambda group: group.__setitem__("kernel:0", h5py.ExternalLink(str(secret), "kernel"))
    )
    assert "layer0/kernel:0" in changed(lambda group: group.__setitem__("kernel:0", h5py.SoftLink("/model_weights")))
    layout = h5py.VirtualLayout((3, 3, 2, 2), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "kernel", (3, 3, 2, 2))
    assert "lies in another file" in changed(lambda group: group.create_virtual_dataset("kernel:0", layout))
    outside = [(str(secret), 0, 144)]
    assert "lies in another file" in changed(
        lambda group: group.create_dataset("kernel:0", (3, 3, 2, 2), "f4", external=outside)
    )
    huge = {"shape": (1 << 20, 1 << 16), "dtype": "f4"}
    assert "claims more bytes" in changed(lambda group: group.create_dataset("kernel:0", **huge, chunks=(1, 1 << 16)))
    zeros = np.zeros(1 << 26, np.uint8)
    assert "claim more bytes" in changed(
        lambda group: group.create_dataset("kernel:0", data=zeros, compression="gzip", chunks=(1 << 20,))
    )
    assert "holds no numbers" in changed(lambda group: group.__setitem__("kernel:0", "text"))


def test_archives_and_texts_that_are_damaged_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.keras"
    bomb = b" " * (1 << 26)
    for config, words in (
        (b"{", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[]", "no net of Keras"),
        (bomb, "more than"),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("metadata.json", b"{}")
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", (FILES / "units.weights.h5").read_bytes())
        with limited():
            assert words in refusal(path)
    deep: dict[str, Any] = sequential(("Conv2D", CONV))
    for _ in range(40):
        deep = sequential(("Sequential", deep["config"]))
    assert "more than 16 models within one another" in refusal(write_h5(tmp_path / "x.h5", deep, {}))
    with h5py.File(path, "w") as file:
        file["nothing"] = [1]
    assert "holds no weights of Keras" in refusal(path)


def small(folder: Path) -> bytes:
    rng = np.random.default_rng(0)
    arrays = {
        "layer0": {"kernel": drawn(rng, 3, 3, 2, 2), "bias": drawn(rng, 2)},
        "layer1": {"kernel": drawn(rng, 40, 3)},
    }
    config = sequential(("Conv2D", CONV), ("Flatten", {}), ("Dense", {"units": 3, "use_bias": False}))
    arrays["layer2"] = arrays.pop("layer1")
    return write_h5(folder / "small.h5", config, arrays).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says and holds what a process may take")
def test_a_text_that_claims_gigabytes_is_refused_before_they_are_taken(tmp_path: Path) -> None:
    import resource

    path, length = tmp_path / "x.h5", 12_345
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "y" * length
    whole = path.read_bytes()
    at = whole.index(struct.pack("<I", length))  # beside the place of the text, which it stands in again
    path.write_bytes(whole[:at] + struct.pack("<I", 2**32 - 16) + whole[at + 4 :])
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert "memory" in refusal(path)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@fuzzing.FEW_CASES
def test_hdf5_from_strangers(tmp_path: Path, cases: int) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((4, 3), np.float32)
    wholes = [small(tmp_path), (tmp_path / "w.h5").read_bytes()]
    fuzz(tmp_path, "x.h5", cases, edited(*wholes), read)


@fuzzing.FEW_CASES
def test_configs_from_strangers(tmp_path: Path, cases: int) -> None:
    """Edited within the file's text, which HDF5 sees nothing of; and archives."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((4, 3), np.float32)
    weights = (tmp_path / "w.h5").read_bytes()
    with zipfile.ZipFile(FILES / "branches.keras") as archive:
        configs = [archive.read("config.json"), json.dumps(sequential(("Dense", {"units": 3}))).encode()]

    def read_config(path: Path) -> object:
        config = path.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("metadata.json", b"{}"), ("config.json", config), ("model.weights.h5", weights)):
                archive.writestr(name, content)
        return read_foreign(path)

    good = BytesIO()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("x", b"")
    fuzz(tmp_path, "x.keras", cases, st.one_of(edited(*configs), st.just(configs[1])), read_config)


# -- Keras itself


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_models_give_the_same_scores(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    keras_models.draw(model, rng)
    images = rng.standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    for ending in (".keras", ".h5"):
        found = import_weights(keras_models.save(model, tmp_path / f"x{ending}"))
        near(scores(found.net, found.weights, images), keras_models.scores(model, images))


def random_model(rng: np.random.Generator) -> Any:
    """Blocks at random over a volume of odd or even sizes."""

    def one_of(*words: str) -> str:
        return str(rng.choice(words))

    L = keras_models.keras().layers
    x = y = L.Input((int(rng.integers(7, 15)), int(rng.integers(7, 15)), int(rng.integers(1, 4))))
    for _ in range(int(rng.integers(3, 8))):
        if min(y.shape[1:3]) < 4:
            break
        F, S = (int(n) for n in (rng.integers(1, 4), rng.integers(1, 3)))
        before = y
        kind = int(rng.integers(8))
        if kind == 0:
            y = L.Conv2D(
                6, (F, 2), strides=S, padding=one_of("same", "valid"), activation=one_of(*keras_models.SMOOTH)
            )(y)
        elif kind == 1:
            y = L.DepthwiseConv2D(
                F, strides=S, padding=one_of("same", "valid"), depth_multiplier=int(rng.integers(1, 3))
            )(y)
        elif kind == 2:
            y = L.SeparableConv2D(5, F, padding=one_of("same", "valid"), activation=one_of(*keras_models.SMOOTH))(y)
        elif kind == 3:
            y = L.MaxPooling2D((F, 2), S, padding=one_of("same", "valid"))(L.BatchNormalization(epsilon=1e-2)(y))
        elif kind == 4:
            y = L.AveragePooling2D(F, S)(L.ZeroPadding2D((1, 2))(y))
        elif kind == 5:
            y = L.Add()([y, L.Conv2D(y.shape[-1], 3, padding="same", dilation_rate=F)(y)])
        elif kind == 6:
            y = L.Concatenate()([L.Conv2D(3, F, padding="same")(y), y])
        else:
            y = L.Multiply()([y, L.Dense(before.shape[-1], "sigmoid")(L.GlobalMaxPooling2D(keepdims=True)(y))])
    return keras_models.keras().Model(x, L.Dense(4)(L.Flatten()(L.PReLU(shared_axes=[1, 2])(y))))


APPLICATIONS = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    "ResNet50V2",
    "DenseNet121",
    "Xception",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_nets_of_keras_give_the_same_scores(tmp_path: Path, name: str) -> None:
    side = 71 if name == "Xception" else 32
    make = getattr(keras_models.keras().applications, name)
    model = make(weights=None, input_shape=(side, side, 3), classes=7, classifier_activation=None)
    rng = np.random.default_rng(0)
    keras_models.draw(model, rng)
    found = import_weights(keras_models.save(model, tmp_path / "x.h5"))
    images = rng.integers(0, 256, (2, side, side, 3), np.uint8)
    entered = images if found.net.augment else images / np.float32(255)
    near(scores(found.net, found.weights, entered), keras_models.scores(model, entered))


def test_a_file_of_keras_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    for ending in (".keras", ".h5", ".weights.h5"):
        (tmp_path / "x").write_bytes((FILES / f"units{ending}").read_bytes())
        known = foreign_format(tmp_path / "x")
        assert known is not None and known.name == "Keras"


def test_a_net_and_its_weights_may_lie_in_two_files(tmp_path: Path, run: Run) -> None:
    """What model.to_json() gave, and what save_weights wrote: by the names of layers, or counted by class."""
    with h5py.File(FILES / "plain.h5") as file, h5py.File(tmp_path / "w.h5", "w") as alone:
        (tmp_path / "model.json").write_text(file.attrs["model_config"])
        for name, group in file["model_weights"].items():
            file.copy(group, alone, name)
        alone.attrs["layer_names"] = file["model_weights"].attrs["layer_names"]
    whole = import_weights(FILES / "plain.keras")
    for path in (tmp_path / "w.h5", FILES / "plain.weights.h5"):
        found = import_weights(path, tmp_path / "model.json")
        assert found.match.sure and found.net == whole.net
        assert all((found.weights[name] == whole.weights[name]).all() for name in whole.weights)
    assert run("import", "w.h5", "--net", "model.json").exit_code == 0
    result = run("import", "model.json", "--out", "net.toml")
    assert result.exit_code == 0 and load(tmp_path / "net.toml").nodes == whole.net.nodes, result.output
    (tmp_path / "bad.json").write_text('{"class_name": "Sequential"')
    result = run("import", "w.h5", "--net", "bad.json", "--out", "x.safetensors")
    assert result.exit_code == 2 and "bad.json is no JSON of a Keras model" in result.output
    assert "holds weights without their net; give the net as --net" in refusal(FILES / "plain.weights.h5")


def test_another_net_than_that_in_the_file_takes_its_arrays_by_order() -> None:
    whole, found = import_weights(FILES / "plain.h5"), import_weights(FILES / "plain.h5", PLAIN, by_order=True)
    assert found.match.words == "order and shapes"
    np.testing.assert_array_equal(found.weights["fc1.w"], whole.weights["dense.w"])
    assert "left over" in refusal(FILES / "plain.h5", net="INPUT[6x6x2] -> CONV3-4", by_order=True)
