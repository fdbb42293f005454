"""Plans for the page, made piece by piece: first what is known at once, then what must be searched for.

An answer is an iterator of plain dictionaries, each with its `stage`:

    net    where TOML or a name was given: what the net's config says of its training
    plan   the plan as `gpunet plan --json` has it, and beside it `ops`; `final` where no search changes it any more
    rung   a rung of the ladder of ways, as `gpunet fit --json` has it, from the free savings on
    done   `largest`: the largest batch in the ways that are allowed
"""

from collections.abc import Iterator
from typing import Any

from gpunet.errors import BudgetError
from gpunet.live.asked import Asked, PlanAsked, net_of, plan_asked
from gpunet.memory.plan import Plan
from gpunet.net.config import Config, TrainConfig
from gpunet.net.net import Net
from gpunet.planning.aim import aim
from gpunet.planning.fitter import fit, rungs
from gpunet.planning.planner import plan
from gpunet.report.as_json import plan_json, rung_json
from gpunet.report.snapshot import memory_snapshot
from gpunet.report.table import verdict
from gpunet.train.settings import plan_settings

Answer = dict[str, Any]


def plans(asked: Asked) -> Iterator[Answer]:
    """The plan that is asked for, and the ladder. Raises ConfigError, ShapeError or PlanError."""
    said, config, told = _read(asked)
    net, batch, budget, settings = _wanted(said, config, told)
    yield {"stage": "net", **_about(config, told)}
    free = plan(net, batch, **settings)
    if budget is None:
        yield _plan_answer(net, free, said, final=True)
        yield {"stage": "done", "largest": None}
        return
    at_once = free.total_bytes <= budget
    made = plan(net, batch, budget=budget, **settings) if at_once else free
    yield _plan_answer(net, made, said, final=at_once)
    if not at_once:
        made = plan(net, batch, budget=budget, **settings)
        yield _plan_answer(net, made, said, final=True)
    largest = None
    for rung in rungs(net, budget, **settings):
        if set(rung.ways) <= set(settings["ways"]):
            largest = rung.batch
        yield {"stage": "rung", **rung_json(rung)}
    yield {"stage": "done", "largest": largest}


def exported(asked: Asked) -> tuple[Net, Plan, int | None]:
    """(net, plan, the largest batch that fits where this one does not) as `gpunet plan` makes them."""
    said, config, told = _read(asked)
    net, batch, budget, settings = _wanted(said, config, told)
    made = plan(net, batch, budget=budget, **settings)
    if made.fits or budget is None:
        return net, made, None
    try:
        return net, made, fit(net, budget, **settings).batch
    except BudgetError:
        return net, made, 0


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


def _read(asked: Asked) -> tuple[PlanAsked, Config, TrainConfig]:
    said = plan_asked(asked)
    config = net_of(said.text)
    return said, config, said.training(config)


def _wanted(said: PlanAsked, config: Config, told: TrainConfig) -> tuple[Net, int, int | None, dict[str, Any]]:
    """Net, batch, budget and options of `gpunet.plan`, as `gpunet plan` settles them."""
    budget = told.budget if said.budget is None and said.card is None else said.budget
    where, budget_bytes = aim(said.device, budget, said.card, assume=True)
    settings = plan_settings(told, said.mode, None) | {"device": where, "tuned": True}
    return config.net, told.batch if said.batch is None else said.batch, budget_bytes, settings


def _about(config: Config, told: TrainConfig) -> Answer:
    """What the net's config says, for controls that are left to it."""
    return {
        "name": config.net.name,
        "title": config.title,
        "input": str(config.net.input),
        "batch": told.batch,
        "optimizer": told.optimizer,
        "classes": config.net.classes,
    }


def _plan_answer(net: Net, made: Plan, said: PlanAsked, *, final: bool) -> Answer:
    return {
        "stage": "plan",
        "final": final,
        "plan": plan_json(net, made),
        "verdict": verdict(made),
        "ops": [[op.name, op.layer, op.phase] for op in made.program.ops],
        "command": said.command,
    }
