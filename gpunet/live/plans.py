"""Plans for the page, made piece by piece: first what is known at once, then what must be searched for.

An answer is an iterator of plain dictionaries, each with its `stage`:

    net     what the net's config says of its training
    plan    the plan as `gpunet plan --json` has it, and beside it `ops`; `final` where no search changes it any more
    rung    a rung of the ladder of ways, as `gpunet fit --json` has it, from the free savings on
    search  what follows is searched for, which may take seconds
    done    `largest`: the largest batch in the ways that are allowed
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from gpunet.live.asked import Asked, PlanAsked, plan_asked
from gpunet.live.known import Known, known
from gpunet.memory.plan import Plan
from gpunet.net.net import Net
from gpunet.planning.fitter import Rung
from gpunet.report.as_json import plan_json, rung_json
from gpunet.report.snapshot import memory_snapshot
from gpunet.report.table import verdict

Answer = dict[str, Any]


def plans(asked: Asked) -> Iterator[Answer]:
    """The plan that is asked for, and the ladder. Raises ConfigError, ShapeError or PlanError."""
    said = plan_asked(asked)
    about = known(said)
    net, batch, budget = _wanted(about, said)
    yield {"stage": "net", **_about(about)}
    free = about.plan(batch, None)
    if budget is None:
        yield _plan_answer(net, free, said, final=True)
        yield {"stage": "done", "largest": None}
        return
    fits = free.total_bytes <= budget
    yield _plan_answer(net, about.plan(batch, budget) if fits else free, said, final=fits)
    rungs = about.ladder()
    yield from map(_rung_answer, islice(rungs, about.at_once))
    if not (fits and about.chosen):
        yield {"stage": "search"}
    if not fits:
        yield _plan_answer(net, about.plan(batch, budget), said, final=True)
    yield from map(_rung_answer, rungs)
    yield {"stage": "done", "largest": about.largest_batch()}


def exported(asked: Asked) -> tuple[Net, Plan, int | None]:
    """(net, plan, the largest batch that fits where this one does not) as `gpunet plan` makes them."""
    said = plan_asked(asked)
    about = known(said)
    net, batch, budget = _wanted(about, said)
    made = about.plan(batch, budget)
    return net, made, None if made.fits or budget is None else about.largest_batch()


def snapshots(asked: Asked) -> Iterator[Answer]:
    """The plan as one that a viewer of PyTorch's allocator takes, a pickle in base64."""
    import pickle
    from base64 import b64encode

    from gpunet.report.snapshot import PROTOCOL

    _, made, _ = exported(asked)
    yield {"stage": "file", "base64": b64encode(pickle.dumps(memory_snapshot(made), PROTOCOL)).decode()}


def texts(asked: Asked) -> Iterator[Answer]:
    """The plan as the text that `gpunet plan --json` prints."""
    from gpunet.report.as_json import as_text

    net, made, largest = exported(asked)
    yield {"stage": "file", "text": as_text(plan_json(net, made, largest_batch=largest)) + "\n"}


def _wanted(about: Known, said: PlanAsked) -> tuple[Net, int, int | None]:
    """Net, batch and budget as `gpunet plan` settles them."""
    return about.config.net, about.told.batch if said.batch is None else said.batch, about.budget


def _about(about: Known) -> Answer:
    """What the net's config says, for controls that are left to it."""
    config, told = about.config, about.told
    return {
        "name": config.net.name,
        "title": config.title,
        "input": str(config.net.input),
        "batch": told.batch,
        "optimizer": told.optimizer,
        "dtype": told.dtype,
        "classes": config.net.classes,
    }


def _rung_answer(rung: Rung) -> Answer:
    return {"stage": "rung", **rung_json(rung)}


def _plan_answer(net: Net, made: Plan, said: PlanAsked, *, final: bool) -> Answer:
    return {
        "stage": "plan",
        "final": final,
        "plan": plan_json(net, made),
        "verdict": verdict(made),
        "ops": [[op.name, op.layer, op.phase] for op in made.program.ops],
        "command": said.command,
    }
