"""Each kernel's GB/s beside PyTorch's op for the same, and the share of what a plain copy of as many bytes reaches.

As many, since what fits into the L2 cache is copied faster than memory gives it. A kernel is compared with PyTorch's
result at the full size first, then they take turns.
"""

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any, Self

import numpy as np

from gpunet.devices import target

from .kernel import Kernel, Sizes, nbytes_of, random_values
from .kernel_cases import kernels
from .peer import set_tf32
from .products import Product, measure_products, product_table, products
from .setting import Setting
from .table import Table, number
from .timing import HOST_NOTE, Call, host_ms, medians, race, shown_ms

TITLE = "kernels"
SECONDS = 120
NEEDS = ("cupy", "torch")

SECONDS_A_KERNEL = 0.5
COPY = "a copy of as many bytes"
COPY_BYTES = 2**30
CACHED = 1.1
"""Where a copy of as many bytes as a kernel moves is so many times faster than a large one, they lie in the cache."""
QUICK = Sizes(N=8, weights=2**24)
QUICK_PRODUCTS = 6
PEER_FACTOR = 4
"""What PyTorch holds beside gpunet's arrays, as a multiple: both layouts, results, 8-byte pool indices."""

TOLERANCE = 1e-4
"""Largest difference to PyTorch's result, as a part of its largest value: sums of millions of float32 values differ."""


