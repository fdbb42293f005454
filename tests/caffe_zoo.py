"""Nets of Caffe that people have, written as Caffe's own files say them."""

from pathlib import Path

import numpy as np

from tests.caffe_files import Layer, deploy, text, trained, write


def conv(name: str, bottom: str, K: int, F: int, lines: str = "", **more: int) -> list[Layer]:
    """A convolution and its ReLU in place."""
    said = {"convolution": {"num_output": K, "kernel_size": F, **more}}
    return [
        Layer("Convolution", name, (bottom,), (name,), said, lines=lines),
        Layer("ReLU", f"relu_{name}", (name,), (name,)),
    ]


def pool(name: str, bottom: str, F: int, S: int, kind: str = "MAX") -> Layer:
    return Layer("Pooling", name, (bottom,), (name,), {"pooling": {"pool": kind, "kernel_size": F, "stride": S}})


def lrn(name: str, bottom: str) -> Layer:
    return Layer("LRN", name, (bottom,), (name,), {"lrn": {"local_size": 5, "alpha": 0.0001, "beta": 0.75}})


def fc(name: str, bottom: str, K: int, lines: str = "") -> Layer:
    return Layer("InnerProduct", name, (bottom,), (name,), {"inner_product": {"num_output": K}}, lines=lines)


def alexnet() -> list[Layer]:
    """Caffe's reference net, by its own description."""
    layers = [*conv("conv1", "data", 96, 11, stride=4), lrn("norm1", "conv1"), pool("pool1", "norm1", 3, 2)]
    layers += [*conv("conv2", "pool1", 256, 5, pad=2, group=2), lrn("norm2", "conv2"), pool("pool2", "norm2", 3, 2)]
    layers += [*conv("conv3", "pool2", 384, 3, pad=1), *conv("conv4", "conv3", 384, 3, pad=1, group=2)]
    layers += [*conv("conv5", "conv4", 256, 3, pad=1, group=2), pool("pool5", "conv5", 3, 2)]
    for name, bottom in (("fc6", "pool5"), ("fc7", "fc6")):
        layers += [fc(name, bottom, 4096), Layer("ReLU", f"relu_{name}", (name,), (name,))]
        layers += [Layer("Dropout", f"drop_{name}", (name,), (name,), {"dropout": {"dropout_ratio": 0.5}})]
    return [*layers, fc("fc8", "fc7", 1000), Layer("Softmax", "prob", ("fc8",), ("prob",))]


MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def inception(name: str, bottom: str, filters: tuple[int, ...]) -> list[Layer]:
    """A module, its layers named as Caffe's are."""
    one, three_reduce, three, five_reduce, five, after = filters
    at = f"inception_{name}"
    pooled = Layer("Pooling", f"{at}/pool", (bottom,), (f"{at}/pool",),
                   {"pooling": {"kernel_size": 3, "stride": 1, "pad": 1}})  # fmt: skip
    return [
        *conv(f"{at}/1x1", bottom, one, 1),
        *conv(f"{at}/3x3_reduce", bottom, three_reduce, 1),
        *conv(f"{at}/3x3", f"{at}/3x3_reduce", three, 3, pad=1),
        *conv(f"{at}/5x5_reduce", bottom, five_reduce, 1),
        *conv(f"{at}/5x5", f"{at}/5x5_reduce", five, 5, pad=2),
        pooled,
        *conv(f"{at}/pool_proj", f"{at}/pool", after, 1),
        Layer("Concat", f"{at}/output", [f"{at}/{part}" for part in ("1x1", "3x3", "5x5", "pool_proj")], (at,)),
    ]


def head(number: int, bottom: str) -> list[Layer]:
    at = f"loss{number}"
    end = [Layer("ReLU", f"{at}/relu_fc", (f"{at}/fc",), (f"{at}/fc",)), fc(f"{at}/classifier", f"{at}/fc", 1000)]
    loss = Layer("SoftmaxWithLoss", f"{at}/loss", (f"{at}/classifier", "label"), (at,), lines="loss_weight: 0.3")
    front = [pool(f"{at}/ave_pool", bottom, 5, 3, "AVE"), *conv(f"{at}/conv", f"{at}/ave_pool", 128, 1)]
    return [*front, fc(f"{at}/fc", f"{at}/conv", 1024), *end, loss]


def residual(folder: Path) -> tuple[Path, Path]:
    """A block with norms and scales, whose names are none here, two of which become alike."""
    rng = np.random.default_rng(0)
    D, w = 4, rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    said = {"convolution": {"num_output": 4, "kernel_size": 3, "pad": 1, "bias_term": False}}
    numbers = [rng.uniform(0.5, 1, D).astype(np.float32) for _ in range(4)]
    block = [
        Layer("Convolution", "res2a/conv", ("data",), ("a",), said, [w]),
        Layer("BatchNorm", "res2a-bn", ("a",), ("a",), {"batch_norm": {"use_global_stats": True}},
              [3 * numbers[0], 3 * numbers[1], np.float32([3])]),
        Layer("Scale", "scale", ("a",), ("a",), {"scale": {"bias_term": True}}, numbers[2:]),
        Layer("ReLU", "res2a_bn", ("a",), ("b",)),
        Layer("Eltwise", "sum", ("a", "b"), ("c",), {"eltwise": {"coeff": [1.0, -0.5]}}),
        Layer("Pooling", "pool", ("c",), ("c2",), {"pooling": {"pool": "AVE", "global_pooling": True}}),
        Layer("InnerProduct", "2fc", ("c2",), ("fc",), {"inner_product": {"num_output": 2}},
              [np.ones((2, 4), np.float32), np.zeros(2, np.float32)]),
        Layer("Softmax", "prob", ("fc",), ("prob",)),
    ]  # fmt: skip
    return write(folder / "d.prototxt", deploy(block, (1, 3, 6, 5))), write(folder / "d.caffemodel", trained(block))


LENET = """
name: "LeNet"
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 } data_param { source: "lmdb" batch_size: 64 backend: LMDB } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 } data_param { source: "lmdb" batch_size: 100 backend: LMDB } }
%s
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
RATES = "param { lr_mult: 1 } param { lr_mult: 2 }"


def lenet() -> str:
    body = [*conv("conv1", "data", 20, 5, RATES)[:1], pool("pool1", "conv1", 2, 2)]
    body += [*conv("conv2", "pool1", 50, 5, RATES)[:1], pool("pool2", "conv2", 2, 2), fc("ip1", "pool2", 500, RATES)]
    body += [Layer("ReLU", "relu1", ("ip1",), ("ip1",)), fc("ip2", "ip1", 10, RATES)]
    return LENET % text(body)
