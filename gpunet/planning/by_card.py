"""The largest batch for each of many cards, in less time than one search for each.

Whether a batch fits at all is told by the fewest bytes that it can take. They are known in a fraction of the time of a
plan, and over the batch they are all but a straight line: the points that were looked at for one card lead to the next
card's batch at once. Only there is a plan made as everywhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpunet.devices.target import DeviceTarget
from gpunet.net.net import Net
from gpunet.planning.fitter import Rung, largest, most_images, rung_of
from gpunet.planning.options import Options
from gpunet.planning.planner import MAX_BATCH, Planner, plan
from gpunet.planning.prediction import predicted
from gpunet.program.program import AnyDtype, Dtype


@dataclass(frozen=True, slots=True)
class CardFit:
    """What a card holds: the rung of `gpunet.fit`, its batch 0 where not even one image fits."""

    target: DeviceTarget
    budget_bytes: int
    rung: Rung
    dtype: Dtype = "float32"


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
    planners: dict[object, Planner] = {}
    found: dict[tuple[object, int], CardFit] = {}
    for where, budget_bytes in sorted(cards, key=lambda card: card[1]):
        if (_kind(where), budget_bytes) not in found:
            watch(where.card)
            planner = planners.setdefault(_kind(where), Planner(net, Options(**{**options, "device": where})))
            rung = _rung(planner, where, budget_bytes)
            found[_kind(where), budget_bytes] = CardFit(where, budget_bytes, rung, planner.dtype)
    return [_of_card(net, where, found[_kind(where), budget_bytes], options) for where, budget_bytes in cards]


def fit_types(
    net: Net,
    cards: Sequence[tuple[DeviceTarget, int]],
    dtypes: Sequence[AnyDtype],
    *,
    watch: Callable[[str], None] = lambda card: None,
    **options: Any,
) -> list[CardFit]:
    """`fit_cards` for each of the dtypes that a card has, card by card."""
    by_type = {
        dtype: fit_cards(net, [card for card in cards if card[0].has(dtype)], watch=watch, **options, dtype=dtype)
        for dtype in dtypes
    }
    return [
        fit for card in cards for fits in by_type.values() for fit in fits if (fit.target, fit.budget_bytes) == card
    ]


def _rung(planner: Planner, where: DeviceTarget, budget_bytes: int) -> Rung:
    """As `gpunet.fit` has it for a card of the kind of the planner's, whose time it is."""
    own = planner if where == planner.target else Planner(planner.net, replace(planner.options, device=where))
    share, ranks = most_images(planner, budget_bytes), planner.ranks
    if share < planner.least_batch or not (made := own.plan(share * ranks, budget_bytes)).fits:
        return largest(own, budget_bytes, start=share or None)
    more = min(share + 1, MAX_BATCH // ranks)
    return rung_of(made, own.options.allowed, planner.needed(more * ranks).total_bytes)


def _of_card(net: Net, where: DeviceTarget, alike: CardFit, options: Mapping[str, Any]) -> CardFit:
    """What was found for a card of the same kind, with the time that this one would take."""
    if where == alike.target or not alike.rung.batch:
        return replace(alike, target=where)
    time = predicted(plan(net, alike.rung.batch, budget=alike.budget_bytes, **{**options, "device": where}))
    return replace(alike, target=where, rung=replace(alike.rung, predicted_ms=time.ms if time else None))


def _kind(where: DeviceTarget) -> object:
    """What of a card changes its plans, or what is said of them."""
    return where.compute_capability, where.reserve(), where.hardware()
