"""`gpunet.describe`: a net layer by layer, what it sees, what it costs, and what the notes would say of it."""

from dataclasses import dataclass

from gpunet.description.blocks import Blocks, blocks
from gpunet.description.facts import LayerFacts, layer_facts
from gpunet.description.hints import Hint, hints
from gpunet.net.net import Net
from gpunet.planning.planner import check_net
from gpunet.values.shown import Shown


@dataclass(frozen=True, repr=False)
class Description(Shown):
    """What there is to say of a net.

    `layers`  in order; `blocks` its N, M and K; `hints` of the notes' rules of thumb
    """

    net: Net
    layers: tuple[LayerFacts, ...]
    blocks: Blocks
    hints: tuple[Hint, ...]

    @property
    def multiply_adds(self) -> int:
        """Of a forward pass over one image, auxiliary heads not among them."""
        needed = {node.name for node in self.net.trunk}
        return sum(one.multiply_adds for one in self.layers if one.name in needed)


def describe(net: Net) -> Description:
    """Describe a net: volumes, parameters, multiply-adds, receptive fields, its place in the notes' pattern, hints.

    Raises ConfigError for what is no net.
    """
    layers = layer_facts(check_net(net))
    return Description(net, layers, blocks(net), hints(net, layers))
