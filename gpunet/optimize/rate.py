"""A learning rate as people say it: a number, or a function of the steps that were taken."""

from collections.abc import Callable

from gpunet.errors import ConfigError
from gpunet.optimize.schedules import Schedule, schedule
from gpunet.values.given import number

RateFunction = Callable[[int], float]
"""The learning rate of a step, from how many were taken before it: 0 for the first."""


class Rate:
    """A learning rate that is known at every step. Raises ConfigError for what is none.

    `function`  None where it is a number
    """

    def __init__(self, rate: float | RateFunction) -> None:
        self.function: RateFunction | None = None
        self._at: tuple[int, float] | None = None
        if callable(rate):
            self.function = rate
        else:
            self._number = check_rate(rate)

    def shaped(self, what: str | Schedule, warmup: int = 0) -> Schedule:
        """The schedule of a run that begins with this rate: the one that was asked for, or the function.

        Raises ConfigError where both are there.
        """
        shape = schedule(what)
        if self.function is None:
            return shape
        if shape.name != "constant" or warmup:
            raise ConfigError("the learning rate is a function already: leave out the schedule and the warm-up")
        return ByStep(self.function)

    def at(self, step: int) -> float:
        """The rate of a step; a function is asked once for it. Raises ConfigError where that gives no rate."""
        if self.function is None:
            return self._number
        if self._at is None or self._at[0] != step:
            self._at = step, check_rate(self.function(step), f" of step {step:,}")
        return self._at[1]


class ByStep(Schedule):
    """The rates of a function, whatever the one at the start."""

    name = "function"

    def __init__(self, function: RateFunction) -> None:
        object.__setattr__(self, "_rate", Rate(function))

    def rate(self, learning_rate: float, step: int, steps: int, steps_per_epoch: int) -> float:
        known: Rate = vars(self)["_rate"]
        return known.at(step)


def check_rate(rate: object, of: str = "") -> float:
    """The rate as a float. Raises ConfigError for what is no finite number of at least 0, `of` some step."""
    return number(f"the learning rate{of}", rate, least=0)
