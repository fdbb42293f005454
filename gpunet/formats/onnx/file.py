"""An ONNX file as it is: nodes with their attributes, constants by name, inputs and outputs; not yet understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.onnx.schema import ATTRIBUTE_TYPES, GRAPH, MODEL
from gpunet.formats.onnx.tensors import Tensors
from gpunet.formats.protobuf import Decoder

MOST_NODES = 50_000
OURS = ("", "ai.onnx")
"""The domain of ONNX's own ops."""

Dims = tuple[int | str, ...]
"""Sizes of a value; a size that is not fixed is a name, or "?"."""


@dataclass(frozen=True)
class Node:
    """What a file calls a node: an op over values, by their names; "" stands for one that is left out.

    `attributes`  by name: numbers, texts, arrays; a graph as its bytes
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def input(self, place: int) -> str:
        """The name of an input; "" where there is none."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        return float(self.attributes.get(name, default))

    def text(self, name: str, default: str = "") -> str:
        return str(self.attributes.get(name, default))

    def integers(self, name: str) -> tuple[int, ...] | None:
        """Integers; None where they are not said."""
        found = self.attributes.get(name)
        return None if found is None else tuple(int(number) for number in found)


@dataclass(frozen=True)
class Slot:
    """An input or output of a graph: its name, the number of its dtype (0: not said) and its sizes, None: not said."""

    name: str
    dtype: int
    dims: Dims | None


@dataclass(frozen=True)
class File:
    """What is in a file.

    `opset`    the version of the ops
    `slots`    of values that say their sizes, by name
    `about`    what whoever made it wrote beside, by key
    `nbytes`   of it and the files beside it
    """

    path: Path
    producer: str
    opset: int
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    slots: Mapping[str, Slot]
    about: Mapping[str, str]
    nbytes: int
    reader: "Reader" = field(repr=False)


def read_file(path: Path) -> File:
    """The content of a file. Raises DataError where it is none, or damaged."""
    with opened(path) as (stream, size):
        content = memoryview(stream.read(size))
    reader = Reader(path)
    try:
        return reader.file(content)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        told = clean_name(str(error))
        raise DataError(f"{path} is cut short, damaged, or no ONNX file ({told})") from None


class Reader:
    """Reads graphs of one file, within bounds that are counted over all of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decoder, self._tensors = Decoder(), Tensors(path)
        self._nodes = 0

    def file(self, content: memoryview) -> File:
        model = self._decoder.message(content, MODEL)
        if "graph" not in model:
            raise ValueError("it has no graph")
        graph = model["graph"]
        nodes, constants = self._graph(graph)
        opsets = {entry.get("domain", ""): entry.get("version", 1) for entry in model.get("opset_import", ())}
        inputs = tuple(_slot(value) for value in graph.get("input", ()))
        said = [_slot(value) for key in ("value_info", "output") for value in graph.get(key, ())]
        return File(
            path=self.path,
            producer=" ".join(clean_name(model.get(key, "")) for key in ("producer_name", "producer_version")).strip(),
            opset=next((int(opsets[domain]) for domain in OURS if domain in opsets), 1),
            nodes=nodes,
            constants=constants,
            inputs=tuple(slot for slot in inputs if slot.name not in constants),
            outputs=tuple(_slot(value) for value in graph.get("output", ())),
            slots={slot.name: slot for slot in said},
            about={entry.get("key", ""): entry.get("value", "") for entry in model.get("metadata_props", ())},
            nbytes=len(content) + self._tensors.beside_bytes,
            reader=self,
        )

    def graph(self, content: memoryview) -> tuple[tuple[Node, ...], dict[str, np.ndarray], tuple[str, ...]]:
        """Nodes, constants and outputs of a graph within a node."""
        graph = self._decoder.message(content, GRAPH)
        return *self._graph(graph), tuple(value.get("name", "") for value in graph.get("output", ()))

    def _graph(self, graph: Mapping[str, Any]) -> tuple[tuple[Node, ...], dict[str, np.ndarray]]:
        nodes = graph.get("node", ())
        self._nodes += len(nodes)
        if self._nodes > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} nodes")
        constants = {tensor.get("name", ""): self._tensors.array(tensor) for tensor in graph.get("initializer", ())}
        return tuple(self._node(node) for node in nodes), constants

    def _node(self, node: Mapping[str, Any]) -> Node:
        domain, op = node.get("domain", ""), node.get("op_type", "")
        attributes = {one.get("name", ""): self._attribute(one) for one in node.get("attribute", ())}
        return Node(
            op=op if domain in OURS else f"{domain}.{op}",
            name=node.get("name", ""),
            inputs=tuple(node.get("input", ())),
            outputs=tuple(node.get("output", ())),
            attributes={name: value for name, value in attributes.items() if value is not None},
        )

    def _attribute(self, attribute: Mapping[str, Any]) -> Any:
        """The value of an attribute; None where it holds what is not read here."""
        said = attribute.get("type", 0)
        kind = next((name for name, number in ATTRIBUTE_TYPES.items() if number == said), None)
        if not said:  # as files of the first years have it
            kind = next((name for name in ATTRIBUTE_TYPES if name in attribute), None)
        if kind is None:
            return None
        if kind == "t":
            return self._tensors.array(attribute["t"]) if "t" in attribute else None
        nothing = {"f": 0.0, "i": 0, "s": "", "g": b""}.get(kind, ())
        return attribute.get(kind, nothing)


def _slot(value: Mapping[str, Any]) -> Slot:
    kind = value.get("type", {}).get("tensor_type", {})
    shape = kind.get("shape")
    dims = None if shape is None else tuple(_size(one) for one in shape.get("dim", ()))
    return Slot(value.get("name", ""), kind.get("elem_type", 0), dims)


def _size(dimension: Mapping[str, Any]) -> int | str:
    if "dim_value" in dimension and dimension["dim_value"] > 0:
        return int(dimension["dim_value"])
    return clean_name(dimension.get("dim_param", "")) or "?"
