"""The matrix products of VGG-16's layers, cut as the plan cuts them, beside torch.matmul on the same shapes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunet.devices import target
from gpunet.devices.cuda.arrays import DeviceArray
from gpunet.devices.cuda.gemm import matmul
from gpunet.program.chunks import chunk_rows

from .kernel import random_values
from .setting import Setting
from .table import Table, number
from .timing import HOST_NOTE, host_ms, medians, race, shown_ms

LAYERS = (
    ("conv1_1", 224, 3, 64),
    ("conv1_2", 224, 64, 64),
    ("conv2_1", 112, 64, 128),
    ("conv2_2", 112, 128, 128),
    ("conv3_1", 56, 128, 256),
    ("conv3_2", 56, 256, 256),
    ("conv4_1", 28, 256, 512),
    ("conv4_2", 28, 512, 512),
    ("conv5_1", 14, 512, 512),
)
"""(name, H = W, D, K) of VGG-16's convolutions that differ."""

FC_LAYERS = (("fc6", 25_088, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000))
"""(name, inputs, K)."""

WHO = "gpunet", "PyTorch"
WINDOW = 9
CEILING = 4096
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Product:
    """c = op(a) @ op(b), row-major: op(a) is (M, K), op(b) is (K, N)."""

    name: str
    M: int
    N: int
    K: int
    transpose_a: bool = False
    transpose_b: bool = False

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        a = (self.K, self.M) if self.transpose_a else (self.M, self.K)
        b = (self.N, self.K) if self.transpose_b else (self.K, self.N)
        return a, b, (self.M, self.N)

    @property
    def flops(self) -> int:
        return 2 * self.M * self.N * self.K


def products(N: int) -> Iterator[Product]:
    """A large square one as the ceiling; then three of each layer: forward, dw and dx."""
    yield Product("square", CEILING, CEILING, CEILING)
    for name, side, D, K in LAYERS:
        length = WINDOW * D
        rows = chunk_rows(N, side, side, target("cuda").scratch_limit_bytes // (4 * length))
        yield from _three(name, rows, length, K)
    for name, inputs, K in FC_LAYERS:
        yield from _three(name, N, inputs, K)


def _three(name: str, rows: int, length: int, K: int) -> Iterator[Product]:
    yield Product(f"{name} forward", rows, K, length, transpose_b=True)
    yield Product(f"{name} dw", K, length, rows, transpose_a=True)
    if name != "conv1_1":  # images need no gradient
        yield Product(f"{name} dx", rows, length, K)


def measure_products(setting: Setting, chosen: Iterable[Product], seconds: float) -> None:
    """TFLOP/s of each product, beside PyTorch's."""
    for product in chosen:
        nbytes = sum(4 * rows * columns for rows, columns in product.shapes)
        if setting.goes(product.name, 3 * nbytes + target("cuda").gemm_workspace_bytes(1, 1, 4, accumulate=False)):
            measure(setting, product, seconds)


def measure(setting: Setting, product: Product, seconds: float) -> None:
    """One product on both sides, compared and timed."""
    import torch

    left, right = (random_values((shape, "float32"), 0, seed) for seed, shape in enumerate(product.shapes[:2]))
    arena, (a, b, c, workspace) = _place(setting, product)
    setting.device.write(a, left)
    setting.device.write(b, right)
    x, y = (torch.from_numpy(values).to(setting.peer) for values in (left, right))
    x, y = x.t() if product.transpose_a else x, y.t() if product.transpose_b else y
    ways = {"transpose_a": product.transpose_a, "transpose_b": product.transpose_b}

    def call() -> None:
        matmul(a, b, c, workspace=workspace, **ways)

    call()
    expected = x @ y
    found = torch.from_numpy(setting.device.read(c)).to(setting.peer)
    difference = float((found - expected).abs().max() / expected.abs().max())
    contenders = {"gpunet": (setting.clock, call), "PyTorch": (setting.peer_clock, lambda: torch.matmul(x, y))}
    ms = medians(race(contenders, seconds=seconds))
    asking_ms = {who: host_ms(*contender) for who, contender in contenders.items()}
    arena.free()
    row = {"product": product.name, "M": product.M, "N": product.N, "K": product.K, "ms": ms, "host_ms": asking_ms}
    row["difference"] = difference
    row["tflop_per_s"] = {who: product.flops / value / 1e9 for who, value in ms.items()}
    setting.findings.append("products", row)
    setting.findings.require(
        difference <= TOLERANCE,
        f"{product.name}: the product differs from PyTorch's by {difference:.2g} of the largest value",
    )


def _place(setting: Setting, product: Product) -> tuple[Any, tuple[DeviceArray, ...]]:
    """An arena with a, b, c and cuBLAS's workspace."""
    workspace = (target("cuda").gemm_workspace_bytes(1, 1, 4, accumulate=False) // 4,)
    offsets, end = [], 0
    for shape in (*product.shapes, workspace):
        offsets.append(end)
        end += -(-4 * int(np.prod(shape)) // target("cuda").alignment) * target("cuda").alignment
    arena = setting.device.allocate(end)
    shapes = (*product.shapes, workspace)
    return arena, tuple(arena.view(offset, shape, "float32") for offset, shape in zip(offsets, shapes, strict=True))


def product_table(values: dict[str, Any]) -> list[Table]:
    rows = values.get("products", ())
    if not rows:
        return []
    best = max(row["tflop_per_s"]["PyTorch"] for row in rows)
    lines = [
        (
            row["product"],
            f"{row['M']} x {row['K']} x {row['N']}",
            *(shown_ms(row["ms"][who], row["host_ms"][who]) for who in WHO),
            *(number(row["tflop_per_s"][who]) for who in WHO),
            f"{row['tflop_per_s']['gpunet'] / best:.0%}",
        )
        for row in rows
    ]
    columns = ("product", "M x K x N", "gpunet ms", "PyTorch ms", "gpunet TFLOP/s", "PyTorch TFLOP/s", "of the best")
    return [Table("Matrix products of VGG-16's layers, float32 without TF32", columns, lines, (HOST_NOTE,), left=2)]
