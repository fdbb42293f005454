"""`gpunet.plan`: what a net costs, to the byte, before it runs."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Unpack

from gpunet.compile.ways import Ways
from gpunet.devices import target
from gpunet.devices.target import DeviceTarget, Reserve
from gpunet.errors import ConfigError
from gpunet.memory.arena import Placement, place
from gpunet.memory.plan import Plan, arrange, buffers, image_bytes
from gpunet.memory.size import parse_bytes
from gpunet.net.net import Net, least_images
from gpunet.optimize.learning import learning
from gpunet.planning.aim import aim
from gpunet.planning.choose import Choice, Chooser
from gpunet.planning.clock import clock, clocks
from gpunet.planning.compiler import Compiler
from gpunet.planning.options import Given, Options
from gpunet.planning.prediction import predicted
from gpunet.planning.tuned import tuned_target
from gpunet.program.program import Dtype
from gpunet.values.given import integer, names, told

MAX_BATCH = 2**24
"""The largest batch that is planned; beyond it a figure would be of no use to anyone."""

RECENT = 3
"""Batches whose programs stay for whoever plans one of them in full, as the end of a search for the largest does."""

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
    budget: str | int | None = None,
    gpu: str | None = None,
    **options: Unpack[Given],
) -> Plan:
    """Plan one training step, or one forward pass, of `net` for at most `batch` images, to the byte.

    `optimizer`      a name, an Optimizer, or a gpunet.Learning, which says how parameters learn in all; "momentum"
    `mode`           "train", or "infer": a forward pass
    `dtype`          of activations, "float32"; "mixed": the half type that the device has. With halves, "bfloat16" or
                     "float16", what learns and all sums stay float32
    `math`           "exact": convolutions by whichever algorithm is fastest, Winograd's in float32 too, which rounds
                     differently; "direct": by those that add up the products of the definition; "tf32", "3xtf32":
                     products of float32 on a GPU's tensor cores, rounded to 11 bits or nearly exact; a CPU has none:
                     "exact" there
    `device`         "cuda", "cuda:1" (a second GPU) or "cpu"; or what gpunet.devices.target gave for one
    `budget`         like "6GiB": the cheapest ways to fit it are chosen. None: no limit. The plan is made in any case,
                     `plan.fits` tells.
    `gpu`            a card, like "rtx 3060", in place of a budget: what CUDA gives of it is the budget, and the plan is
                     made for it. None: for this machine's GPU, else one like an RTX 3060
    `scratch_limit`  most bytes of scratch of a convolution; None: what suits the device, less where memory is short
    `reserve`        what the process holds outside the arena; None: as measured on this machine, else as stated
    `without`        names of the free savings (gpunet.compile.rewrite.REWRITES) to leave out; none
    `max_cost`       what making again may take, as a fraction of the step's predicted time; 0: the free savings alone.
                     None: 0.03, or any time where `max_cost_flops` is given
    `max_cost_flops` its extra FLOPs, as a fraction of the step's; 0: what needs no matrix product may be made again.
                     None: as many as that time holds
    `ways`           what may be done at a cost: "recompute", "chunks", and, where asked for, "micro-batches" and
                     "ghost-rounds"
    `tuned`          whether convolutions run by what gpunet tune found fastest on this machine, or the
                     gpunet.planning.tuned.choices of another plan; True
    `division`       among how many ranks the batch is divided, the plan being that of each; or into how many parts this
                     device runs it in turn, to the bits of so many ranks: a gpunet.compile.ranks.Division

    What is not said is as gpunet.planning.options.Options has it.
    Needs no GPU, also for device="cuda". Raises ConfigError for options that make no sense.
    """
    said = Options(**options)
    where, budget_bytes = aim(said.device, budget, gpu)
    return Planner(net, replace(said, device=where)).plan(batch, budget_bytes)


@dataclass(frozen=True, slots=True)
class Needed:
    """The fewest bytes that a batch can be planned in, reserve included, and how much of them an image takes."""

    total_bytes: int
    image_bytes: int


class Planner:
    """Plans a net with the same options for one batch after the other: what is searched once serves all that are near.

    So the largest batch is looked for among the very plans that `gpunet.plan` makes.
    """

    def __init__(self, net: Net, options: Options) -> None:
        """Raises ConfigError for options that make no sense, whatever the batch is."""
        self.net, self.options = check_net(net), options
        self.target = where = target(options.device)
        self.reserve = (
            where.reserve(options.division.ranks)
            if options.reserve is None
            else Reserve(parse_bytes(options.reserve), "as given")
        )
        self._scratch_bytes = (
            where.scratch_limit_bytes if options.scratch_limit is None else parse_bytes(options.scratch_limit)
        )
        left_out = names("without", options.without)
        self._compiler = Compiler(
            net,
            options.division.count,
            learning(options.optimizer),
            options.mode,
            where.dtype(options.dtype),
            options.math,
            where,
            tuned_target(where, options.tuned),
            left_out,
            options.division,
        )
        self._most = options.most
        self._near: dict[int, Chooser] = {}
        self._recent: dict[int, Chooser] = {}
        self._needed: dict[tuple[int, tuple[str, ...]], Needed] = {}

    def plan(self, batch: int, budget_bytes: int | None = None, ways: Collection[str] | None = None) -> Plan:
        """A plan for at most `batch` images: the cheapest within the budget; where nothing fits, the smallest.

        `ways`  in place of those of the options

        Raises ConfigError where the net cannot be planned so.
        """
        compiler, allowed = self._checked(batch, ways)
        if budget_bytes is None:
            return self._plan(compiler, *_free(compiler, self._scratch_bytes, self.target.alignment), None)
        limit, chooser = budget_bytes - self.reserve.nbytes, self._chooser(compiler, allowed)
        choice, placement = _placed(chooser, limit, self.target.alignment)
        return self._plan(compiler, choice, placement, budget_bytes, chooser)

    def needed(self, batch: int, ways: Collection[str] | None = None) -> Needed:
        """What a batch needs at least, for no more than may be spent: budgets from there on hold it, others do not."""
        compiler, allowed = self._checked(batch, ways)
        if (batch, allowed) not in self._needed:
            choice, placement = _smallest(self._chooser(compiler, allowed), self.target.alignment)
            total_bytes = placement.height_bytes + self.reserve.nbytes
            self._needed[batch, allowed] = Needed(total_bytes, image_bytes(choice.program))
        return self._needed[batch, allowed]

    def known(self, ways: Collection[str] | None = None) -> dict[int, Needed]:
        """By batch, what was looked at so far."""
        allowed = self.options.allowed if ways is None else tuple(ways)
        return {batch: needed for (batch, by), needed in self._needed.items() if by == allowed}

    def free(self, batch: int) -> Needed:
        """What a batch is bound to need with the savings alone that are free: soon told, and nothing is placed."""
        choice = Choice(plain := Ways(self._scratch_bytes), self._checked(batch, ())[0].compile(plain))
        return Needed(choice.needed_bytes + self.reserve.nbytes, image_bytes(choice.program))

    @property
    def mixing(self) -> str:
        """The layer that in training needs all images of a batch together, or ""."""
        return self._compiler.mixing

    @property
    def dtype(self) -> Dtype:
        """Of activations."""
        return self._compiler.dtype

    @property
    def ranks(self) -> int:
        """Among how many ranks a batch is divided."""
        return self.options.division.ranks

    @property
    def least_batch(self) -> int:
        """The smallest batch that there is anything to plan for, of all ranks."""
        return self.ranks * (1 if self.options.mode == "infer" else least_images(self._compiler.pairing))

    def on(self, where: DeviceTarget) -> "Planner":
        """One for another card; this one where it is the same."""
        return self if where == self.target else Planner(self.net, replace(self.options, device=where))

    def _checked(self, batch: int, ways: Collection[str] | None) -> tuple[Compiler, tuple[str, ...]]:
        compiler = self._compiler.at(check_batch(batch))
        compiler.check()
        allowed = self.options.allowed if ways is None else tuple(ways)
        if self.options.mode == "train":
            check_rounds(self.net, compiler.mixing, allowed)
        return compiler, allowed

    def _chooser(self, compiler: Compiler, allowed: tuple[str, ...]) -> Chooser:
        batch = nearby(compiler.part) * compiler.division.count
        if batch not in self._near:
            self._near[batch] = self._choosing(compiler.at(batch))
        near = self._near[batch]
        if batch == compiler.batch:
            return replace(near, allowed=allowed)
        recent = self._recent.pop(compiler.batch, None) or self._choosing(compiler)
        self._recent[compiler.batch] = recent  # the last one
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        return replace(recent, allowed=allowed, near=near)

    def _choosing(self, compiler: Compiler) -> Chooser:
        ns = clock(self.target.card, compiler.part)
        return Chooser(
            compiler.compile,
            ns,
            compiler.part,
            self._scratch_bytes,
            most=self._most,
            least_images=least_images(compiler.pairing),
            clocks=clocks(self.target.card, compiler.part) if self.target.rounds_pay else None,
            counted=compiler.counted,
        )

    def _plan(
        self,
        compiler: Compiler,
        choice: Choice,
        placement: Placement,
        budget_bytes: int | None,
        chooser: Chooser | None = None,
    ) -> Plan:
        trains = self.options.mode == "train"
        return Plan(
            net=self.net.name,
            target=self.target,
            optimizer=compiler.learning.optimizer.name,
            frozen=compiler.frozen if trains else (),
            program=choice.program,
            placement=placement,
            reserve_bytes=self.reserve.nbytes,
            reserve_source=self.reserve.source,
            budget_bytes=budget_bytes,
            scratch_limit_bytes=choice.ways.scratch_limit_bytes,
            ways=choice.ways,
            extra_flops_fraction=choice.extra,
            extra_time_fraction=choice.extra_time,
            of=self.net,
            learning=compiler.learning if trains else None,
            pricing=predicted,
            least=chooser.least(choice, self.target.card) if chooser else None,
        )


def nearby(batch: int) -> int:
    """The batch at which it is searched for all from half of it on to below twice as many: 1, 4, 16, 64, ..."""
    doublings = (2 * batch).bit_length() - 1
    return 1 << (doublings - doublings % 2)


def _free(compiler: Compiler, scratch_bytes: int, alignment: int) -> tuple[Choice, Placement]:
    """The free savings alone."""
    plain = Ways(scratch_bytes)
    choice = Choice(plain, compiler.compile(plain))
    return choice, arrange(choice.program, alignment=alignment)


def _placed(chooser: Chooser, limit: int, alignment: int) -> tuple[Choice, Placement]:
    """A choice and where it lies: within the limit, or the smallest there is."""
    room = limit
    for _ in range(PLACEMENTS):
        choice = chooser.choose(room)
        if choice is None:
            break
        placement = arrange(choice.program, alignment=alignment)
        if placement.height_bytes <= limit:
            searched = choice.ways.names or choice.ways.scratch_limit_bytes < chooser.scratch
            if searched and _is_below_smallest(placement.height_bytes, chooser, alignment):
                break
            return choice, placement
        room -= placement.height_bytes - placement.lower_bound_bytes
    return _smallest(chooser, alignment)


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


def check_rounds(net: Net, mixing: str, ways: Collection[str]) -> None:
    """Raise ConfigError where a step may run in rounds and the layer `mixing` ("": there is none) cannot, or where
    rounds are to be batches and there is no layer to which they are."""
    if "ghost-rounds" in ways and not mixing:
        raise ConfigError(
            f"ghost rounds give batch normalization other statistics, and no layer of {net.name} takes any: ask for "
            "micro-batches"
        )
    if mixing and "micro-batches" in ways:
        raise ConfigError(
            f"{mixing} takes its statistics over all images of a batch, so {net.name} cannot be trained in "
            "micro-batches; leave them out, use a smaller batch, or, where results may be others, ask for ghost rounds"
        )
