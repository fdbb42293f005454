"""Layers that treat all values alike, and the ops that are the same: both ways share this table."""

from gpunet.layers.elementwise import Elementwise
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.layers.units import ELU, HardSwish, Softplus

PLAIN: dict[str, type[Elementwise]] = {
    "HardSwish": HardSwish,
    "Relu": ReLU,
    "Sigmoid": Sigmoid,
    "Softplus": Softplus,
    "Tanh": Tanh,
}
"""Ops that say nothing beside, and their layers."""

SLOPED: dict[str, tuple[type[Elementwise], float]] = {"Elu": (ELU, 1.0), "LeakyRelu": (LeakyReLU, 0.01)}
"""Ops of an alpha, their layers, and the alpha of a node that does not say it."""
