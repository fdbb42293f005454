"""`gpunet.fit`: the largest batch for a budget, exactly (it fits, one more does not), and the ladder of ways."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from gpunet.compile.ranks import WHOLE, Division
from gpunet.devices import target
from gpunet.devices.target import DeviceTarget
from gpunet.errors import BudgetError, ConfigError
from gpunet.memory.plan import Plan
from gpunet.memory.size import format_bytes, parse_bytes
from gpunet.net.net import Net, least_images
from gpunet.optimize.learning import Learning, learning
from gpunet.optimize.optimizers import Optimizer, OptimizerName
from gpunet.planning.aim import aim
from gpunet.planning.planner import MAX_BATCH, WAYS, Way, check_net, check_rounds, plan, plan_within
from gpunet.planning.predict import predicted_images_per_second
from gpunet.planning.prediction import Range, predicted
from gpunet.planning.tuned import Orders
from gpunet.program.algorithm import Math
from gpunet.program.program import DeviceName, Dtype, Mode
from gpunet.values.shown import Shown

ALL_WAYS: tuple[Way, ...] = (*WAYS, "micro-batches")

LADDER: tuple[tuple[str, ...], ...] = ((), ("recompute",), ("recompute", "chunks"), ("micro-batches",))
"""The rungs, by what they may use beyond the free savings."""

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
    optimizer: OptimizerName | Optimizer | Learning = "momentum",
    mode: Mode = "train",
    dtype: Dtype = "float32",
    math: Math = "exact",
    device: DeviceName | DeviceTarget = "cuda",
    scratch_limit: str | int | None = None,
    reserve: str | int | None = None,
    without: Collection[str] = (),
    max_cost: float | None = None,
    max_cost_flops: float | None = None,
    ways: Collection[Way] = WAYS,
    tuned: bool | Orders = True,
    division: Division = WHOLE,
) -> Fit:
    """The largest batch of `net` that fits the budget, or the card `gpu`; the options are those of `gpunet.plan`.

    Where neither is given: all that this machine's GPU has, else an RTX 3060. Raises BudgetError where not even one
    image fits, with the budget that would hold it.
    """
    where, budget_bytes = aim(device, budget, gpu, assume=True)
    if budget_bytes is None:
        raise ConfigError(f"{where.name} has no memory of its own: give a budget, like 6GiB")
    options: dict[str, Any] = dict(
        optimizer=optimizer,
        mode=mode,
        dtype=dtype,
        math=math,
        device=where,
        scratch_limit=scratch_limit,
        reserve=reserve,
        without=without,
        max_cost=max_cost,
        max_cost_flops=max_cost_flops,
        ways=ways,
        tuned=tuned,
        division=division,
    )
    found = largest(net, budget_bytes, options)
    if found.total_bytes is None:
        raise too_small(net, budget_bytes, **options)
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


def ladder(net: Net, budget: str | int, **options: Any) -> list[Rung]:
    """The largest batch in each way, from the free savings alone to micro-batches; options are those of `gpunet.plan`.

    `ways` among the options limits the rungs; with max_cost=0 there is the free one alone.
    """
    allowed: Collection[str] = options.pop("ways", ALL_WAYS)
    steps = INFER_LADDER if options.get("mode") == "infer" else LADDER
    if mixing(net, options):
        steps = tuple(ways for ways in steps if "micro-batches" not in ways)
    free_only = options.get("max_cost", 1) == 0
    rungs: list[Rung] = []
    for ways in steps:
        if set(ways) <= set(allowed) and not (free_only and ways):
            start = rungs[-1].batch // _ranks(options) if rungs else 1
            rungs.append(largest(net, parse_bytes(budget), {**options, "ways": ways}, start=start))
    return rungs


def survey(net: Net, budget: str | int, **options: Any) -> Survey:
    """The whole ladder, whatever `ways` the options allow, and the rung that they allow: that of `fit`."""
    if options.get("mode") != "infer":
        check_rounds(net, mixing(net, options), options.get("ways", WAYS))
    rungs = ladder(net, budget, **{**options, "ways": ALL_WAYS})
    possible = {way for rung in rungs for way in rung.ways}
    allowed = tuple(way for way in options.get("ways", WAYS) if way in possible)
    chosen = next((rung for rung in rungs if set(rung.ways) == set(allowed)), None)
    if chosen is None:
        start = max(rung.batch for rung in rungs) // _ranks(options)
        chosen = largest(net, parse_bytes(budget), {**options, "ways": allowed}, start=start)
        rungs.append(chosen)
    return Survey(parse_bytes(budget), chosen, tuple(rungs), target(options.get("device", "cuda")))


def too_small(net: Net, budget: str | int, **options: Any) -> BudgetError:
    """What to raise where not one image fits: the tensor that takes most, and the smallest budget that would do."""
    least = least_batch(net, options)
    of_all = least * _ranks(options)
    one = plan(net, of_all, budget=budget, **options)
    while (less := plan_within(net, of_all, budget=one.total_bytes - 1, **options)) is not None:
        one = less
    largest = max(one.alive(one.peak_step), key=lambda planned: planned.nbytes)
    return BudgetError(
        f"{net.name} does not fit {format_bytes(parse_bytes(budget))}: "
        f"{'one image takes' if least == 1 else f'a batch of {least} images, the least to train on, takes'} "
        f"{format_bytes(one.total_bytes)} ({format_bytes(one.reserve_bytes)} of it reserve, "
        f"{format_bytes(largest.nbytes)} for {largest.name}); a budget of {one.total_bytes} bytes would hold it"
    )


def largest(net: Net, budget_bytes: int, options: dict[str, Any], *, start: int = 1) -> Rung:
    """The largest batch in the ways that the options allow.

    What the last try lets expect is tried, from `start` on, until a batch fits and one image more does not.
    Every third try halves the distance between what fits and what does not, in case expectations mislead. Of several
    ranks it is the share of each that is looked for.
    """
    fits: Plan | None = None
    over: Plan | None = None
    least = least_batch(net, options)
    most, too_many, batch = least - 1, MAX_BATCH + 1, max(start, least)
    for tries in count(1):
        made = plan(net, batch * _ranks(options), budget=budget_bytes, **options)
        if made.fits:
            most, fits = batch, made
        else:
            too_many, over = batch, made
        if too_many - most <= 1:
            break
        batch = _expected(made) if tries % 3 else _between(most, too_many)
        batch = min(max(batch, most + 1), too_many - 1)
    ways = tuple(options.get("ways", WAYS))
    if fits is None:
        return Rung(ways, 0, None, made.total_bytes, 0.0)
    following = (over or fits).total_bytes  # nothing is planned beyond MAX_BATCH
    return rung_of(net, fits, ways, following)


def rung_of(net: Net, fits: Plan, ways: tuple[str, ...], next_total_bytes: int) -> Rung:
    """What there is to say of the plan of the largest batch that fits."""
    time = predicted(fits)
    return Rung(
        ways,
        fits.whole_batch,
        fits.total_bytes,
        next_total_bytes,
        fits.extra_flops_fraction,
        fits.ways.names,
        predicted_images_per_second(net, fits),
        time.ms if time else None,
        fits.extra_time_fraction,
    )


def least_batch(net: Net, options: dict[str, Any]) -> int:
    """The smallest batch that there is anything to plan for."""
    return 1 if options.get("mode") == "infer" else least_images(check_net(net).pairing(_frozen(net, options)))


def _ranks(options: Mapping[str, Any]) -> int:
    """Among how many ranks a batch is divided."""
    division: Division = options.get("division", WHOLE)
    return division.ranks


def mixing(net: Net, options: Mapping[str, Any]) -> str:
    """The layer that in training as the options say needs all images of a batch together, or ""."""
    return check_net(net).mixing(_frozen(net, options))


def _frozen(net: Net, options: Mapping[str, Any]) -> frozenset[str]:
    return learning(options.get("optimizer", "momentum")).frozen([node.name for node in net.nodes])


def _expected(made: Plan) -> int:
    """The batch that the budget would hold if all went on as in this plan."""
    assert made.budget_bytes is not None
    alive = [planned.tensor for planned in made.alive(made.peak_step)]
    image_bytes = sum(t.nbytes for t in alive if t.batched and t.shape[0] == made.batch) // made.batch
    return made.batch + (made.budget_bytes - made.total_bytes) // max(image_bytes, 1)


def _between(most: int, too_many: int) -> int:
    """Halfway, or twice as much where nothing is known to be too much."""
    return 2 * most if too_many > MAX_BATCH else (most + too_many) // 2
