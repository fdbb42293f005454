"""How kernels move memory: sectors that a warp's accesses touch, and wavefronts of those to shared memory.

Counted by the emulator, see tests/emulator/count.h, in random calls of every op at sizes that suit a GPU, and in
those of products.py. A request is what the threads of a warp access at one place of the kernel, each for the same
time there. The hardware moves global memory in sectors of 32 bytes; the fewest that hold what was asked for are the
ideal. Shared memory has 32 banks of 4 bytes; a request of 4 bytes a thread, or each half or quarter of one of 8 or
16, takes a wavefront for each different word of its worst bank. Copies ahead are requests of both, and of those that
read matrices each matrix is such a quarter: eight lanes say where its rows of 16 bytes begin.
"""

import ctypes
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.device import CudaDevice
from tests.emulator.builder import COUNTING
from tests.emulator.driver import EmulatorDriver
from tests.half_calls import in_halves
from tests.op_calls import Call, Draw

WARP = 32
BLOCK_THREADS = 1024
"""By which count.h tells blocks apart."""

SECTOR = 32
BANKS = 32
WORD = 4

FEW = 16
"""Requests: of fewer, edges would say more than the kernel."""

SEEDS = (0, 3)
"""Of the random calls of an op; of a kernel's launches the best counts, as no size suits all. One has 3 maps."""

ACCESS = np.dtype(
    {
        "names": ["place", "site", "thread", "waits", "bytes", "write", "shared"],
        "formats": ["u8", "u8", "u4", "u4", "u2", "u1", "u1"],
        "itemsize": 32,
    }
)
"""Access in count.h."""


@dataclass(frozen=True)
class Traffic:
    """Of the requests of one kind: how many there were, what they took and the least that they could have taken."""

    requests: int = 0
    taken: int = 0
    least: int = 0

    @property
    def ratio(self) -> float:
        return self.taken / self.least if self.least else 1.0


KINDS = ("reads", "writes", "wavefronts")


def traffic_of(accesses: np.ndarray) -> dict[str, Traffic]:
    """What a launch took, by kind: sectors read and written, wavefronts of shared memory."""
    shared, write = accesses["shared"] == 1, accesses["write"] == 1
    return {
        "reads": _sectors(_by_request(accesses[~shared & ~write])),
        "writes": _sectors(_by_request(accesses[~shared & write])),
        "wavefronts": _wavefronts(_by_request(accesses[shared])),
    }


