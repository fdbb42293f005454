"""`gpunet.plan`: what a net costs, to the byte, before it runs."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from gpunet.compile.lower import lower
from gpunet.compile.ranks import WHOLE, Division, divided, in_parts
from gpunet.compile.ways import Ways, change, prepare
from gpunet.devices import target
from gpunet.devices.outside import why_not
from gpunet.devices.target import DeviceTarget, Reserve
from gpunet.errors import ConfigError
from gpunet.layers.loss import LOSS, loss_of
from gpunet.memory.arena import Placement, place
from gpunet.memory.plan import Plan, arrange, buffers
from gpunet.memory.size import parse_bytes
from gpunet.net.net import Net, least_images
from gpunet.optimize.learning import Learning, learning
from gpunet.optimize.optimizers import Optimizer, OptimizerName
from gpunet.planning.aim import aim
from gpunet.planning.choose import Choice, Chooser, MaxCost, most_cost
from gpunet.planning.clock import clock
from gpunet.planning.least import Least
from gpunet.planning.prediction import predicted
from gpunet.planning.tuned import Orders, tuned_target
from gpunet.program.algorithm import MATHS, Math
from gpunet.program.builder import Target
from gpunet.program.program import DeviceName, Dtype, Mode, Program
from gpunet.values.given import as_float, integer, names, told

MAX_BATCH = 2**24
"""The largest batch that is planned; beyond it a figure would be of no use to anyone."""

Way = Literal["recompute", "chunks", "micro-batches"]

WAYS: tuple[Way, ...] = ("recompute", "chunks")
"""What a plan may do to fit its budget without being asked; micro-batches must be asked for."""

Seek = Literal["fit", "nearest", "least"]
"""What is wanted where a budget may be too small."""

PLACEMENTS = 3
"""How often ways are chosen again, with less room, because what they chose could not be placed within the budget."""


def check_net(net: object) -> Net:
    """The net, if it is one. Raises ConfigError otherwise, as for the name of one."""
    if not isinstance(net, Net):
        raise ConfigError(f"a net is needed, and this is none: got {told(net)}; gpunet.load('vgg16') gives one")
    return net


def check_batch(batch: object) -> int:
    """The batch, if it is an integer (NumPy's, too) from 1 to MAX_BATCH. Raises ConfigError otherwise."""
    return integer("the batch", batch, least=1, most=MAX_BATCH)


def plan(
    net: Net,
    batch: int = 64,
    *,
    optimizer: OptimizerName | Optimizer | Learning = "momentum",
    mode: Mode = "train",
    dtype: Dtype = "float32",
    math: Math = "exact",
    device: DeviceName | DeviceTarget = "cuda",
    budget: str | int | None = None,
    gpu: str | None = None,
    scratch_limit: str | int | None = None,
    reserve: str | int | None = None,
    without: Collection[str] = (),
    max_cost: float | None = None,
    max_cost_flops: float | None = None,
    ways: Collection[Way] = WAYS,
    tuned: bool | Orders = True,
    division: Division = WHOLE,
) -> Plan:
    """Plan one training step, or one forward pass, of `net` for at most `batch` images, to the byte.

    `optimizer`      a name, an Optimizer, or a gpunet.Learning, which says how parameters learn in all
    `math`           "exact": convolutions by whichever algorithm is fastest, Winograd's in float32 too, which rounds
                     differently; "direct": by those that add up the products of the definition
    `device`         "cuda", "cuda:1" (a second GPU) or "cpu"; or what gpunet.devices.target gave for one
    `budget`         like "6GiB": the cheapest ways to fit it are chosen. None: no limit. The plan is made in any case,
                     `plan.fits` tells.
    `gpu`            a card, like "rtx 3060", in place of a budget: what CUDA gives of it is the budget, and the plan is
                     made for it. None: for this machine's GPU, else one like an RTX 3060
    `scratch_limit`  most bytes of scratch of a convolution; None: what suits the device, less where memory is short
    `reserve`        what the process holds outside the arena; None: as measured on this machine, else as stated
    `without`        names of the free savings (gpunet.compile.rewrite.REWRITES) to leave out
    `max_cost`       what making again may take, as a fraction of the step's predicted time; 0: the free savings alone.
                     None: 0.03, or any time where `max_cost_flops` is given
    `max_cost_flops` its extra FLOPs, as a fraction of the step's; 0: what needs no matrix product may be made again
    `ways`           what may be done at a cost: "recompute", "chunks", "micro-batches"
    `tuned`          whether convolutions run by what gpunet tune found fastest on this machine, or the
                     gpunet.planning.tuned.choices of another plan
    `division`       among how many ranks the batch is divided, the plan being that of each; or into how many parts this
                     device runs it in turn, to the bits of so many ranks: a gpunet.compile.ranks.Division

    Needs no GPU, also for device="cuda". Raises ConfigError for options that make no sense.
    """
    where, budget_bytes = aim(device, budget, gpu)
    made = plan_within(
        net,
        batch,
        optimizer=optimizer,
        mode=mode,
        dtype=dtype,
        math=math,
        device=where,
        budget=budget_bytes,
        scratch_limit=scratch_limit,
        reserve=reserve,
        without=without,
        max_cost=max_cost,
        max_cost_flops=max_cost_flops,
        ways=ways,
        tuned=tuned,
        division=division,
        seek="nearest",
    )
    assert made is not None  # the smallest is made where nothing fits
    return made


def plan_within(
    net: Net,
    batch: int,
    *,
    optimizer: OptimizerName | Optimizer | Learning = "momentum",
    mode: Mode = "train",
    dtype: Dtype = "float32",
    math: Math = "exact",
    device: DeviceName | DeviceTarget = "cuda",
    budget: str | int | None = None,
    scratch_limit: str | int | None = None,
    reserve: str | int | None = None,
    without: Collection[str] = (),
    max_cost: float | None = None,
    max_cost_flops: float | None = None,
    ways: Collection[Way] = WAYS,
    tuned: bool | Orders = True,
    division: Division = WHOLE,
    seek: Seek = "fit",
) -> Plan | None:
    """As `plan`; where nothing fits, None.

    `seek`  "nearest": then the plan of the fewest bytes; "least": that one in any case, without a search for cheaper
    """
    where = target(device)
    held = where.reserve() if reserve is None else Reserve(parse_bytes(reserve), "as given")
    budget_bytes = None if budget is None else parse_bytes(budget)
    scratch_bytes = where.scratch_limit_bytes if scratch_limit is None else parse_bytes(scratch_limit)
    left_out = names("without", without)
    made_for = tuned_target(where, tuned)
    compiler = _Compiler(
        check_net(net), check_batch(batch), learning(optimizer), mode, dtype, math, where, made_for, left_out, division
    )
    compiler.check()
    allowed = _ways_of(_check_ways(ways), division)
    most = _check_cost(max_cost, max_cost_flops)
    if mode == "train":
        check_rounds(net, compiler.mixing, allowed)
    limit = None if budget_bytes is None else budget_bytes - held.nbytes
    found = _placed(compiler, where.alignment, scratch_bytes, limit, most, allowed, seek)
    if found is None:
        return None
    choice, placement, least = found
    return Plan(
        net=net.name,
        target=where,
        optimizer=compiler.learning.optimizer.name,
        frozen=compiler.frozen if mode == "train" else (),
        program=choice.program,
        placement=placement,
        reserve_bytes=held.nbytes,
        reserve_source=held.source,
        budget_bytes=budget_bytes,
        scratch_limit_bytes=choice.ways.scratch_limit_bytes,
        ways=choice.ways,
        extra_flops_fraction=choice.extra,
        extra_time_fraction=choice.extra_time,
        of=net,
        learning=compiler.learning if mode == "train" else None,
        pricing=predicted,
        least=least,
    )


def _placed(
    compiler: "_Compiler",
    alignment: int,
    scratch_bytes: int,
    limit: int | None,
    most: MaxCost,
    allowed: tuple[str, ...],
    seek: Seek,
) -> tuple[Choice, Placement, Least | None] | None:
    """A choice and where it lies: within the limit, or the smallest there is, or None; and what it costs at least."""
    if limit is None:
        plain = Ways(scratch_bytes)
        program = compiler.compile(plain)
        return Choice(plain, program), arrange(program, alignment=alignment), None
    room, ns = limit, clock(compiler.target.card, compiler.part)
    compiled = cache(compiler.compile)  # the same ways come up again and again in a search
    first = Chooser(compiled, ns, compiler.part, scratch_bytes, room, most, allowed, compiler.target.rounds_pay)
    for _ in range(PLACEMENTS):
        choice = None if seek == "least" else first.within(room).choose()
        if choice is None:
            break
        placement = arrange(choice.program, alignment=alignment)
        if placement.height_bytes <= limit:
            if choice.ways.names and _is_below_smallest(placement.height_bytes, first, alignment):
                break
            return choice, placement, first.least(choice, compiler.target.card)
        room -= placement.height_bytes - placement.lower_bound_bytes
    choice, placement = _smallest(first, alignment)
    if seek == "fit" and placement.height_bytes > limit:
        return None
    return choice, placement, first.least(choice, compiler.target.card)


def _is_below_smallest(height_bytes: int, chooser: Chooser, alignment: int) -> bool:
    """Whether a search for one budget came upon less than the smallest plan, which no other budget need come upon."""
    base, moving = buffers(chooser.smallest[0].program)
    at_once = place(moving, base=base, alignment=alignment, deadline_s=0)  # no lower than with a search
    return height_bytes < at_once.height_bytes and height_bytes < _smallest(chooser, alignment)[1].height_bytes


def _smallest(chooser: Chooser, alignment: int) -> tuple[Choice, Placement]:
    """The choice that takes the fewest bytes once it is placed: of those that need the fewest, most often the first."""
    found: tuple[Choice, Placement] | None = None
    for choice in chooser.smallest:
        if found is not None and choice.needed_bytes >= found[1].height_bytes:
            break
        placement = arrange(choice.program, alignment=alignment)
        if found is None or placement.height_bytes < found[1].height_bytes:
            found = choice, placement
    assert found is not None  # the free savings alone are among them
    return found


def _check_ways(ways: Collection[str]) -> tuple[str, ...]:
    known = (*WAYS, "micro-batches")
    for name in names("ways", ways):
        if name not in known:
            raise ConfigError(f"there is no way {told(name)} to make a batch fit; there are {', '.join(known)}")
    return names("ways", ways)


def _ways_of(ways: tuple[str, ...], division: Division) -> tuple[str, ...]:
    """Those that leave the bits of a divided step as they are; parts in turn leave no room for other rounds."""
    return ways if division.parts == 1 else tuple(way for way in ways if way == "recompute")


def _check_cost(max_cost: float | None, max_cost_flops: float | None) -> MaxCost:
    for value, name, of in ((max_cost, "max_cost", "time"), (max_cost_flops, "max_cost_flops", "FLOPs")):
        if value is not None and ((fraction := as_float(value)) is None or not 0 <= fraction <= 10):
            raise ConfigError(
                f"{name} must be a fraction of the step's {of} from 0 to 10, like 0.03; got {told(value)}"
            )
    return most_cost(max_cost, max_cost_flops)


def check_rounds(net: Net, mixing: str, ways: Collection[str]) -> None:
    """Raise ConfigError where a step may run in rounds and the layer `mixing` ("": there is none) cannot."""
    if mixing and "micro-batches" in ways:
        raise ConfigError(
            f"{mixing} takes its statistics over all images of a batch, so {net.name} cannot be trained in "
            "micro-batches; leave them out, or use a smaller batch"
        )


@dataclass(frozen=True)
class _Compiler:
    """Everything about a program that is settled before it is made to fit; `made_for`: the target with its choices."""

    net: Net
    batch: int
    learning: Learning
    mode: Mode
    dtype: Dtype
    math: Math
    target: DeviceTarget
    made_for: Target
    without: tuple[str, ...]
    division: Division = WHOLE

    @property
    def part(self) -> int:
        """The most images that a rank, or a part in turn, has."""
        return self.division.most(self.batch)

    def check(self) -> None:
        """Raise ConfigError for options that make no sense."""
        if self.mode not in ("train", "infer"):
            raise ConfigError(f"the mode must be train or infer; got {told(self.mode)}")
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"the dtype must be float32 or float64; got {told(self.dtype)}")
        if self.math not in MATHS:
            raise ConfigError(f"math must be {' or '.join(MATHS)}; got {told(self.math)}")
        check_division(self.division, self.batch)
        if self.mode == "train":
            self._check_training()

    def _check_training(self) -> None:
        apart = self.division.count > 1 and not self.division.sync_bn
        if apart and self.division.least(self.batch) < (least := least_images(self.pairing)):
            raise ConfigError(
                f"{self.pairing} takes its statistics over the images of a part, so {self.net.name} cannot be trained "
                f"at batch {self.batch} in {self.division.count} parts; use a batch of {least * self.division.count} "
                "or more"
            )
        if self.batch < (least := least_images(self.pairing)):
            raise ConfigError(
                f"{self.pairing} takes its statistics over the images of a batch, so {self.net.name} cannot "
                f"be trained at batch {self.batch}; use a batch of {least} or more"
            )
        layers = self.net.nodes
        self.learning.require_effect([node.name for node in layers], [n.name for n in layers if self.net.weights(n)])
        if self.frozen and self._learns_nothing():
            raise ConfigError(
                f"{self.net.name}: all {len(self.frozen)} layers with parameters are frozen, so nothing is left to "
                "learn; freeze fewer"
            )

    @property
    def frozen(self) -> tuple[str, ...]:
        """The frozen layers that have parameters, in order."""
        names = self.learning.frozen([node.name for node in self.net.nodes])
        return tuple(node.name for node in self.net.nodes if node.name in names and self.net.weights(node))

    @property
    def mixing(self) -> str:
        """The layer that needs all images of a batch together, or ""."""
        return self.net.mixing(self.frozen)

    @property
    def pairing(self) -> str:
        """The layer that needs two images or more, or ""."""
        return self.net.pairing(self.frozen)

    def _learns_nothing(self) -> bool:
        left = (node for node in self.net.nodes if node.name not in self.frozen)
        return not any(self.net.layer_parameters(node) for node in left)

    def compile(self, ways: Ways) -> Program:
        """The program as the device will run it, made to fit in these ways."""
        prepared = self._prepared(ways.scratch_limit_bytes, ways.rounds, ways.one_buffer)
        return change(prepared, ways, self.without, self._in_parts if self.division.parts > 1 else None)

    def _in_parts(self, program: Program) -> Program:
        return in_parts(program, self.batch, self.division.parts)

    @cached_property
    def _prepared(self) -> Callable[[int, bool, bool], Program]:
        """What ways change, made once for a scratch limit, with or without rounds, and for one buffer or two."""
        return cache(self._prepare)

    def _prepare(self, scratch_limit_bytes: int, accumulates: bool, one_buffer: bool) -> Program:
        program = lower(
            self.net,
            batch=self.part,
            mode=self.mode,
            dtype=self.dtype,
            optimizer=self.learning,
            target=self.made_for,
            scratch_limit_bytes=scratch_limit_bytes,
            accumulates=accumulates,
            math=self.math,
        )
        require_ops(self.net, program, self.target.name)
        return prepare(divided(program, self.batch, self.division), one_buffer, self.without)


