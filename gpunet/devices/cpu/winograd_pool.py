"""Winograd's convolution on the CPU with a max-pool of 2 x 2 behind it.

A tile of m x m outputs is whole windows: what comes back from the points is pooled where it lies, and a tile of the
gradient before the pool is made of that behind it.
"""

import numpy as np

from gpunet.devices.cpu.pool import relu_of_maxima, take_maximum
from gpunet.devices.cpu.switches import together
from gpunet.devices.cpu.threads import spare
from gpunet.devices.cpu.unpool import unpool
from gpunet.devices.cpu.window import Chunk
from gpunet.devices.cpu.winograd_tiles import Inputs, Outputs, gather, scatter
from gpunet.program.switches import are_halved, halves

__all__: tuple[str, ...] = ()  # no ops here


class PooledOutputs(Outputs):
    """Where tiles go: the maxima y (N, H3, W3, K) of windows of 2 x 2 of all the outputs, H2 x W2, then ReLU, and where
    they were, as conv_pool_forward has it."""

    def __init__(
        self, y: np.ndarray, switches: np.ndarray | None, b: np.ndarray | None, relu: bool, size: tuple[int, int]
    ) -> None:
        super().__init__(y, b, relu)
        self._switches, self._size = switches, size

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def of(self, maps: slice) -> "PooledOutputs":
        """Those of some maps, from an even one on."""
        y, b, switches = self._y[..., maps], self._b, self._switches
        if switches is not None and are_halved(switches.shape, self._y.shape):
            of_maps: np.ndarray | None = switches[..., maps.start // 2 : halves(maps.stop)]
        else:
            of_maps = None if switches is None else switches[..., maps]
        return PooledOutputs(y, of_maps, None if b is None else b[maps], self._relu, self._size)

    def scatter(self, planes: np.ndarray, chunk: Chunk, m: int) -> None:
        """The maxima of all windows of the tiles, where their first values were; then these go where they belong."""
        if self._b is not None:
            np.add(planes[:m, :m], self._b, out=planes[:m, :m])
        best = planes[:m:2, :m:2]
        where = None if self._switches is None else np.zeros(best.shape, np.uint8)
        for number in range(1, 4):
            take_maximum(planes[number // 2 : m : 2, number % 2 : m : 2], best, where, number)
        if self._relu:
            relu_of_maxima(best, where, 4)
        scatter(best, self._y, None, chunk, m // 2)
        if where is not None and self._switches is not None:
            kept = np.empty((*where.shape[:-1], self._switches.shape[-1]), np.uint8)
            together(where, kept)
            scatter(kept, self._switches, None, chunk, m // 2)


class PooledInputs(Inputs):
    """Where tiles come from: the gradient before the pool, (N, H2, W2, K), of dy (N, H3, W3, K) and switches."""

    def __init__(self, dy: np.ndarray, switches: np.ndarray, size: tuple[int, int]) -> None:
        super().__init__(dy)
        self._switches, self._size = switches, size

    @property
    def shape(self) -> tuple[int, ...]:
        N, _, _, K = self._x.shape
        return (N, *self._size, K)

    def gather(self, planes: np.ndarray, chunk: Chunk, m: int, padding: tuple[int, int], extent: int) -> None:
        """From the rows that the tiles of the chunk see, which are made first; they stay in the cache."""
        image0, image1, row0, row1 = chunk
        _, H3, W3, K = self._x.shape
        top = row0 * m - padding[0]
        first, last = max(top, 0), min((row1 - row0 - 1) * m + top + extent, 2 * H3)
        if first >= last:
            planes[:extent, :extent] = 0
            return
        rows = spare("unpooled", (image1 - image0, last - first, 2 * W3, K), self._x.dtype)
        unpool(self._x, self._switches, rows.reshape(-1, K), (image0, image1, first, last), 2 * W3, 2, 2)
        gather(rows, planes, (0, image1 - image0, 0, row1 - row0), m, (first - top, padding[1]), extent)
