"""What a profile says of other plans of the same net: milliseconds by op, kept in the cache, and added up anew.

`gpunet.profile` measures them; here is what planning wants of them, which opens no device.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from gpunet.devices.name import kind_of
from gpunet.devices.target import DeviceTarget
from gpunet.memory.plan import Plan
from gpunet.net.net import Net
from gpunet.program.program import Op, Program
from gpunet.system import cache
from gpunet.version import __version__

WINDOWS = (
    *("F", "S", "P", "F_rows", "F_columns", "S_rows", "S_columns", "P_top", "P_left"),
    *("dilation_rows", "dilation_columns", "maps", "algorithm", "tile", "slices"),
)
"""The attributes that say how the windows of an op stand, and how it works through them."""


@dataclass(frozen=True, slots=True)
class KeptOp:
    """Milliseconds of an op for each image, where `images` of one call were measured; of a call, where that is 0."""

    ms: float
    images: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A profile at one batch.

    `ops`           by `op_key`
    `bytes_per_ms`  what ops without matrix products moved: for those that were not measured
    `overhead`      milliseconds of a whole step over those of its ops
    """

    batch: int
    ops: Mapping[str, KeptOp]
    bytes_per_ms: float
    overhead: float


def predicted_images_per_second(net: Net, plan: Plan) -> float | None:
    """Images a second that a plan of `net` will reach on this machine; None where no profile says anything of it.

    Every op of the plan, those that are made again and each round of a loop included, takes what it took for each image
    in the profile whose calls had most nearly as many images. An op that was not measured counts by its bytes, as long
    as it has no matrix product.
    """
    kept = sorted(load(net, plan.dtype, plan.target), key=lambda profile: abs(log(profile.batch / plan.batch)))
    if not kept:
        return None
    total = 0.0
    for step, op in enumerate(plan.program.ops):
        ms = _op_ms(op, op_calls(plan.program, step), plan.batch, kept)
        if ms is None:
            return None
        total += ms
    return plan.batch / (total * kept[0].overhead) * 1e3


def _op_ms(op: Op, calls: int, batch: int, kept: Sequence[Kept]) -> float | None:
    """Milliseconds of all calls of an op by profiles, that of the nearest batch first; None where they do not tell."""
    key = op_key(op)
    known = [profile.ops[key] for profile in kept if key in profile.ops]
    if not known:
        return None if op.flops else op_bytes(op, batch, calls) / kept[0].bytes_per_ms
    images = batch / calls
    best = min(known, key=lambda one: abs(log((one.images or images) / images)))
    return best.ms * (batch if best.images else calls)


def op_calls(program: Program, step: int) -> int:
    """How often a step is called in a run over the whole batch."""
    loop = program.loop_at(step)
    return -(-program.batch // loop.images) if loop else 1


def op_bytes(op: Op, images: int, calls: int = 1) -> int:
    """Bytes of the inputs and outputs of an op over so many images; what belongs to no image, once for each call.

    What lies still is neither read nor written where it is to go.
    """
    sizes = [
        tensor.nbytes // tensor.shape[0] * images if tensor.batched else tensor.nbytes * calls
        for tensor in (*op.inputs, *op.outputs)
    ]
    return sum(sizes) - 2 * sum(sizes[at] for at in op.still)


def op_key(op: Op) -> str:
    """The op's name and what its time depends on: the shapes of an image, those of what belongs to none, and how its
    windows stand."""
    arrays = ["x".join(map(str, _shape(tensor.shape, tensor.batched))) for tensor in (*op.inputs, *op.outputs)]
    numbers = [f"{name}={value}" for name, value in op.attributes.items() if name in WINDOWS]
    still = [f"still={','.join(map(str, op.still))}"] if op.still else []
    return " ".join([op.name, ",".join(arrays), *numbers, *still])


def _shape(shape: tuple[int, ...], batched: bool) -> tuple[int | str, ...]:
    return ("N", *shape[1:]) if batched else shape


def scales(op: Op) -> bool:
    """Whether an op works on images, so that more of them take longer."""
    return any(tensor.batched for tensor in (*op.inputs, *op.outputs))


# -- the cache -------------------------------------------------------------------------------------


def file_name(net: Net, dtype: str, device: str, hardware: str) -> str:
    """The cache's file for the profiles of a net: the same for nets of the same layers, whatever their name.

    And the same for cuda:1 as for cuda where both are the same `hardware`.
    """
    from hashlib import sha256

    layers = repr((net.input, net.nodes, net.fit, dtype, kind_of(device), hardware, __version__))
    return f"profiles/{sha256(layers.encode()).hexdigest()[:24]}.json"


def load(net: Net, dtype: str, where: DeviceTarget) -> list[Kept]:
    """The profiles of a net on this machine, one for each batch that was profiled; none of a card that is not here."""
    if not os.path.isdir(cache.folder() / "profiles"):  # the usual case, which asks nobody for the hardware
        return []
    hardware = where.hardware()
    if hardware is None:
        return []
    name = file_name(net, dtype, where.name, hardware)
    try:
        return [_read(entry) for entry in cache.read(name).values()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        cache.ignore(cache.folder() / name, f"{type(error).__name__}: {error}")
        return []


def _read(entry: Any) -> Kept:
    """A profile from JSON. Raises AttributeError, KeyError, TypeError or ValueError for anything else."""
    ops = {key: KeptOp(_positive(op["ms"]), int(op["images"])) for key, op in entry["ops"].items()}
    batch, rate, overhead = (_positive(entry[name]) for name in ("batch", "bytes_per_ms", "overhead"))
    return Kept(int(batch), ops, rate, overhead)


def _positive(number: float) -> float:
    if not 0 < number < float("inf"):
        raise ValueError(f"{number!r} is not above zero")
    return number


def as_entry(kept: Kept) -> dict[str, Any]:
    """What `_read` reads."""
    ops = {key: {"ms": op.ms, "images": op.images} for key, op in kept.ops.items()}
    return {"batch": kept.batch, "bytes_per_ms": kept.bytes_per_ms, "overhead": kept.overhead, "ops": ops}
