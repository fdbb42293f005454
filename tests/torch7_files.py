"""Files as Torch7's `torch.save` writes them, in binary, and PyTorch's modules as its nn has them."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

NAMES = {"float32": "Float", "float64": "Double", "int64": "Long", "float16": "Half", "uint8": "Byte"}


@dataclass(eq=False)
class Object:
    """An object of a class, and its table."""

    kind: str
    said: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Storage:
    """Numbers one behind the other."""

    values: np.ndarray


@dataclass(eq=False)
class Function:
    """Bytecode, and what it refers to."""

    code: bytes
    beside: Any = None


class Writer:
    """The bytes of objects; one that comes again is written as its number."""

    def __init__(self, old: bool = False) -> None:
        self.old = old
        self.seen: dict[int, int] = {}
        self.kept: list[object] = []

    def write(self, value: Any) -> bytes:
        if value is None:
            return integer(0)
        if isinstance(value, bool):
            return integer(5) + integer(int(value))
        if isinstance(value, int | float):
            return integer(1) + struct.pack("<d", value)
        if isinstance(value, str):
            return integer(2) + text(value)
        if isinstance(value, Function):
            return self._numbered(8, value, lambda: integer(len(value.code)) + value.code + self.write(value.beside))
        if isinstance(value, list | tuple):
            value = self._once(value, dict(enumerate(value, 1)))
        if isinstance(value, Mapping):
            return self._numbered(3, value, lambda: self._table(value))
        kind, payload = self._parts(value)
        head = b"" if self.old else text("V 1")
        return self._numbered(4, value, lambda: head + text(kind) + payload())

    def _parts(self, value: Any) -> tuple[str, Any]:
        if isinstance(value, Object):
            return value.kind, lambda: self.write(value.said)
        if isinstance(value, Storage):
            kind = f"torch.{NAMES[str(value.values.dtype)]}Storage"
            return kind, lambda: long(len(value.values)) + value.values.tobytes()
        assert isinstance(value, np.ndarray)
        kind = f"torch.{NAMES[str(value.dtype)]}Tensor"
        steps = [step // value.itemsize for step in np.empty(value.shape, value.dtype).strides]
        sizes = b"".join(map(long, (*value.shape, *steps, 1)))
        return kind, lambda: integer(value.ndim) + sizes + self.write(Storage(value.reshape(-1)))

    def _numbered(self, kind: int, value: object, payload: Any) -> bytes:
        known = id(value) in self.seen
        self.kept.append(value)  # so that no other gets its id
        number = self.seen.setdefault(id(value), len(self.seen) + 1)
        return integer(kind) + integer(number) + (b"" if known else payload())

    def _once(self, key: object, made: dict[Any, Any]) -> dict[Any, Any]:
        self.kept.append(key)
        return made

    def _table(self, table: Mapping[Any, Any]) -> bytes:
        return integer(len(table)) + b"".join(self.write(key) + self.write(value) for key, value in table.items())


def integer(number: int) -> bytes:
    return struct.pack("<i", number)


def long(number: int) -> bytes:
    return struct.pack("<q", number)


def text(words: str) -> bytes:
    return integer(len(words)) + words.encode()


def module(kind: str, *inside: Object, **said: Any) -> Object:
    """A module of nn, perhaps with others in it."""
    return Object(f"nn.{kind}", said | ({"modules": list(inside)} if inside else {}))


def chain(*inside: Object) -> Object:
    return module("Sequential", *inside)


def as_torch7(one: nn.Module) -> Object:
    """A module of PyTorch."""
    found = getattr(THERE, type(one).__name__)(one)
    assert isinstance(found, Object)
    return found


def numbers(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else np.asarray(tensor.detach().numpy())


class THERE:
    """By the class of PyTorch."""

    @staticmethod
    def Sequential(one: Any) -> Object:
        return chain(*map(as_torch7, one))

    @staticmethod
    def Conv2d(one: Any) -> Object:
        (kH, kW), (dH, dW), (padH, padW) = one.kernel_size, one.stride, one.padding
        said = {"kH": kH, "kW": kW, "dH": dH, "dW": dW, "padH": padH, "padW": padW}
        said |= {"nInputPlane": one.in_channels, "nOutputPlane": one.out_channels}
        said |= {"weight": numbers(one.weight), "bias": numbers(one.bias)}
        if one.groups > 1:
            return Object("cudnn.SpatialConvolution", said | {"groups": one.groups})
        if one.dilation != (1, 1):
            return module("SpatialDilatedConvolution", **said, dilationH=one.dilation[0], dilationW=one.dilation[1])
        return module("SpatialConvolution", **said)

    @staticmethod
    def Linear(one: Any) -> Object:
        return module("Linear", weight=numbers(one.weight), bias=numbers(one.bias))

    @staticmethod
    def Flatten(one: Any) -> Object:
        return module("View", size=Storage(np.array([-1])), numElements=-1)

    @staticmethod
    def BatchNorm2d(one: Any) -> Object:
        said = {"running_mean": numbers(one.running_mean), "running_var": numbers(one.running_var)}
        said |= {"weight": numbers(one.weight), "bias": numbers(one.bias), "eps": one.eps, "momentum": one.momentum}
        return module("SpatialBatchNormalization", **said)

    @staticmethod
    def MaxPool2d(one: Any) -> Object:
        return module("SpatialMaxPooling", **_window(one), ceil_mode=one.ceil_mode)

    @staticmethod
    def AvgPool2d(one: Any) -> Object:
        said = {"ceil_mode": one.ceil_mode, "count_include_pad": one.count_include_pad, "divide": True}
        return module("SpatialAveragePooling", **_window(one), **said)

    @staticmethod
    def LocalResponseNorm(one: Any) -> Object:
        return module("SpatialCrossMapLRN", size=one.size, alpha=one.alpha, beta=one.beta, k=one.k)

    @staticmethod
    def AdaptiveAvgPool2d(one: Any) -> Object:
        return module("SpatialAdaptiveAveragePooling", H=one.output_size[0], W=one.output_size[1])

    @staticmethod
    def ReLU(one: Any) -> Object:
        return Object("cudnn.ReLU", {"inplace": True})

    @staticmethod
    def LeakyReLU(one: Any) -> Object:
        return module("LeakyReLU", negval=one.negative_slope)

    @staticmethod
    def PReLU(one: Any) -> Object:
        count = one.num_parameters
        return module("PReLU", nOutputPlane=0 if count == 1 else count, weight=numbers(one.weight))

    @staticmethod
    def ELU(one: Any) -> Object:
        return module("ELU", alpha=one.alpha)

    @staticmethod
    def Hardtanh(one: Any) -> Object:
        return module("HardTanh", min_val=one.min_val, max_val=one.max_val)

    @staticmethod
    def Dropout(one: Any) -> Object:
        return module("Dropout", p=one.p, v2=True)

    @staticmethod
    def ZeroPad2d(one: Any) -> Object:
        return module("SpatialZeroPadding", **dict(zip(("pad_l", "pad_r", "pad_t", "pad_b"), one.padding, strict=True)))

    ReLU6 = staticmethod(lambda one: module("ReLU6"))
    Sigmoid = staticmethod(lambda one: module("Sigmoid"))
    Tanh = staticmethod(lambda one: module("Tanh"))
    Softplus = staticmethod(lambda one: module("SoftPlus", beta=1))
    Identity = staticmethod(lambda one: module("Identity"))
    LogSoftmax = staticmethod(lambda one: module("LogSoftMax"))


def _window(one: Any) -> dict[str, int]:
    said: dict[str, int] = {}
    for name, size in (("k", one.kernel_size), ("d", one.stride), ("pad", one.padding)):
        rows, columns = size if isinstance(size, tuple) else (size, size)
        said |= {f"{name}H": rows, f"{name}W": columns}
    return said
