"""Ops from outside this package, for layers and losses of one's own: `gpunet.add_op`.

On the CPU an op is a NumPy function. On CUDA it is a kernel of the same name, given as source text.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from inspect import Parameter, signature
from typing import Any, TypeVar

from gpunet.errors import ConfigError
from gpunet.values.given import told

Function = TypeVar("Function", bound=Callable[..., None])

KERNEL = r'extern\s+"C"\s+__global__\s+void\s+__launch_bounds__\s*\([^()]*\)\s*{name}\s*\('
"""How a kernel is declared."""

COMMENT = r"//[^\n]*|/\*.*?\*/"


@dataclass(frozen=True)
class OutsideOp:
    """An op and what runs it.

    `numbers`  float or int for each keyword of the function, in its order
    `source`   text with the kernel `name`; None: there is none
    `sizes`    says, of the arrays, how many items there are, and perhaps more integers behind that
    `blocks`   a block of threads works on each item, and not a thread
    """

    name: str
    function: Callable[..., None]
    numbers: Mapping[str, type]
    source: str | None
    sizes: Callable[..., int | tuple[int, ...]]
    blocks: bool

    @property
    def file(self) -> str:
        """The name of its source among the .cu files: ops of one text share it, and another text has another."""
        return f"outside_{sha256(str(self.source).encode()).hexdigest()[:16]}"

    def launch(self, *arrays: Any, **given: float) -> None:
        """Run the kernel: the arrays, the sizes, and the numbers in the order of the function's."""
        from gpunet.devices.cuda.launch import launch, launch_blocks

        found = self.sizes(*arrays)
        sizes = found if isinstance(found, tuple) else (found,)
        numbers = [kind(given[name]) for name, kind in self.numbers.items()]
        begin = launch_blocks if self.blocks else launch
        begin(self.file, self.name, sizes[0], *arrays, *map(int, sizes), *numbers)


_added: dict[str, OutsideOp] = {}

_runs: dict[str, dict[str, Callable[..., None]]] = defaultdict(dict)
"""What runs each op, by device and name."""

_sources: dict[str, str] = {}
"""Source texts by the name of their file; those of ops that were replaced stay, as models may be using them."""


def add_op(
    function: Function,
    *,
    cuda: str | None = None,
    sizes: Callable[..., int | tuple[int, ...]] | None = None,
    blocks: bool = False,
) -> Function:
    """Make a function known as the op of its name, which layers and losses may then emit. Returns the function.

    `function`  op(arrays..., *, numbers...): NumPy arrays, inputs first, then outputs, then scratch; it writes every
                value of its outputs, returns nothing and allocates nothing that grows with the batch. Numbers come by
                keyword, each marked float or int.
    `cuda`      source text with the kernel of the same name, behind gpunet's cuda/common.cuh: void NAME(the arrays as
                pointers, the sizes as long long, then the numbers: real for float, long long for int). Pointers
                to volumes, which may lie in halves, are stored*, those to other floats real*. Without it, planning for
                CUDA is refused.
    `sizes`     says, of the arrays, how many items the kernel has to do, and more integers that it takes, if any; None:
                the values of the last array
    `blocks`    a block of threads works on each item, and not a thread

    An op added before is replaced. Raises ConfigError for what cannot be an op.
    """
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ConfigError(f"an op is a function with a name of its own; got {told(function)}")
    if name in _built_in():
        raise ConfigError(f"gpunet has an op called {name} itself; give yours another name, like my_{name}")
    numbers = _numbers(name, function)
    if cuda is not None and not re.search(KERNEL.format(name=name), re.sub(COMMENT, "", cuda, flags=re.DOTALL)):
        raise ConfigError(
            f"there is no kernel {name} in the source text; declare it like\n"
            f'extern "C" __global__ void __launch_bounds__(BLOCK) {name}(const real* x, real* y, long long count)'
        )
    _add(OutsideOp(name, function, numbers, cuda, sizes or _values_of_last, blocks))
    return function


def remove_op(name: str) -> None:
    """Forget an op that was added; models that use it go on. Nothing happens where there is none."""
    _added.pop(name, None)
    for known in _runs.values():
        known.pop(name, None)


def outside_ops(device: str) -> Mapping[str, Callable[..., None]]:
    """The ops that were added for a device, by name; those added later appear in it."""
    return _runs[device]


def outside_source(file: str) -> str | None:
    """The source text that stands for the .cu file of that name; None where it is one of this package."""
    return _sources.get(file)


def why_not(op: str, device: str) -> str | None:
    """Why an op cannot run on a device, in words; None where it can. Those of this package can run anywhere."""
    if op in _added:
        kernel = f"add_op({op}, cuda=...) gives it a kernel, or plan for device='cpu'"
        return None if op in _runs[device] else f"the op {op} is there for the CPU alone; {kernel}"
    return None if op in _built_in() else f"there is no op {op}; gpunet.add_op({op}) makes a function one"


def _add(op: OutsideOp) -> None:
    remove_op(op.name)
    _added[op.name] = op
    _runs["cpu"][op.name] = op.function
    if op.source is not None:
        _sources[op.file] = op.source
        _runs["cuda"][op.name] = op.launch


def _built_in() -> Mapping[str, Callable[..., None]]:
    """The ops of this package: every device has those of the CPU."""
    from gpunet.devices import open_device

    return {name: op for name, op in open_device("cpu").ops.items() if name not in _added}


def _numbers(name: str, function: Callable[..., None]) -> dict[str, type]:
    """The keywords of an op with their types. Raises ConfigError for parameters that an op cannot have."""
    numbers: dict[str, type] = {}
    for parameter in signature(function, eval_str=True).parameters.values():
        if parameter.kind is Parameter.KEYWORD_ONLY:
            if parameter.annotation not in (int, float):
                raise ConfigError(f"{name}: say whether {parameter.name} is a float or an int: {parameter.name}: float")
            numbers[parameter.name] = parameter.annotation
        elif parameter.kind is not Parameter.POSITIONAL_OR_KEYWORD:
            raise ConfigError(f"{name}: an op names its arrays, then * and its numbers; got {parameter}")
    return numbers


def _values_of_last(*arrays: Any) -> int:
    return int(next(array.size for array in reversed(arrays) if array is not None))