def _by_request(accesses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The accesses, those of a request together, in the order of the threads; and the number of each one's request.

    Threads of a warp meet again at each wait for others: between two of them, the first time of each at a place of the
    kernel belongs together, the second, and so on.
    """
    accesses, begun = _grouped(accesses, accesses["thread"], accesses["waits"], accesses["site"])
    nth = np.arange(len(accesses)) - np.flatnonzero(begun)[np.cumsum(begun) - 1]
    warp = accesses["thread"] // WARP
    order = np.lexsort((accesses["thread"], nth, accesses["site"], accesses["waits"], warp))
    keys = [key[order] for key in (warp, accesses["waits"], accesses["site"], nth)]
    return accesses[order], np.cumsum(_changes(*keys)) - 1


def _grouped(accesses: np.ndarray, *keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The accesses, equal keys together, and where others begin; within a group as they were."""
    order = np.lexsort(keys[::-1])
    return accesses[order], _changes(*(key[order] for key in keys))


def _changes(*keys: np.ndarray) -> np.ndarray:
    """Where any of the keys is not that before, the first place included."""
    changes = np.ones(len(keys[0]), bool)
    changes[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return changes


def _sectors(found: tuple[np.ndarray, np.ndarray]) -> Traffic:
    accesses, request = found
    if not len(accesses):
        return Traffic()
    count = int(request[-1]) + 1
    parts = [(accesses["place"] + offset, request) for offset in range(0, 16, WORD)]
    held = [accesses["bytes"] > offset for offset in range(0, 16, WORD)]
    places = np.concatenate([place[there] for (place, _), there in zip(parts, held, strict=True)]).astype(np.uint64)
    requests = np.concatenate([number[there] for (_, number), there in zip(parts, held, strict=True)])
    sizes = np.concatenate([np.minimum(accesses["bytes"][there] - 4 * i, 4) for i, there in enumerate(held)])
    touched = len(np.unique(np.stack([requests.astype(np.uint64), places // SECTOR]), axis=1).T)
    distinct, at = np.unique(np.stack([requests.astype(np.uint64), places]), axis=1, return_index=True)
    asked = np.bincount(distinct[0].astype(np.int64), sizes[at], count)
    return Traffic(count, touched, int(np.ceil(asked / SECTOR).sum()))


def _wavefronts(found: tuple[np.ndarray, np.ndarray]) -> Traffic:
    accesses, request = found
    if not len(accesses):
        return Traffic()
    width = np.maximum(accesses["bytes"], WORD)
    lane = accesses["thread"] % WARP
    part = request * 8 + lane * width // (WARP * WORD)  # all of a request, or its half or quarter
    words = [(accesses["place"] + offset) // WORD for offset in range(0, 16, WORD)]
    held = [width > offset for offset in range(0, 16, WORD)]
    word = np.concatenate([one[there] for one, there in zip(words, held, strict=True)]).astype(np.int64)
    of = np.concatenate([part[there] for there in held])
    of, word = np.unique(np.stack([of, word]), axis=1)
    banks, different = np.unique(np.stack([of, word % BANKS]), axis=1, return_counts=True)
    parts, first = np.unique(banks[0], return_index=True)
    return Traffic(int(request[-1]) + 1, int(np.maximum.reduceat(different, first).sum()), len(parts))


class CountingDriver(EmulatorDriver):
    """Counts what its launches move. `counted`: (kernel, traffic by kind) of each."""

    def __init__(self, order: str = "ascending", *, folder: Path | None = None) -> None:
        super().__init__(order, folder=folder, flags=("-DEMULATOR_COUNT", "-O1", COUNTING))
        self.counted: list[tuple[str, dict[str, Traffic]]] = []

    def _run(self, library: Any, name: str, what: tuple[Any, ...], arrays: list[DeviceArray]) -> str:
        functions = library._functions
        functions.emulator_counted.restype = ctypes.c_uint64
        live = list(self._live.values())
        firsts = np.array([one.pointer for one in live], np.uint64)
        lasts = firsts + np.array([one.nbytes for one in live], np.uint64)
        functions.emulator_count(len(live), ctypes.c_void_p(firsts.ctypes.data), ctypes.c_void_p(lasts.ctypes.data))
        wrong = super()._run(library, name, what, arrays)
        at = ctypes.c_void_p()
        count = functions.emulator_counted(ctypes.byref(at))
        if count:
            memory = (ctypes.c_uint8 * (count * ACCESS.itemsize)).from_address(at.value or 0)
            self.counted.append((name.partition(".")[2], traffic_of(np.frombuffer(memory, ACCESS))))
        return wrong


class Even(Draw):
    """Draws sizes that suit a GPU: many rows, maps that make up whole sectors."""

    def size(self, least: int, most: int) -> int:
        return most // 8 * 8 if most // 8 * 8 >= max(least, 16) else super().size(least, most)

    def depth(self) -> int:
        return 32

    def volume(self) -> tuple[int, int, int, int]:
        return 2, 8, 16, 32

    def window(self, H: int, W: int, *, most_padding: int | None = None) -> tuple[dict[str, int], int, int]:
        return {"F": 2, "S": 2, "P": 0}, H // 2, W // 2


def traffic(calls: Iterable[Call]) -> dict[str, dict[str, float]]:
    """By kernel and kind of KINDS, what the best of its launches took beside the least: 1.0 is ideal."""
    best: dict[str, dict[str, float]] = defaultdict(dict)
    for call in calls:
        driver = CountingDriver()
        device = CudaDevice(driver)
        call.run(device)
        device.close()
        for kernel, kinds in driver.counted:
            for kind, found in kinds.items():
                if found.requests >= FEW:
                    best[kernel][kind] = round(min(best[kernel].get(kind, np.inf), found.ratio), 3)
    return dict(best)


def drawn(ops: Collection[str], half: str | None = None) -> Iterator[Call]:
    """Random calls of these ops with volumes in float32, or in a `half` type."""
    for op in ops:
        for seed in SEEDS:
            call = Even(np.random.default_rng(seed)).call(op)
            yield in_halves(call, half) if half else call
