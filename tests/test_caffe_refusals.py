"""What of Caffe cannot be said is told at once, with line, layer and field; mistakes are one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpunet import ConfigError, DataError, import_net, import_weights
from tests.caffe_files import Layer, deploy, trained, write
from tests.caffe_zoo import conv, fc, residual
from tests.conftest import Run


def test_all_that_cannot_be_said_is_told_at_once_with_line_layer_and_field(tmp_path: Path) -> None:
    said = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 axis: 2 dilation: [1, 2, 1] } }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: STOCHASTIC kernel_size: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "p" top: "u" convolution_param { num_output: 4 kernel_size: 4 } }
layer { name: "x" type: "Convolution" bottom: "u" top: "x" param { name: "w" } convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "y" type: "Convolution" bottom: "x" top: "y" param { name: "w" } convolution_param { num_output: 0 kernel_size: 1 } }
layer { name: "q" type: "Power" bottom: "y" top: "q" power_param { power: 2 } }
layer { name: "f" type: "Flatten" bottom: "data" top: "f" }
layer { name: "cat" type: "Concat" bottom: "f" bottom: "f" top: "cat" }
layer { name: "r" type: "ReLU" bottom: "nowhere" top: "r" relu_param { negative_slope: 2 shiny: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "q" bottom: "label" }
"""  # noqa: E501
    with pytest.raises(DataError) as refused:
        import_net(write(tmp_path / "bad.prototxt", said))
    told = str(refused.value)
    for words in (
        "line 3, c: convolution_param.axis = 2",
        "line 3, c: convolution_param.dilation = [1, 2, 1]: sizes of 3 axes, and images have two",
        "line 5, p: pooling_param.pool = STOCHASTIC",
        "line 6, up: type Deconvolution is no layer here",
        "y: param.name = w: shared with x, as none is here",
        "line 8, y: K must be",
        "line 9, q: power_param.power = 2",
        "line 11, cat: type Concat: it takes what was flattened",
        "line 12, r: relu_param.negative_slope = 2",
        "line 12, r: line 12, shiny is no field that Caffe has",
        "r: bottom 'nowhere' is the top of no layer before it",
        "loss: type EuclideanLoss is no loss here",
    ):
        assert words in told, told


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ('type: "Pooling" pooling_param { kernel_size: 1 stride: 4 }', "a window lies beyond the edge: 4x4 there"),
        ('type: "Pooling" pooling_param { kernel_size: 2 pad: 2 }', "use P < F=2"),
        ('type: "Pooling" pooling_param { }', "pooling_param.kernel_size is not said"),
        ('type: "LRN" lrn_param { local_size: 4 }', "n=4 has no middle"),
        ('type: "Softmax" softmax_param { axis: 2 }', "softmax_param.axis = 2"),
        ('type: "Reshape" reshape_param { shape { dim: 0 dim: 6 dim: -1 } }', "reshape_param.shape = [0, 6, -1]"),
        ('type: "Slice" top: "b" slice_param { slice_point: [1, 2] }', "slice_param.slice_point = [1, 2]: 3 maps"),
        ('type: "Eltwise" bottom: "data" eltwise_param { operation: PROD coeff: [1, 2] }', "coefficients are those"),
        ('type: "Eltwise" bottom: "other"', "it takes labels, or other data"),
        ('type: "Scale" scale_param { axis: 2 }', "scale_param.axis = 2"),
        ('type: "Scale" bottom: "data" scale_param { axis: 0 }', "the second bottom is 10x10x3"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 group: 2 }', "groups=2 does not divide"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 12 }', "larger than the input"),
    ],
)
def test_a_layer_that_cannot_be_said_is_named_with_why(tmp_path: Path, layer: str, words: str) -> None:
    said = (
        f'input: ["data", "other"] input_dim: [1, 3, 10, 10] layer {{ name: "one" bottom: "data" top: "one" {layer} }}'
    )
    with pytest.raises(DataError) as refused:
        import_net(write(tmp_path / "bad.prototxt", said))
    assert words in str(refused.value) and "one:" in str(refused.value)


def test_weights_of_another_net_are_named_with_their_shapes(tmp_path: Path) -> None:
    _, weights = residual(tmp_path)
    other = deploy(
        [
            *conv("res2a/conv", "data", 5, 3),
            fc("2fc", "res2a/conv", 2),
        ],
        (1, 3, 6, 5),
    )
    with pytest.raises(DataError, match=r"res2a_conv.w is \(4, 3, 3, 3\), and res2a_conv takes \(5, 3, 3, 3\)"):
        import_weights(weights, write(tmp_path / "o.prototxt", other))
    pattern = "INPUT[6x5x3] -> CONV3-4(bias=false) -> BN -> RELU -> GAP -> FC-2"
    with pytest.raises(ConfigError, match="by order and shapes alone"):
        import_weights(weights, pattern)
    named, found = import_weights(weights, input="6x5x3"), import_weights(weights, pattern, by_order=True)
    ours = {"conv1": "res2a_conv", "bn1": "res2a_bn", "fc1": "_2fc"}
    for name, values in found.weights.items():
        layer, _, parameter = name.partition(".")
        np.testing.assert_array_equal(values, named.weights[f"{ours[layer]}.{parameter}"])


