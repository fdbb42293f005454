"""Runs one op on any device as a plan would, and watches what it writes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpunet.devices.device import Arena, Device
from gpunet.values.types import as_numbers

ALIGNMENT = 256
POISON = 0xFF
"""NaN bytes, between tensors too: a read past an end shows in the results, a write of anything else in the bytes."""

Spec = tuple[tuple[int, ...], Any]
"""A shape and a dtype."""


def run_op(
    device: Device,
    name: str,
    inputs: Sequence[np.ndarray | None],
    outputs: Sequence[Spec | np.ndarray],
    scratch: Sequence[Spec | None] = (),
    *,
    in_place: Mapping[int, int] | None = None,
    behind: Mapping[int, int] | None = None,
    within: Mapping[int, tuple[int, int]] | None = None,
    **attributes: Any,
) -> list[np.ndarray]:
    """Call the op `name` in an arena of the device and return its outputs.

    inputs    written to the arena; the op must leave them as they are; None for an optional one that it is without
    outputs   (shape, dtype), poisoned with NaN bytes before the op; or an array that the op changes, e.g. w
    scratch   (shape, dtype), poisoned, or None as the plan gives where nothing is needed
    in_place  {output: input}: that output lies where that input does
    behind    {position among inputs and outputs: values}: it begins so many values behind an aligned address
    within    {position among inputs and outputs: (first, maps)}: it is the maps from `first` on of so many

    Fails if the op writes between its tensors or changes an input that no output shares.
    """
    in_place = dict(in_place or {})
    frame = _Frame(device)
    where = [((behind or {}).get(i, 0), (within or {}).get(i)) for i in range(len(inputs) + len(outputs))]
    given = [None if values is None else frame.add(np.asarray(values), *where[i]) for i, values in enumerate(inputs)]
    made = [
        given[in_place[i]] if i in in_place else frame.add(out, *where[len(inputs) + i])
        for i, out in enumerate(outputs)
    ]
    spare = [None if one is None else frame.add(one) for one in scratch]
    arrays = frame.place()
    device.ops[name](*(None if key is None else arrays[key] for key in [*given, *made, *spare]), **attributes)
    device.synchronize()
    frame.check_guards(name)
    for position, (key, values) in enumerate(zip(given, inputs, strict=True)):
        if key is not None and key not in made:
            seen = device.read(arrays[key])
            np.testing.assert_array_equal(seen, as_numbers(values), f"{name} changed its input {position}")
    results = [device.read(arrays[key]) for key in made]
    frame.free()
    return results


def put(device: Device, values: np.ndarray) -> Any:
    """The values in an arena of their own."""
    array = device.allocate(max(1, values.nbytes)).view(0, values.shape, values.dtype.name)
    device.write(array, values)
    return array


def new(device: Device, shape: tuple[int, ...], dtype: Any) -> Any:
    """NaN bytes in an arena of their own."""
    return put(device, np.full(np.prod(shape) * np.dtype(dtype).itemsize, 0xFF, np.uint8).view(dtype).reshape(shape))


class _Frame:
    """Tensors one after another in an arena, guard bytes between them."""

    def __init__(self, device: Device):
        self._device = device
        self._tensors: list[tuple[Spec | np.ndarray, int, tuple[int, int] | None]] = []
        self._around: list[tuple[int, tuple[int, ...], np.dtype, int, int]] = []
        self._holes: list[tuple[int, int]] = []
        self._arena: Arena

    def add(self, tensor: Spec | np.ndarray, behind: int = 0, within: tuple[int, int] | None = None) -> int:
        self._tensors.append((tensor, behind, within))
        return len(self._tensors) - 1

    def place(self) -> list[Any]:
        starts, end = [], 0
        for tensor, behind, within in self._tensors:
            start = _aligned(end) + ALIGNMENT + behind * _spec(tensor)[1].itemsize
            self._holes.append((end, start - end))
            starts.append(start)
            end = start + (_nbytes(tensor) if within is None else self._surround(tensor, start, *within))
        total = _aligned(end) + ALIGNMENT
        self._holes.append((end, total - end))
        self._arena = self._device.allocate(total)
        self._arena.fill(0, total, POISON)
        places = zip(self._tensors, starts, strict=True)
        return [self._view(tensor, start, within) for (tensor, _, within), start in places]

    def _surround(self, tensor: Spec | np.ndarray, start: int, first: int, maps: int) -> int:
        """Bytes of a wider volume that begins there, whose other maps are to stay as they are."""
        shape, dtype = _spec(tensor)
        self._around.append((start, (*shape[:-1], maps), dtype, first, first + shape[-1]))
        return _nbytes(((*shape[:-1], maps), dtype))

    def _view(self, tensor: Spec | np.ndarray, offset: int, within: tuple[int, int] | None) -> Any:
        shape, dtype = _spec(tensor)
        if within is not None:
            return self._view_within(tensor, offset, *within)
        view = self._arena.view(offset, shape, dtype.name)
        if isinstance(tensor, np.ndarray):
            self._device.write(view, tensor)
        return view

    def _view_within(self, tensor: Spec | np.ndarray, offset: int, first: int, maps: int) -> Any:
        shape, dtype = _spec(tensor)
        if isinstance(tensor, np.ndarray):
            wide = np.full(int(np.prod(shape[:-1])) * maps * dtype.itemsize, POISON, np.uint8).view(dtype)
            wide = wide.reshape(*shape[:-1], maps)
            wide[..., first : first + shape[-1]] = tensor
            self._device.write(self._arena.view(offset, wide.shape, dtype.name), wide)
        return self._arena.view(offset + first * dtype.itemsize, shape, dtype.name, maps)

    def check_guards(self, name: str) -> None:
        for start, size in self._holes:
            found = self._device.read(self._arena.view(start, (size,), "uint8"))
            assert (found == POISON).all(), f"{name} wrote past the end of one of its tensors (arena byte {start})"
        for start, shape, dtype, first, last in self._around:
            wide = self._device.read(self._arena.view(start, shape, dtype.name))
            others = np.concatenate([wide[..., :first], wide[..., last:]], axis=-1)
            assert (np.ascontiguousarray(others).view(np.uint8) == POISON).all(), f"{name} wrote maps of its neighbours"

    def free(self) -> None:
        self._arena.free()


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _spec(tensor: Spec | np.ndarray) -> tuple[tuple[int, ...], np.dtype]:
    if isinstance(tensor, np.ndarray):
        return tensor.shape, tensor.dtype
    return tuple(tensor[0]), np.dtype(tensor[1])


def _nbytes(tensor: Spec | np.ndarray) -> int:
    shape, dtype = _spec(tensor)
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
