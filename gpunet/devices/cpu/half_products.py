"""Products of matrices in half types on the CPU: float32 copies of some images and of weights, in scratch of the plan.

BLAS has no halves. So a convolution is brought to float32 some images at a time, a fully connected layer some filters
at a time, and each result is rounded once, where it is stored. Sums over images are float32 from the first to the last.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from gpunet.devices.cpu.halves import PART, any_half, as_wide, names_of, store
from gpunet.program.chunks import images_at_once
from gpunet.values.types import is_half

__all__: tuple[str, ...] = ()  # no ops here

Op = Callable[..., None]

VOLUMES = ("x", "y", "dy", "dx")
"""What arrays of images are called in ops of convolutions; their gradients and their switches go with them."""


class Room:
    """Flat float32 scratch that is handed out piece by piece; what it has no room for is memory of its own."""

    def __init__(self, scratch: np.ndarray | None) -> None:
        self._left = np.empty(0, np.float32) if scratch is None or is_half(scratch) else scratch

    @property
    def values(self) -> int:
        """How many are left."""
        return self._left.size

    def take(self, *shape: int) -> np.ndarray:
        values = int(np.prod(shape, dtype=np.int64))
        if values > self._left.size:
            return np.empty(shape, np.float32)
        taken, self._left = self._left[:values], self._left[values:]
        return taken.reshape(shape)

    def wide(self, values: np.ndarray) -> np.ndarray:
        """A float32 copy."""
        copy = self.take(*values.shape)
        np.copyto(copy, values)
        return copy


def convolving(op: Op) -> Op:
    """An op of a convolution, as `gpunet.devices.cpu.conv` has them, for halves too.

    `workspace` of "im2col" then has (K, length) values of weights or of a product, and those of the volumes of some
    images on both sides. columns and strip are float32.
    """
    names = names_of(op)

    @wraps(op)
    def run(*arrays: np.ndarray | None, **numbers: Any) -> None:
        if not any_half(arrays):
            op(*arrays, **numbers)
            return
        given = dict(zip(names, arrays, strict=True))
        room = Room(given["workspace"] if numbers.get("algorithm", "im2col") == "im2col" else None)
        if "w" in given:
            given["w"] = room.wide(given["w"])  # type: ignore[arg-type]
        else:
            given["workspace"] = room.take(given["dw"].size)  # type: ignore[union-attr]
        for part in _images(given, room):
            op(*part.values(), **numbers)
            if "dw" in given:
                numbers = {**numbers, "accumulate": 1}

    return run


def _images(given: dict[str, Any], room: Room) -> Iterator[dict[str, Any]]:
    """The arrays of some images at a time, volumes as float32; what is written of them is stored after each."""
    volumes = {name: given[name] for name in VOLUMES if name in given}
    own = volumes | {name: given[name] for name in ("switches",) if given.get(name) is not None}
    count = len(next(iter(volumes.values())))
    images = images_at_once(count, sum(volume[:1].size for volume in volumes.values()), room.values)
    wide = {name: room.take(images, *volume.shape[1:]) for name, volume in volumes.items()}
    for first in range(0, count, images):
        cut = slice(first, min(first + images, count))
        part = {name: array[cut] for name, array in own.items()}
        copies = {name: wide[name][: cut.stop - first] for name in volumes}
        for name in ("x", "dy"):
            if name in copies:
                np.copyto(copies[name], part[name])
        yield {**given, **part, **copies}
        for name in ("y", "dx"):
            if name in copies:
                store(copies[name], part[name])


def connecting(op: Op) -> Op:
    """An op of a fully connected layer for halves too: fc_forward, fc_backward_weights or fc_backward_input.

    workspace then has N * (inputs + K) values of volumes and, for weights that are added up, as many as they.
    """
    passes: dict[str, Op] = {
        "fc_forward": _forward,
        "fc_backward_weights": _backward_weights,
        "fc_backward_input": _backward_input,
    }
    in_halves = passes[op.__name__]

    @wraps(op)
    def run(*arrays: np.ndarray | None, **numbers: Any) -> None:
        if any_half(arrays):
            in_halves(op, *arrays, **numbers)
        else:
            op(*arrays, **numbers)

    return run


def _forward(
    op: Op, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    room = Room(workspace)
    inputs, scores = room.wide(x), y.reshape(len(y), -1)
    most = _at_a_time(len(w), w.shape[1])
    room_of_scores = room.take(len(y) * min(most, len(w)))
    for first in range(0, len(w), most):
        part = slice(first, min(first + most, len(w)))
        made = room_of_scores[: len(y) * (part.stop - first)].reshape(len(y), 1, 1, -1)
        op(inputs, as_wide(w[part]), None if b is None else b[part], made, None)
        store(made[:, 0, 0], scores[:, part])


def _backward_weights(
    op: Op, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, workspace: np.ndarray | None, *, accumulate: int = 0
) -> None:
    room = Room(workspace)
    inputs, above = room.wide(x), room.wide(dy)
    op(inputs, above, dw, room.take(dw.size) if accumulate else None, accumulate=accumulate)


def _backward_input(op: Op, dy: np.ndarray, w: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None) -> None:
    room = Room(workspace)
    above, gradients = room.wide(dy), dx.reshape(len(dx), -1)
    inputs = w.shape[1]
    most = _at_a_time(inputs, len(w))
    room_of_gradients = room.take(len(dx) * min(most, inputs))
    for first in range(0, inputs, most):
        part = slice(first, min(first + most, inputs))
        made = room_of_gradients[: len(dx) * (part.stop - first)].reshape(len(dx), 1, 1, -1)
        op(above, np.ascontiguousarray(as_wide(w[:, part])), made, None)
        store(made[:, 0, 0], gradients[:, part])


def _at_a_time(count: int, length: int) -> int:
    """How many rows or columns of weights are brought to float32 at a time, each so long: a few times PART values."""
    return max(1, min(count, 8 * PART // length))
