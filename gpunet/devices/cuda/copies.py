"""Copies from the host to a GPU, through pinned memory of our own: CUDA never reads what the caller may change.

From any other memory CUDA may take a copy first, but does not promise to, and from pinned memory of the user's it never
does. A buffer is filled again only when its last copy is done.
"""

from typing import Any

import numpy as np

__all__: tuple[str, ...] = ()  # no ops here

PART_BYTES = 4 * 2**20
"""As much goes through a buffer at a time where the copies go in order anyway."""


class Copies:
    """Copies on one stream, from two buffers of pinned memory in turn: one is filled while the GPU reads the other."""

    def __init__(self, cupy: Any, stream: Any) -> None:
        self.stream = stream
        self._cupy = cupy
        self._buffers: list[Any] = [None, None]
        self._sent: list[Any] = [None, None]

    def begin(self, pointer: int, values: np.ndarray) -> Any:
        """Begin to copy a C-contiguous array; returns an event behind the copy."""
        if self._sent[0] is not None:
            self._sent[0].synchronize()  # two copies ago: the buffer is free again
        if self._buffers[0] is None or self._buffers[0].mem.size < values.nbytes:
            self._buffers[0] = self._pinned(values.nbytes)
        buffer = self._buffers[0]
        np.frombuffer(buffer, values.dtype, values.size).reshape(values.shape)[...] = values
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(pointer, buffer.ptr, values.nbytes, runtime.memcpyHostToDevice, self.stream.ptr)
        event = self._sent[0] = self._cupy.cuda.Event(disable_timing=True)
        event.record(self.stream)
        self._buffers.reverse()
        self._sent.reverse()
        return event

    def in_parts(self, pointer: int, values: np.ndarray) -> None:
        """Copy a C-contiguous array; when this returns the last parts may still be on their way."""
        flat = values.reshape(-1).view(np.uint8)
        for first in range(0, flat.size, PART_BYTES):
            self.begin(pointer + first, flat[first : first + PART_BYTES])

    def close(self) -> None:
        """Let the buffers go; nothing may be under way."""
        self._buffers, self._sent = [None, None], [None, None]

    def _pinned(self, nbytes: int) -> Any:
        """Straight from CUDA, as CuPy's pool would round up and keep it."""
        cuda = self._cupy.cuda
        return cuda.PinnedMemoryPointer(cuda.PinnedMemory(nbytes), 0)
