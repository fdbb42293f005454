"""Which algorithm of a convolution was fastest on this machine, and plans that use it.

`gpunet tune` times what a device prefers by shape alone and all else that it has, and keeps the order here, in the
user's cache. A plan for that very machine then takes the first that it may. What a plan took stands in its ops, so a
run that is resumed takes it again, whatever was measured meanwhile.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpunet.devices.algorithms import candidates
from gpunet.devices.name import kind_of
from gpunet.devices.target import DeviceTarget
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan
from gpunet.planning.conv_work import conv_shape, pass_of
from gpunet.program.algorithm import Algorithm, Fusions, Math, Pass
from gpunet.program.builder import Target
from gpunet.program.filters import ConvShape
from gpunet.system import cache
from gpunet.values.given import told
from gpunet.version import __version__

Order = Sequence[tuple[str, int]]
"""Algorithms by name and tile, the fastest first."""

Orders = Mapping[str, Order]
"""By `conv_key`."""

CONVOLUTIONS = "convolutions"
"""Where a plan's JSON, that of a run too, says how each convolution runs."""


@dataclass(frozen=True)
class TunedTarget:
    """A target whose convolutions run by the first of an order that they may, where there is an order for them."""

    of: DeviceTarget
    orders: Orders

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def gathers_windows(self) -> bool:
        return self.of.gathers_windows

    @property
    def calls_cost(self) -> bool:
        return self.of.calls_cost

    @property
    def fusions(self) -> Fusions:
        return self.of.fusions

    def product_dtype(self, dtype: str) -> str:
        return self.of.product_dtype(dtype)

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        return self.of.gemm_workspace_bytes(rows, columns, itemsize, accumulate=accumulate)

    def conv_algorithm(
        self, pass_: Pass, shape: ConvShape, *, dtype: str, math: Math, scratch_limit_bytes: int
    ) -> Algorithm:
        """How the device runs this pass of a convolution: only by what it has for it in that scratch."""
        if order := self.orders.get(conv_key(pass_, shape, dtype)):
            found = candidates(
                pass_,
                shape,
                dtype=dtype,
                math=math,
                device=self.of.name,
                capability=self.of.compute_capability,
                scratch_limit_bytes=scratch_limit_bytes,
            )
            known = {(one.name, one.tile): one for one in reversed(found)}
            for choice in order:
                if choice in known:
                    return known[choice]
        return self.of.conv_algorithm(pass_, shape, dtype=dtype, math=math, scratch_limit_bytes=scratch_limit_bytes)


def tuned_target(where: DeviceTarget, tuned: bool | Orders) -> Target:
    """What programs are made for: with what was found on this machine, with these orders, or plain.

    Raises ConfigError for what is neither.
    """
    if not isinstance(tuned, bool | Mapping):
        raise ConfigError(f"tuned must be True, False, or the choices of another plan; got {told(tuned)}")
    orders = (load(where) if tuned else {}) if isinstance(tuned, bool) else tuned
    return TunedTarget(where, orders) if orders else where


def conv_key(pass_: Pass, shape: ConvShape, dtype: str) -> str:
    """A pass of a convolution, in one line: what its time depends on."""
    s, f = shape, shape.filters
    return (
        f"{pass_} {dtype} {s.N}x{s.H}x{s.W}x{s.D} {s.H2}x{s.W2}x{s.K} F={f.F_rows}x{f.F_columns} "
        f"S={f.S_rows}x{f.S_columns} P={f.P_top}x{f.P_left} "
        f"dilation={f.dilation_rows}x{f.dilation_columns} groups={s.groups}"
    )


def choices(plan: Plan) -> dict[str, list[tuple[str, int]]]:
    """How each convolution of a plan runs: what `tuned` of another plan takes."""
    found: dict[str, list[tuple[str, int]]] = {}
    for op in plan.program.ops:
        if pass_ := pass_of(op):
            shape = conv_shape(op, pass_, plan.batch)  # an op that runs in rounds was chosen for the whole batch
            how = str(op.attributes["algorithm"]), int(op.attributes.get("tile", 0))  # type: ignore[arg-type]
            found.setdefault(conv_key(pass_, shape, plan.dtype), [how])
    return found


# -- the cache -------------------------------------------------------------------------------------


def file_name(device: str, hardware: str) -> str:
    """The cache's file for what was found on a CPU, or on a GPU with its driver."""
    from hashlib import sha256

    return f"tuned/{sha256(repr((kind_of(device), hardware, __version__)).encode()).hexdigest()[:24]}.json"


def keep(where: DeviceTarget, key: str, order: Order) -> None:
    """Keep the order for a pass of a convolution. Raises DataError where the cache cannot be written."""
    hardware = where.hardware()
    if hardware is not None:
        cache.put(file_name(where.name, hardware), key, [list(one) for one in order])


def load(where: DeviceTarget) -> Orders:
    """What was found on this machine; nothing for a card that is not here."""
    if not os.path.isdir(cache.folder() / "tuned"):  # the usual case, which asks nobody for the hardware
        return {}
    hardware = where.hardware()
    if hardware is None:
        return {}
    name = file_name(where.name, hardware)
    try:
        return read_orders(cache.read(name))
    except (AttributeError, TypeError, ValueError) as error:
        cache.ignore(cache.folder() / name, f"{type(error).__name__}: {error}")
        return {}


def read_orders(values: Mapping[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """Orders from JSON. Raises AttributeError, TypeError or ValueError for anything else."""
    found = {}
    for key, order in values.items():
        found[str(key)] = [(_name(name), int(tile)) for name, tile in order]
    return found


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no algorithm")
    return name