def test_arrays_that_are_not_known_are_never_left_out(tmp_path: Path) -> None:
    """As others keep a scale and a shift in their BatchNorm."""
    layer = Layer("BatchNorm", "bn", ("data",), ("bn",), {}, [np.ones(3, np.float32)] * 5)
    said = write(tmp_path / "d.prototxt", deploy([layer], (1, 3, 4, 4)))
    with pytest.raises(DataError, match="bn: type BatchNorm: it has 5 arrays, and 3 are known"):
        import_weights(write(tmp_path / "d.caffemodel", trained([layer])), said)


def test_layers_that_are_in_one_file_alone_are_left_out_and_said(tmp_path: Path) -> None:
    _, weights = residual(tmp_path)
    said = deploy([*conv("res2a/conv", "data", 4, 3, pad=1, bias_term=False)], (1, 3, 6, 5))
    found = import_weights(weights, write(tmp_path / "o.prototxt", said))
    assert "left out, as" in str(found) and "res2a-bn, scale and 2fc" in str(found)


def test_one_command_brings_a_net_that_predicts_and_another_is_trained_from_it(run: Run, tmp_path: Path) -> None:
    said, weights = residual(tmp_path)
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    result = run("import", weights.name, "--net", said.name, "--mean", "104,117,123", "--classes", "names.txt")
    assert result.exit_code == 0, result.output
    assert "blue first: mean 0.407843 0.458824 0.482353" in result.output
    Image.fromarray(np.full((9, 9, 3), 40, np.uint8)).save(tmp_path / "p.png")
    result = run("predict", "d.safetensors", "p.png", "--device", "cpu", "--json")
    assert result.exit_code == 0 and json.loads(result.output), result.output
    result = run("import", "d.prototxt")
    assert result.exit_code == 0 and "now: gpunet plan d.toml, or gpunet train d.toml" in result.output
    assert run("plan", "d.toml").exit_code == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("eval d.caffemodel --data digits", "it is a file of Caffe: gpunet import d.caffemodel makes"),
        ("plan d.prototxt", "gpunet import d.prototxt makes"),
        ("import d.prototxt --yes", "--yes is of weights, and d.prototxt has none"),
        ("import d.prototxt --net vgg16", "as --net a solver takes the .prototxt of its net"),
        ("import d.caffemodel --mean fast", "the mean must be numbers like 104,117,123 or a file"),
        ("import d.caffemodel --net d.prototxt --mean 1,2", "2 means for 3 maps"),
        ("import t.prototxt --order bgr", "BGR is an order of three maps, and random takes 4x4x1"),
        ("import d.caffemodel --net d.prototxt --images 5", "--images counts the epochs of a solver"),
        ("import d.caffemodel --net d.caffemodel", "d.caffemodel"),
        ("import d.caffemodel", "the size of the input is not said"),
        ("import x.pth --mean 1 --net vgg16", "no file x.pth"),
        ("import d.caffemodel --net x.prototxt", "there is no file x.prototxt"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(run: Run, tmp_path: Path, command: str, words: str) -> None:
    residual(tmp_path)
    write(tmp_path / "t.prototxt", deploy([fc("fc", "data", 2)], (1, 1, 4, 4)))
    before = sorted(tmp_path.iterdir())
    result = run(*command.split())
    assert result.exit_code == 2 and words in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output and sorted(tmp_path.iterdir()) == before


def test_a_net_without_weights_and_weights_without_their_net_are_told_apart(tmp_path: Path, run: Run) -> None:
    said = write(tmp_path / "a.prototxt", deploy(conv("a", "data", 4, 3), (1, 3, 5, 5)))
    layers = conv("b", "data", 4, 3)
    layers[0].blobs = [np.ones((4, 3, 3, 3), np.float32), np.ones(4, np.float32)]
    trained_on = write(tmp_path / "b.caffemodel", trained(layers))
    with pytest.raises(DataError, match=r"b\.caffemodel has no weights for the layers that .*a\.prototxt names"):
        import_weights(trained_on, said)
    with pytest.raises(DataError, match=r"says a net, and has no weights; gpunet import .*a\.prototxt makes a config"):
        import_weights(said)
    result = run("train", "a.prototxt", "--data", "digits")
    assert result.exit_code == 2 and "gpunet import a.prototxt" in result.output and "--weights" not in result.output
