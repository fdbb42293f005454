"""How long ranks wait for one another: predicted from the bytes on the wire, the speed of a named network, and the time
of a step on one card. A model, no measurement.

What it takes for granted: each rank has a connection of its own of that speed, all send at the same time, a message
needs the network's latency and each other rank's a microsecond more. What goes on beside the arithmetic takes nothing
from it, and goes in order: a rank waits at the op that awaits it, as the plan has it, for what is not done by then.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gpunet.compile.between import AWAIT, goes_beside
from gpunet.compile.wire import messages, op_bytes, wire_bytes
from gpunet.errors import ConfigError
from gpunet.memory.plan import Plan
from gpunet.planning.prediction import Range
from gpunet.program.program import Op
from gpunet.values.given import told

REACHED = 0.85
"""Of the speed that a network is named after, what is reached with messages of some MiB."""

MESSAGE_MS = 0.001
"""For each message that a rank sends at the same time as others."""

ASSUMED = (
    f"each rank has such a connection of its own and reaches {REACHED:.0%} of its speed; what is sent takes nothing "
    "from the arithmetic beside it; predicted, not measured"
)


@dataclass(frozen=True, slots=True)
class Network:
    """What joins ranks: bytes a millisecond each way, as its name has it, and milliseconds until a message is there."""

    name: str
    bytes_per_ms: float
    latency_ms: float

    def ms(self, nbytes: float, rounds: int, ranks: int) -> float:
        """Milliseconds in which a rank sends so many bytes, in so many rounds in which it hears of all others."""
        waiting = self.latency_ms + MESSAGE_MS * (ranks - 1)
        return nbytes / (REACHED * self.bytes_per_ms) + rounds * waiting


NETWORKS = {
    "1Gb": Network("1Gb", 1e9 / 8e3, 0.05),
    "10Gb": Network("10Gb", 10e9 / 8e3, 0.03),
    "25Gb": Network("25Gb", 25e9 / 8e3, 0.02),
    "100Gb": Network("100Gb", 100e9 / 8e3, 0.01),
    "200Gb": Network("200Gb", 200e9 / 8e3, 0.005),
    "400Gb": Network("400Gb", 400e9 / 8e3, 0.005),
    "pcie3": Network("pcie3", 15.75e6, 0.015),
    "pcie4": Network("pcie4", 31.5e6, 0.015),
    "pcie5": Network("pcie5", 63e6, 0.015),
    "nvlink": Network("nvlink", 300e6, 0.01),
}
"""By name: Ethernet or InfiniBand by gigabits a second, PCI Express with 16 lanes, NVLink as an A100 has it."""


def network(text: str) -> Network:
    """The network of that name, or of so many gigabits a second, like 40Gb. Raises ConfigError for any other."""
    known = {name.lower(): one for name, one in NETWORKS.items()}
    if text.lower() in known:
        return known[text.lower()]
    match = re.fullmatch(r"\s*([0-9]{1,5}(?:\.[0-9]{1,3})?)\s*gb(?:it)?(?:/?s)?\s*", text.lower())
    if not match or not float(match[1]):
        raise ConfigError(
            f"there is no network {told(text)}; there are {', '.join(NETWORKS)}, or any speed in gigabits a second, "
            "like 40Gb"
        )
    return Network(f"{match[1]}Gb", float(match[1]) * 1e9 / 8e3, 0.02)


@dataclass(frozen=True, slots=True)
class RanksPrediction:
    """What a step of several ranks would take over a network.

    `step_ms`   of one rank's share, without the others; None where its card is not known
    `wire_ms`   in which something is sent; `sent_bytes`: what the first rank, which sends the most, sends
    `waits_ms`  of that, in which the rank has nothing else to do: the rest is hidden behind its arithmetic
    """

    ranks: int
    network: Network
    batch: int
    sent_bytes: int
    wire_ms: float
    step_ms: Range | None
    waits_ms: float

    @property
    def hidden_ms(self) -> float:
        return max(0.0, self.wire_ms - self.waits_ms)

    @property
    def efficiency(self) -> Range | None:
        """Speed of all ranks over that of one times how many there are, the share of each being the same."""
        if self.step_ms is None:
            return None
        low, likely, high = (ms / (ms + self.waits_ms) for ms in self.step_ms)
        return Range(low, likely, high)

    @property
    def images_per_second(self) -> Range | None:
        """Of all ranks together."""
        if self.step_ms is None:
            return None
        low, likely, high = (ms + self.waits_ms for ms in self.step_ms)
        return Range(low, likely, high).over(self.batch * 1e3)


def predict_ranks(plan: Plan, over: Network) -> RanksPrediction:
    """What a step of a plan for several ranks takes over a network."""
    program, found = plan.program, plan.predicted
    sent = [
        over.ms(op_bytes(op, plan.ranks, 0, program.whole), messages(op, plan.ranks), plan.ranks) for op in program.ops
    ]
    step_ms = [0.0] * len(sent) if found is None else [op.ms.likely for op in found.ops]
    return RanksPrediction(
        program.ranks,
        over,
        plan.whole_batch,
        wire_bytes(program),
        sum(sent),
        None if found is None else found.ms,
        waits_of(program.ops, step_ms, sent),
    )


def waits_of(ops: Sequence[Op], step_ms: Sequence[float], sent_ms: Sequence[float]) -> float:
    """Milliseconds in which a rank waits for others, from what each op takes it and the wire.

    What is sent goes one after the other; an AWAIT waits for its own, any other op of the wire for its own and all
    before.
    """
    now = free = waits = 0.0
    done: dict[str, float] = {}
    for op, computes, sends in zip(ops, step_ms, sent_ms, strict=True):
        now += computes
        if sends:
            free = max(free, now) + sends
        until = free if sends and not goes_beside(op) else now
        if goes_beside(op):
            done[op.inputs[0].name] = free
        elif op.name == AWAIT:
            until = done[op.inputs[0].name]
        waits += max(0.0, until - now)
        now = max(now, until)
    return waits


def by_layer(plan: Plan) -> dict[str, int]:
    """Bytes that the first rank sends in a step, by layer; of gradients that go together each by its size."""
    found: dict[str, float] = {}
    for op in plan.program.ops:
        nbytes, whole = op_bytes(op, plan.ranks, 0, plan.whole_batch), sum(t.nbytes for t in op.inputs)
        for tensor in op.inputs if nbytes else ():
            found[tensor.layer] = found.get(tensor.layer, 0.0) + nbytes * tensor.nbytes / whole
    return {layer: round(nbytes) for layer, nbytes in found.items()}
