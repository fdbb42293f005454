"""The units of later nets: ReLU with a ceiling, what bends smoothly, and what gates itself.

Sources: Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10" (ReLU6); Clevert et al. 2016, "Fast and
accurate deep network learning by ELUs"; Dugas et al. 2001, "Incorporating second-order functional knowledge"
(softplus); Ramachandran et al. 2017, "Searching for activation functions" (SiLU); Howard et al. 2019, "Searching for
MobileNetV3" (the hard ones); Hendrycks & Gimpel 2016, "Gaussian error linear units".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from gpunet.errors import ConfigError
from gpunet.layers.elementwise import Elementwise
from gpunet.layers.layer import require_number
from gpunet.program.program import Attribute
from gpunet.values.given import number, told


@dataclass(frozen=True)
class Clip(Elementwise):
    """Elementwise x brought into low..high; the slope is 0 at both ends and outside; NaN stays NaN."""

    low: float = 0.0
    high: float = 1.0

    type: ClassVar[str] = "clip"
    word: ClassVar[str] = "CLIP"
    op: ClassVar[str] = "clip"

    def __post_init__(self) -> None:
        if number("low", self.low) >= number("high", self.high):
            raise ConfigError(f"low must be below high; got low={self.low:g} and high={self.high:g}")


@dataclass(frozen=True)
class ReLU6(Elementwise):
    """Elementwise min(max(0, x), 6), as mobile nets have it; NaN stays NaN."""

    type: ClassVar[str] = "relu6"
    word: ClassVar[str] = "RELU6"
    op: ClassVar[str] = "clip"

    @property
    def numbers(self) -> Mapping[str, Attribute]:
        return {"low": 0.0, "high": 6.0}


@dataclass(frozen=True)
class HardSigmoid(Elementwise):
    """Elementwise min(max(0, x + 3), 6) / 6; NaN stays NaN."""

    type: ClassVar[str] = "hardsigmoid"
    word: ClassVar[str] = "HARDSIGMOID"
    op: ClassVar[str] = "hard_sigmoid"


@dataclass(frozen=True)
class ELU(Elementwise):
    """Elementwise x where x > 0, else alpha * (exp(x) - 1); NaN stays NaN."""

    alpha: float = 1.0

    type: ClassVar[str] = "elu"
    word: ClassVar[str] = "ELU"
    op: ClassVar[str] = "elu"

    def __post_init__(self) -> None:
        require_number("alpha", self.alpha, above=0)


@dataclass(frozen=True)
class Softplus(Elementwise):
    """Elementwise log(1 + exp(x)), which never overflows here; NaN stays NaN."""

    type: ClassVar[str] = "softplus"
    word: ClassVar[str] = "SOFTPLUS"
    op: ClassVar[str] = "softplus"


@dataclass(frozen=True)
class SiLU(Elementwise):
    """Elementwise x * sigmoid(x), which others call swish; NaN stays NaN."""

    type: ClassVar[str] = "silu"
    word: ClassVar[str] = "SILU"
    op: ClassVar[str] = "silu"
    needs: ClassVar[Literal["x", "y"]] = "x"


@dataclass(frozen=True)
class HardSwish(Elementwise):
    """Elementwise x * min(max(0, x + 3), 6) / 6; NaN stays NaN."""

    type: ClassVar[str] = "hardswish"
    word: ClassVar[str] = "HARDSWISH"
    op: ClassVar[str] = "hard_swish"
    needs: ClassVar[Literal["x", "y"]] = "x"


Approximation = Literal["none", "tanh"]


@dataclass(frozen=True)
class GELU(Elementwise):
    """Elementwise x times the probability that a standard normal number is below x; NaN stays NaN.

    `approximate`  "tanh" takes x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) for it, as some nets were trained
    """

    approximate: Approximation = "none"

    type: ClassVar[str] = "gelu"
    word: ClassVar[str] = "GELU"
    op: ClassVar[str] = "gelu"
    needs: ClassVar[Literal["x", "y"]] = "x"

    def __post_init__(self) -> None:
        if self.approximate not in get_args(Approximation):
            raise ConfigError(f"approximate must be one of none, tanh; got {told(self.approximate)}")

    @property
    def numbers(self) -> Mapping[str, Attribute]:
        return {"by_tanh": int(self.approximate == "tanh")}
