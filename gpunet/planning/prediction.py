"""How long a step of a plan would take on its card: predicted from bytes and operations, op by op, not measured.

Every op is priced as gpunet.planning.roofline has it, kernel by kernel, and a range is told, as a table of efficiencies
knows no card by heart. Where a profile or bench/on_gpu.py has found how fast the ops of that card are, that counts, and
the range is narrower.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from gpunet.devices.cards import Card, named
from gpunet.devices.name import kind_of
from gpunet.memory.plan import Plan
from gpunet.planning.beside import on_tensor_cores
from gpunet.planning.efficiency import Paces, load
from gpunet.planning.predict import op_calls
from gpunet.planning.roofline import Bound, Price, price
from gpunet.planning.work import work
from gpunet.program.algorithm import ON_TENSOR_CORES, AlgorithmName
from gpunet.program.program import Op
from gpunet.values.shown import Shown

UNSURE: Mapping[Bound, float] = {"memory": 0.1, "arithmetic": 0.12, "launches": 0.5}
"""By how much, as a fraction, milliseconds may be off in either direction, by what bounds them."""

UNSURE_FOUND = 0.05
"""The same where the op's pace was found on such a card."""

TABLE = "gpunet's table of efficiencies: a model, no measurement"


BY_TABLE = Paces(TABLE)
"""Nothing beside the table."""


class Range(NamedTuple):
    """A figure that is predicted: as it is expected, and what it lies between."""

    low: float
    likely: float
    high: float

    def over(self, number: float) -> "Range":
        """`number` over each: of a time a speed, the lowest first again."""
        return Range(number / self.high, number / self.likely, number / self.low)

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.likely * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class OpPrediction:
    """What an op takes in a step, all its rounds together; `ms_by`: milliseconds by what bounds them."""

    op: Op
    ms_by: Mapping[Bound, float]
    unsure: float | None = None

    @property
    def ms(self) -> Range:
        return _range(self.ms_by, self.unsure)

    @property
    def bound(self) -> Bound:
        return _most(self.ms_by)

    def part(self, share: float) -> "OpPrediction":
        """That part of it."""
        return replace(self, ms_by={bound: ms * share for bound, ms in self.ms_by.items()})


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """What all ops of a layer take in a step, by phase, and what bounds them."""

    forward_ms: float
    backward_ms: float
    update_ms: float
    bound: Bound

    @property
    def ms(self) -> float:
        return self.forward_ms + self.backward_ms + self.update_ms


@dataclass(frozen=True, repr=False)
class Prediction(Shown):
    """What a step of `batch` images would take on a card.

    `ops`     in the order of the program
    `source`  whose efficiencies these are, in words
    `beside`  milliseconds of a step on the card's tensor cores, for an exact plan in float32: by "tf32", and by the
              half type that the card trains with
    """

    card: str
    batch: int
    ops: tuple[OpPrediction, ...]
    source: str
    beside: Mapping[str, Range] = field(default_factory=dict)

    @cached_property
    def ms(self) -> Range:
        """Milliseconds of a step. What is too high or too low is so everywhere: the ends of the ranges add up."""
        return Range(*(sum(column) for column in zip(*(op.ms for op in self.ops), strict=True)))

    @property
    def images_per_second(self) -> Range:
        return self.ms.over(self.batch * 1e3)

    def hours(self, images: int) -> Range:
        """An epoch of so many images; a last, smaller batch counts by its images."""
        return self.ms.times(images / self.batch / 3.6e6)

    @cached_property
    def shares(self) -> dict[Bound, float]:
        """By what bounds it, the fraction of a step."""
        sums = _add(op.ms_by for op in self.ops)
        return {bound: ms / sum(sums.values()) for bound, ms in sums.items()}

    @cached_property
    def by_layer(self) -> dict[str, LayerPrediction]:
        """By the name of the layer, in the order of the program; the loss counts to backward."""
        groups: dict[str, list[OpPrediction]] = {}
        for op in self.ops:
            for layer, share in op.op.shares.items():
                groups.setdefault(layer, []).append(op.part(share))
        return {layer: _layer(ops) for layer, ops in groups.items()}


def predicted(plan: Plan) -> Prediction | None:
    """What a step of a plan would take on its card; None where `why_not` says why that is not told."""
    if why_not(plan):
        return None
    card = _cards(plan)[0]
    return replace(predict(plan, card), beside=_beside(plan, card))


def _beside(plan: Plan, card: Card) -> dict[str, Range]:
    """See `Prediction.beside`; nothing of a plan that is on tensor cores, or in float64."""
    products = {str(op.attributes.get("algorithm")) for op in plan.program.ops}
    if plan.dtype != "float32" or products & set(ON_TENSOR_CORES):
        return {}
    halves, found = plan.target.halves, {}
    if card.tf32_tflops is not None:
        found["tf32"] = _changed(plan, card, "tf32")
    if halves and card.float16_tflops is not None:
        found[halves[0]] = _changed(plan, card, "halves", halves[0])
    return found


