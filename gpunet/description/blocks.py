"""The notes' pattern, INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC: its N, M and K, or where a net
departs from it. Source: CS231n "Layer Patterns".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gpunet.layers.by_map import PReLU
from gpunet.layers.conv import Conv
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.fc import FC
from gpunet.layers.layer import Layer
from gpunet.layers.local import LocallyConnected
from gpunet.layers.relu import ReLU
from gpunet.layers.window import Pool
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node

PATTERN = "INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC"

_PARTS: tuple[tuple[str, type[Layer]], ...] = (("CONV", Conv), ("RELU", ReLU), ("POOL", Pool), ("FC", FC))

_NEXT = {
    "maps": {"CONV": "conv", "POOL": "maps", "FC": "fc"},
    "conv": {"RELU": "maps"},
    "fc": {"RELU": "hidden"},  # or the end
    "hidden": {"FC": "fc"},
}
"""Where in the pattern one stands -> what may come there -> where one stands then."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a net stands to the pattern.

    `N`          how many [CONV -> RELU] each block has; a block ends with a POOL, or where the FCs begin
    `K`          how many [FC -> RELU] there are; M is len(N)
    `aside`      layers of which the pattern does not speak and which leave volumes as they are, like dropout
    `departure`  where and how the net departs from it, in words; "" where it follows it. N, K and aside are empty then
    """

    N: tuple[int, ...] = ()
    K: int = 0
    aside: tuple[str, ...] = ()
    departure: str = ""

    @property
    def M(self) -> int:
        return len(self.N)


def blocks(net: Net) -> Blocks:
    """N, M and K of a net that follows the pattern, or where it departs from it."""
    at, before = "maps", INPUT
    parts: list[str] = []
    aside: list[str] = []
    for node in net.nodes:
        if node.inputs != (before,):
            return Blocks(departure=f"at {node.name}, which takes {' and '.join(node.inputs)}: a branch or a merge")
        before = node.name
        part = _part(node.layer)
        if part is None and _keeps(net, node):
            aside.append(node.name)
            continue
        if part not in _NEXT[at]:
            wanted = [*_NEXT[at], *(["the end"] if at == "fc" else [])]
            return Blocks(departure=f"at {node.name}: {node.layer.word} where {_either(wanted)} would stand")
        at = _NEXT[at][part]
        parts.append(part)
    if at != "fc":
        return Blocks(departure=f"at its end: {net.nodes[-1].name} where a last FC would stand")
    return Blocks(_counts(parts), parts.count("FC") - 1, tuple(aside))


def _part(layer: Layer) -> str | None:
    """What the pattern calls a layer, if it does."""
    return next((word for word, kind in _PARTS if isinstance(layer, kind)), None)


def _keeps(net: Net, node: Node) -> bool:
    """Whether a layer leaves the volume as it is and is no other non-linearity or convolution in another's place."""
    other = isinstance(node.layer, Elementwise | PReLU | LocallyConnected)
    return not other and net.inputs(node) == (net.volumes[node.name],)


def _counts(parts: Iterable[str]) -> tuple[int, ...]:
    """CONVs in each block."""
    counts, open_block = [0], False
    for part in parts:
        if part == "FC":
            break
        open_block = part != "POOL"
        if part == "CONV":
            counts[-1] += 1
        elif part == "POOL":
            counts.append(0)
    return tuple(counts if open_block else counts[:-1])


def _either(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
