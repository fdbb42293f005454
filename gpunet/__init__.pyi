"""The public names, and where each is: the one place to edit for a new one.

Type checkers read this file, and gpunet/__init__.py does where a name is first asked for.
"""

from gpunet.description.description import Description as Description
from gpunet.description.description import describe as describe
from gpunet.errors import BudgetError as BudgetError
from gpunet.errors import ConfigError as ConfigError
from gpunet.errors import DataError as DataError
from gpunet.errors import DeviceError as DeviceError
from gpunet.errors import GpunetError as GpunetError
from gpunet.errors import PlanError as PlanError
from gpunet.errors import ShapeError as ShapeError
from gpunet.layers.average_pool import AvgPool as AvgPool
from gpunet.layers.average_pool import GlobalAvgPool as GlobalAvgPool
from gpunet.layers.batch_norm import BatchNorm as BatchNorm
from gpunet.layers.conv import Conv as Conv
from gpunet.layers.dropout import Dropout as Dropout
from gpunet.layers.fc import FC as FC
from gpunet.layers.hinge import Hinge as Hinge
from gpunet.layers.l2_pool import L2Pool as L2Pool
from gpunet.layers.leaky_relu import LeakyReLU as LeakyReLU
from gpunet.layers.local import LocallyConnected as LocallyConnected
from gpunet.layers.lrn import LRN as LRN
from gpunet.layers.merge import Add as Add
from gpunet.layers.merge import Concat as Concat
from gpunet.layers.pool import MaxPool as MaxPool
from gpunet.layers.relu import ReLU as ReLU
from gpunet.layers.softmax import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from gpunet.layers.squash import Sigmoid as Sigmoid
from gpunet.layers.squash import Tanh as Tanh
from gpunet.memory.plan import Plan as Plan
from gpunet.model.model import Model as Model
from gpunet.net.augment import Augment as Augment
from gpunet.net.config import load as load
from gpunet.net.net import Net as Net
from gpunet.net.net import Node as Node
from gpunet.optimize.learning import Learning as Learning
from gpunet.optimize.optimizers import SGD as SGD
from gpunet.optimize.optimizers import Adagrad as Adagrad
from gpunet.optimize.optimizers import Adam as Adam
from gpunet.optimize.optimizers import AdamW as AdamW
from gpunet.optimize.optimizers import Momentum as Momentum
from gpunet.optimize.optimizers import Nesterov as Nesterov
from gpunet.optimize.optimizers import RMSprop as RMSprop
from gpunet.planning.fitter import Fit as Fit
from gpunet.planning.fitter import fit as fit
from gpunet.planning.planner import plan as plan
from gpunet.program.tensor import Kind as Kind
from gpunet.program.volume import Volume as Volume
from gpunet.use.gradients import GradientCheck as GradientCheck
from gpunet.use.gradients import gradcheck as gradcheck
from gpunet.use.matrix import conv_matrix as conv_matrix
from gpunet.use.sliding import ScoreMap as ScoreMap
from gpunet.use.sliding import slide as slide
from gpunet.version import __version__ as __version__
