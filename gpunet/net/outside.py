"""Words for layers and losses from outside this package: `gpunet.add_layer` and `gpunet.add_loss`.

Nets take such values as they are; these are for texts, which know a layer by its word and a table by its type.
"""

import re
from dataclasses import is_dataclass
from typing import Any, TypeVar

from gpunet.errors import ConfigError
from gpunet.layers import layer_types, loss_types
from gpunet.layers.layer import Layer
from gpunet.layers.loss import Loss
from gpunet.net.fields import types_of, unsayable
from gpunet.net.tokens import RESERVED
from gpunet.values.given import told

LayerType = TypeVar("LayerType", bound=type[Layer])
LossType = TypeVar("LossType", bound=type[Loss])

RULES = {
    "type": (re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII), "small letters, digits and _", str.lower),
    "word": (re.compile(r"[A-Z]([A-Z0-9_]{0,38}[A-Z_])?", re.ASCII), "capitals, and digits within", str.upper),
}
"""How a type and a word are written, and how the name of a class becomes one; numbers behind a word are the layer's."""

_layers: dict[str, type[Layer]] = {}
_losses: dict[str, type[Loss]] = {}


def add_layer(kind: LayerType) -> LayerType:
    """Give a layer its word in patterns and its type in configs. Returns the class, so this may stand above it.

    `kind`  a frozen dataclass under gpunet.Layer with a `type` and a `word` of its own; its fields are what a text can
            say: integers, numbers, texts, truth values, Literals of words, and tuples of these

    One of the same type that was added before is replaced; nets that hold it go on. Raises ConfigError for what cannot
    have a word, and for the type or the word of another layer.
    """
    _require(kind, Layer)
    type_, word = _own(kind, "type"), _own(kind, "word")
    for field in (kind.number, kind.count):
        if field is not None and field not in types_of(kind):
            raise ConfigError(f"{kind.__name__}: a number behind {word} sets {field}, which is no field of it")
    others = [*layer_types(), *(one for one in _layers.values() if one.type != type_)]
    _require_free(kind, "type", type_, [one.type for one in layer_types()])
    _require_free(kind, "word", word, [*RESERVED, *(one.word for one in others)])
    _layers[type_] = kind
    return kind


def add_loss(kind: LossType) -> LossType:
    """Give a loss its type in configs, in `[loss]`. As `add_layer`, for a frozen dataclass under gpunet.Loss."""
    _require(kind, Loss)
    type_ = _own(kind, "type")
    _require_free(kind, "type", type_, [one.type for one in loss_types()])
    _losses[type_] = kind
    return kind


def remove_words(*kinds: type) -> None:
    """Forget layers and losses that were added; nets that hold them go on. Others are left alone."""
    for known in (_layers, _losses):
        for name in [name for name, one in known.items() if one in kinds]:
            del known[name]


def known_layers() -> tuple[type[Layer], ...]:
    """All layers that a text may name: those of this package, then those that were added."""
    return (*layer_types(), *_layers.values())


def known_losses() -> tuple[type[Loss], ...]:
    """All losses that a text may name: those of this package, then those that were added."""
    return (*loss_types(), *_losses.values())


def _require(kind: Any, base: type) -> None:
    """Raise ConfigError for what is no class that a text could make a value of."""
    if not isinstance(kind, type) or not issubclass(kind, base) or not is_dataclass(kind):
        raise ConfigError(f"what gets a word is a frozen dataclass under gpunet.{base.__name__}; got {told(kind)}")
    if not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ConfigError(f"{kind.__name__} could be changed within a net: write @dataclass(frozen=True) above it")
    if wrong := unsayable(kind):
        raise ConfigError(f"{kind.__name__}: no text can say its field {wrong}; use numbers, texts, or tuples of them")


def _own(kind: type, name: str) -> str:
    """The type, or the word, that the class itself says. Raises ConfigError where it says none that can be read."""
    pattern, words, made = RULES[name]
    said = vars(kind).get(name)
    if not isinstance(said, str) or not pattern.fullmatch(said):
        raise ConfigError(
            f"{kind.__name__} needs a {name} of its own in {words}, like "
            f'{name}: ClassVar[str] = "{made(kind.__name__)}"; got {told(said)}'
        )
    return said


def _require_free(kind: type, name: str, said: str, taken: list[str]) -> None:
    if said in taken:
        other = RULES[name][2](f"my_{said}")
        raise ConfigError(f"{kind.__name__}: the {name} {said} has a meaning already; use another, like {other}")
