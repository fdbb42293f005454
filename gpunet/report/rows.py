"""What tables and JSON say of each layer, worked out once."""

from dataclasses import dataclass

from gpunet.layers.loss import LOSS, loss_of
from gpunet.memory.plan import Plan
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.program.tensor import Kind
from gpunet.program.volume import Volume
from gpunet.report import ways


@dataclass(frozen=True, slots=True)
class Row:
    """A layer, the input or the loss: bytes by kind, whenever in the step they live; scratch is the most of one op.

    What is handed from tensor to tensor, as by a ReLU that runs in place, counts where it was first. Gradients are
    those that the layer makes: of its input. `how`: what of it runs again or in rounds, "" where it simply runs.
    """

    name: str
    type: str
    volume: Volume | None
    parameters: int
    bytes: dict[Kind, int]
    how: str = ""


def layer_rows(net: Net, plan: Plan) -> list[Row]:
    """The input, then the layers in order."""
    none = dict.fromkeys(Kind, 0)
    how = ways.how(plan)
    rows = [Row(INPUT, INPUT, net.input, 0, plan.by_layer.get(INPUT, none), how.get(INPUT, ""))]
    for node in net.nodes if plan.mode == "train" else net.trunk:
        name, parameters = node.name, net.layer_parameters(node)
        held = plan.by_layer.get(name, none)
        rows.append(Row(name, node.layer.type, net.volumes[name], parameters, held, how.get(name, "")))
    return rows


def loss_rows(net: Net, plan: Plan) -> list[Row]:
    """The losses of auxiliary heads, then that of the net, where the plan is one of training."""
    if plan.mode == "infer":
        return []
    how = ways.how(plan)
    names = [*(loss_of(node.name) for node in net.heads), LOSS]
    return [Row(name, net.loss.type, None, 0, plan.by_layer[name], how.get(name, "")) for name in names]