def check_division(division: Division, batch: int) -> None:
    """Raise ConfigError for a batch that cannot be divided so."""
    for name, count in (("ranks", division.ranks), ("parts", division.parts)):
        integer(name, count, least=1)
    if division.ranks > 1 and division.parts > 1:
        raise ConfigError("a step is divided among ranks or run in parts by one device, not both")
    if batch < division.count:
        what = "ranks" if division.ranks > 1 else "parts"
        raise ConfigError(
            f"a batch of {batch} cannot be divided among {division.count} {what}: each needs an image; use a batch of "
            f"{division.count} or more, or fewer {what}"
        )


def require_ops(net: Net, program: Program, device: DeviceName) -> None:
    """Raise ConfigError where a layer or a loss from outside this package emits an op that the device does not have."""
    outside = {node.name for node in net.nodes if _is_from_outside(node.layer)}
    if _is_from_outside(net.loss):
        outside |= {LOSS, *(loss_of(node.name) for node in net.heads)}
    for op in program.ops if outside else ():
        if op.layer in outside and (wrong := why_not(op.name, device)):
            raise ConfigError(f"{op.layer} of {net.name} cannot run on {device}: {wrong}")


def _is_from_outside(value: object) -> bool:
    return not type(value).__module__.startswith("gpunet.")
