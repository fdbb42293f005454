"""The program: a flat list of ops over tensors, which is all that the planner and the devices ever see."""

from gpunet.program.program import Loop, Op, Parameter, Program, RunTime
from gpunet.program.tensor import ITEMSIZE, Kind, Tensor

__all__ = ["ITEMSIZE", "Kind", "Loop", "Op", "Parameter", "Program", "RunTime", "Tensor"]
