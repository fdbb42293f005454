"""The parameters of a model: how they start, and how they are read and set by name."""

from collections.abc import Iterator, Mapping

import numpy as np

from gpunet.errors import ConfigError, ShapeError
from gpunet.memory.plan import Plan
from gpunet.model.bound import BoundProgram
from gpunet.program.tensor import Tensor


class Parameters(Mapping[str, np.ndarray]):
    """The parameters by name, as NumPy copies; assigning sets them on the device.

    `caches`  everything that lasts from step to step instead: optimizer caches too
    Conv weights are (K, F, F, D/groups), FC weights (K, inputs) with inputs flattened H, W, D; biases (K,).
    Raises UnknownParameter, a ConfigError and a KeyError, for a name that the net does not have; ShapeError for values
    of another shape.
    """

    def __init__(self, plan: Plan, bound: BoundProgram, *, caches: bool = False) -> None:
        self._plan = plan
        self._bound = bound
        self._tensors = {p.tensor.name: p.tensor for p in plan.program.parameters}
        if caches:
            self._tensors |= {name: tensor for name, tensor in plan.program.tensors.items() if tensor.kind.persistent}

    def draw(self, seed: int) -> None:
        """Start anew: weights normal with deviation sqrt(2/fan-in) (He et al. 2015), scales one, all else zero.

        Each weight has a stream of its own. Raises ConfigError as `check_seed`.
        """
        check_seed(seed)
        device, parameters = self._bound.device, self._plan.program.parameters
        for parameter, stream in zip(parameters, np.random.SeedSequence(seed).spawn(len(parameters)), strict=True):
            shape, dtype = parameter.tensor.shape, parameter.tensor.dtype
            values = np.full(shape, parameter.start, dtype)
            if parameter.deviation:
                np.random.default_rng(stream).standard_normal(dtype=values.dtype, out=values)
                values *= parameter.deviation
            device.write(self._bound.view(parameter.tensor), values)
            for cache in parameter.caches:
                device.write(self._bound.view(cache), np.zeros(shape, dtype))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._bound.device.read(self._bound.view(self._find(name)))

    def __setitem__(self, name: str, values: np.ndarray) -> None:
        tensor = self._find(name)
        values = np.asarray(values)
        if values.shape != tensor.shape:
            raise ShapeError(f"{name} has shape {tensor.shape}; got {values.shape}")
        self._bound.device.write(self._bound.view(tensor), values)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Names, shapes and dtypes, without the values."""
        return self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _find(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise UnknownParameter(f"{self._plan.net} has no parameter {name!r}; it has {', '.join(self._tensors)}")
        return self._tensors[name]


def check_seed(seed: int) -> int:
    """The seed. Raises ConfigError for one that is no integer of at least 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"the seed must be an integer of at least 0; got {seed!r}")
    return seed


def finite(values: np.ndarray) -> bool:
    """Whether no value is infinite or NaN, without an array of answers."""
    return not values.size or bool(np.isfinite(values.min()) and np.isfinite(values.max()))


class UnknownParameter(ConfigError, KeyError):
    """A name that no parameter has; a KeyError too, so that `in` and `get` work as with any mapping."""

    __str__ = Exception.__str__  # KeyError would quote the message
