"""Half types on the CPU: an op computes in float32, a part at a time, and rounds once, where a part is stored.

The ops themselves know float32 and float64; what stands in front of one brings the halves among its arrays to float32
and its results back. What only moves values, such as a concatenation, needs none of this. Sums over positions bring
each block that they add up to the type of the sum (`as_wide`).
"""

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import numpy as np

from gpunet.program.chunks import images_at_once
from gpunet.values.types import is_half

__all__: tuple[str, ...] = ()  # no ops here

Op = Callable[..., None]

PART = 2**18
"""Values of a part: enough for all workers, few enough for their caches."""


def by_position(*outputs: str) -> Callable[[Op], Op]:
    """For ops whose volumes are all of one shape and treated position by position; `outputs`: names of what is written.

    Arrays of other shapes are given whole.
    """

    def parts(arrays: dict[str, Any]) -> Sequence[tuple[slice, dict[str, Any]]]:
        shape = next(array.shape for array in arrays.values() if array is not None and is_half(array))
        rows = {
            name: array.reshape(-1, shape[-1])
            for name, array in arrays.items()
            if array is not None and array.shape == shape
        }
        count = len(next(iter(rows.values())))
        step = max(1, PART // shape[-1])
        cuts = [slice(first, min(first + step, count)) for first in range(0, count, step)]
        return [(cut, {name: row[cut].reshape(1, 1, -1, shape[-1]) for name, row in rows.items()}) for cut in cuts]

    return _in_parts(outputs, parts)


def by_image(*outputs: str, whole: Collection[str] = ()) -> Callable[[Op], Op]:
    """For ops that treat each image by itself; `outputs`: names of what is written, `whole`: of what is no image's.

    One that counts images from `first_image` is told where a part begins.
    """

    def parts(arrays: dict[str, Any]) -> Sequence[tuple[slice, dict[str, Any]]]:
        own = {n: a for n, a in arrays.items() if a is not None and a.ndim > 1 and n not in whole}
        count = max(map(len, own.values()))
        step = images_at_once(count, max(array[:1].size for array in own.values()), PART)
        cuts = [slice(first, min(first + step, count)) for first in range(0, count, step)]
        return [(cut, {name: array[cut] for name, array in own.items()}) for cut in cuts]

    return _in_parts(outputs, parts)


def as_wide(values: np.ndarray) -> np.ndarray:
    """The values as float32 where they are halves, else as they are."""
    return values.astype(np.float32) if is_half(values) else values


def any_half(arrays: Sequence[np.ndarray | None]) -> bool:
    """Whether an op was given halves."""
    return any(array is not None and is_half(array) for array in arrays)


def store(values: np.ndarray, out: np.ndarray) -> None:
    """out = values, rounded to its type; what is too large for it becomes infinite."""
    with np.errstate(all="ignore"):
        np.copyto(out, values, casting="unsafe")


def names_of(op: Op) -> list[str]:
    """What the arrays of an op are called, in order."""
    named = Parameter.POSITIONAL_OR_KEYWORD
    return [parameter.name for parameter in signature(op).parameters.values() if parameter.kind is named]


def _in_parts(
    outputs: Collection[str], parts: Callable[[dict[str, Any]], Sequence[tuple[slice, dict[str, Any]]]]
) -> Callable[[Op], Op]:
    """`parts` says which cuts there are, and of each what arrays of a part it takes in place of the whole ones."""

    def decorate(op: Op) -> Op:
        names = names_of(op)
        counts = "first_image" in signature(op).parameters

        @wraps(op)
        def run(*arrays: np.ndarray | None, **numbers: Any) -> None:
            if not any_half(arrays):
                op(*arrays, **numbers)
                return
            given = dict(zip(names, arrays, strict=True))
            for cut, part in parts(given):
                own = {**numbers, "first_image": numbers["first_image"] + cut.start} if counts else numbers
                wide = {**given, **part}
                made = {name: np.empty(wide[name].shape, np.float32) for name in outputs if is_half(wide[name])}
                op(*(made.get(n, a if a is None else as_wide(a)) for n, a in wide.items()), **own)
                for name, values in made.items():
                    store(values, wide[name])

        return run

    return decorate
