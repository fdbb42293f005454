"""`gpunet.plan`: what a net costs, to the byte, before it runs."""

from collections.abc import Collection

from gpunet.compile.lower import lower
from gpunet.compile.rewrite import rewrite
from gpunet.devices import target
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan, arrange
from gpunet.memory.size import parse_bytes
from gpunet.net.net import Net
from gpunet.optimizers import Optimizer, optimizer as find_optimizer
from gpunet.program.program import Mode, Program

MAX_BATCH = 2**24
"""The largest batch that is planned; beyond it a figure would be of no use to anyone."""


def check_batch(batch: object) -> int:
    """The batch, if it is an integer from 1 to MAX_BATCH. Raises ConfigError otherwise."""
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise ConfigError(f"the batch must be an integer from 1 to {MAX_BATCH:,}; got {batch!r}")
    return batch


def compile_program(
    net: Net,
    batch: int,
    *,
    optimizer: str | Optimizer,
    mode: Mode,
    dtype: str,
    device: str,
    scratch_limit: int,
    without: Collection[str],
) -> Program:
    """The program of a net as a device will run it, every saving applied but those named in `without`."""
    if mode not in ("train", "infer"):
        raise ConfigError(f"the mode must be train or infer; got {mode!r}")
    if dtype not in ("float32", "float64"):
        raise ConfigError(f"the dtype must be float32 or float64; got {dtype!r}")
    where = target(device)
    program = lower(
        net,
        batch=check_batch(batch),
        mode=mode,
        dtype=dtype,
        optimizer=find_optimizer(optimizer),
        target=where,
        scratch_limit_bytes=scratch_limit,
    )
    return rewrite(program, without)


def plan(
    net: Net,
    batch: int = 64,
    *,
    optimizer: str | Optimizer = "momentum",
    mode: Mode = "train",
    dtype: str = "float32",
    device: str = "cuda",
    budget: str | int | None = None,
    scratch_limit: str | int | None = None,
    reserve: str | int | None = None,
    without: Collection[str] = (),
) -> Plan:
    """Plan one training step, or one forward pass, of `net` for at most `batch` images, to the byte.

    `budget`         like "12GiB"; None: no limit. The plan is made either way, `plan.fits` tells.
    `scratch_limit`  most bytes of one im2col matrix; None: what suits the device
    `reserve`        what the process holds outside the arena; None: the device's stated default
    `without`        names of the savings of `gpunet.compile.rewrite` to leave out

    Needs no GPU, also for device="cuda". Raises ConfigError for options that make no sense.
    """
    where = target(device)
    limit = where.scratch_limit_bytes if scratch_limit is None else parse_bytes(scratch_limit)
    program = compile_program(
        net, batch, optimizer=optimizer, mode=mode, dtype=dtype, device=device, scratch_limit=limit, without=without
    )
    return Plan(
        net=net.name,
        device=device,
        optimizer=find_optimizer(optimizer).name,
        program=program,
        placement=arrange(program, alignment=where.alignment),
        scratch_limit_bytes=limit,
        reserve_bytes=where.reserve_bytes if reserve is None else parse_bytes(reserve),
        budget_bytes=None if budget is None else parse_bytes(budget),
    )
