"""The graph of a net as TensorBoard draws it: a box for each layer, with its fields, and edges with their sizes."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from gpunet.layers.loss import LOSS, loss_of
from gpunet.net.graph import INPUT
from gpunet.net.net import Net

LABELS = "labels"
SIZES = "_output_shapes"
"""The attribute from which TensorBoard knows how large what a box gives is."""


def graph_event(net: Net, batch: int) -> Any:
    """An event of tensorboardX that holds the graph of a net with its losses, for so many images."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    graph = GraphDef(node=list(_boxes(net, batch)), versions=VersionDef(producer=22))
    return Event(graph_def=graph.SerializeToString())


def _boxes(net: Net, batch: int) -> Iterator[Any]:
    yield _box(INPUT, "Placeholder", (), (batch, *net.input.shape), {})
    for node in net.nodes:
        said = {name: value for name, value in asdict(node.layer).items() if value is not None}
        said["parameters"] = net.layer_parameters(node)
        yield _box(node.name, node.layer.type, node.inputs, (batch, *net.volumes[node.name].shape), said)
    yield _box(LABELS, "Placeholder", (), (batch,), {})
    for node in net.heads:
        said = {**asdict(net.loss), "weight": node.head}
        yield _box(loss_of(node.name), net.loss.type, (node.name, LABELS), (), said)
    yield _box(LOSS, net.loss.type, (net.nodes[-1].name, LABELS), (), asdict(net.loss))


def _box(name: str, op: str, inputs: tuple[str, ...], shape: tuple[int, ...], said: Mapping[str, Any]) -> Any:
    from tensorboardX.proto.attr_value_pb2 import AttrValue
    from tensorboardX.proto.node_def_pb2 import NodeDef
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    sizes = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    attributes = {SIZES: AttrValue(list=AttrValue.ListValue(shape=[sizes]))}
    attributes |= {key: AttrValue(s=str(value).encode()) for key, value in said.items()}
    return NodeDef(name=name, op=op, input=list(inputs), attr=attributes)
