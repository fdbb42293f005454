"""What is timed: the four nets and the five layers of convnet-benchmarks, with its batches, or any other net.

Dropout, normalization across maps and the softmax are left out of its nets, and heads along the way of GoogLeNet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpunet.layers.conv import Conv
from gpunet.net.config import load_config
from gpunet.net.net import Net

NETS = ("alexnet", "overfeat", "vgg_a", "googlenet")
"""Names that stand for the nets of convnet-benchmarks, in its order."""

LAYERS = {
    "L1": ("128x128x3", 96, 11),
    "L2": ("64x64x64", 128, 9),
    "L3": ("32x32x128", 128, 9),
    "L4": ("16x16x128", 128, 7),
    "L5": ("13x13x384", 384, 3),
}
"""Its layers: input, filters and their extent; stride 1, no padding."""

LAYER_BATCH = 128


@dataclass(frozen=True, slots=True)
class Case:
    """A net and a batch.

    `input_gradient`  whether the gradient of the images is made, too: of a layer alone, not of a net that is trained
    """

    name: str
    net: Net
    batch: int
    input_gradient: bool = False

    def of(self, batch: int | None) -> "Case":
        """The same with another batch; None: with its own."""
        return self if batch is None else replace(self, batch=batch)


def net_cases(names: Sequence[str] = NETS) -> list[Case]:
    """The nets of these names of NETS."""
    return [_of_file(name) for name in names]


def layer_cases() -> list[Case]:
    """The five layers, each as a net of its own."""
    nets = {name: Net(volume, [Conv(K, F=F, P=0)], name=name) for name, (volume, K, F) in LAYERS.items()}
    return [Case(name, net, LAYER_BATCH, input_gradient=True) for name, net in nets.items()]


def _of_file(name: str) -> Case:
    config = load_config(str(Path(__file__).with_name("nets") / f"{name}.toml"))
    return Case(name, config.net, config.train.batch)
