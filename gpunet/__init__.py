"""gpunet trains ConvNets with its own CUDA kernels, in memory that it planned to the byte before the run."""

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
from gpunet.layers.conv import Conv
from gpunet.layers.fc import FC
from gpunet.layers.pool import MaxPool
from gpunet.layers.relu import ReLU
from gpunet.memory.plan import Plan
from gpunet.net.config import load
from gpunet.net.net import Net, Node
from gpunet.planner import plan
from gpunet.volume import Volume

if TYPE_CHECKING:
    from gpunet.model import Model

__version__ = "0.1.0"

__all__ = [
    "FC",
    "BudgetError",
    "ConfigError",
    "Conv",
    "DataError",
    "DeviceError",
    "Fit",
    "GpunetError",
    "MaxPool",
    "Model",
    "Net",
    "Node",
    "Plan",
    "PlanError",
    "ReLU",
    "ShapeError",
    "Volume",
    "fit",
    "load",
    "plan",
]


def __getattr__(name: str) -> Any:
    """Model brings NumPy with it, which planning does not need: it is imported when first asked for."""
    if name == "Model":
        from gpunet.model import Model

        return Model
    raise AttributeError(f"module 'gpunet' has no attribute {name!r}")
