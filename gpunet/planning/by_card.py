"""The largest batch for each of many cards, in less time than one search for each.

Whether a batch fits at all is told by the fewest bytes that it can take. They are known in a fraction of the time of a
plan, and over the batch they are all but a straight line: the points that were looked at for one card lead to the next
card's batch at once. Only there is a plan made as everywhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from gpunet.devices.target import DeviceTarget
from gpunet.net.net import Net
from gpunet.planning.fitter import Rung, largest
from gpunet.planning.options import Given, Options
from gpunet.planning.planner import Planner
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
    **options: Unpack[Given],
) -> list[CardFit]:
    """The largest batch for each (target, budget in bytes), in their order; options are those of `gpunet.plan`.

    `watch`  called with the name of each card before its batch is looked for
    """
    said = Options(**options)
    planners: dict[object, Planner] = {}
    found: dict[tuple[object, int], CardFit] = {}
    for where, budget_bytes in sorted(cards, key=lambda card: card[1]):
        if (_kind(where), budget_bytes) not in found:
            watch(where.card)
            planner = planners.setdefault(_kind(where), Planner(net, replace(said, device=where)))
            rung = largest(planner, budget_bytes, where=where)
            found[_kind(where), budget_bytes] = CardFit(where, budget_bytes, rung, planner.dtype)
    return [_of_card(net, where, found[_kind(where), budget_bytes], said) for where, budget_bytes in cards]


def fit_types(
    net: Net,
    cards: Sequence[tuple[DeviceTarget, int]],
    dtypes: Sequence[AnyDtype],
    *,
    watch: Callable[[str], None] = lambda card: None,
    **options: Unpack[Given],
) -> list[CardFit]:
    """`fit_cards` for each of the dtypes that a card has, card by card."""
    by_type = []
    for dtype in dtypes:
        options["dtype"] = dtype
        by_type.append(fit_cards(net, [card for card in cards if card[0].has(dtype)], watch=watch, **options))
    return [fit for card in cards for fits in by_type for fit in fits if (fit.target, fit.budget_bytes) == card]


def _of_card(net: Net, where: DeviceTarget, alike: CardFit, said: Options) -> CardFit:
    """What was found for a card of the same kind, with the time that this one would take."""
    if where == alike.target or not alike.rung.batch:
        return replace(alike, target=where)
    time = predicted(Planner(net, replace(said, device=where)).plan(alike.rung.batch, alike.budget_bytes))
    return replace(alike, target=where, rung=replace(alike.rung, predicted_ms=time.ms if time else None))


def _kind(where: DeviceTarget) -> object:
    """What of a card changes its plans, or what is said of them."""
    return where.compute_capability, where.reserve(), where.hardware()
