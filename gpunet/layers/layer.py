"""What a layer is: a frozen value that knows its output volume and its parameters and emits its ops.

A layer never touches memory or a device. It does not know its own name either: a net names it, and puts that name in
front of whatever error the layer raises.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, ClassVar

from gpunet.errors import ConfigError
from gpunet.program.builder import Emitter
from gpunet.program.field import Window
from gpunet.program.tensor import Tensor
from gpunet.program.volume import FIT_POLICIES, Volume
from gpunet.values.given import MOST_SIZE, as_float, told


@dataclass(frozen=True, slots=True)
class Weights:
    """One parameter of a layer: its short name, its shape and how it starts.

    `fan_in`  scales the random numbers that it starts with; 0: it starts at `start` everywhere
    `learnt`  whether it has a gradient and is updated from that; running statistics have none
    `fixed`   whether it is `start` for ever: nothing else may be set
    """

    name: str
    shape: tuple[int, ...]
    fan_in: int = 0
    start: float = 0.0
    learnt: bool = True
    fixed: bool = False


@dataclass(frozen=True)
class Layer(ABC):
    """Base of all layers; subclasses are frozen dataclasses whose fields are the notes' letters.

    `type`    what a config calls it (`type = "conv"`); layers without a name are numbered by it: conv1, conv2, ...
    `word`    what the arrow notation calls it: CONV
    `number`  field set by a number right behind the word (CONV3: "F"), or None where there cannot be one
    `count`   field set by a number behind a dash (CONV3-64: "K"), or None
    `merges`  whether it takes the outputs of several layers; all others take one
    `optional`  whether the notation may leave it to the volume whether it is there: POOL?
    `across_images`  whether in training it needs all images of a batch together: not in rounds
    """

    type: ClassVar[str]
    word: ClassVar[str]
    number: ClassVar[str | None] = None
    count: ClassVar[str | None] = None
    merges: ClassVar[bool] = False
    optional: ClassVar[bool] = False
    across_images: ClassVar[bool] = False

    @abstractmethod
    def output(self, *inputs: Volume) -> Volume:
        """The output volume. Raises ShapeError, without the layer's name, where the inputs do not fit."""

    def weights(self, *inputs: Volume) -> tuple[Weights, ...]:
        """The parameters for these input volumes."""
        return ()

    def window(self, *inputs: Volume) -> tuple[Window, Window]:
        """What one output position sees of each input, along rows and along columns; here: the position itself."""
        return Window(), Window()

    @abstractmethod
    def forward(self, emit: Emitter, *inputs: Tensor) -> Tensor:
        """Emit the forward ops, keep in `emit.kept` what backward needs, return the output (N, H, W, D)."""

    @abstractmethod
    def backward(self, emit: Emitter, dy: Tensor, *, needs_dx: bool) -> tuple[Tensor, ...]:
        """Emit the backward ops; return the gradient of each input, or () where `needs_dx` is false.

        Where `emit.frozen`, there are no gradients of parameters to make.
        """

    def update(self, emit: Emitter) -> None:
        """Emit what a step changes in this layer beside what it learns, such as running statistics."""
        return


def require_int(letter: str, value: object, least: int = 1) -> None:
    """Raise ConfigError unless `value` is an integer of at least `least`, and of at most nine digits."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{letter} must be an integer of at least {least}; got {told(value)}")
    if value > MOST_SIZE:
        raise ConfigError(f"{letter} must be an integer of at most {MOST_SIZE:,}; got {told(value)}")


def require_bool(letter: str, value: object) -> None:
    """Raise ConfigError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{letter} must be true or false; got {told(value)}")


def require_sizes(letter: str, value: object, counts: tuple[int, ...], least: int = 1) -> Any:
    """`value`, an integer or a tuple of as many as `counts` allows, in its shortest form: one number where all are
    equal, two of four where opposite sides are. Raises ConfigError for anything else, or numbers below `least`."""
    sizes = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(sizes) not in (1, *counts):
        meant = " or ".join({2: "rows and columns", 4: "top, bottom, left and right"}[count] for count in counts)
        raise ConfigError(f"{letter} must be one number or {meant}; got {len(sizes)} numbers, {told(value)}")
    for size in sizes:
        require_int(letter, size, least)
    if len(sizes) == 4 and sizes[0] == sizes[1] and sizes[2] == sizes[3]:
        sizes = sizes[::2]
    return sizes[0] if len(set(sizes)) == 1 else sizes


def require_number(
    letter: str, value: object, *, least: float | None = None, above: float | None = None, below: float = inf
) -> None:
    """Raise ConfigError unless `value` is a finite number of at least `least`, or above `above`, and below `below`."""
    wanted = f"of at least {least:g}" if above is None else f"above {above:g}"
    wanted += f" and below {below:g}" if isfinite(below) else ""
    number = isinstance(value, int | float) and as_float(value) is not None
    if not number or not (value >= least if above is None else value > above) or not value < below:  # type: ignore[operator]
        raise ConfigError(f"{letter} must be a number {wanted}; got {told(value)}")


def require_fit(fit: object) -> None:
    """Raise ConfigError unless `fit` is a fit policy, or None: the net's."""
    if fit is not None and fit not in FIT_POLICIES:
        raise ConfigError(f"fit must be one of {', '.join(FIT_POLICIES)}; got {told(fit)}")


def whole(volume: Volume) -> tuple[Window, Window]:
    """The window of a layer whose outputs see all rows and columns."""
    return Window(volume.H), Window(volume.W)


def squared(rows: int, columns: int) -> int | tuple[int, int]:
    """A size for both axes: one number where they are equal."""
    return rows if rows == columns else (rows, columns)


def of(tensor: Tensor) -> Volume:
    """The volume of one image of an (N, H, W, D) tensor."""
    _, H, W, D = tensor.shape
    return Volume(H, W, D)
