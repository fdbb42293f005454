"""What is known before any image comes: weights laid out anew, and the arithmetic of shapes that exporters leave in."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from gpunet.formats.onnx.file import Node
from gpunet.formats.onnx.tensors import DTYPES

MOST_COMPUTED = 1 << 22
"""Numbers that are computed at most; what only looks at others in another order takes no memory."""

MOST_FILLED = 1 << 28
"""Numbers of a single value, which takes no memory until it is a net's weights."""

Arrays = Sequence[np.ndarray]


class TooLarge(ValueError):
    """A constant of more numbers than are computed."""


def folded(node: Node, given: Arrays, opset: int) -> list[np.ndarray] | None:
    """The outputs of a node over constants; None where it is not computed here.

    Raises ValueError, IndexError or TypeError where it cannot be computed.
    """
    if node.op in VIEWS:
        return VIEWS[node.op](node, given)
    if node.op in COMPUTED:
        sizes = [values.size for values in given]
        if (
            prod(np.broadcast_shapes(*(v.shape for v in given))) > MOST_COMPUTED
            if node.op in BROADCAST
            else (sum(sizes) > MOST_COMPUTED)
        ):
            raise TooLarge(f"it would be computed of {max(sizes):,} numbers")
        return COMPUTED[node.op](node, given)
    return None


def axes_of(node: Node, given: Arrays, place: int = 1) -> tuple[int, ...] | None:
    """The axes that a node is about, in an attribute or, in later files, an input; None where it does not say."""
    if len(given) > place and given[place] is not None:
        return tuple(int(axis) for axis in np.ravel(given[place]))
    return node.integers("axes")


def constant_of(node: Node) -> np.ndarray | None:
    """The value of a Constant."""
    for name, dtype in (("value", None), ("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8")):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype)
    found = node.attributes.get("value_ints")
    return None if found is None else np.asarray(found, np.int64)


def shape_of(node: Node, dims: Sequence[int]) -> np.ndarray:
    """What Shape gives of a value of these sizes."""
    return np.array(dims, np.int64)[slice(node.integer("start", 0), node.attributes.get("end"))]


def reshaped(dims: Sequence[int], wanted: Sequence[int], zero: bool = False) -> tuple[int, ...]:
    """The sizes after a Reshape: 0 keeps one, unless `zero`; -1 is what is left."""
    made = [dims[place] if size == 0 and not zero else int(size) for place, size in enumerate(wanted)]
    if -1 in made:
        known = prod(size for size in made if size != -1)
        made[made.index(-1)] = prod(dims) // known if known else 0
    if prod(made) != prod(dims) or any(size < 0 for size in made):
        raise ValueError(f"{list(wanted)} is no shape for {list(dims)}")
    return tuple(made)


def squeezed(dims: Sequence[int], axes: Sequence[int] | None) -> tuple[int, ...]:
    """The sizes without those axes, which must be 1; None: without all that are 1."""
    if axes is None:
        return tuple(size for size in dims if size != 1)
    away = {axis % len(dims) for axis in axes}
    if any(dims[axis] != 1 for axis in away):
        raise ValueError(f"the axes {list(axes)} of {list(dims)} are not all 1")
    return tuple(size for axis, size in enumerate(dims) if axis not in away)


def unsqueezed(dims: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """The sizes with axes of 1 at these places."""
    count = len(dims) + len(axes)
    there, rest = {axis % count for axis in axes}, iter(dims)
    if len(there) != len(axes):
        raise ValueError(f"the axes {list(axes)} name one twice")
    return tuple(1 if axis in there else next(rest) for axis in range(count))


def slices_of(node: Node, given: Arrays, dims: Sequence[int]) -> dict[int, slice]:
    """The part of each axis that Slice takes, by axis."""
    if "starts" in node.attributes:
        starts, ends, axes, steps = node.integers("starts"), node.integers("ends"), node.integers("axes"), None
    else:
        said = [tuple(int(n) for n in np.ravel(one)) for one in given[1:]]
        starts, ends, axes, steps = [*said, None, None][:4]
    assert starts is not None and ends is not None
    parts = {}
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[place] if axes else place) % len(dims)
        parts[axis] = slice(*slice(start, end, steps[place] if steps else 1).indices(dims[axis]))
    return parts


# -- in another order


