"""The sections of bench/on_gpu.py, in the order in which they run; each is a module here and gets a process of its own.

A section has TITLE, SECONDS (its time limit), NEEDS (packages it cannot do without), `run(setting)`, which leaves what
it measures in `setting.findings`, and `tables(values)`, which shows them.
"""

from importlib import import_module
from types import ModuleType

SECTIONS = (
    "environment",
    "gpu_tests",
    "full_sizes",
    "agreement",
    "memory",
    "tune",
    "steps",
    "tensor_cores",
    "predictions",
    "layers",
    "kernels",
    "sanitizer",
)


def section(name: str) -> ModuleType:
    """The module of a section; it imports no library of a GPU until it runs."""
    return import_module(f"{__name__}.{name}")
