"""A profile as a plain dictionary for `--json`: times in milliseconds, memory in bytes."""

from typing import Any

from gpunet.profile.measure import Profile
from gpunet.profile.steps import OpTime
from gpunet.report.profile_rows import ProfileRow, profile_rows
from gpunet.report.ways import clips


def profile_json(profile: Profile) -> dict[str, Any]:
    """All of a profile."""
    plan, memory = profile.plan, profile.memory
    return {
        "net": plan.net,
        "batch": plan.batch,
        "dtype": plan.dtype,
        "optimizer": plan.optimizer,
        "frozen": list(plan.frozen),
        **clips(plan),
        "device": plan.device,
        "card": plan.card or None,
        "compute_capability": plan.compute_capability or None,
        "hardware": profile.hardware,
        "ways": list(plan.ways.names),
        "extra_flops_fraction": plan.extra_flops_fraction,
        "extra_time_fraction": plan.extra_time_fraction,
        "steps": profile.steps,
        "images_per_second": profile.images_per_second,
        "step_ms": profile.step_ms,
        "ops_ms": profile.ops_ms,
        "rest_ms": profile.rest_ms,
        "arena_bytes": plan.arena_bytes,
        "reserve_bytes": plan.reserve_bytes,
        "reserve_source": plan.reserve_source,
        "total_bytes": plan.total_bytes,
        "memory": {
            "told_by": memory.told_by,
            "before": dict(memory.before),
            "peak": dict(memory.peak),
            "after": dict(memory.after),
            "planned_bytes": profile.planned_bytes,
            "measured_bytes": memory.used_bytes,
            "difference_bytes": profile.difference_bytes,
            "measured_reserve_bytes": profile.reserve_bytes,
        },
        "layers": [_layer(row) for row in profile_rows(profile)],
        "ops": [_op(op) for op in profile.ops],
    }


def _layer(row: ProfileRow) -> dict[str, Any]:
    return {
        "name": row.planned.name,
        "type": row.planned.type,
        "output": list(row.planned.volume.shape) if row.planned.volume else None,
        "forward_ms": row.forward_ms,
        "backward_ms": row.backward_ms,
        "again_ms": row.again_ms,
        "update_ms": row.update_ms,
        "rounds": row.rounds,
        "planned_bytes": row.planned_bytes,
        "gb_per_s": row.gb_per_s,
        "gflop_per_s": row.gflop_per_s,
    }


def _op(op: OpTime) -> dict[str, Any]:
    return {
        "name": op.op.name,
        "layer": op.op.layer,
        "phase": op.op.phase,
        "again": op.again,
        "calls": op.calls,
        "images": op.images,
        "ms": op.ms,
        "nbytes": op.nbytes,
        "flops": op.flops,
    }
