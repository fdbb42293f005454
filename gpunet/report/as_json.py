"""Plans and fits as plain dictionaries for `--json` and plan.json. All sizes and offsets are bytes."""

import json
from collections.abc import Sequence
from typing import Any

from gpunet.fit import Fit
from gpunet.memory.plan import Plan
from gpunet.net.net import Net
from gpunet.program.tensor import Kind
from gpunet.report.rows import Row, layer_rows, loss_row


def plan_json(net: Net, plan: Plan, *, largest_batch: int | None = None) -> dict[str, Any]:
    """All of a plan. `largest_batch`: the one that fits the budget, where this plan does not; None where it does."""
    op = plan.program.ops[plan.peak_step]
    loss = loss_row(net, plan)
    return {
        "net": plan.net,
        "batch": plan.batch,
        "mode": plan.mode,
        "dtype": plan.dtype,
        "optimizer": plan.optimizer,
        "device": plan.device,
        "parameters": net.parameters,
        "kinds": {str(kind): count for kind, count in plan.by_kind.items()},
        "peak": {
            "step": plan.peak_step,
            "layer": op.layer,
            "phase": op.phase,
            "op": op.name,
            "live_bytes": plan.live_bytes[plan.peak_step],
        },
        "arena_bytes": plan.arena_bytes,
        "lower_bound_bytes": plan.lower_bound_bytes,
        "reserve_bytes": plan.reserve_bytes,
        "reserve_source": plan.reserve_source,
        "total_bytes": plan.total_bytes,
        "budget_bytes": plan.budget_bytes,
        "fits": plan.fits,
        "largest_batch": largest_batch,
        "scratch_limit_bytes": plan.scratch_limit_bytes,
        "steps": plan.steps,
        "layers": [_layer(row) for row in layer_rows(net, plan)],
        "loss": {"type": loss.type, **_bytes(loss)} if loss else None,
        "tensors": [
            {
                "name": planned.name,
                "kind": str(planned.kind),
                "layer": planned.layer,
                "offset": planned.offset,
                "nbytes": planned.nbytes,
                "first": planned.first,
                "last": planned.last,
            }
            for planned in plan.tensors
        ],
    }


def fit_json(fits: Sequence[Fit]) -> list[dict[str, int | None]]:
    """A dictionary for each budget; where not even one image fits, batch is 0 and total_bytes null."""
    return [
        {
            "budget_bytes": fit.budget_bytes,
            "batch": fit.batch,
            "total_bytes": fit.total_bytes if fit.batch else None,
            "next_total_bytes": fit.next_total_bytes,
        }
        for fit in fits
    ]


def as_text(value: Any) -> str:
    """JSON over several lines, without a line break at the end."""
    return json.dumps(value, indent=2)


def _layer(row: Row) -> dict[str, Any]:
    assert row.volume is not None  # the loss alone has none, and is no layer
    return {
        "name": row.name,
        "type": row.type,
        "output": list(row.volume.shape),
        "parameters": row.parameters,
        **_bytes(row),
    }


def _bytes(row: Row) -> dict[str, int]:
    return {f"{kind}_bytes": row.bytes[kind] for kind in Kind}
