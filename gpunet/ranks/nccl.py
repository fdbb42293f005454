"""NCCL, through CuPy: arrays of GPUs from one to another. Ranks meet by other means, which also carry small values.

Sums in the order of ranks need sending and receiving alone; those are the device's own kernels. NCCL's own all-reduce,
for `--reduce fast`, is pinned to rings and the simple protocol: so it gives the same bits in all ranks, and from run to
run on the same machines with the same NCCL, but not those of another number of ranks. Source: NVIDIA, "NCCL
documentation", point-to-point communication and environment variables.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.device import Array, Device
from gpunet.errors import ConfigError, DeviceError
from gpunet.ranks.communicator import Communicator

OLDEST = 22707
"""The first that CuPy 14 is made for: 2.27.7."""

PINNED = {"NCCL_ALGO": "Ring", "NCCL_PROTO": "Simple", "NCCL_NVLS_ENABLE": "0"}
"""What sums by NCCL depend on; set only where nobody else did."""

ALIGNED = 256

TYPES = {"float32": "NCCL_FLOAT32", "float64": "NCCL_FLOAT64", "int32": "NCCL_INT32", "uint8": "NCCL_UINT8"}


class NcclCommunicator(Communicator):
    """The ranks of `others`, which have met, with arrays going from GPU to GPU on the stream of the device.

    `nccl`  cupy.cuda.nccl, or what stands for it

    `took_bytes`  what NCCL has taken of the GPU, some MiB for each connection, outside of the arena

    Raises ConfigError where NCCL is missing or
    too old, DeviceError where it cannot connect the ranks.
    """

    def __init__(self, others: Communicator, device: CudaDevice, nccl: Any = None) -> None:
        for name, value in PINNED.items():
            os.environ.setdefault(name, value)
        self._nccl = nccl if nccl is not None else load()
        self._others = others
        self.place = others.place
        versions = others.tell(self._nccl.get_version())
        for rank, version in enumerate(versions):
            if version < OLDEST:
                raise ConfigError(
                    f"rank {rank} has NCCL {_text(version)}, and {_text(OLDEST)} or later is needed: pip install "
                    "--upgrade 'gpunet[nccl13]' (or nccl12)"
                )
        unique = others.tell(list(self._nccl.get_unique_id()) if self.rank == 0 else None)[0]
        free, _ = device.driver.memory()
        with self._errors("connect the ranks"):
            device.driver.on_stream(lambda stream: self._connect(tuple(unique)))
        self._wake(device)
        self.took_bytes = max(0, free - device.driver.memory()[0])

    def _wake(self, device: CudaDevice) -> None:
        """Send a value to each rank, and add one up: NCCL takes its memory when it is used first."""
        arena = device.allocate(ALIGNED * (self.size + 1))
        try:
            values = [arena.view(ALIGNED * number, (1,), "float32") for number in range(self.size + 1)]
            arena.fill(0, arena.nbytes, 0)
            self.exchange(device, [values[-1]] * self.size, values[:-1])
            self.total(device, values[-1])
            device.synchronize()
        finally:
            arena.free()
        self.sent_bytes = 0

    def _connect(self, unique: tuple[int, ...]) -> None:
        self._ranks = self._nccl.NcclCommunicator(self.size, unique, self.rank)

    def goes_beside(self, device: Device) -> bool:
        return isinstance(device, CudaDevice)

    def exchange(self, device: Device, sent: Sequence[Array], received: Sequence[Array]) -> None:
        def go(stream: int) -> None:
            self._nccl.groupStart()
            for rank in range(self.size):
                if sent[rank].size:
                    self._ranks.send(sent[rank].pointer, sent[rank].size, self._type(sent[rank]), rank, stream)
                if received[rank].size:
                    array = received[rank]
                    self._ranks.recv(array.pointer, array.size, self._type(array), rank, stream)
            self._nccl.groupEnd()

        if isinstance(sent[self.rank], np.ndarray):  # of the host, as whole caches are
            self._others.exchange(device, sent, received)
            return
        self._run(device, "exchange values", go)
        self.sent_bytes += sum(array.nbytes for rank, array in enumerate(sent) if rank != self.rank)

    def total(self, device: Device, array: Array) -> None:
        def go(stream: int) -> None:
            kind, add = self._type(array), self._nccl.NCCL_SUM
            self._ranks.allReduce(array.pointer, array.pointer, array.size, kind, add, stream)

        self._run(device, "add up values", go)
        self.sent_bytes += 2 * array.nbytes * (self.size - 1) // self.size

    def tell(self, value: Any) -> list[Any]:
        return self._others.tell(value)

    def spread(self, values: np.ndarray) -> None:
        self._others.spread(values)

    def close(self) -> None:
        self._others.close()

    def _run(self, device: Device, what: str, go: Callable[[int], None]) -> None:
        self._others.look()
        assert isinstance(device, CudaDevice)  # arrays of GPUs are a CudaDevice's
        with self._errors(what):
            device.driver.on_stream(go)

    def _type(self, array: Array) -> int:
        return int(getattr(self._nccl, TYPES[array.dtype.name]))

    def _errors(self, what: str) -> "_Errors":
        return _Errors(getattr(self._nccl, "NcclError", RuntimeError), f"NCCL could not {what}")


class _Errors:
    """NCCL's errors as DeviceError."""

    def __init__(self, kind: type[BaseException], words: str) -> None:
        self._kind, self._words = kind, words

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._kind):
            raise DeviceError(f"{self._words}: {error}; NCCL_DEBUG=INFO says more") from error


def load() -> Any:
    """cupy.cuda.nccl. Raises ConfigError, saying how to get it, where it is not there."""
    try:
        from cupy.cuda import nccl

        available = nccl.available
    except (ImportError, AttributeError):
        available = False
    if not available:
        raise ConfigError(
            "several GPUs need NCCL, and CuPy finds none: pip install 'gpunet[nccl13]' (nccl12 for CUDA 12)"
        )
    return nccl


def _text(version: int) -> str:
    """2.27.7 for 22707."""
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"
