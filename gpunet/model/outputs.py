"""What layers give, also where a plan has their outputs nowhere: fused into another op, moved, or made in rounds."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from gpunet.compile.fuse import FUSIONS
from gpunet.errors import ConfigError
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.optimize.learning import matching
from gpunet.planning.planner import plan
from gpunet.program.program import Program
from gpunet.values.given import names

if TYPE_CHECKING:
    from gpunet.model.model import Model

EACH_LAYER = ("pool-before-relu", *FUSIONS)
"""The savings without which every layer makes its output: max-pooling goes before ReLU, or is one op with a CONV."""


def named_layers(net: Net, layers: str | Collection[str]) -> set[str]:
    """The layers that names, or patterns, are of. Raises ConfigError for what matches none."""
    known = [node.name for node in net.nodes]
    return {name for pattern in names("layers", layers) for name in matching("layers", pattern, known)}


def made_by(program: Program) -> set[str]:
    """The layers whose whole output the forward pass of a program makes at one time."""
    return {
        tensor.layer
        for step, op in enumerate(program.ops)
        if op.phase == "forward" and program.loop_at(step) is None
        for tensor in op.outputs
        if tensor.name == f"{tensor.layer}.y"
    }


def separate_outputs(model: "Model", images: np.ndarray, layers: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, what it gives) of these layers, in the net's order, by a pass in an arena of its own, given back then.

    A layer that hands on what it gets, as dropout does in inference, gives that. Raises ConfigError for a layer of an
    auxiliary head, which inference does not have.
    """
    from gpunet.model.model import Model

    net = model.net
    made = plan(net, len(images), mode="infer", dtype=model.plan.dtype, device=model.device.name, without=EACH_LAYER)
    giver = _givers(net, layers, made_by(made.program))
    with Model(net, len(images), model.device, plan=made) as other:
        for name in other.parameters:
            other.parameters[name] = model.parameters[name]
        found = {name: values for name, values in other.outputs(images) if name in giver.values()}
    yield from ((node.name, found[giver[node.name]]) for node in net.nodes if node.name in giver)


def _givers(net: Net, layers: Collection[str], made: Collection[str]) -> dict[str, str]:
    """By each of the layers, that of those that are `made` whose output it gives: its own, but where it hands on."""
    takes = {node.name: node.inputs[0] for node in net.trunk}
    found = {}
    for name in layers:
        if name not in takes:
            raise ConfigError(
                f"{name} of {net.name} is in an auxiliary head, which there is in training alone, and this plan does "
                f"not keep its output: make one for training with without={EACH_LAYER}"
            )
        giver = name
        while giver not in made:
            giver = takes[giver]
            if giver == INPUT:
                raise ConfigError(f"{name} of {net.name} hands on the images themselves, as they enter the net")
        found[name] = giver
    return found
