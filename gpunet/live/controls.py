"""What the page may change of a training: which settings, in which ranges, and what each change takes."""

from dataclasses import replace
from typing import Any

from gpunet.errors import ConfigError
from gpunet.live.asked import Asked, integer_in, is_pattern, net_of, number_in, text_in
from gpunet.net.config import Config, TrainConfig

AT_ONCE = ("learning_rate", "momentum", "weight_decay", "clip_norm", "epochs")
"""Settings with which the run goes on after the step under way: the same weights, caches and order of images."""

ANEW = ("batch", "optimizer", "seed")
"""Settings that begin another run: batch and optimizer with the weights, a seed without."""

INTEGERS = ("epochs", "batch", "seed")


def changed_at_once(config: Config, asked: Asked) -> Config:
    """The config with the settings of AT_ONCE that are asked for. Raises ConfigError, changing nothing."""
    return replace(config, train=config.train.changed(**_given(config.train, asked, AT_ONCE)))


def changed_anew(config: Config, asked: Asked) -> Config:
    """The config of another run: a net where a text is given, batch, optimizer, seed. Raises ConfigError.

    TOML says how to train, as in `gpunet train`; with a pattern that stays as it was. The data stay in any case, as a
    text of the page names no files.
    """
    text = text_in(asked, "text")
    told = config.train
    if text is not None:
        said = net_of(text)
        if not is_pattern(text):
            kept = {
                name: getattr(told, name) for name in ("data", "size", "skip_broken", "validation", "seed", "budget")
            }
            told = replace(said.train, **kept)
        config = replace(said, train=told)
    given = _given(told, asked, ("batch", "seed"))
    given |= {name: text_in(asked, name) for name in ("optimizer", "dtype") if text_in(asked, name) is not None}
    told = replace(told, weights=None, fresh=()).changed(**given)
    return replace(config, train=told.settled())


def settings_of(told: TrainConfig) -> dict[str, Any]:
    """The settings that the page shows; None for those that the optimizer does not have."""
    settled = told.settled()
    return {name: getattr(settled, name) for name in (*AT_ONCE, *ANEW, "schedule", "data")}


def _given(told: TrainConfig, asked: Asked, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the settings that are asked for; an optimizer's own, where it has them."""
    found: dict[str, Any] = {}
    for name in names:
        if name not in asked:
            continue
        value = integer_in(asked, name) if name in INTEGERS else number_in(asked, name)
        if value is None and name != "clip_norm":
            raise ConfigError(f"{name.replace('_', ' ')} is empty; write a number")
        found[name] = value or None if name == "clip_norm" else value
    unknown = [name for name in found if name == "momentum" and getattr(told.settled(), name, None) is None]
    if unknown:
        raise ConfigError(f"{told.optimizer} has no {unknown[0]}; choose another optimizer")
    return found
