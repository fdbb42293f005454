"""Batches made ahead in threads."""

import random
import threading
import time

import numpy as np
import pytest

from gpunet.data import Split, batches, loader
from gpunet.errors import DataError


class Slow:
    """A split whose images are their indices; it counts what is asked for and takes its time, out of order."""

    resizes = False
    shape = (1, 1, 1)

    def __init__(self, n: int, bad: int = -1) -> None:
        self.labels = np.arange(n, dtype=np.int32)
        self.bad = bad
        self.taken: list[int] = []
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self.lock:
            self.taken += indices.tolist()
        time.sleep(random.random() * 0.004)
        if self.bad in indices:
            raise DataError(f"picture {self.bad} is broken")
        return indices.astype(np.float32).reshape(-1, 1, 1, 1), self.labels[indices]


@pytest.mark.parametrize(("workers", "ahead", "batch"), [(0, 2, 7), (1, 1, 7), (2, 3, 1), (5, 2, 13), (3, 1, 64)])
def test_batches_come_in_the_order_asked_for_whatever_the_threads_do(workers: int, ahead: int, batch: int) -> None:
    split = Slow(50)
    order = list(batches(50, batch, seed=1, epoch=2))
    found = list(loader(split, iter(order), workers, ahead))
    assert [labels.tolist() for _, labels in found] == [indices.tolist() for indices in order]
    assert all((images[:, 0, 0, 0] == labels).all() for images, labels in found)
    assert sorted(split.taken) == list(range(50))


def test_no_more_batches_are_begun_than_are_asked_for_ahead() -> None:
    split = Slow(1000)
    order = (np.arange(first, first + 10) for first in range(0, 1000, 10))
    source = loader(split, order, workers=4, ahead=2)
    for done in range(1, 6):
        next(source)
        time.sleep(0.02)
        assert len(split.taken) <= (done + 2) * 10
    source.close()
    taken = len(split.taken)
    time.sleep(0.02)
    assert len(split.taken) == taken and not [t for t in threading.enumerate() if t.name.startswith("gpunet-data")]


def test_an_error_arrives_where_its_batch_would_have() -> None:
    source = loader(Slow(40, bad=25), (np.arange(first, first + 10) for first in range(0, 40, 10)), 3, 2)
    assert next(source)[1][0] == 0 and next(source)[1][0] == 10
    with pytest.raises(DataError, match="picture 25"):
        next(source)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpunet-data")]


def test_ctrl_c_leaves_no_thread_behind() -> None:
    def order():  # type: ignore[no-untyped-def]
        yield np.arange(10)
        yield np.arange(10)
        raise KeyboardInterrupt

    source = loader(Slow(40), order(), 3, 1)
    next(source)
    with pytest.raises(KeyboardInterrupt):
        next(source)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpunet-data")]


def test_images_in_memory_need_no_threads(rng: np.random.Generator) -> None:
    split = Split(rng.integers(0, 256, (9, 2, 2, 1), dtype=np.uint8), np.arange(9))
    source = loader(split, [np.array([3, 1])], workers=4)
    np.testing.assert_array_equal(next(source)[0], split.images[[3, 1]])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpunet-data")]
