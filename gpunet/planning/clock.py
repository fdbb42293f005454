"""What ops take beside each other, in nanoseconds: what is made again is paid for in time.

By the roofline of the card that is planned for, and by no measurement, so that a plan is the same wherever it is made.
Where no card is known, as for the CPU, the default card stands in: what counts is how ops compare.
"""

from collections.abc import Callable
from functools import cache

from gpunet.compile.makers import Cost
from gpunet.devices.cards import DEFAULT, Card, named
from gpunet.planning.predict import op_key
from gpunet.planning.roofline import price
from gpunet.planning.work import work
from gpunet.program.program import Op, Program

IMAGES = 64
"""In a call: the same choice costs the same fraction of a step whatever the batch is."""

Clock = Callable[[Op], int]
"""Nanoseconds of an op over so many images."""

Clocks = Callable[[int], Clock]
"""The clock of calls of so many images: of many, a call takes less for each of them."""


def clock(card: str, batch: int, images: int = IMAGES) -> Clock:
    """The clock of a card by its name, for the ops of a step of `batch` images: what a call of so many takes.

    Each kernel is launched, what belongs to no image is read, and multiprocessors are idle where a call has few tiles
    of results: rounds of a few images take longer.
    """
    known = priced_card(card)
    found: dict[str, int] = {}

    def ns(op: Op) -> int:
        key = op_key(op)
        if key not in found:
            found[key] = round(1e6 * sum(price(kernel, known).ms for kernel in work(op, images, batch)))
        return found[key]

    return ns


def clocks(card: str, batch: int) -> Clocks:
    """Those of a card, for calls of any number of images of such a step."""
    return cache(lambda images: clock(card, batch, images))


def priced_card(card: str) -> Card:
    """The card of that name, or the default one where it is not known or may be several."""
    cards = named(card) if card else []
    return cards[0] if len(cards) == 1 else named(DEFAULT)[0]


def cost_of(program: Program, ns: Clock) -> Cost:
    """What all of a step takes, each op called once."""
    return Cost(sum(op.flops for op in program.ops), sum(ns(op) for op in program.ops))
