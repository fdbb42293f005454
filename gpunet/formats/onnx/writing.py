"""An ONNX file as it is written: nodes and constants one after another, then the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpunet.formats.halves import FileType, narrowed
from gpunet.formats.onnx.schema import ATTRIBUTE_TYPES, MODEL
from gpunet.formats.onnx.tensors import NUMBERS, packed
from gpunet.formats.protobuf import Bytes, encoded
from gpunet.program.volume import Volume
from gpunet.version import __version__

OPSET, IR = 17, 8
"""The version of the ops, and that of the format which goes with it."""

MOST_BYTES = 2**31 - 1
"""What a message of Protocol Buffers may have."""

BATCH = "N"
"""What the file calls the number of images, which is open."""

Sizes = Sequence[int | str]


@dataclass
class Graph:
    """The nodes and constants of a file so far.

    `shapes`  of values, by name
    `dtype`   of what is learnt: halves become float32 where they are read
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, Sizes] = field(default_factory=dict)
    dtype: FileType = "float32"

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node; its output has its name. Attributes: integers, floats, texts, tuples of integers."""
        said = [_attribute(key, value) for key, value in attributes.items()]
        self.nodes.append({"input": list(inputs), "output": [name], "name": name, "op_type": op, "attribute": said})
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add an array."""
        self.constants[name] = values
        return name

    def weights(self, name: str, values: np.ndarray) -> str:
        """Add an array of what is learnt, float32."""
        if self.dtype == "float32":
            return self.constant(name, values)
        half = self.constant(f"{name}.{self.dtype}", narrowed(values, self.dtype))
        return self.node("Cast", name, [half], to=NUMBERS[np.dtype(np.float32)])

    def integers(self, name: str, *values: int) -> str:
        """Add integers, as nodes take shapes and axes."""
        return self.constant(name, np.array(values, np.int64))

    def number(self, name: str, value: float) -> str:
        """Add a single number."""
        return self.constant(name, np.array(value, np.float32))

    def maps(self, name: str, volume: Volume) -> str:
        """Note the volume of a value."""
        self.shapes[name] = (BATCH, volume.D, volume.H, volume.W)
        return name

    def file(
        self, title: str, input: tuple[str, type, Sizes], output: tuple[str, Sizes], about: Mapping[str, str]
    ) -> list[Bytes]:
        """The file, in pieces. `about`: what is written beside, by key."""
        name, dtype, sizes = input
        graph = {
            "node": self.nodes,
            "name": title,
            "initializer": [packed(values, key) for key, values in self.constants.items()],
            "input": [_value(name, sizes, NUMBERS[np.dtype(dtype)])],
            "output": [_value(*output)],
            "value_info": [_value(key, dims) for key, dims in self.shapes.items()],
        }
        model = {
            "ir_version": IR,
            "producer_name": "gpunet",
            "producer_version": __version__,
            "graph": graph,
            "opset_import": [{"domain": "", "version": OPSET}],
            "metadata_props": [{"key": key, "value": value} for key, value in about.items()],
        }
        return encoded(model, MODEL)


def _attribute(name: str, value: Any) -> dict[str, Any]:
    kind = {int: "i", float: "f", str: "s", tuple: "ints"}[type(value)]
    return {"name": name, kind: value, "type": ATTRIBUTE_TYPES[kind]}


def _value(name: str, sizes: Sizes, dtype: int = NUMBERS[np.dtype(np.float32)]) -> dict[str, Any]:
    dims = [{"dim_param": size} if isinstance(size, str) else {"dim_value": size} for size in sizes]
    return {"name": name, "type": {"tensor_type": {"elem_type": dtype, "shape": {"dim": dims}}}}
