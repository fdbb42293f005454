"""What is known of a net and how it is planned, whatever its batch is: found once, it serves the edits that follow.

So the ladder of ways stands at once where only the batch was changed, and a search that a newer edit broke off goes on
from the rungs that it had found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

from gpunet.live.asked import PlanAsked, net_of
from gpunet.memory.plan import Plan
from gpunet.planning.aim import aim
from gpunet.planning.fitter import Rung, allowed_rung, largest, steps
from gpunet.planning.options import LADDER_WAYS, Options
from gpunet.planning.planner import Planner
from gpunet.train.settings import plan_settings

KEPT = 4
"""Nets, or ways to plan one, of which what was found is kept."""


class Known:
    """A net that is planned as was asked for, `gpunet plan` settling the rest; plans, and the ladder as it is found.

    `budget`   bytes, None where there is no limit
    `allowed`  the ways that a plan may use
    `chosen`   the rung of those ways, once the ladder is known

    Raises ConfigError, ShapeError or PlanError for what cannot be planned.
    """

    def __init__(self, said: PlanAsked) -> None:
        self.config = net_of(said.text)
        self.told = said.training(self.config)
        limit = self.told.budget if said.budget is None and said.card is None else said.budget
        where, self.budget = aim(said.device, limit, said.card, assume=True)
        settings = plan_settings(self.told, said.mode, None) | {"device": where, "tuned": True}
        self.allowed = Options(**settings).allowed
        self._options = Options(**(settings | {"ways": LADDER_WAYS}))
        self._planner = Planner(self.config.net, self._options)
        self._steps = steps(self._planner)
        self.rungs: list[Rung] = []
        self.chosen: Rung | None = None

    def plan(self, batch: int, budget: int | None) -> Plan:
        """The plan of a batch; without a budget, by the free savings alone."""
        with self._planning() as planner:
            return planner.plan(batch, budget, self.allowed)

    def ladder(self) -> Iterator[Rung]:
        """The rungs that are known, then those that are to be found, each kept in `rungs` once it is; as `gpunet fit`
        has them, the last may be one more for the ways that are allowed."""
        assert self.budget is not None
        for at in range(len(self._steps)):
            if at == len(self.rungs):
                with self._planning() as planner:
                    start = self.rungs[-1].batch // planner.ranks if self.rungs else None
                    self.rungs.append(largest(planner, self.budget, self._steps[at], start=start))
            yield self.rungs[at]
        if self.chosen is None:
            with self._planning() as planner:
                self.chosen = allowed_rung(planner, self.budget, self.allowed, self.rungs)
        if self.chosen not in self.rungs:
            yield self.chosen

    @property
    def at_once(self) -> int:
        """How many rungs are there without a search: those that are known, and that of the free savings."""
        return max(1, len(self.rungs))

    def largest_batch(self) -> int:
        """The largest batch that fits the budget in the ways that are allowed; 0 where none does."""
        assert self.budget is not None
        if self.chosen is not None:
            return self.chosen.batch
        with self._planning() as planner:
            return largest(planner, self.budget, self.allowed).batch

    @contextmanager
    def _planning(self) -> Iterator[Planner]:
        """The planner; where a search is broken off in the middle of a count, another is taken from there on."""
        try:
            yield self._planner
        except BaseException:
            self._planner = Planner(self.config.net, self._options)
            raise


def known(said: PlanAsked) -> Known:
    """What is known of it, whatever its batch is."""
    return _kept(replace(said, batch=None))


_kept = lru_cache(maxsize=KEPT)(Known)
