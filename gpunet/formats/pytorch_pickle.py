"""The pickle in a file of `torch.save`: tensors as views of storages that lie elsewhere in the file.

It is read by `gpunet.system.pickles`, which runs nothing. What may be named is less than
`torch.load(weights_only=True)` allows: what makes a plain tensor, and what stands beside one in a checkpoint.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpunet.system.pickles import MOST_INSTRUCTIONS, Machine, Mark

DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""Of the values in a storage, as NumPy calls them; it knows no bfloat16, which is the upper half of a float32."""

MOST_AXES = 32
MOST_VALUES = 2**62
"""No sum of offsets is more than an integer of NumPy holds."""

ORDERED, SIZE, DEVICE, TENSOR, PARAMETER = "OrderedDict", "Size", "device", "tensor", "parameter"


@dataclass(frozen=True)
class Storage:
    """So many values of a dtype of DTYPES, which the file has under `key`, from value `first` on."""

    key: str
    dtype: str
    count: int
    first: int = 0


@dataclass(frozen=True)
class View:
    """A tensor: which values of a storage it is made of."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchMachine(Machine):
    """Makes a View of each tensor; `storages` has what they refer to, by key."""

    known: ClassVar = {
        "collections OrderedDict": ORDERED,
        "torch Size": SIZE,
        "torch device": DEVICE,
        "torch._utils _rebuild_tensor": TENSOR,
        "torch._utils _rebuild_tensor_v2": TENSOR,
        "torch._utils _rebuild_parameter": PARAMETER,
        **{f"torch {storage}": storage for storage in DTYPES},
        **{f"torch {dtype}": "dtype" for dtype in ("float64", "float32", "float16", "bfloat16", "int64", "int32")},
    }
    most_key_letters = 1000

    def __init__(self, program: object) -> None:
        super().__init__(program)  # type: ignore[arg-type]
        self.storages: dict[str, Storage] = {}
        self.pairs_left = MOST_INSTRUCTIONS
        """Of keys and values that ordered dicts may still be made of: one list may be named again and again."""

    def check_key(self, key: object) -> None:
        """The state of an optimizer goes by small integers."""
        if type(key) is not int or not 0 <= key < 2**31:
            super().check_key(key)

    def call(self, called: str, arguments: tuple[object, ...]) -> object:
        if called == ORDERED:
            return self._ordered(arguments)
        if called == TENSOR:
            return _view(*arguments[:4])
        if called == PARAMETER and arguments and isinstance(arguments[0], View):
            return arguments[0]
        if called in (SIZE, DEVICE):
            return arguments
        raise ValueError(f"{called} is called")

    def build(self, top: object, state: object) -> None:
        """The state of a dict, the versions of its modules, says nothing that is needed."""
        if not isinstance(top, dict):
            raise TypeError("something is given a state")

    def refer(self, identity: object) -> object:
        """A storage: ("storage", class, key, where it was, how many values, and in old files a part of another)."""
        kind, dtype, key, _, count, *part = _few(identity)
        if kind != "storage" or not isinstance(dtype, Mark) or dtype.what not in DTYPES or not isinstance(key, str):
            raise ValueError("it refers to what is no storage")
        whole = Storage(key, DTYPES[dtype.what], _natural(count))
        if self.storages.setdefault(key, whole) != whole:
            raise ValueError(f"storage {key[:40]} is said to be two things")
        if not part or part[0] is None:
            return whole
        _, first, count = _few(part[0])
        if _natural(first) + _natural(count) > whole.count:
            raise ValueError(f"a part of storage {key[:40]} lies outside of it")
        return Storage(key, whole.dtype, _natural(count), _natural(first))

    def _ordered(self, arguments: tuple[object, ...]) -> dict[object, object]:
        """A dict of the pairs that it is made of, as Python 2 wrote it; of none."""
        made: dict[object, object] = {}
        for pairs in _few(arguments):
            if not isinstance(pairs, list):
                raise TypeError("a dict is made of what is no list")
            self.pairs_left -= len(pairs)
            if self.pairs_left < 0:
                raise ValueError("the same list becomes a dict again and again")
            for pair in pairs:
                key, value = _few(pair)
                self.check_key(key)
                made[key] = value
        return made


def _view(storage: object, offset: object, shape: object, strides: object) -> View:
    """Raises ValueError or TypeError unless all of it lies in its storage."""
    if not isinstance(storage, Storage):
        raise TypeError("a tensor has no storage")
    extents, steps = (tuple(map(_natural, _few(sizes))) for sizes in (shape, strides))
    if len(extents) != len(steps):
        raise ValueError(f"a tensor has {len(extents)} extents and {len(steps)} strides")
    last = _natural(offset) + sum((extent - 1) * step for extent, step in zip(extents, steps, strict=True))
    if 0 not in extents and last >= storage.count:
        raise ValueError(f"a tensor reaches to value {last:,} of a storage that has {storage.count:,}")
    return View(storage, _natural(offset), extents, steps)


def strided(view: View, values: np.ndarray) -> np.ndarray:
    """The tensor over the values of its whole storage; nothing is copied, however often it takes the same value."""
    if 0 in view.shape:
        return np.empty(view.shape, values.dtype)
    steps = tuple(step * values.itemsize for step in view.strides)
    begin = values[view.storage.first + view.offset :]
    return np.lib.stride_tricks.as_strided(begin, view.shape, steps, writeable=False)


def _natural(number: object) -> int:
    if type(number) is not int or not 0 <= number < MOST_VALUES:
        raise ValueError("a size that is none")
    return number


def _few(values: object) -> tuple[object, ...] | list[object]:
    """A tuple or list that is short: one may be named again and again."""
    if not isinstance(values, tuple | list) or len(values) > MOST_AXES:
        raise TypeError(f"something that should be a tuple of at most {MOST_AXES}")
    return values
