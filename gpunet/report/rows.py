"""What tables and JSON say of each layer, worked out once."""

from dataclasses import dataclass

from gpunet.memory.plan import Plan
from gpunet.net.net import INPUT, Net
from gpunet.program.tensor import Kind
from gpunet.volume import Volume

LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Row:
    """A layer, the input or the loss: bytes by kind, whenever in the step they live; scratch is the most of one op.

    What is handed from tensor to tensor, as by a ReLU that runs in place, counts where it was first. Gradients are
    those that the layer makes: of its input.
    """

    name: str
    type: str
    volume: Volume | None
    parameters: int
    bytes: dict[Kind, int]


def layer_rows(net: Net, plan: Plan) -> list[Row]:
    """The input, then the layers in order."""
    none = dict.fromkeys(Kind, 0)
    rows = [Row(INPUT, INPUT, net.input, 0, plan.by_layer.get(INPUT, none))]
    for node in net.nodes:
        held = plan.by_layer.get(node.name, none)
        rows.append(Row(node.name, node.layer.type, net.volumes[node.name], net.layer_parameters(node), held))
    return rows


def loss_row(net: Net, plan: Plan) -> Row | None:
    """The loss, where the plan is one of training."""
    held = plan.by_layer.get(LOSS)
    return Row(LOSS, net.loss.type, None, 0, held) if held else None
