"""What is told of each layer: its volume, parameters, multiply-adds and receptive field."""

from collections import Counter
from dataclasses import dataclass

from gpunet.compile.lower import lower
from gpunet.devices import target
from gpunet.layers.layer import Layer
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.optimize.optimizers import optimizer
from gpunet.program.field import Field, Window, union
from gpunet.program.volume import Volume


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """A layer in its net.

    `inputs`         the volumes it takes, `volume` the one it makes
    `multiply_adds`  of its matrix products in a forward pass over one image; what else it does is small beside them
    `windows`        what one output position sees of each input, along rows and along columns
    `rows, columns`  what it sees of the net's input; where it merges, the largest field
    """

    name: str
    layer: Layer
    inputs: tuple[Volume, ...]
    volume: Volume
    parameters: int
    multiply_adds: int
    windows: tuple[Window, Window]
    rows: Field
    columns: Field


def layer_facts(net: Net) -> tuple[LayerFacts, ...]:
    """The layers of a net in order."""
    work = _multiply_adds(net)
    seen = fields(net)
    found = []
    for node in net.nodes:
        inputs = net.inputs(node)
        windows = node.layer.window(*inputs)
        rows, columns = seen[node.name]
        parameters, volume = net.layer_parameters(node), net.volumes[node.name]
        found.append(
            LayerFacts(node.name, node.layer, inputs, volume, parameters, work[node.name], windows, rows, columns)
        )
    return tuple(found)


def fields(net: Net) -> dict[str, tuple[Field, Field]]:
    """What each layer, by name, sees of the net's input along rows and along columns."""
    seen = {INPUT: (Field(), Field())}
    for node in net.nodes:
        windows = node.layer.window(*net.inputs(node))
        rows, columns = (union(seen[name][axis] for name in node.inputs).through(windows[axis]) for axis in (0, 1))
        seen[node.name] = rows, columns
    return seen


def _multiply_adds(net: Net) -> Counter[str]:
    """By layer: half the FLOPs of its forward ops, which count a multiplication and an addition as two."""
    program = lower(
        net,
        batch=1,
        mode="train",
        dtype="float32",
        optimizer=optimizer("sgd"),
        target=target("cpu"),
        scratch_limit_bytes=0,
    )
    totals: Counter[str] = Counter()
    for op in program.ops:
        if op.phase == "forward":
            totals[op.layer] += op.flops // 2
    return totals
