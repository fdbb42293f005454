"""`gpunet.fit`: the largest batch for a budget, exactly (it fits, one more does not), and the ladder of ways."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from gpunet.devices.target import DeviceTarget
from gpunet.errors import BudgetError, ConfigError
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, parse_bytes
from gpunet.net.net import Net
from gpunet.planning.aim import aim
from gpunet.planning.options import ALL_WAYS, LADDER_WAYS, Given, Options
from gpunet.planning.planner import MAX_BATCH, Needed, Planner, check_rounds, nearby
from gpunet.planning.predict import predicted_images_per_second
from gpunet.planning.prediction import Range, predicted
from gpunet.values.shown import Shown

LADDER: tuple[tuple[str, ...], ...] = (
    (),
    ("recompute",),
    ("recompute", "chunks"),
    ("micro-batches",),
    ("ghost-rounds",),
)
"""The rungs, by what they may use beyond the free savings; the last where it is asked for."""

INFER_LADDER: tuple[tuple[str, ...], ...] = ((), ("chunks",))
"""Where nothing is kept for a backward pass, nothing can be made again, and no gradients are added up."""


@dataclass(frozen=True, slots=True)
class Rung:
    """The largest batch for a budget in some ways, () for the free savings alone; `total_bytes`: arena and reserve.

    `batch` is 0 and `total_bytes` None where not even one image fits (two, where a net cannot be trained on one);
    next_total_bytes is what one more would take.
    `ways` may be used, `used` are. `images_per_second` is None where no profile tells it, `predicted_ms`, of a step,
    where the card is not known.
    """

    ways: tuple[str, ...]
    batch: int
    total_bytes: int | None
    next_total_bytes: int
    extra_flops_fraction: float
    used: tuple[str, ...] = ()
    images_per_second: float | None = None
    predicted_ms: Range | None = None
    extra_time_fraction: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class Fit(Shown):
    """The largest batch of the net of that name; total_bytes (arena and reserve) with it, and with one image more.

    `card`  the name of the card or GPU that it is for; "" where none was named and there is none
    """

    budget_bytes: int
    batch: int
    total_bytes: int
    next_total_bytes: int
    extra_flops_fraction: float = 0.0
    extra_time_fraction: float = 0.0
    card: str = ""
    net: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Survey(Shown):
    """What a budget holds: `chosen`, the rung of the ways that were allowed, and the whole ladder with it."""

    budget_bytes: int
    chosen: Rung
    ladder: tuple[Rung, ...]
    target: DeviceTarget


def fit(
    net: Net,
    budget: str | int | None = None,
    *,
    gpu: str | None = None,
    **options: Unpack[Given],
) -> Fit:
    """The largest batch of `net` that fits the budget, or the card `gpu`; the options are those of `gpunet.plan`.

    Where neither is given: all that this machine's GPU has, else an RTX 3060. Raises BudgetError where not even one
    image fits, with the budget that would hold it.
    """
    said = Options(**options)
    where, budget_bytes = aim(said.device, budget, gpu, assume=True)
    if budget_bytes is None:
        raise ConfigError(f"{where.name} has no memory of its own: give a budget, like 6GiB")
    planner = Planner(net, replace(said, device=where))
    found = largest(planner, budget_bytes)
    if found.total_bytes is None:
        raise _too_small(planner, budget_bytes)
    return Fit(
        budget_bytes,
        found.batch,
        found.total_bytes,
        found.next_total_bytes,
        found.extra_flops_fraction,
        found.extra_time_fraction,
        where.card,
        net.name,
    )


def ladder(net: Net, budget: str | int, **options: Unpack[Given]) -> list[Rung]:
    """The largest batch in each way, from the free savings alone to micro-batches; options are those of `gpunet.plan`.

    `ways` among the options limits the rungs; with max_cost=0 there is the free one alone.
    """
    options.setdefault("ways", LADDER_WAYS)
    return list(_rungs(Planner(net, Options(**options)), parse_bytes(budget)))


def steps(planner: Planner) -> tuple[tuple[str, ...], ...]:
    """The rungs of the ladder, by their ways, that there are for a planner, from the free savings on."""
    options = planner.options
    found = INFER_LADDER if options.mode == "infer" else LADDER
    if planner.mixing:
        found = tuple(ways for ways in found if "micro-batches" not in ways)
    return tuple(ways for ways in found if set(ways) <= set(options.allowed) and not (ways and options.max_cost == 0))


def _rungs(planner: Planner, budget_bytes: int) -> Iterator[Rung]:
    start = None
    for ways in steps(planner):
        rung = largest(planner, budget_bytes, ways, start=start)
        yield rung
        start = rung.batch


def survey(net: Net, budget: str | int, **options: Unpack[Given]) -> Survey:
    """The whole ladder, whatever `ways` the options allow, and the rung that they allow: that of `fit`."""
    budget_bytes, asked = parse_bytes(budget), Options(**options)
    more = (way for way in asked.ways if way in ALL_WAYS and way not in LADDER_WAYS)
    planner = Planner(net, replace(asked, ways=(*LADDER_WAYS, *more)))
    if asked.mode != "infer":
        check_rounds(net, planner.mixing, asked.allowed)
    rungs = list(_rungs(planner, budget_bytes))
    chosen = allowed_rung(planner, budget_bytes, asked.allowed, rungs)
    return Survey(budget_bytes, chosen, (*rungs, *([] if chosen in rungs else [chosen])), planner.target)


def allowed_rung(planner: Planner, budget_bytes: int, allowed: tuple[str, ...], rungs: Sequence[Rung]) -> Rung:
    """The rung of the ways that are allowed: one of the whole ladder, or one more."""
    possible = {way for rung in rungs for way in rung.ways}
    ways = tuple(way for way in allowed if way in possible)
    found = next((rung for rung in rungs if set(rung.ways) == set(ways)), None)
    return found or largest(planner, budget_bytes, ways, start=max(rung.batch for rung in rungs))


def too_small(net: Net, budget: str | int, **options: Unpack[Given]) -> BudgetError:
    """What to raise where not one image fits: the tensor that takes most, and the smallest budget that would do."""
    return _too_small(Planner(net, Options(**options)), parse_bytes(budget))


def _too_small(planner: Planner, budget_bytes: int) -> BudgetError:
    one = planner.plan(planner.least_batch, budget_bytes)
    largest = max(one.alive(one.peak_step), key=lambda planned: planned.nbytes)
    return BudgetError(
        f"{one.net} does not fit {format_bytes(budget_bytes)}: "
        f"{'one image takes' if one.batch == 1 else f'a batch of {one.batch} images, the least to train on, takes'} "
        f"{format_bytes(one.total_bytes)} ({format_bytes(one.reserve_bytes)} of it reserve, "
        f"{format_bytes(largest.nbytes)} for {largest.name}); a budget of {one.total_bytes} bytes would hold it"
    )


def largest(
    planner: Planner,
    budget_bytes: int,
    ways: tuple[str, ...] | None = None,
    *,
    start: int | None = None,
    where: DeviceTarget | None = None,
) -> Rung:
    """The largest batch in these ways, or those of the options.

    `start`  where it may be
    `where`  a card of the planner's kind, whose plan it is; by its own clock it may come to other ways
    """
    ways = planner.options.allowed if ways is None else ways
    own = planner if where is None else planner.on(where)
    most = most_images(planner, budget_bytes, ways, start=start)
    if most >= planner.least_batch and (made := own.plan(most, budget_bytes, ways)).fits:
        return _rung_of(made, ways, planner.needed(_following(planner, most), ways).total_bytes)
    if own is not planner:
        return largest(own, budget_bytes, ways, start=most or None)
    return Rung(ways, 0, None, planner.needed(_following(planner, most), ways).total_bytes, 0.0)


def most_images(
    planner: Planner, budget_bytes: int, ways: tuple[str, ...] | None = None, *, start: int | None = None
) -> int:
    """The largest batch whose fewest bytes are within the budget; below the planner's least where none is.

    Of several ranks each has as many. What the last tries let expect is tried, from `start` on, until a batch fits and
    the next does not. Every third try halves the distance between what fits and what does not, in case expectations
    mislead.
    """
    ranks, known = planner.ranks, planner.known(ways)
    fits = (batch for batch, needed in known.items() if needed.total_bytes <= budget_bytes)
    most = max(fits, default=planner.least_batch - ranks)
    over = (batch for batch, needed in known.items() if needed.total_bytes > budget_bytes and batch > most)
    too_many = min(over, default=MAX_BATCH // ranks * ranks + ranks)
    batch = start or _guess(planner, budget_bytes)
    tries = 0
    while too_many - most > ranks:
        tries += 1
        batch = min(max(batch, most + ranks), too_many - ranks)
        needed = planner.needed(batch, ways)
        if needed.total_bytes <= budget_bytes:
            most = batch
        else:
            too_many = batch
        batch = _expected(batch, needed, budget_bytes, ranks) if tries % 3 else _between(most, too_many, ranks)
    return most


def _following(planner: Planner, batch: int) -> int:
    """The next larger batch; nothing is planned beyond MAX_BATCH."""
    ranks = planner.ranks
    return min(batch + ranks, MAX_BATCH // ranks * ranks)


def _rung_of(fits: Plan, ways: tuple[str, ...], next_total_bytes: int) -> Rung:
    """What there is to say of the plan of the largest batch that fits."""
    time = predicted(fits)
    return Rung(
        ways,
        fits.whole_batch,
        fits.total_bytes,
        next_total_bytes,
        fits.extra_flops_fraction,
        fits.ways.names,
        predicted_images_per_second(fits.of, fits),
        time.ms if time else None,
        fits.extra_time_fraction,
    )


def _guess(planner: Planner, budget_bytes: int) -> int:
    """What the budget would hold if the free savings were all there is."""
    batch = nearby(64) * planner.ranks
    return _expected(batch, planner.free(batch), budget_bytes, planner.ranks)


def _expected(batch: int, needed: Needed, budget_bytes: int, ranks: int) -> int:
    """The batch that the budget would hold if all went on as from this one, for each rank."""
    return batch + ranks * ((budget_bytes - needed.total_bytes) // max(needed.image_bytes, 1))


def _between(most: int, too_many: int, ranks: int) -> int:
    """Halfway, or twice as much where nothing is known to be too much."""
    return 2 * most if too_many > MAX_BATCH else most + (too_many - most) // (2 * ranks) * ranks
