"""What goes between ranks for a layer whose outputs are divided among them; see gpunet.compile.split.

Rank r has some outputs of all images, (images, K_r), and all outputs of some images, (n_r, K). On the wire are rows of
images with the outputs of one rank; maps of a volume become such rows, and such rows maps, by the device's own ops.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from gpunet.compile.between import TO_IMAGES, TO_OUTPUTS
from gpunet.devices.device import Array, Call, Device
from gpunet.program.program import Op
from gpunet.program.shares import share, shares
from gpunet.ranks.communicator import Communicator
from gpunet.ranks.flat import added, flat


def bind_split(
    op: Op, arrays: Sequence[Array | None], numbers: Mapping[str, float | str], device: Device, all_of: Communicator
) -> list[Call]:
    """The calls of an op of such a layer; `numbers` has "images", of all ranks together."""
    given, made, scratch = arrays
    images = int(numbers["images"])
    if op.name == TO_IMAGES:
        return list(_to_images(given, made, scratch, device, all_of, images))
    if op.name == TO_OUTPUTS:
        return list(_to_outputs(given, made, scratch, device, all_of, images))
    return list(_sum_to_images(given, made, scratch, device, all_of, images, int(numbers["most"])))


def _to_images(
    every: Array, y: Array, arriving: Array, device: Device, all_of: Communicator, images: int
) -> Iterator[Call]:
    """Of what this rank made for all images, to each rank the rows of its own; of these all outputs side by side."""
    rows = _by_outputs(arriving, y, all_of.size)
    yield partial(all_of.exchange, device, _by_images(every, images, all_of.size), [flat(row) for row in rows])
    if y.size:
        yield from device.bind("concat_forward", [*rows, y], {})


def _to_outputs(
    dy: Array, every: Array, leaving: Array, device: Device, all_of: Communicator, images: int
) -> Iterator[Call]:
    """The other way round: to each rank its outputs of this rank's images."""
    rows = _by_outputs(leaving, dy, all_of.size)
    if dy.size:
        yield from device.bind("concat_backward", [dy, *rows], {})
    yield partial(all_of.exchange, device, [flat(row) for row in rows], _by_images(every, images, all_of.size))


def _sum_to_images(
    parts: Array, dx: Array, arriving: Array, device: Device, all_of: Communicator, images: int, most: int
) -> Iterator[Call]:
    """The sums over ranks, in their order, for this rank's images; `most` values of each rank's at a time."""
    n = all_of.size
    by_rank, own = _by_images(parts, images, n), flat(dx)
    largest = max(part.size for part in by_rank)
    for at in range(0, largest, most):
        sent = [flat(part, min(at, part.size), min(at + most, part.size)) for part in by_rank]
        piece = flat(own, min(at, own.size), min(at + most, own.size))
        rows = [flat(arriving, other * most, other * most + piece.size) for other in range(n)]
        yield partial(all_of.exchange, device, sent, rows)
        for number, row in enumerate(rows if piece.size else ()):
            yield from added(device, row, piece, number > 0)


def _by_images(every: Array, images: int, ranks: int) -> list[Array]:
    """Of rows of all images those of each rank's, as values."""
    each = every.size // max(1, images)
    return [flat(every, first * each, last * each) for first, last in (share(images, ranks, r) for r in range(ranks))]


def _by_outputs(room: Array, y: Array, ranks: int) -> list[Array]:
    """In the scratch, for each rank a volume of as many images as y has, with that rank's outputs."""
    found, n = [], y.shape[0]
    for first, last in shares(y.shape[-1], ranks):
        found.append(flat(room, n * first, n * last).reshape(n, 1, 1, last - first))
    return found
