"""Images whose maps stood in the opposite order, blue first: what of a net is turned round, so that red comes first.

The weights of the layers that take the maps are, and those of layers in between that have numbers for each map. Where a
layer tells maps apart by itself, as slices and groups of filters do, the net gets a turn at its entrance.
"""

from gpunet.layers.average_pool import AdaptiveAvgPool, GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm
from gpunet.layers.by_map import PReLU, Scale
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.fc import FC
from gpunet.layers.layer import Layer
from gpunet.layers.lrn import LRN
from gpunet.layers.maps import Slice
from gpunet.layers.merge import Add, Concat, Maximum, Multiply
from gpunet.layers.pool import GlobalMaxPool
from gpunet.layers.window import Pool
from gpunet.net.graph import INPUT
from gpunet.net.net import Net, Node

MAP_BY_MAP = (BatchNorm, PReLU, Scale, Dropout, Elementwise, LRN, Pool, GlobalAvgPool, GlobalMaxPool, AdaptiveAvgPool)
"""Layers whose maps are made of one map each, or of neighbours on both sides, all alike but for their weights."""

TOGETHER = (Add, Maximum, Multiply)
"""Merges that keep the order of maps where all that they take stands in it."""

TURN = "turn"
"""What the layers of a turn are called, with a number; the last one is called so."""


def facing(net: Net) -> frozenset[str] | None:
    """The layers that take the maps of the image in their order; None where weights alone cannot turn them round.

    A net that turns them itself, at its entrance, has none.
    """
    if _turns(net):
        return frozenset()
    in_order, found = {INPUT}, set()
    for node in net.nodes:
        taken = [name in in_order for name in node.inputs]
        if not any(taken):
            continue
        found.add(node.name)
        if isinstance(node.layer, MAP_BY_MAP) or (isinstance(node.layer, TOGETHER) and all(taken)):
            in_order.add(node.name)
        elif not _mixes(node.layer):
            return None
    return None if net.nodes[-1].name in in_order else frozenset(found)


def _mixes(layer: Layer) -> bool:
    """Whether a layer sees all maps by weights of its own, which can be turned round."""
    return isinstance(layer, FC) or (isinstance(layer, Conv) and layer.groups == 1)


def _turns(net: Net) -> bool:
    """Whether a net begins with the turn that `turned` puts there."""
    D = net.input.D
    *parts, turn = net.nodes[: D + 1]
    slices = [Slice(number, number + 1) for number in reversed(range(min(D, len(parts))))]
    takers = [node.name for node in net.nodes if INPUT in node.inputs]
    return (
        D > 1
        and isinstance(turn.layer, Concat)
        and [part.layer for part in parts] == slices
        and takers == list(turn.inputs) == [part.name for part in parts]
    )


def turned(net: Net) -> Net:
    """The net with the maps of its image turned round before its first layer."""
    D = net.input.D
    names = {node.name for node in net.nodes}
    turn = next(name for number in range(len(names) + 1) if (name := TURN + "_" * number) not in names)
    parts = [Node(f"{turn}{D - number}", Slice(number, number + 1), (INPUT,)) for number in reversed(range(D))]
    entrance = [*parts, Node(turn, Concat(), tuple(part.name for part in parts))]

    def behind(name: str) -> str:
        return turn if name == INPUT else name

    nodes = [Node(node.name, node.layer, tuple(map(behind, node.inputs)), node.head) for node in net.nodes]
    return net.remade([*entrance, *nodes])
