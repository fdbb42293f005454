"""The ops between ranks, bound to their arrays: what a device's own ops are for one rank, these are for all.

A sum is made so: each rank owns a part of the values, gets what the others have of it, adds that up in the order of
ranks, and gives the sum to all. So every value has one order of its sum, whatever comes first, and as much is sent as
by a ring: 2(n - 1)/n of the values, by each of n ranks. Few values go whole to all, who add them up in the same order.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from gpunet.compile.between import (
    AWAIT,
    GATHER,
    GATHER_SHARES,
    JOIN_STATISTICS,
    JOIN_SUMS,
    REDUCE_SHARE,
    SUM_TO_IMAGES,
    TO_IMAGES,
    TO_OUTPUTS,
    goes_whole,
)
from gpunet.devices.device import Array, Call, Device
from gpunet.program.program import Op
from gpunet.program.shares import share, shares
from gpunet.ranks.communicator import Communicator
from gpunet.ranks.flat import added, flat, summed
from gpunet.ranks.split import bind_split


def bind(
    op: Op, arrays: Sequence[Array | None], numbers: Mapping[str, float | str], device: Device, all_of: Communicator
) -> list[Call]:
    """The calls of an op between ranks; `numbers` has "images", how many the step has of all ranks together."""
    if op.name == AWAIT:
        return []
    if op.name == GATHER:
        half = len(arrays) // 2
        pairs = zip(arrays[:half], arrays[half:], strict=True)
        return [partial(_gather, device, all_of, own, every) for own, every in pairs]
    if op.name in (TO_IMAGES, TO_OUTPUTS, SUM_TO_IMAGES):
        return bind_split(op, arrays, numbers, device, all_of)
    if op.name == GATHER_SHARES:
        return [partial(_give_shares, device, all_of, flat(arrays[0]))]
    if op.name == REDUCE_SHARE:
        scratch = arrays[2 * len(op.inputs) :]
        return list(_reduced_share(flat(arrays[0]), scratch[0], device, all_of, int(numbers["images"])))
    if op.name in (JOIN_STATISTICS, JOIN_SUMS):
        own, joined = arrays[:2], arrays[2:4]
        return [partial(_join, op.name, device, all_of, own, joined, arrays[4], numbers)]
    gradients, scratch = arrays[len(op.inputs) : 2 * len(op.inputs)], arrays[2 * len(op.inputs) :]
    if numbers["reduce"] == "fast":
        return [partial(all_of.total, device, flat(array)) for array in gradients]
    return list(_reduced(gradients, scratch, device, all_of, int(numbers["most"]), int(numbers["images"])))


def _gather(device: Device, all_of: Communicator, own: Array, every: Array) -> None:
    """Rows of all ranks, in the order of images."""
    rows = [share(every.shape[0], all_of.size, rank) for rank in range(all_of.size)]
    each = every.size // max(1, every.shape[0])
    received = [flat(every, first * each, last * each) for first, last in rows]
    all_of.exchange(device, [flat(own)] * all_of.size, received)


def _reduced(
    gradients: Sequence[Array],
    scratch: Sequence[Array | None],
    device: Device,
    all_of: Communicator,
    most: int,
    images: int,
) -> Iterator[Call]:
    """The calls that put sums over ranks in the place of gradients, `most` values at a time.

    Few values go whole to all, and each adds up all of them: that is one wait instead of two. Ranks without images
    have nothing to add.
    """
    arriving, packed = scratch
    add = partial(added, device)
    if packed is not None:
        yield from _packing(gradients, packed, add)
    vectors = _pieces(gradients if packed is None else [packed], most)
    if goes_whole(most, gradients[0].dtype.itemsize, all_of.size):
        yield from _whole(vectors, arriving, device, all_of, images)
    else:
        yield from _by_parts(vectors, arriving, device, all_of, images)
    if packed is not None:
        yield from _packing(gradients, packed, lambda array, place, more: add(place, array, more))


def _whole(
    vectors: Iterable[Array], arriving: Array, device: Device, all_of: Communicator, images: int
) -> Iterator[Call]:
    """Each rank gives all that it has to all, and adds up all."""
    for vector in vectors:
        rows = [flat(arriving, rank * vector.size, (rank + 1) * vector.size) for rank in range(all_of.size)]
        if isinstance(vector, np.ndarray) and all_of.size == 2:  # what two add up needs no copy of what is there
            rows[all_of.rank] = vector
        yield all_of.bound(device, [vector] * all_of.size, rows)
        yield from summed(device, rows[: min(all_of.size, images)], vector)


def _by_parts(
    vectors: Iterable[Array], arriving: Array, device: Device, all_of: Communicator, images: int
) -> Iterator[Call]:
    """Each rank adds up its part of the values, and gives the sum to all."""
    for vector in vectors:
        cuts = [share(vector.size, all_of.size, rank) for rank in range(all_of.size)]
        parts = [flat(vector, first, last) for first, last in cuts]
        own, room = parts[all_of.rank].size, -(-vector.size // all_of.size)
        rows = [flat(arriving, rank * room, rank * room + own) for rank in range(all_of.size)]
        yield all_of.bound(device, parts, rows)
        if own:
            for row in rows[1 : min(all_of.size, images)]:
                yield from added(device, row, rows[0], True)
        yield all_of.bound(device, [rows[0]] * all_of.size, parts)


def _reduced_share(
    gradient: Array, arriving: Array, device: Device, all_of: Communicator, images: int
) -> Iterator[Call]:
    """The calls that put sums over ranks in the place of this rank's share of a gradient.

    As many values at a time as have room; all ranks go through their shares side by side.
    """
    n, rank = all_of.size, all_of.rank
    cuts = [share(gradient.size, n, other) for other in range(n)]
    room = arriving.size // n
    for at in range(0, -(-gradient.size // n), room):
        parts = [flat(gradient, min(first + at, last), min(first + at + room, last)) for first, last in cuts]
        own = parts[rank].size
        rows = [flat(arriving, other * room, other * room + own) for other in range(n)]
        yield all_of.bound(device, parts, rows)
        if own:
            for number, row in enumerate(rows[: min(n, images)]):
                yield from added(device, row, parts[rank], number > 0)


def _give_shares(device: Device, all_of: Communicator, values: Array) -> None:
    """Let all ranks have all shares of the values, each of which one rank has."""
    cuts = [share(values.size, all_of.size, rank) for rank in range(all_of.size)]
    parts = [flat(values, first, last) for first, last in cuts]
    all_of.exchange(device, [parts[all_of.rank]] * all_of.size, parts)


def _join(
    name: str,
    device: Device,
    all_of: Communicator,
    own: Sequence[Array],
    joined: Sequence[Array],
    of_all: Array,
    numbers: Mapping[str, float | str],
) -> None:
    """Statistics of all images from those of each rank's, in the order of ranks; on the host, as they are small."""
    if numbers.get("training") == 0:  # they are the running ones, in all ranks
        return
    images, D = int(numbers["images"]), own[0].size
    found = []
    for number, array in enumerate(own):
        rows = [
            flat(of_all, (number * all_of.size + rank) * D, (number * all_of.size + rank + 1) * D)
            for rank in range(all_of.size)
        ]
        all_of.exchange(device, [flat(array)] * all_of.size, rows)
        found.append([device.read(row).astype(np.float64) for row in rows[: min(all_of.size, images)]])
    weights = [(last - first) / images for first, last in shares(images, all_of.size)]
    if name == JOIN_SUMS:
        results = [sum(rows) * float(numbers["portion"]) for rows in found]
    else:
        means, variances = found
        mean = sum(weight * one for weight, one in zip(weights, means, strict=True))
        within = sum(weight * one for weight, one in zip(weights, variances, strict=True))
        between = sum(weight * (one - mean) ** 2 for weight, one in zip(weights, means, strict=True))
        results = [mean, within + between]
    for array, values in zip(joined, results, strict=True):
        device.write(array, np.asarray(values).astype(array.dtype))


def _packing(
    gradients: Sequence[Array], packed: Array, move: Callable[[Array, Array, bool], list[Call]]
) -> Iterator[Call]:
    """Move each gradient to, or from, its place in the packed vector."""
    first = 0
    for array in gradients:
        yield from move(flat(array), flat(packed, first, first + array.size), False)
        first += array.size


def _pieces(arrays: Sequence[Array], most: int) -> Iterator[Array]:
    for array in arrays:
        for first in range(0, array.size, most):
            yield flat(array, first, min(first + most, array.size))
