"""gpunet trains ConvNets with its own CUDA kernels, in memory that it planned to the byte before the run.

Each name is imported when it is first asked for: planning needs no NumPy, and the program can hear Ctrl-C at once.
"""

TYPE_CHECKING = False  # typing's own takes its time to import
if TYPE_CHECKING:
    from gpunet.description.description import Description, describe
    from gpunet.errors import (
        BudgetError,
        ConfigError,
        DataError,
        DeviceError,
        GpunetError,
        PlanError,
        ShapeError,
    )
    from gpunet.fitter import Fit, fit
    from gpunet.gradients import GradientCheck, gradcheck
    from gpunet.layers.average_pool import AvgPool, GlobalAvgPool
    from gpunet.layers.batch_norm import BatchNorm
    from gpunet.layers.conv import Conv
    from gpunet.layers.dropout import Dropout
    from gpunet.layers.fc import FC
    from gpunet.layers.hinge import Hinge
    from gpunet.layers.l2_pool import L2Pool
    from gpunet.layers.leaky_relu import LeakyReLU
    from gpunet.layers.local import LocallyConnected
    from gpunet.layers.lrn import LRN
    from gpunet.layers.merge import Add, Concat
    from gpunet.layers.pool import MaxPool
    from gpunet.layers.relu import ReLU
    from gpunet.layers.softmax import SoftmaxCrossEntropy
    from gpunet.layers.squash import Sigmoid, Tanh
    from gpunet.learning import Learning
    from gpunet.matrix import conv_matrix
    from gpunet.memory.plan import Plan
    from gpunet.model import Model
    from gpunet.net.augment import Augment
    from gpunet.net.config import load
    from gpunet.net.net import Net, Node
    from gpunet.planner import plan
    from gpunet.program.tensor import Kind
    from gpunet.sliding import ScoreMap, slide
    from gpunet.version import __version__ as __version__
    from gpunet.volume import Volume

__all__ = [
    "FC",
    "LRN",
    "Add",
    "Augment",
    "AvgPool",
    "BatchNorm",
    "BudgetError",
    "Concat",
    "ConfigError",
    "Conv",
    "DataError",
    "Description",
    "DeviceError",
    "Dropout",
    "Fit",
    "GlobalAvgPool",
    "GpunetError",
    "GradientCheck",
    "Hinge",
    "Kind",
    "L2Pool",
    "LeakyReLU",
    "Learning",
    "LocallyConnected",
    "MaxPool",
    "Model",
    "Net",
    "Node",
    "Plan",
    "PlanError",
    "ReLU",
    "ScoreMap",
    "ShapeError",
    "Sigmoid",
    "SoftmaxCrossEntropy",
    "Tanh",
    "Volume",
    "conv_matrix",
    "describe",
    "fit",
    "gradcheck",
    "load",
    "plan",
    "slide",
]

_MODULES = {
    "description.description": ("Description", "describe"),
    "errors": ("BudgetError", "ConfigError", "DataError", "DeviceError", "GpunetError", "PlanError", "ShapeError"),
    "fitter": ("Fit", "fit"),
    "gradients": ("GradientCheck", "gradcheck"),
    "layers.average_pool": ("AvgPool", "GlobalAvgPool"),
    "layers.batch_norm": ("BatchNorm",),
    "layers.conv": ("Conv",),
    "layers.dropout": ("Dropout",),
    "layers.fc": ("FC",),
    "layers.hinge": ("Hinge",),
    "layers.l2_pool": ("L2Pool",),
    "layers.leaky_relu": ("LeakyReLU",),
    "layers.local": ("LocallyConnected",),
    "layers.lrn": ("LRN",),
    "layers.merge": ("Add", "Concat"),
    "layers.pool": ("MaxPool",),
    "layers.relu": ("ReLU",),
    "layers.softmax": ("SoftmaxCrossEntropy",),
    "layers.squash": ("Sigmoid", "Tanh"),
    "learning": ("Learning",),
    "matrix": ("conv_matrix",),
    "memory.plan": ("Plan",),
    "model": ("Model",),
    "net.augment": ("Augment",),
    "net.config": ("load",),
    "net.net": ("Net", "Node"),
    "planner": ("plan",),
    "program.tensor": ("Kind",),
    "sliding": ("ScoreMap", "slide"),
    "version": ("__version__",),
    "volume": ("Volume",),
}
"""Where each name is; no module beside this file may have the name of one of them."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return found
    raise AttributeError(f"module 'gpunet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
