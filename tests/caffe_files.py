"""Files of Caffe written by hand: nets as text, trained nets and means as bytes of protobuf, in both versions.

Field numbers: BVLC's caffe.proto, written down here once more and apart from those that gpunet reads by.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = {
    "convolution": (106, 10, "num_output 1 bias_term 2 pad 3 kernel_size 4 group 5 stride 6 pad_h 9 pad_w 10"
                             " kernel_h 11 kernel_w 12 stride_h 13 stride_w 14 dilation 18"),
    "pooling": (121, 19, "pool 1 kernel_size 2 stride 3 pad 4 kernel_h 5 kernel_w 6 stride_h 7 stride_w 8 pad_h 9"
                         " pad_w 10 global_pooling 12 round_mode 13"),
    "inner_product": (117, 17, "num_output 1 bias_term 2 transpose 6"),
    "lrn": (118, 18, "local_size 1 alpha 2 beta 3 norm_region 4 k 5"),
    "batch_norm": (139, 0, "use_global_stats 1 moving_average_fraction 2 eps 3"),
    "scale": (142, 0, "axis 1 bias_term 4"),
    "eltwise": (110, 24, "operation 1 coeff 2"),
    "concat": (104, 9, "axis 2"),
    "slice": (126, 31, "slice_point 2 axis 3"),
    "dropout": (108, 12, "dropout_ratio 1"),
    "relu": (123, 30, "negative_slope 1"),
    "prelu": (131, 0, "channel_shared 2"),
    "elu": (140, 0, "alpha 1"),
    "flatten": (135, 0, "axis 1"),
    "transform": (100, 36, "scale 1 mirror 2 crop_size 3 mean_file 4 mean_value 5"),
    "data": (107, 11, "batch_size 4 scale 2 crop_size 5"),
    "input": (143, 0, ""),
    "softmax": (125, 39, "axis 2"),
}  # fmt: skip
"""By the name of a message: its number in a layer, that in one of the first version, and its fields."""

OLD_TYPES = {
    "Convolution": 4, "Pooling": 17, "InnerProduct": 14, "LRN": 15, "ReLU": 18, "Dropout": 6, "Concat": 3,
    "Softmax": 20, "Eltwise": 25, "Slice": 33, "Sigmoid": 19, "TanH": 23, "Flatten": 8, "Data": 5, "Split": 22,
}  # fmt: skip
OLD_WORDS = {name: name.upper() for name in OLD_TYPES} | {
    "InnerProduct": "INNER_PRODUCT",
    "SoftmaxWithLoss": "SOFTMAX_LOSS",
}
ENUMS = {"MAX": 0, "AVE": 1, "CEIL": 0, "FLOOR": 1, "ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1, "PROD": 0, "SUM": 1}
ELTWISE = {"PROD": 0, "SUM": 1, "MAX": 2}


@dataclass
class Layer:
    """A layer of Caffe: `said` what is particular to it, by message and field; `lines` more of its text."""

    type: str
    name: str
    bottoms: Sequence[str] = ()
    tops: Sequence[str] = ()
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    blobs: list[np.ndarray] = field(default_factory=list)
    lines: str = ""


def deploy(layers: Sequence[Layer], shape: Sequence[int], *, old: bool = False, name: str = "random") -> str:
    """The text of a net over an input called "data" of (N, D, H, W)."""
    dims = "".join(f"input_dim: {size}\n" for size in shape)
    return f'name: "{name}"\ninput: "data"\n{dims}' + text(layers, old=old)


def text(layers: Sequence[Layer], *, old: bool = False) -> str:
    """Layers as text, of the first version or today's."""
    return "".join(_text(layer, old) for layer in layers)


def _text(layer: Layer, old: bool) -> str:
    kind = OLD_WORDS[layer.type] if old else f'"{layer.type}"'
    lines = [f'name: "{layer.name}" type: {kind}']
    lines += [f'bottom: "{value}"' for value in layer.bottoms] + [f'top: "{value}"' for value in layer.tops]
    for message, fields in layer.said.items():
        entries = [
            f"{name}: {_word(value)}"
            for name, values in fields.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        lines.append(f"{message}_param {{ {' '.join(entries)} }}")
    lines += [layer.lines] if layer.lines else []
    return f"{'layers' if old else 'layer'} {{\n  " + "\n  ".join(lines) + "\n}\n"


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if not isinstance(value, str) or value.isupper() else f'"{value}"'


def trained(layers: Sequence[Layer], *, old: bool = False, bare: bool = False, name: str = "random") -> bytes:
    """The bytes of a trained net; `bare`: names, types and arrays alone."""
    parts = [_bytes(layer, old, bare) for layer in layers]
    return counted(1, name.encode()) + b"".join(counted(2 if old else 100, part) for part in parts)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def counted(number: int, content: bytes) -> bytes:
    """A field of so many bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(values: np.ndarray, *, old: bool = False, packed: bool = True) -> bytes:
    """An array: with the four sizes of the first version, or with its shape."""
    if old:
        shape = (1,) * (4 - values.ndim) + values.shape
        sizes = b"".join(varint(number << 3) + varint(size) for number, size in enumerate(shape, 1))
    else:
        sizes = counted(7, counted(1, b"".join(map(varint, values.shape))))
    raw = np.asarray(values, "<f4").tobytes()
    if not packed:
        return sizes + b"".join(varint(5 << 3 | 5) + raw[at : at + 4] for at in range(0, len(raw), 4))
    return sizes + counted(5, raw)


def _bytes(layer: Layer, old: bool, bare: bool) -> bytes:
    name, bottom, top, arrays = (4, 2, 3, 6) if old else (1, 3, 4, 7)
    kind = varint(5 << 3) + varint(OLD_TYPES[layer.type]) if old else counted(2, layer.type.encode())
    made = counted(name, layer.name.encode()) + kind
    if not bare:
        made += b"".join(counted(bottom, value.encode()) for value in layer.bottoms)
        made += b"".join(counted(top, value.encode()) for value in layer.tops)
        for message, fields in layer.said.items():
            new_number, old_number, known = NUMBERS[message]
            numbers = dict(zip(known.split()[::2], map(int, known.split()[1::2]), strict=True))
            inner = b"".join(
                _field(numbers[one], value, message)
                for one, values in fields.items()
                for value in (values if isinstance(values, list) else [values])
            )
            made += counted(old_number if old else new_number, inner)
    return made + b"".join(counted(arrays, blob(values, old=old)) for values in layer.blobs)


def _field(number: int, value: object, message: str) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str):
        known = ELTWISE if message == "eltwise" else ENUMS
        return varint(number << 3) + varint(known[value]) if value in known else counted(number, value.encode())
    return varint(number << 3) + varint(int(value))  # type: ignore[call-overload]
