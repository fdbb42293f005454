"""The largest batch for each of many cards, in less time than one search for each.

Whether a batch fits at all is told by the fewest bytes that it can take. They are known in a fraction of the time of a
plan, and over the batch they are all but a straight line: the points that were looked at for one card lead to the next
card's batch at once. Only there is a plan made as everywhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from gpunet.devices.target import DeviceTarget
from gpunet.net.net import Net
from gpunet.planning.fitter import Rung, largest, least_batch, rung_of
from gpunet.planning.planner import MAX_BATCH, WAYS, plan, plan_within
from gpunet.planning.prediction import predicted

FIRST_STEP = 64
"""Images beyond the smallest batch at which the line is looked at where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class CardFit:
    """What a card holds: the rung of `gpunet.fit`, its batch 0 where not even one image fits."""

    target: DeviceTarget
    budget_bytes: int
    rung: Rung


def fit_cards(
    net: Net,
    cards: Sequence[tuple[DeviceTarget, int]],
    *,
    watch: Callable[[str], None] = lambda card: None,
    **options: Any,
) -> list[CardFit]:
    """The largest batch for each (target, budget in bytes), in their order; options are those of `gpunet.plan`.

    `watch`  called with the name of each card before its batch is looked for
    """
    lines: dict[object, _Line] = {}
    found: dict[tuple[object, int], CardFit] = {}
    for where, budget_bytes in sorted(cards, key=lambda card: card[1]):
        if (_kind(where), budget_bytes) not in found:
            watch(where.card)
            line = lines.setdefault(_kind(where), _Line(net, {**options, "device": where}))
            found[_kind(where), budget_bytes] = CardFit(where, budget_bytes, line.rung(where, budget_bytes))
    return [_of_card(net, where, found[_kind(where), budget_bytes], options) for where, budget_bytes in cards]


def _of_card(net: Net, where: DeviceTarget, alike: CardFit, options: Mapping[str, Any]) -> CardFit:
    """What was found for a card of the same kind, with the time that this one would take."""
    if where == alike.target or not alike.rung.batch:
        return replace(alike, target=where)
    time = predicted(plan(net, alike.rung.batch, budget=alike.budget_bytes, **{**options, "device": where}))
    return replace(alike, target=where, rung=replace(alike.rung, predicted_ms=time.ms if time else None))


def _kind(where: DeviceTarget) -> object:
    """What of a card changes its plans, or what is said of them."""
    return where.compute_capability, where.reserve(), where.hardware()


class _Line:
    """The fewest bytes that batches of a net take on one kind of card, as far as they were looked at."""

    def __init__(self, net: Net, options: Mapping[str, Any]) -> None:
        self._net = net
        self._options = dict(options)
        self._least = least_batch(net, self._options)
        self._points: dict[int, int] = {}

    def rung(self, where: DeviceTarget, budget_bytes: int) -> Rung:
        """As `gpunet.fit` has it for a card of this kind, whose time it is."""
        options = {**self._options, "device": where}
        batch = self._largest(budget_bytes)
        if batch < self._least:
            return largest(self._net, budget_bytes, options)
        made = plan(self._net, batch, budget=budget_bytes, **options)
        if not made.fits:  # not seen yet: what takes the fewest bytes is among what a plan may be
            return largest(self._net, budget_bytes, options, start=batch)
        following = self._bytes(min(batch + 1, MAX_BATCH))
        ways = tuple(options.get("ways", WAYS))
        return rung_of(self._net, made, ways, following)

    def _largest(self, budget_bytes: int) -> int:
        """The largest batch that takes no more than the budget; below the least where none does.

        Every fourth try halves the distance between what fits and what does not, in case the line is bent.
        """
        most = max((batch for batch, nbytes in self._points.items() if nbytes <= budget_bytes), default=self._least - 1)
        over = (batch for batch, nbytes in self._points.items() if nbytes > budget_bytes and batch > most)
        too_many = min(over, default=MAX_BATCH + 1)
        for tries in count(1):
            if too_many - most <= 1:
                break
            batch = self._expected(budget_bytes, most, too_many) if tries % 4 else (most + too_many) // 2
            batch = min(max(batch, most + 1), too_many - 1)
            if self._bytes(batch) <= budget_bytes:
                most = batch
            else:
                too_many = batch
        return most

    def _expected(self, budget_bytes: int, most: int, too_many: int) -> int:
        """Where the line through the two points that tell most reaches the budget."""
        below = sorted(batch for batch in self._points if batch <= most)[-2:]
        if not below:
            return self._least
        first, last = (most, too_many) if too_many in self._points else (below[0], below[-1])
        if first == last:
            return most + FIRST_STEP
        rise = max(self._points[last] - self._points[first], 1)
        return first + (budget_bytes - self._points[first]) * (last - first) // rise

    def _bytes(self, batch: int) -> int:
        """Arena and reserve in the ways of fewest bytes."""
        if batch not in self._points:
            made = plan_within(self._net, batch, budget=1, seek="least", **self._options)
            assert made is not None  # the least is made whatever the budget
            self._points[batch] = made.total_bytes
        return self._points[batch]
