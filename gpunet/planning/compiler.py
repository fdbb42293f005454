"""Net -> finished program at one batch: everything about it that is settled before it is made to fit."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

from gpunet.compile.lower import lower
from gpunet.compile.ranks import WHOLE, Division, divided, in_parts
from gpunet.compile.split import LEAST_WEIGHTS, divisible
from gpunet.compile.ways import Ways, change, prepare
from gpunet.devices.outside import why_not
from gpunet.devices.target import DeviceTarget
from gpunet.errors import ConfigError
from gpunet.layers.loss import LOSS, loss_of
from gpunet.net.net import Net, least_images
from gpunet.optimize.learning import Learning
from gpunet.program.algorithm import MATHS, Math
from gpunet.program.builder import Target
from gpunet.program.program import DeviceName, Dtype, Mode, Program
from gpunet.program.tensor import wide
from gpunet.values.given import integer, told


@dataclass(frozen=True)
class Compiler:
    """Makes the programs of a net at one batch; `made_for`: the target with its choices."""

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
    _made: dict[tuple[Ways, tuple[str, ...]], Program] = field(default_factory=dict, repr=False, compare=False)

    @property
    def part(self) -> int:
        """The most images that a rank, or a part in turn, has."""
        return self.division.most(self.batch)

    def at(self, batch: int) -> "Compiler":
        """The same at another batch."""
        return replace(self, batch=batch, _made={})

    def check(self) -> None:
        """Raise ConfigError for options that make no sense."""
        if self.mode not in ("train", "infer"):
            raise ConfigError(f"the mode must be train or infer; got {told(self.mode)}")
        if self.math not in MATHS:
            raise ConfigError(f"math must be {', '.join(MATHS[:-1])} or {MATHS[-1]}; got {told(self.math)}")
        self.target.check_math(self.math, self.dtype)
        check_division(self.division, self.batch)
        if self.division.split_fc and wide(self.dtype) != self.dtype:
            raise ConfigError(
                f"fully connected layers are divided over ranks in float32 and float64, not in {self.dtype}: leave out "
                "--split-fc, or use another dtype"
            )
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

    def compile(self, ways: Ways, without: tuple[str, ...] = ()) -> Program:
        """The program as the device will run it, made to fit in these ways, once for each; `without` more rewrites."""
        if ways.ghost_rounds:
            return self._in_rounds(ways.ghost_rounds).compile(replace(ways, ghost_rounds=0), without)
        same = replace(ways, scratch_limit_bytes=self._limit(ways.scratch_limit_bytes, ways.rounds))
        if (same, without) not in self._made:
            prepared = self._prepared(same.scratch_limit_bytes, same.rounds)
            in_parts = self._in_parts if self.division.parts > 1 else None
            self._made[same, without] = change(prepared, same, {*self.without, *without}, in_parts)
        return self._made[same, without]

    def counted(self, ways: Ways) -> Program:
        """The same as what may be dropped is counted by: with an op of its own for each gradient of a ReLU."""
        return self.compile(ways, ("conv-slope",))

    @cached_property
    def _in_rounds(self) -> Callable[[int], "Compiler"]:
        """The same where the batch is divided into so many parts, which run one after the other."""
        return cache(lambda rounds: replace(self, division=Division(parts=rounds), _made={}))

    def _in_parts(self, program: Program) -> Program:
        return in_parts(program, self.batch, self.division.parts)

    @cached_property
    def _limit(self) -> Callable[[int, bool], int]:
        """The first of the scratch limits so far by which the net is lowered to the very same: what follows is, too."""
        lowered: dict[tuple[int, bool], Program] = {}

        def first(limit: int, accumulates: bool) -> int:
            program = lowered[limit, accumulates] = self._lowered(limit, accumulates)
            same = (key for key, other in lowered.items() if key[1] == accumulates and other == program)
            return next(same)[0]

        return cache(first)

    @cached_property
    def _lowered(self) -> Callable[[int, bool], Program]:
        """What all ways begin with, made once for a scratch limit, with or without rounds."""
        return cache(self._lower)

    @cached_property
    def _prepared(self) -> Callable[[int, bool], Program]:
        """What ways change, made once for a scratch limit, with or without rounds."""
        return cache(lambda limit, accumulates: prepare(self._lowered(limit, accumulates), self.without))

    def _lower(self, scratch_limit_bytes: int, accumulates: bool) -> Program:
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
        if self.division.split_fc and self.mode == "train" and not divisible(program, self.division.ranks):
            raise ConfigError(
                f"{self.net.name} has no fully connected layer that can be divided over {self.division.ranks} ranks: "
                f"one that learns at least {LEAST_WEIGHTS:,} weights and has an output for each rank; leave out "
                "--split-fc"
            )
        return divided(program, self.batch, self.division, self.made_for)


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
