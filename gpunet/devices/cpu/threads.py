"""Work shared out over the cores: threads of our own, as BLAS and NumPy release the interpreter while they compute.

BLAS's own threads are kept at one meanwhile: they wait for each other by spinning within every single product, which
costs more than it brings at the sizes of a chunk, and they leave the copying between products to one core.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from math import prod
from queue import SimpleQueue
from threading import Lock, RLock, Thread, local
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")

BLOCK = 131072
"""Values of an elementwise operation done at a time: few enough for a cache, and so many that a call to NumPy takes
much longer than a thread waits before and after it, as only one at a time is in Python."""


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@cache
def thread_count() -> int:
    """How many threads compute: as many as BLAS was given (OMP_NUM_THREADS counts), else one a core."""
    given = [library.num_threads for library in _blas().lib_controllers]
    return max(given, default=os.cpu_count() or 1)


class _Helper:
    """A thread beside the caller's own, which waits for work.

    An executor would do, but takes longer to begin and to end than a small operation takes.
    """

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._work: SimpleQueue[Callable[[int], object]] = SimpleQueue()
        self._busy = Lock()
        self._error: BaseException | None = None
        Thread(target=self._serve, name=f"gpunet-cpu-{worker}", daemon=True).start()

    def begin(self, work: Callable[[int], object]) -> None:
        """Call work(worker) there, and return at once."""
        self._busy.acquire()
        self._error = None
        self._work.put(work)

    def end(self) -> BaseException | None:
        """Wait until it is done; what it raised. May be asked again where a signal broke off the waiting."""
        with self._busy:
            return self._error

    def _serve(self) -> None:
        while True:
            work = self._work.get()
            try:
                work(self._worker)
            except BaseException as error:  # the caller raises it
                self._error = error
            del work  # it holds arrays
            self._busy.release()


@cache
def _helpers() -> list[_Helper]:
    """The threads beside the caller's own."""
    return [_Helper(worker) for worker in range(1, thread_count())]


@cache
def _turn() -> "RLock":
    """Held by whoever shares out: models in several threads take turns, as BLAS has one number of threads for all."""
    return RLock()


class _Single:
    """While it is entered, once or several times, by any threads, BLAS has one thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._entered = 0
        self._limit: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                thread_count()  # reads what BLAS was given, so it must have read it by now
                self._limit = _blas().limit(limits=1)
            self._entered += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered and self._limit is not None:
                self._limit.__exit__(None, None, None)


@cache
def single() -> _Single:
    """To be entered around a run of many operations, so that BLAS need not be told at each of them."""
    return _Single()


_spares = local()
"""What each thread keeps for `spare`."""

if hasattr(os, "register_at_fork"):  # neither threads nor what they hold survive a fork
    for made in (_helpers, _turn, single):
        os.register_at_fork(after_in_child=made.cache_clear)


def share(items: Iterable[Item], do: Callable[[Item, int], object], workers: int | None = None) -> None:
    """Call do(item, worker) once for every item, several at a time.

    What is written must depend on the item alone, not on the worker, which only says whose scratch to use:
    0 <= worker < workers (None: thread_count()). Returns when all is done; raises what `do` raised.
    Where items go through a batch, a worker has much the same images in op after op, so they wait in its core's cache:
    a core is two to four times as slow with what another one wrote.
    """
    parts = [deque(part) for part in in_parts(list(items), min(workers or thread_count(), thread_count()))]

    def run(worker: int) -> None:
        with np.errstate(all="ignore"):  # infinity and NaN are values; BLAS even speaks of lanes that it does not use
            for item in _taken(parts, worker):
                do(item, worker)

    with _turn(), single():
        others = _helpers()[: len(parts) - 1] if len(parts) > 1 else []
        for helper in others:
            helper.begin(run)
        try:
            run(0)
        finally:
            errors = _ended(others)
        for error in filter(None, errors):
            raise error


def in_parts(items: Sequence[Item], workers: int) -> list[Sequence[Item]]:
    """The items in order, cut into a part for each worker, of much the same length and none empty."""
    count = min(workers, len(items))
    return [items[len(items) * n // count : len(items) * (n + 1) // count] for n in range(count)]


def _taken(parts: Sequence[deque[Item]], worker: int) -> Iterator[Item]:
    """The items of a worker's own part in order, then what the others have left, from behind."""
    for number, part in enumerate([*parts[worker:], *parts[:worker]]):
        take = part.pop if number else part.popleft
        while True:
            try:
                item = take()
            except IndexError:  # empty; whoever asks first may find it so by then
                break
            yield item


def _ended(helpers: Sequence[_Helper]) -> list[BaseException | None]:
    """What each of them raised, once none writes any more, Ctrl-C or not: what comes next may have other uses for the
    bytes."""
    try:
        return [helper.end() for helper in helpers]
    except BaseException:
        for helper in helpers:
            helper.end()
        raise


def spare(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Room for a block of values, of this thread's own: what this name had before is gone.

    It is kept, as the system would take memory that is given back, and give it again page by page.
    """
    kept: dict[str, np.ndarray] = _spares.__dict__
    nbytes = prod(shape) * dtype.itemsize
    if name not in kept or kept[name].size < nbytes:
        kept[name] = np.empty(nbytes, np.uint8)
    return kept[name][:nbytes].view(dtype).reshape(shape)


def share_blocks(size: int, do: Callable[[slice, int], object], block: int = BLOCK) -> None:
    """`share` the range 0..size in slices of `block`."""
    share((slice(start, min(start + block, size)) for start in range(0, size, block)), do)


def share_values(do: Callable[..., object], *arrays: np.ndarray) -> None:
    """Call do(a part of each) for arrays of one shape, which are treated value by value, about BLOCK values at a time.

    Where one lies among the maps of a wider volume, the parts are rows of one position each.
    """
    whole = all(array.flags.c_contiguous for array in arrays)
    rows = [array.reshape(-1) if whole else array.reshape(-1, array.shape[-1]) for array in arrays]
    block = BLOCK if whole else max(1, BLOCK // arrays[0].shape[-1])
    share_blocks(len(rows[0]), lambda some, worker: do(*(one[some] for one in rows)), block)


def split(size: int) -> list[slice]:
    """The range 0..size as one slice for each worker, cut at multiples of 16 so that BLAS works in whole vectors."""
    step = max(1, -(-size // (16 * thread_count()))) * 16
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
