"""Plans and fits as plain dictionaries for `--json` and plan.json. All sizes and offsets are bytes."""

import json
from collections.abc import Sequence
from typing import Any

from gpunet.devices.cards import capability
from gpunet.devices.target import DeviceTarget
from gpunet.memory.plan import Plan
from gpunet.net.net import Net
from gpunet.planning.by_card import CardFit
from gpunet.planning.fitter import Rung, Survey
from gpunet.planning.tuned import CONVOLUTIONS, choices
from gpunet.program.tensor import Kind
from gpunet.report.predicted import prediction_json, range_json
from gpunet.report.rows import Row, layer_rows, loss_rows
from gpunet.report.ways import clips, made_again, rounds, step_flops


def plan_json(net: Net, plan: Plan, *, largest_batch: int | None = None, images: int | None = None) -> dict[str, Any]:
    """All of a plan. `largest_batch`: the one that fits the budget, where this plan does not; None where it does.

    `images`  those of an epoch, whose hours are predicted
    """
    op = plan.program.ops[plan.peak_step]
    losses = [{"type": row.type, **_bytes(row)} for row in loss_rows(net, plan)]
    return {
        "net": plan.net,
        "batch": plan.batch,
        "mode": plan.mode,
        "dtype": plan.dtype,
        "optimizer": plan.optimizer,
        "frozen": list(plan.frozen),
        **clips(plan),
        "device": plan.device,
        "card": plan.card or None,
        "compute_capability": plan.compute_capability or None,
        "parameters": net.parameters,
        "head_parameters": net.head_parameters,
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
        "ways": _ways(plan),
        "extra_flops_fraction": plan.extra_flops_fraction,
        "extra_time_fraction": plan.extra_time_fraction,
        "least_cost": plan.least_cost,
        "cost_gap": plan.cost_gap,
        "flops": step_flops(plan),
        "loops": [{"first": loop.first, "last": loop.last, "images": loop.images} for loop in plan.program.loops],
        "placement": {
            "gap": plan.placement.gap,
            "order": plan.placement.order,
            "seconds": plan.placement.seconds,
        },
        "steps": plan.steps,
        CONVOLUTIONS: {key: [list(one) for one in order] for key, order in choices(plan).items()},
        "predicted": prediction_json(plan, images),
        "layers": _layers(net, plan),
        "loss": losses[-1] if losses else None,
        "head_losses": losses[:-1],
        "tensors": [
            {
                "name": planned.name,
                "kind": str(planned.kind),
                "layer": planned.layer,
                "offset": planned.offset,
                "nbytes": planned.nbytes,
                "first": planned.first,
                "last": planned.last,
                "within": planned.within or None,
            }
            for planned in plan.tensors
        ],
    }


def fit_json(surveys: Sequence[Survey]) -> list[dict[str, Any]]:
    """A dictionary for each budget; where not even one image fits, batch is 0 and total_bytes null."""
    return [
        {
            **_made_for(survey.target, survey.budget_bytes),
            **rung_json(survey.chosen),
            "ladder": [rung_json(rung) for rung in survey.ladder],
        }
        for survey in surveys
    ]


def card_fits_json(fits: Sequence[CardFit]) -> list[dict[str, Any]]:
    """A dictionary for each card, as `fit_json` without the ladder; `doubt`: what is unsure of its memory, or null."""
    return [
        {
            **_made_for(fit.target, fit.budget_bytes),
            "dtype": fit.dtype,
            "doubt": fit.target.doubt or None,
            **rung_json(fit.rung),
        }
        for fit in fits
    ]


def as_text(value: Any) -> str:
    """JSON over several lines, without a line break at the end."""
    return json.dumps(value, indent=2)


def _made_for(target: DeviceTarget, budget_bytes: int) -> dict[str, Any]:
    """`card` is null where none was named and there is none, `compute_capability` where there is no such thing."""
    return {
        "card": target.card or None,
        "compute_capability": capability(target.compute_capability) or None,
        "budget_bytes": budget_bytes,
    }


def rung_json(rung: Rung) -> dict[str, Any]:
    """`ways` may be used, `used` are; images_per_second is null where no profile tells it, predicted_ms of a
    step where the card is not known.
    """
    return {
        "ways": list(rung.ways),
        "used": list(rung.used),
        "batch": rung.batch,
        "total_bytes": rung.total_bytes,
        "next_total_bytes": rung.next_total_bytes,
        "extra_flops_fraction": rung.extra_flops_fraction,
        "extra_time_fraction": rung.extra_time_fraction,
        "images_per_second": rung.images_per_second,
        "predicted_ms": range_json(rung.predicted_ms),
    }


def _ways(plan: Plan) -> dict[str, Any]:
    """`dropped`: activations that are made again, `twice` those of them that are made twice, `kept` others that stay
    for them to be made from; `cut`, `chunk`: up to which one, how many images at a time;
    `micro_batch`: images of a round of the whole step; `late`: large gradients may wait for the end of backward;
    `one_buffer`: the next batch of images has no place of its own.
    """
    ways = plan.ways
    return {
        "names": list(ways.names),
        "dropped": list(ways.dropped),
        "kept": list(ways.kept),
        "twice": list(ways.twice),
        "cut": ways.cut,
        "chunk": ways.chunk,
        "micro_batch": ways.micro_batch,
        "late": ways.late,
        "one_buffer": ways.one_buffer,
        "scratch_limit_bytes": ways.scratch_limit_bytes,
    }


def _layers(net: Net, plan: Plan) -> list[dict[str, Any]]:
    """`made_again`: whether it runs a second time; `images_per_round`: null where all of the batch runs at once."""
    again, images = made_again(plan), rounds(plan)
    return [
        {**_layer(row), "made_again": row.name in again, "images_per_round": images.get(row.name)}
        for row in layer_rows(net, plan)
    ]


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
