"""How parameters learn and what may be done to fit, from the training part of a config to options of `gpunet.plan`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gpunet.errors import ConfigError

if TYPE_CHECKING:
    from gpunet.net.config import TrainConfig


def train_settings(told: "TrainConfig", mode: str = "train") -> dict[str, Any]:
    """How parameters learn and what may be done to fit, as options of `gpunet.plan` and `gpunet.fit`."""
    asked = {"micro-batches": told.micro_batches, "ghost-rounds": told.ghost_rounds}
    more = tuple(way for way, wanted in asked.items() if wanted and mode == "train")  # no gradients to add up elsewhere
    fitting = fit_settings(told.without, told.max_cost, told.max_cost_flops, more)
    how = {"optimizer": told.learning, "dtype": told.dtype, "math": told.math}
    return {**how, "reserve": told.reserve, **fitting}


def plan_settings(told: "TrainConfig", mode: str, scratch: str | None) -> dict[str, Any]:
    """The options of `gpunet.plan` and `gpunet.fit`; device and budget aside."""
    what: dict[str, Any] = {"mode": str(mode), "scratch_limit": scratch}
    return what | train_settings(told, mode)


def fit_settings(
    without: Iterable[str], max_cost: float | None, max_cost_flops: float | None, more: tuple[str, ...]
) -> dict[str, Any]:
    """What may be done to fit, as options of `gpunet.plan`; `more`: ways beside those that need not be asked for.

    Raises ConfigError for two that contradict each other.
    """
    from gpunet.planning.options import WAYS

    if more and max_cost == 0:
        without_it = "say --no-micro-batches" if "micro-batches" in more else "leave ghost rounds out"
        raise ConfigError(f"--max-cost 0 allows the free savings alone: {without_it}, or allow more")
    return {
        "without": tuple(without),
        "max_cost": max_cost,
        "max_cost_flops": max_cost_flops,
        "ways": (*WAYS, *more),
    }
