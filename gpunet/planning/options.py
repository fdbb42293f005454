"""How a net is planned: one value for all who plan, so that a batch that is looked for is the batch that is planned."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypedDict

from gpunet.compile.ranks import WHOLE, Division
from gpunet.devices.target import DeviceTarget
from gpunet.errors import ConfigError
from gpunet.optimize.learning import Learning
from gpunet.optimize.optimizers import Optimizer, OptimizerName
from gpunet.planning.choose import MaxCost, most_cost
from gpunet.planning.tuned import Orders
from gpunet.program.algorithm import Math
from gpunet.program.program import AnyDtype, DeviceName, Mode
from gpunet.values.given import as_float, names, told

Way = Literal["recompute", "chunks", "micro-batches", "ghost-rounds"]

WAYS: tuple[Way, ...] = ("recompute", "chunks")
"""What a plan may do to fit its budget without being asked; micro-batches must be asked for."""

LADDER_WAYS: tuple[Way, ...] = (*WAYS, "micro-batches")
"""What a ladder shows without being asked: all that leaves every value as it is, but for rounding."""

ALL_WAYS: tuple[Way, ...] = (*LADDER_WAYS, "ghost-rounds")


class Settings(TypedDict, total=False):
    """What whoever makes a model may say of its plan, by keyword, in the words of `gpunet.plan`."""

    optimizer: OptimizerName | Optimizer | Learning
    mode: Mode
    dtype: AnyDtype
    math: Math
    scratch_limit: str | int | None
    without: Collection[str]
    max_cost: float | None
    max_cost_flops: float | None
    ways: Collection[Way]
    tuned: bool | Orders


class Given(Settings, total=False):
    """What whoever plans may say by keyword: the fields of Options; what is not said is as they have it."""

    device: DeviceName | DeviceTarget
    reserve: str | int | None
    division: Division


@dataclass(frozen=True)
class Options:
    """As people gave them, in the words of `gpunet.plan`, whose docstring says what each is; all but net and budget."""

    optimizer: OptimizerName | Optimizer | Learning = "momentum"
    mode: Mode = "train"
    dtype: AnyDtype = "float32"
    math: Math = "exact"
    device: DeviceName | DeviceTarget = "cuda"
    scratch_limit: str | int | None = None
    reserve: str | int | None = None
    without: Collection[str] = ()
    max_cost: float | None = None
    max_cost_flops: float | None = None
    ways: Collection[Way] = WAYS
    tuned: bool | Orders = True
    division: Division = WHOLE

    @property
    def allowed(self) -> tuple[str, ...]:
        """The ways, each by its name. Raises ConfigError for one that there is not.

        Of a step in parts those that leave its bits as they are: parts in turn leave no room for other rounds. Raises
        it for ghost rounds of a batch that is divided, too.
        """
        for name in names("ways", self.ways):
            if name not in ALL_WAYS:
                raise ConfigError(f"there is no way {told(name)} to make a batch fit; there are {', '.join(ALL_WAYS)}")
        ways = names("ways", self.ways)
        if self.division.split_fc and "micro-batches" in ways:
            raise ConfigError(
                "fully connected layers that are divided over ranks take the images of all at once, so a step cannot "
                "run in micro-batches; leave out micro-batches or the dividing (--split-fc)"
            )
        if "ghost-rounds" in ways and self.division.count > 1:
            raise ConfigError(
                f"the batch is divided into {self.division.count} parts, and ghost rounds would divide it, too: leave "
                "one of them out"
            )
        return ways if self.division.parts == 1 else tuple(way for way in ways if way == "recompute")

    @property
    def most(self) -> MaxCost:
        """What making again may cost. Raises ConfigError for what is no fraction of a step's."""
        for value, name, of in ((self.max_cost, "max_cost", "time"), (self.max_cost_flops, "max_cost_flops", "FLOPs")):
            if value is not None and ((fraction := as_float(value)) is None or not 0 <= fraction <= 10):
                raise ConfigError(
                    f"{name} must be a fraction of the step's {of} from 0 to 10, like 0.03; got {told(value)}"
                )
        return most_cost(self.max_cost, self.max_cost_flops)
