"""Where a thread's calls to CUDA go: to the GPU whose context is current in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__: tuple[str, ...] = ()  # no ops here


class Context:
    """The context of a GPU that all libraries of this process share; to make it takes memory of the GPU.

    CuPy's own way to a device, cudaSetDevice and back, would make one on the GPU that it goes back to as well: on one
    that others fill, or have for themselves alone, it fails. Errors of CUDA are CuPy's.
    """

    def __init__(self, cupy: Any, number: int) -> None:
        self._driver = cupy.cuda.driver
        before = self._driver.ctxGetCurrent()
        cupy.cuda.runtime.setDevice(number)
        self._own = self._driver.ctxGetCurrent()
        self._go_back_to(before)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Within this calls of the thread go to the GPU; then where they went before, if anywhere."""
        before = self._driver.ctxGetCurrent()
        if before == self._own:
            yield
            return
        self._driver.ctxSetCurrent(self._own)
        try:
            yield
        finally:
            self._go_back_to(before)

    def _go_back_to(self, before: int) -> None:
        if before:  # else a call with none current, even the end of an event, would make one on the first GPU
            self._driver.ctxSetCurrent(before)
