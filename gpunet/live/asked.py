"""What the page asks for, as it is checked: JSON from a browser becomes values of known kinds, or one sentence.

A text of a net is a shipped name, the arrow notation or TOML, and never a path: the page opens no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from gpunet.errors import ConfigError
from gpunet.net.config import Config, TrainConfig, load_config, parse_config
from gpunet.net.tokens import START
from gpunet.system.resources import config_names

MOST_TEXT = 64 * 1024
"""Characters of a net's text."""

MOST_LAYERS = 2000
"""Of a net that is planned here: a picture of more helps nobody, and plans of them take minutes."""

Asked = Mapping[str, Any]


def net_of(text: str) -> Config:
    """The config behind a text of the page. Raises ConfigError or ShapeError, the place under a caret."""
    if len(text) > MOST_TEXT:
        raise ConfigError(f"the text has {len(text):,} characters; a net of the page may have {MOST_TEXT:,}")
    plain = text.strip()
    if not plain:
        raise ConfigError(f"no net is written yet; begin with {START}[32x32x3] -> ...")
    if plain in config_names():
        config = load_config(plain)
    elif is_pattern(text):
        config = load_config(text)
    elif "=" in plain:
        config = parse_config(text, "net.toml")
    else:
        raise ConfigError(f"there is no net called {plain[:40]!r}; write {START}[32x32x3] -> ..., or choose one")
    if len(config.net.nodes) > MOST_LAYERS:
        raise ConfigError(f"the net has {len(config.net.nodes):,} layers; the page plans up to {MOST_LAYERS:,}")
    return config


def is_pattern(text: str) -> bool:
    """Whether a text is arrow notation, which in TOML stands behind a key."""
    plain = text.strip()
    return plain.startswith(START) or ("->" in plain and "=" not in plain.partition("->")[0])


@dataclass(frozen=True, slots=True)
class PlanAsked:
    """A plan that is asked for, as `gpunet plan` takes it; None where the net's config decides.

    `card`      the name of a card, `budget` an amount of memory like "6GiB"; one of them, or neither
    `max_cost`  of the step's time, a fraction
    """

    text: str
    batch: int | None = None
    device: str = "cuda"
    card: str | None = None
    budget: str | None = None
    optimizer: str | None = None
    mode: str = "train"
    dtype: str | None = None
    max_cost: float | None = None
    micro_batches: bool | None = None

    def training(self, config: Config) -> TrainConfig:
        """How to train: as the config says, with what was asked for in its place. Raises ConfigError."""
        names = ("optimizer", "dtype", "max_cost", "micro_batches")
        given = {name: getattr(self, name) for name in names}
        return config.train.changed(**{name: value for name, value in given.items() if value is not None})

    @property
    def command(self) -> list[str]:
        """The words behind `gpunet plan NET` that give the same plan."""
        options = {
            "--batch": self.batch,
            "--device": None if self.device == "cuda" else self.device,
            "--gpu": self.card,
            "--budget": self.budget,
            "--optimizer": self.optimizer,
            "--mode": None if self.mode == "train" else self.mode,
            "--dtype": self.dtype,
            "--max-cost": self.max_cost,
        }
        words = [word for option, value in options.items() if value is not None for word in (option, str(value))]
        return words + ["--micro-batches"] * bool(self.micro_batches)


def plan_asked(asked: Asked) -> PlanAsked:
    """What the page asks for, each value of its kind. Raises ConfigError."""
    said = PlanAsked(
        text=text_in(asked, "text") or "",
        batch=integer_in(asked, "batch"),
        device=text_in(asked, "device") or "cuda",
        card=text_in(asked, "card"),
        budget=text_in(asked, "budget"),
        optimizer=text_in(asked, "optimizer"),
        mode=text_in(asked, "mode") or "train",
        dtype=text_in(asked, "dtype"),
        max_cost=number_in(asked, "max_cost"),
        micro_batches=True if asked.get("micro_batches") is True else None,
    )
    if said.micro_batches and said.mode == "infer":
        raise ConfigError("rounds add up gradients, and scores alone make none: leave one of them out")
    return said


def text_in(asked: Asked, name: str) -> str | None:
    """A text, None where it is empty or not there. Raises ConfigError for another kind of value."""
    value = asked.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text")
    return value


def number_in(asked: Asked, name: str) -> float | None:
    """A finite number, None where it is not there. Raises ConfigError for another kind of value."""
    value = asked.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ConfigError(f"{name} must be a number")
    return value


def integer_in(asked: Asked, name: str) -> int | None:
    """An integer, None where it is not there. Raises ConfigError for another kind of value."""
    value = number_in(asked, name)
    if value is not None and value != int(value):
        raise ConfigError(f"{name} must be a whole number; got {value}")
    return None if value is None else int(value)
