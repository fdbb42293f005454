"""Ops between ranks, by name: the ranks' communicator runs them, and no device does."""

from gpunet.program.program import Op
from gpunet.program.shares import largest

GATHER, REDUCE, REDUCE_SHARE, GATHER_SHARES = "all_gather", "all_reduce", "reduce_share", "gather_shares"
"""What each knows of its images to all; the sum over all ranks to all; of that sum to each rank its share of values;
and such shares to all."""

JOIN_STATISTICS, JOIN_SUMS = "join_statistics", "join_sums"
"""Those of batch normalization over all ranks: mean and variance of all images from those of each rank's, and the sums
of backward over all, weighed as a rank's own share of the images."""

TO_IMAGES, TO_OUTPUTS, SUM_TO_IMAGES = "outputs_to_images", "images_to_outputs", "sum_to_images"
"""Of a layer whose outputs are divided: what each rank has for all images becomes all outputs for its own images, the
other way round, and sums over all ranks for its own images."""

AWAIT = "await_ranks"
"""That another op is done, which goes on beside what comes between: of the same tensors, with the same scratch, so that
all of it stays until then."""

BETWEEN_RANKS = (
    *(GATHER, REDUCE, REDUCE_SHARE, GATHER_SHARES, JOIN_STATISTICS, JOIN_SUMS),
    *(TO_IMAGES, TO_OUTPUTS, SUM_TO_IMAGES, AWAIT),
)


WHOLE_BYTES = 128 * 2**10
"""What may come from all ranks at once, in one message each, instead of being added up by parts in two rounds."""


def goes_whole(values: int, itemsize: int, ranks: int) -> bool:
    """Whether so many values to be added up go whole to all: what is few is a matter of waits, not of bytes."""
    return ranks * values * itemsize <= WHOLE_BYTES


def arriving(values: int, itemsize: int, ranks: int) -> int:
    """Room, in values, for what comes from all ranks of a sum of so many at a time."""
    return ranks * (values if goes_whole(values, itemsize, ranks) else largest(values, ranks))


def goes_beside(op: Op) -> bool:
    """Whether it goes on beside others until an AWAIT; what is needed at once does not."""
    return op.name in (REDUCE, REDUCE_SHARE, GATHER_SHARES) and not op.attributes.get("at_once")
