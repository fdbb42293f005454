"""Batches made ahead of who asks for them: in threads, as Pillow lets go of the interpreter while it decodes.

What comes, and in which order, depends on the order asked for alone, never on the threads. No more than `ahead` batches
wait at any time. The error of a worker comes where its batch would have. Whatever ends the iteration, Ctrl-C too, waits
for the few pictures under way and leaves no thread behind.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from gpunet.data.dataset import AnySplit, in_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(8, os.cpu_count() or 1)
PIECE = 4
"""Images that a worker reads at a time: few, so that all workers are at the batch that is wanted next."""


def loader(
    split: AnySplit, order: Iterable[np.ndarray], workers: int = WORKERS, ahead: int = 2
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """`split.take(indices)` for each array of indices in `order`, up to `ahead` batches before they are asked for.

    Without workers, and for images that are in memory already, nothing is done before.
    Raises what `split.take` raises, when the batch is asked for.
    """
    if workers < 1 or ahead < 1 or in_memory(split):
        for indices in order:
            yield split.take(indices)
        return
    for parts in in_order(split.take, map(_pieces, order), workers, ahead):
        images, labels = zip(*parts, strict=True)
        yield np.concatenate(images), np.concatenate(labels)


def in_order(
    function: Callable[[Item], Result], groups: Iterable[Sequence[Item]], workers: int, ahead: int
) -> Generator[list[Result], None, None]:
    """The results of `function` for the items of each group, in order; up to `ahead` groups are worked on before."""
    pool = ThreadPoolExecutor(workers, "gpunet-data")
    waiting: deque[list[Future[Result]]] = deque()
    try:
        for group in groups:
            waiting.append([pool.submit(function, item) for item in group])
            if len(waiting) > ahead:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _pieces(indices: np.ndarray) -> list[np.ndarray]:
    return [indices[first : first + PIECE] for first in range(0, max(1, len(indices)), PIECE)]