def _changed(plan: Plan, card: Card, algorithm: AlgorithmName, half: str = "") -> Range:
    program = plan.program
    ops = [_op(on_tensor_cores(op, algorithm, half), op_calls(program, step), plan, card, BY_TABLE)
           for step, op in enumerate(program.ops)]  # fmt: skip
    return Range(*(sum(column) for column in zip(*(op.ms for op in ops), strict=True)))


def predict(plan: Plan, card: Card, paces: Paces | None = None) -> Prediction:
    """What a step of a plan for a GPU, in float32 or a half type, would take on that card.

    `paces`  what is known of it beside the table; None: what the cache has
    """
    paces = paces or load(card) or BY_TABLE
    ops = tuple(_op(op, op_calls(plan.program, step), plan, card, paces) for step, op in enumerate(plan.program.ops))
    return Prediction(card.name, plan.batch, ops, paces.source)


def why_not(plan: Plan) -> str:
    """Why no time is predicted for a plan, in words; "" where one is."""
    if kind_of(plan.device) != "cuda":
        return f"none for the {plan.device.upper()}: gpunet profile measures one here"
    if plan.dtype == "float64":
        return f"none in {plan.dtype}: the table of cards has no rates of it"
    if not plan.card:
        return "none without a card: name one, like --gpu 3060"
    found = _cards(plan)
    if not found:
        return f"none for the {plan.card}, which is not in the table of cards: gpunet profile measures one here"
    if len(found) > 1:
        return f"none: {plan.card} may be the {' or the '.join(card.name for card in found)}"
    return ""


def found_paces(plan: Plan, card: Card, ms: Sequence[float], source: str) -> Paces:
    """What a measurement says of a card: `ms`, milliseconds of each op of a plan in a step, in order.

    Ops that are bound by their launches say nothing: timed one by one they take the host's time.
    """
    sums: dict[str, tuple[float, float]] = {}
    for expected, took in zip(predict(plan, card, BY_TABLE).ops, ms, strict=True):
        if expected.bound == "launches":
            continue
        before = sums.get(pace_key(expected.op), (0.0, 0.0))
        sums[pace_key(expected.op)] = before[0] + expected.ms.likely, before[1] + took
    return Paces(source, {key: expected / took for key, (expected, took) in sums.items() if took > 0 and expected > 0})


def pace_key(op: Op) -> str:
    """What ops share a pace: those of one name and algorithm."""
    algorithm = op.attributes.get("algorithm")
    return f"{op.name} {algorithm}" if algorithm else op.name


def _cards(plan: Plan) -> list[Card]:
    return named(plan.card)


def _op(op: Op, calls: int, plan: Plan, card: Card, paces: Paces) -> OpPrediction:
    images = -(-plan.batch // calls)
    prices = [price(kernel, card) for kernel in work(op, images, plan.batch)]
    times = plan.batch / images / paces.of(pace_key(op))  # the last round may be a smaller one
    ms_by = _add(_by_bound(one) for one in prices)
    known = pace_key(op) in paces.by_key
    return OpPrediction(op, {bound: ms * times for bound, ms in ms_by.items()}, UNSURE_FOUND if known else None)


def _by_bound(one: Price) -> dict[Bound, float]:
    """Milliseconds of a kernel: its launches, and the slower of memory and arithmetic."""
    if one.memory_ms >= one.arithmetic_ms:
        return {"memory": one.memory_ms, "launches": one.launches_ms}
    return {"arithmetic": one.arithmetic_ms, "launches": one.launches_ms}


def _layer(ops: list[OpPrediction]) -> LayerPrediction:
    forward, update = (sum(op.ms.likely for op in ops if op.op.phase == phase) for phase in ("forward", "update"))
    backward = sum(op.ms.likely for op in ops) - forward - update
    return LayerPrediction(forward, backward, update, _most(_add(op.ms_by for op in ops)))


def _add(parts: Iterable[Mapping[Bound, float]]) -> dict[Bound, float]:
    """The sums by what bounds them, all three."""
    sums: dict[Bound, float] = dict.fromkeys(UNSURE, 0.0)
    for part in parts:
        for bound, ms in part.items():
            sums[bound] += ms
    return sums


def _most(ms_by: Mapping[Bound, float]) -> Bound:
    return max(ms_by, key=lambda bound: ms_by[bound])


def _range(ms_by: Mapping[Bound, float], unsure: float | None) -> Range:
    likely = sum(ms_by.values())
    off = sum(ms * (UNSURE[bound] if unsure is None else unsure) for bound, ms in ms_by.items())
    return Range(likely - off, likely, likely + off)
