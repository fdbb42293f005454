"""What ops take beside each other, in nanoseconds: what is made again is paid for in time.

By the roofline of the card that is planned for, and by no measurement, so that a plan is the same wherever it is made.
Where no card is known, as for the CPU, the default card stands in: what counts is how ops compare.
"""

from collections.abc import Callable

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


def clock(card: str, batch: int) -> Clock:
    """The clock of a card by its name, for the ops of a step of `batch` images."""
    known = priced_card(card)
    found: dict[str, int] = {}

    def ns(op: Op) -> int:
        key = op_key(op)
        if key not in found:
            found[key] = round(1e6 * sum(price(kernel, known).ms for kernel in work(op, IMAGES, batch)))
        return found[key]

    return ns


def priced_card(card: str) -> Card:
    """The card of that name, or the default one where it is not known or may be several."""
    cards = named(card) if card else []
    return cards[0] if len(cards) == 1 else named(DEFAULT)[0]


def cost_of(program: Program, ns: Clock) -> Cost:
    """What all of a step takes, each op called once."""
    return Cost(sum(op.flops for op in program.ops), sum(ns(op) for op in program.ops))