def _filled(node: Node, given: Arrays) -> list[np.ndarray]:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)[:1]
    shape = tuple(int(size) for size in given[0])
    if prod(shape) > MOST_FILLED:
        raise TooLarge(f"it would be {prod(shape):,} numbers")
    return [np.broadcast_to(value[0], shape)]


def _transposed(node: Node, given: Arrays) -> list[np.ndarray]:
    return [given[0].transpose(node.integers("perm"))]


def _reshape(node: Node, given: Arrays) -> list[np.ndarray]:
    wanted = node.integers("shape") if len(given) < 2 else given[1].tolist()
    assert wanted is not None
    return [given[0].reshape(reshaped(given[0].shape, wanted, bool(node.integer("allowzero", 0))))]


def _flattened(node: Node, given: Arrays) -> list[np.ndarray]:
    return [given[0].reshape(prod(given[0].shape[: node.integer("axis", 1)]), -1)]


def _cast(node: Node, given: Arrays) -> list[np.ndarray]:
    dtype = DTYPES.get(node.integer("to", 1), "<f4").replace("bf2", "<f4")
    if given[0].dtype == dtype:
        return [given[0]]
    if given[0].size > MOST_COMPUTED:
        raise TooLarge(f"it would be {given[0].size:,} numbers of another type")
    return [given[0].astype(dtype)]


VIEWS: dict[str, Callable[[Node, Arrays], list[np.ndarray]]] = {
    "Cast": _cast,
    "ConstantOfShape": _filled,
    "Dropout": lambda node, given: [given[0]],
    "Flatten": _flattened,
    "Identity": lambda node, given: [given[0]],
    "Reshape": _reshape,
    "Shape": lambda node, given: [shape_of(node, given[0].shape)],
    "Squeeze": lambda node, given: [given[0].reshape(squeezed(given[0].shape, axes_of(node, given)))],
    "Transpose": _transposed,
    "Unsqueeze": lambda node, given: [given[0].reshape(unsqueezed(given[0].shape, axes_of(node, given) or ()))],
}
"""What takes no memory, or little."""


# -- computed


def _divided(node: Node, given: Arrays) -> list[np.ndarray]:
    a, b = given
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return [(np.sign(a) * np.sign(b) * (np.abs(a) // np.maximum(np.abs(b), 1))).astype(a.dtype)]  # towards 0
    return [a / b]


def _sliced(node: Node, given: Arrays) -> list[np.ndarray]:
    index = [slice(None)] * given[0].ndim
    for axis, part in slices_of(node, given, given[0].shape).items():
        end = None if part.step < 0 and part.stop < 0 else part.stop
        index[axis] = slice(part.start, end, part.step)
    return [given[0][tuple(index)]]


def _gathered(node: Node, given: Arrays) -> list[np.ndarray]:
    if given[1].size * given[0].size > MOST_COMPUTED * 8:
        raise TooLarge("it would gather too many numbers")
    return [np.take(given[0], given[1].astype(np.int64), axis=node.integer("axis", 0))]


def _expanded(node: Node, given: Arrays) -> list[np.ndarray]:
    shape = np.broadcast_shapes(given[0].shape, tuple(int(size) for size in given[1]))
    if prod(shape) > MOST_FILLED:
        raise TooLarge(f"it would be {prod(shape):,} numbers")
    return [np.broadcast_to(given[0], shape)]


def _of_two(function: Callable[..., np.ndarray]) -> Callable[[Node, Arrays], list[np.ndarray]]:
    return lambda node, given: [np.asarray(function(*given))]


BROADCAST: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Pow": np.power,
    "Equal": np.equal,
    "Greater": np.greater,
    "Less": np.less,
    "Where": np.where,
}

COMPUTED: dict[str, Callable[[Node, Arrays], list[np.ndarray]]] = {
    **{op: _of_two(function) for op, function in BROADCAST.items()},
    "Ceil": _of_two(np.ceil),
    "Concat": lambda node, given: [np.concatenate([np.atleast_1d(v) for v in given], node.integer("axis", 0))],
    "Div": _divided,
    "Exp": _of_two(np.exp),
    "Expand": _expanded,
    "Floor": _of_two(np.floor),
    "Gather": _gathered,
    "Neg": _of_two(np.negative),
    "Not": _of_two(np.logical_not),
    "Reciprocal": _of_two(np.reciprocal),
    "Slice": _sliced,
    "Sqrt": _of_two(np.sqrt),
}
