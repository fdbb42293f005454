"""Nets of Caffe that people have are the nets that they are here, with their names, their heads and how they learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gpunet
from gpunet import DataError, Net, import_net, import_weights, load
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.lrn import LRN
from gpunet.layers.merge import Add
from gpunet.train.weights import read_about
from tests.caffe_files import Layer, deploy, text, trained, write
from tests.caffe_zoo import MODULES, alexnet, conv, fc, head, inception, lenet, lrn, pool, residual
from tests.conftest import Run
from tests.picture_files import noise_folder


@pytest.mark.parametrize("old", [False, True])
def test_caffes_alexnet_is_the_shipped_one(tmp_path: Path, old: bool) -> None:
    path = write(tmp_path / "deploy.prototxt", deploy(alexnet(), (10, 3, 227, 227), old=old, name="AlexNet"))
    net, shipped = import_net(path).net, load("bvlc_alexnet")
    assert net.parameters == shipped.parameters == 60_965_224 and net.name == "AlexNet"
    assert [net.volumes[node.name] for node in net.nodes] == [shipped.volumes[node.name] for node in shipped.nodes]
    assert layers(net) == layers(shipped)
    assert [node.name for node in net.nodes][:4] == ["conv1", "relu_conv1", "norm1", "pool1"]


def test_caffes_googlenet_is_the_shipped_one_with_its_heads(tmp_path: Path) -> None:
    layers = [*conv("conv1/7x7_s2", "data", 64, 7, stride=2, pad=3), pool("pool1", "conv1/7x7_s2", 3, 2)]
    layers += [lrn("norm1", "pool1"), *conv("conv2/3x3_reduce", "norm1", 64, 1)]
    layers += [*conv("conv2/3x3", "conv2/3x3_reduce", 192, 3, pad=1), lrn("norm2", "conv2/3x3")]
    bottom = "pool2"
    layers += [pool(bottom, "norm2", 3, 2)]
    for name, filters in MODULES.items():
        layers += inception(name, bottom, filters)
        bottom = f"inception_{name}"
        if name in ("3b", "4e"):
            layers.append(pool(f"pool_{name}", bottom, 3, 2))
            bottom = f"pool_{name}"
        layers += {"4a": head(1, bottom), "4d": head(2, bottom)}.get(name, [])
    layers += [pool("pool5", bottom, 7, 1, "AVE"), fc("loss3/classifier", "pool5", 1000)]
    layers.append(Layer("SoftmaxWithLoss", "loss3", ("loss3/classifier", "label"), ("loss3",)))
    data = (
        "layer { name: 'data' type: 'Data' top: 'data' top: 'label' transform_param { mirror: true crop_size: 224 "
        "mean_value: 104 mean_value: 117 mean_value: 123 } data_param { batch_size: 32 } }\n"
    )
    found = import_net(write(tmp_path / "train_val.prototxt", data + text(layers)))
    net, shipped = found.net, load("googlenet")
    assert net.parameters == shipped.parameters and net.head_parameters == shipped.head_parameters
    assert [node.head for node in net.heads] == [node.head for node in shipped.heads] == [0.3, 0.3]
    assert net.volumes["inception_4e_output"] == shipped.volumes["inception4e"]
    assert found.config.train.batch == 32 and "conv1/7x7_s2 is conv1_7x7_s2" in str(found)


def layers(net: Net) -> list[object]:
    """Those of a net, however windows that fit would be made to fit."""
    plain = [replace(one.layer, fit=None) if hasattr(one.layer, "fit") else one.layer for one in net.nodes]
    return [replace(one, alpha=round(one.alpha, 12)) if isinstance(one, LRN) else one for one in plain]


def test_norms_and_their_scales_are_one_layer_and_names_are_kept(tmp_path: Path) -> None:
    said, weights = residual(tmp_path)
    found = import_weights(weights, said, out=tmp_path / "d.safetensors")
    names = [node.name for node in found.net.nodes]
    assert names == ["res2a_conv", "res2a_bn", "res2a_bn_2", "sum", "pool", "_2fc"]
    assert found.net.nodes[1].layer == BatchNorm(momentum=0.001) and found.net.nodes[3].layer == Add((1.0, -0.5))
    kept = read_about(tmp_path / "d.safetensors")["imported"]["names"]
    assert kept == {"res2a_conv": "res2a/conv", "res2a_bn": "res2a-bn", "res2a_bn_2": "res2a_bn", "_2fc": "2fc"}
    assert "layers have other names here: res2a/conv is res2a_conv" in str(found)
    alone = import_weights(weights, input="6x5x3")
    assert all((alone.weights[name] == found.weights[name]).all() for name in found.weights)


def test_without_its_prototxt_the_net_is_that_which_was_trained(tmp_path: Path) -> None:
    _, weights = residual(tmp_path)
    with pytest.raises(DataError, match="size of the input is not said; give it, like --input 224x224x3"):
        import_weights(weights)


def test_a_net_to_train_has_its_size_rates_batch_and_images(tmp_path: Path) -> None:
    path = write(tmp_path / "lenet_train_test.prototxt", lenet())
    with pytest.raises(DataError, match="the size of the input is not said"):
        import_net(path)
    found = import_net(path, input="28x28x1", out=tmp_path / "lenet.toml")
    assert found.net.parameters == 431_080 and found.net.classes == 10
    assert found.config.train.rate_factors == {"*.b": 2} and found.config.train.batch == 64
    assert found.net.augment is not None
    (scale, *_), (shift, *_) = found.net.augment.normal(found.net.scale, found.net.shift)
    assert scale == pytest.approx(0.00390625, rel=1e-12) and shift == 0
    assert load(tmp_path / "lenet.toml") == found.net


def test_heads_of_training_are_heads_here(tmp_path: Path) -> None:
    loss = "layer {{ name: '{0}' type: 'SoftmaxWithLoss' bottom: '{1}' bottom: 'label' top: '{0}' {2} }}\n"
    said = (
        "name: 'two' layer { name: 'd' type: 'Data' top: 'data' top: 'label' transform_param { crop_size: 8 "
        "mean_value: 104 mean_value: 117 mean_value: 123 mirror: true } data_param { batch_size: 4 } }\n"
        + text([*conv("conv1", "data", 4, 3), fc("head", "conv1", 5)])
        + loss.format("loss1", "head", "loss_weight: 0.3")
        + text([pool("pool1", "conv1", 2, 2), fc("fc", "pool1", 5)])
        + loss.format("loss2", "fc", "")
    )
    net = import_net(write(tmp_path / "t.prototxt", said)).net
    assert [node.head for node in net.nodes] == [None, None, 0.3, None, None] and net.nodes[-1].name == "fc"
    assert net.augment is not None and net.augment.flip and net.input == gpunet.Volume(8, 8, 3)
    means = [255 * number for number in net.augment.statistics[0]]
    assert means == pytest.approx([123, 117, 104])  # red first here


def test_a_trained_file_alone_is_trained_on_in_one_go(run: Run, tmp_path: Path) -> None:
    """It says its net, heads and all, and how images entered; the layers of the scores are drawn anew."""
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) / 10

    data = Layer("Data", "data", (), ("data", "label"),
                 {"transform": {"crop_size": 8, "mean_value": [104.0, 117.0, 123.0], "mirror": True},
                  "data": {"batch_size": 4}})  # fmt: skip
    body = [
        *conv("conv1", "data", 4, 3),
        fc("head", "conv1", 5),
        Layer("SoftmaxWithLoss", "loss1", ("head", "label"), ("loss1",)),
        pool("pool1", "conv1", 2, 2),
        fc("fc", "pool1", 5),
        Layer("SoftmaxWithLoss", "loss2", ("fc", "label"), ("loss2",)),
    ]
    arrays = {"conv1": [draw(4, 3, 3, 3), draw(4)], "head": [draw(5, 144), draw(5)], "fc": [draw(5, 36), draw(5)]}
    for layer in body:
        layer.blobs = arrays.get(layer.name, [])
    weights = write(tmp_path / "t.caffemodel", trained([data, *body]))
    found = import_weights(weights)
    assert [node.head for node in found.net.nodes] == [None, None, 1.0, None, None]
    assert {"head.w", "head.b"} <= found.weights.keys()
    assert found.net.augment is not None and found.net.augment.flip
    noise_folder(tmp_path / "pics", ("ape", "bee"), (20, 30))
    command = "train --weights t.caffemodel --data pics --classes 2 --freeze conv1 --epochs 1 --device cpu"
    result = run(*command.split())
    assert result.exit_code == 0, result.output
    assert "kept from t.caffemodel: conv1" in result.output and "drawn anew: head, fc, for 2 classes" in result.output


@pytest.mark.parametrize(
    ("pool", "sizes"),
    [
        ("kernel_size: 3 stride: 2", "4x5"),
        ("kernel_size: 3 stride: 2 round_mode: FLOOR", "3x4"),
        ("kernel_size: 2 stride: 2 pad: 1", "5x6"),
        ("kernel_size: 2 stride: 3 pad: 1", "3x4"),
        ("kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1", "7x6"),
        ("pool: AVE global_pooling: true", "1x1"),
        ("pool: MAX global_pooling: true", "1x1"),
    ],
)
def test_windows_of_pools_are_counted_as_caffe_counts_them(tmp_path: Path, pool: str, sizes: str) -> None:
    layer = f'layer {{ name: "p" type: "Pooling" bottom: "d" top: "p" pooling_param {{ {pool} }} }}'
    path = write(tmp_path / "p.prototxt", f'input: "d" input_dim: [1, 2, 8, 10] {layer}')
    assert str(import_net(path).net.output) == f"{sizes}x2"
