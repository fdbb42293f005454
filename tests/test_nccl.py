"""NCCL's side of the ranks, with a stand-in for cupy.cuda.nccl: two emulated GPUs in two threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import memmove
from queue import Queue
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from gpunet import Model, load
from gpunet.devices.cuda.device import CudaDevice
from gpunet.errors import ConfigError, DeviceError
from gpunet.program.shares import share
from gpunet.ranks.communicator import Communicator, Place
from gpunet.ranks.nccl import NcclCommunicator
from tests.emulator.driver import EmulatorDriver
from tests.rank_cases import NORMED

SIZES = {7: 4, 8: 8, 2: 4, 1: 1}


class Meeting:
    """What two threads share: what each tells, and the queues between them."""

    def __init__(self) -> None:
        self.barrier = Barrier(2)
        self.told: list[Any] = [None, None]
        self.queues = {(a, b): Queue[bytes]() for a in range(2) for b in range(2)}


class Threads(Communicator):
    """The small values of two threads."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.place = meeting, Place(rank, 2)

    def tell(self, value: Any) -> list[Any]:
        self.meeting.told[self.rank] = value
        self.meeting.barrier.wait(60)
        found = list(self.meeting.told)
        self.meeting.barrier.wait(60)
        return found

    def exchange(self, device: Any, sent: Any, received: Any) -> None:
        raise AssertionError("arrays of GPUs go by NCCL")

    total = spread = close = exchange  # type: ignore[assignment]


class FakeNccl:
    """As much of cupy.cuda.nccl as is used; grouped sends come before grouped receives, as NCCL allows."""

    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_INT32, NCCL_UINT8, NCCL_SUM = 7, 8, 2, 1, 0
    NcclError = OSError

    def __init__(self, meeting: Meeting, rank: int, version: int = 22809) -> None:
        self.meeting, self.rank, self.version = meeting, rank, version
        self.grouped: list[Callable[[], None]] | None = None

    def get_version(self) -> int:
        return self.version

    def get_unique_id(self) -> tuple[int, ...]:
        return tuple(range(128))

    def groupStart(self) -> None:
        self.sends: list[Callable[[], None]] = []
        self.receives: list[Callable[[], None]] = []

    def groupEnd(self) -> None:
        for work in self.sends + self.receives:
            work()

    def NcclCommunicator(self, size: int, unique: tuple[int, ...], rank: int) -> "FakeNccl":
        assert (size, unique, rank) == (2, tuple(range(128)), self.rank)
        return self

    def send(self, pointer: int, count: int, kind: int, peer: int, stream: int) -> None:
        nbytes, queue = count * SIZES[kind], self.meeting.queues[self.rank, peer]
        self.sends.append(lambda: queue.put(_bytes(pointer, nbytes)))

    def recv(self, pointer: int, count: int, kind: int, peer: int, stream: int) -> None:
        queue = self.meeting.queues[peer, self.rank]

        def take() -> None:
            data = queue.get(timeout=60)
            assert len(data) == count * SIZES[kind]
            memmove(pointer, data, len(data))

        self.receives.append(take)

    def allReduce(self, sent: int, received: int, count: int, kind: int, operation: int, stream: int) -> None:
        assert (kind, operation) == (self.NCCL_FLOAT32, self.NCCL_SUM)
        self.meeting.queues[self.rank, 1 - self.rank].put(_bytes(sent, 4 * count))
        other = np.frombuffer(self.meeting.queues[1 - self.rank, self.rank].get(timeout=60), np.float32)
        total = np.frombuffer(_bytes(sent, 4 * count), np.float32) + other
        memmove(received, total.tobytes(), 4 * count)


def _bytes(pointer: int, nbytes: int) -> bytes:
    made = bytearray(nbytes)
    memmove((np.ctypeslib.ctypes.c_char * nbytes).from_buffer(made), pointer, nbytes)
    return bytes(made)


def both(work: Callable[[int, Meeting], Any]) -> list[Any]:
    meeting = Meeting()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(work, rank, meeting) for rank in range(2)]
        return [future.result(120) for future in futures]


def trained(ranks: Communicator | None, device: CudaDevice, **options: Any) -> bytes:
    net = load(NORMED)
    rng = np.random.default_rng(2)
    with Model(net, 6, device, seed=3, ranks=ranks, **options) as model:
        for n in (6, 5):
            images, labels = rng.random((n, *net.image.shape), np.float32), rng.integers(0, 5, n)
            own = slice(*share(n, 2, ranks.rank)) if ranks else slice(None)
            model.step(images[own], labels[own], n)
        return b"".join(model.state[name].tobytes() for name in model.state)


@pytest.mark.parametrize("options", [{}, {"reduce": "fast"}])
def test_two_gpus_end_in_the_bits_of_two_parts(options):
    def rank_of(rank: int, meeting: Meeting) -> bytes:
        device = CudaDevice(EmulatorDriver())
        ranks = NcclCommunicator(Threads(meeting, rank), device, FakeNccl(meeting, rank))
        return trained(ranks, device, **options)

    first, second = both(rank_of)
    assert first == second == trained(None, CudaDevice(EmulatorDriver()), parts=2)  # a + b is one sum, whoever makes it


def test_an_old_nccl_is_refused_by_all_alike():
    def refused(rank: int, meeting: Meeting) -> str:
        with pytest.raises(ConfigError) as error:
            NcclCommunicator(
                Threads(meeting, rank), CudaDevice(EmulatorDriver()), FakeNccl(meeting, rank, 21803 if rank else 22809)
            )
        return str(error.value)

    first, second = both(refused)
    assert first == second and first.startswith("rank 1 has NCCL 2.18.3, and 2.27.7 or later is needed")


def test_errors_of_nccl_say_what_could_not_be_done():
    class Broken(FakeNccl):
        def NcclCommunicator(self, size: int, unique: tuple[int, ...], rank: int) -> "FakeNccl":
            raise OSError("NCCL_ERROR_SYSTEM_ERROR: unhandled system error")

    def refused(rank: int, meeting: Meeting) -> str:
        with pytest.raises(DeviceError) as error:
            NcclCommunicator(Threads(meeting, rank), CudaDevice(EmulatorDriver()), Broken(meeting, rank))
        return str(error.value)

    assert "NCCL could not connect the ranks: NCCL_ERROR_SYSTEM_ERROR" in both(refused)[0]