def run(
    setting: Setting,
    sizes: Sizes | None = None,
    chosen: Sequence[Product] | None = None,
    seconds: float = SECONDS_A_KERNEL,
    copy_bytes: int = COPY_BYTES,
) -> None:
    """Time the copy, every kernel and the matrix products of VGG-16's layers."""
    import torch

    set_tf32(False)
    copy_bytes = min(copy_bytes, setting.room_bytes // 4)
    copy_rate = measure_copy(setting, copy_bytes, seconds)
    setting.findings.note("copy_gb_per_s", copy_rate)
    for name in [kernel.name for kernel in kernels(Sizes())]:
        kernel = that_fits(setting, name, sizes or (QUICK if setting.quick else Sizes()))
        if kernel is not None:
            measure(setting, kernel, copy_rate, seconds)
        if setting.peer == "cuda":
            torch.cuda.empty_cache()
    if chosen is None:
        chosen = list(products(Sizes().N))[: QUICK_PRODUCTS if setting.quick else None]
    measure_products(setting, chosen, seconds / 3)


def that_fits(setting: Setting, name: str, sizes: Sizes) -> Kernel | None:
    """The kernel called `name`, with as many images as there is memory for; None where not even one fits."""
    room = setting.room_bytes
    while True:
        kernel = next(kernel for kernel in kernels(sizes) if kernel.name == name)
        wanted = (1 + PEER_FACTOR) * sum(map(nbytes_of, kernel.tensors.values())) + kernel.nbytes
        if wanted <= room or sizes.N == 1:
            return kernel if setting.goes(name, wanted) else None
        sizes = sizes.halved()


def measure_copy(setting: Setting, nbytes: int, seconds: float) -> float:
    """GB/s, bytes read and bytes written, of PyTorch's copy of nbytes on the device."""
    ms = medians(race({"copy": (setting.peer_clock, copy_of(setting, 2 * nbytes))}, seconds=seconds))["copy"]
    return rate(2 * nbytes, ms)


def copy_of(setting: Setting, moved_bytes: int) -> Call:
    """PyTorch's copy on the device that moves so many bytes: half of them read, half of them written."""
    import torch

    source = torch.ones(max(1, moved_bytes // 8), device=setting.peer)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def rate(nbytes: int, ms: float) -> float:
    """GB/s, of 10**9 bytes."""
    return nbytes / ms / 1e6


def measure(setting: Setting, kernel: Kernel, copy_rate: float, seconds: float) -> None:
    """Check one kernel against PyTorch, then time both."""
    with Arrays(setting, kernel) as arrays:
        ops = setting.device.ops
        difference = arrays.compare(ops)
        ours = setting.clock, lambda: kernel.call(ops, arrays.ours)
        contenders = {"gpunet": ours, COPY: (setting.peer_clock, copy_of(setting, kernel.nbytes))}
        for name, call in arrays.peers.items():
            contenders[name] = (setting.peer_clock, call)
        times = medians(race(contenders, seconds=seconds))
        ours_ms, copy_ms = times.pop("gpunet"), times.pop(COPY)
        best = min(times, key=times.__getitem__)
        asking_ms = {"gpunet": host_ms(*ours), "peer": host_ms(*contenders[best])}
    row = {
        "kernel": kernel.name,
        "shapes": {name: list(shape) for name, (shape, _) in kernel.tensors.items()},
        "nbytes": kernel.nbytes,
        "ms": ours_ms,
        "host_ms": asking_ms,
        "gb_per_s": rate(kernel.nbytes, ours_ms),
        "share_of_copy": copy_ms / ours_ms,
        "in_cache": rate(kernel.nbytes, copy_ms) > CACHED * copy_rate,
        "peers_ms": times,
        "peer": best,
        "ratio": times[best] / ours_ms,
        "difference": difference,
    }
    setting.findings.append("kernels", row)
    setting.findings.require(
        difference <= TOLERANCE,
        f"{kernel.name}: differs from PyTorch's {next(iter(times))} by {difference:.2g} of the largest value",
    )


class Arrays:
    """A kernel's tensors in an arena of the device, and PyTorch's copies of its inputs."""

    def __init__(self, setting: Setting, kernel: Kernel) -> None:
        import torch

        self._setting, self._kernel, self._torch = setting, kernel, torch
        offsets, end = {}, 0
        for name, spec in kernel.tensors.items():
            offsets[name] = end
            end += -(-nbytes_of(spec) // target("cuda").alignment) * target("cuda").alignment
        self._arena = setting.device.allocate(end)
        self._arena.fill(0, end, 0xFF)
        self.ours: dict[str, Any] = {
            name: self._arena.view(offsets[name], *spec) for name, spec in kernel.tensors.items()
        }
        self.peers: Mapping[str, Any] = kernel.peers(torch, self._fill())

    def _fill(self) -> dict[str, Any]:
        """Random inputs on both sides; PyTorch's as tensors."""
        tensors = {}
        for seed, (name, spec) in enumerate(self._kernel.inputs.items()):
            given = self._kernel.given.get(name)
            values = random_values(spec, self._kernel.below, seed) if given is None else np.resize(given, spec[0])
            values = values.astype(spec[1], copy=False)
            self._setting.device.write(self.ours[name], values)
            tensors[name] = self._torch.from_numpy(values).to(self._setting.peer, copy=True)
        return tensors

    def compare(self, ops: Mapping[str, Any]) -> float:
        """Run both once; the largest difference as a part of the largest value, infinite where one is no number."""
        self._kernel.call(ops, self.ours)
        found = self._torch.from_numpy(self._setting.device.read(self.ours[self._kernel.result]))
        expected = self._kernel.ours(next(iter(self.peers.values()))())
        found = found.to(self._setting.peer).reshape(expected.shape)
        difference = float((found - expected).abs().max() / expected.abs().max())
        return difference if isfinite(difference) else inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.peers = {}
        self._setting.device.synchronize()
        self._arena.free()


def tables(values: dict[str, Any]) -> list[Table]:
    columns = ("kernel", "MiB", "ms", "GB/s", "of a copy", "PyTorch", "ms", "ratio")
    rows = [
        (
            row["kernel"],
            f"{row['nbytes'] / 2**20:,.1f}",
            shown_ms(row["ms"], row["host_ms"]["gpunet"]),
            number(row["gb_per_s"]),
            f"{row['share_of_copy']:.0%}" + (" L2" if row["in_cache"] else ""),
            row["peer"],
            shown_ms(row["peers_ms"][row["peer"]], row["host_ms"]["peer"]),
            f"{row['ratio']:.2f}",
        )
        for row in values.get("kernels", ())
    ]
    copy = number(values.get("copy_gb_per_s"))
    notes = (
        f"a large copy on the device moves {copy} GB/s, read and written; every value of a kernel counts once",
        "of a copy: of one that moves as many bytes; L2: they lie in the cache, so that memory is not what is timed",
        HOST_NOTE,
        "PyTorch: the fastest of its ways; ratio: its time over gpunet's",
    )
    return ([Table("Kernels", columns, rows, notes)] if rows else []) + product_table(values)
