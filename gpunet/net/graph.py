"""What the graph of a net must be: sound names, inputs that come before, no output that nobody takes."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from gpunet.errors import ConfigError
from gpunet.layers.layer import Layer
from gpunet.net.words import listed, nearest

INPUT = "input"
"""The name by which layers call the net's input."""


class Named(Protocol):
    """What is asked of a node; see gpunet.net.net.Node."""

    @property
    def name(self) -> str: ...
    @property
    def layer(self) -> Layer: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def head(self) -> float | None: ...


def check_graph(nodes: Sequence[Named]) -> None:
    """Raise ConfigError, with the layer's name, unless nodes in this order are the graph of a net.

    Names are unique, inputs come before, only merges take several, and all outputs but the last and those of auxiliary
    heads are taken.
    """
    known = {INPUT}
    for node in nodes:
        if wrong := _wrong_name(node, known) or _wrong_inputs(node, known, nodes) or _wrong_head(node, nodes[-1]):
            raise _mistake(node.name, wrong)
        known.add(node.name)
    taken = {name for node in nodes for name in node.inputs}
    for node in nodes[:-1]:
        if node.name not in taken and node.head is None:
            raise _mistake(
                node.name, f"nothing takes the output of {node.name}; remove it or let a later layer take it"
            )


def _mistake(layer: str, message: str) -> ConfigError:
    error = ConfigError(message)
    error.layer = layer
    return error


def _wrong_name(node: Named, known: set[str]) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", node.name):
        return f"{node.name!r} is not a layer name; use letters, digits and _, not starting with a digit"
    if node.name in known:
        return f"two layers are called {node.name}; give one of them another name"
    return ""


def _wrong_inputs(node: Named, known: set[str], nodes: Sequence[Named]) -> str:
    for name in node.inputs:
        if name not in known:
            return f"{node.name} takes {name!r}, {_not_before(node, name, nodes)}"
    if len(node.inputs) > 1 and not node.layer.merges:
        return (
            f"{node.name} takes one output, and {listed(node.inputs)} are {len(node.inputs)}; "
            "join them by an add or a concat layer first"
        )
    return ""


def _not_before(node: Named, name: str, nodes: Sequence[Named]) -> str:
    """What is wrong with an input that none of the layers before is called."""
    inputs = {one.name: one.inputs for one in nodes}
    if name not in inputs:
        return f"which no layer before it is called{nearest(name, [INPUT, *inputs])}"
    if way := _way(name, node.name, inputs):
        return f"which takes its output: {' -> '.join([*way, node.name])} is a cycle, and a net has none"
    return f"which comes after it; put {name} before {node.name}"


def _way(end: str, start: str, inputs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The names on a way from `start` to `end` along outputs, both included; [] where there is none."""
    behind: dict[str, str] = {end: ""}
    names = [end]
    for name in names:
        for before in inputs.get(name, ()):
            if before not in behind:
                behind[before] = name
                names.append(before)
    if start not in behind:
        return []
    way = [start]
    while way[-1] != end:
        way.append(behind[way[-1]])
    return way


def _wrong_head(node: Named, last: Named) -> str:
    if node.head is None:
        return ""
    if node is last:
        return f"{node.name} ends the net, so it cannot end an auxiliary head too; leave out its head"
    if isinstance(node.head, bool) or not isinstance(node.head, int | float) or not 0 < node.head <= 1000:
        return f"the weight of the auxiliary head {node.name} must be a number above 0, like 0.3; got {node.head!r}"
    return ""
