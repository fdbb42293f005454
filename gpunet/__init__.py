"""gpunet trains ConvNets with its own CUDA kernels, in memory that it planned to the byte before the run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpunet.errors import (
    BudgetError,
    ConfigError,
    DataError,
    DeviceError,
    GpunetError,
    PlanError,
    ShapeError,
)
from gpunet.fit import Fit, fit
from gpunet.layers.average_pool import AvgPool, GlobalAvgPool
from gpunet.layers.conv import Conv
from gpunet.layers.dropout import Dropout
from gpunet.layers.fc import FC
from gpunet.layers.l2_pool import L2Pool
from gpunet.layers.leaky_relu import LeakyReLU
from gpunet.layers.lrn import LRN
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.layers.squash import Sigmoid, Tanh
from gpunet.memory.plan import Plan
from gpunet.net.net import Net, Node
from gpunet.planner import plan
from gpunet.program.tensor import Kind
from gpunet.version import __version__ as __version__
from gpunet.volume import Volume

if TYPE_CHECKING:
    from gpunet.model import Model
    from gpunet.net.config import load

__all__ = [
    "FC",
    "LRN",
    "AvgPool",
    "BudgetError",
    "ConfigError",
    "Conv",
    "DataError",
    "DeviceError",
    "Dropout",
    "Fit",
    "GlobalAvgPool",
    "GpunetError",
    "Kind",
    "L2Pool",
    "LeakyReLU",
    "MaxPool",
    "Model",
    "Net",
    "Node",
    "Plan",
    "PlanError",
    "ReLU",
    "ShapeError",
    "Sigmoid",
    "Tanh",
    "Volume",
    "fit",
    "load",
    "plan",
]


_LATE = {"Model": "gpunet.model", "load": "gpunet.net.config"}
"""Names that bring more with them than planning a net needs: imported when first asked for."""


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'gpunet' has no attribute {name!r}")
