"""The parameters of a model: how they start, and how they are read and set by name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from gpunet.errors import ConfigError, ShapeError
from gpunet.layers.scaling import SCALE
from gpunet.memory.plan import Plan
from gpunet.model.bound import BoundProgram
from gpunet.model.whole import Whole
from gpunet.program.tensor import Tensor
from gpunet.values.given import integer, told


class Parameters(Mapping[str, np.ndarray]):
    """The parameters by name, as NumPy copies; assigning sets them on the device.

    `caches`  everything that lasts from step to step instead: optimizer caches too
    Conv weights are (K, F, F, D/groups), FC weights (K, inputs) with inputs flattened H, W, D; biases (K,).
    Raises UnknownParameter, a ConfigError and a KeyError, for a name that the net does not have; ShapeError for values
    of another shape, ConfigError for what are no real numbers or more than the dtype holds, and for other values of
    what never changes. Raises ModelError while the model is at work in another thread; of what a step that was broken
    off left behind, for reading it before it is set: caches start from zero where their parameter is set and they are
    not.
    """

    def __init__(self, plan: Plan, bound: BoundProgram, whole: Whole, *, caches: bool = False) -> None:
        self._plan = plan
        self._bound = bound
        self._whole = whole
        self._given: dict[str, np.ndarray] = {}
        self._tensors = {p.tensor.name: p.tensor for p in plan.program.parameters}
        self._caches = {p.tensor.name: p.caches for p in plan.program.parameters}
        self._fixed = {p.tensor.name: p.start for p in plan.program.parameters if p.fixed}
        if caches:
            self._tensors |= {name: tensor for name, tensor in plan.program.tensors.items() if tensor.kind.persistent}
        self._parts = {name: self._tensors[name] for name in plan.program.sharded if name in self._tensors}
        for name, shape in plan.program.sharded.items():
            if name in self._tensors:
                self._tensors[name] = replace(self._tensors[name], shape=shape)

    def draw(self, seed: int) -> None:
        """Start anew: weights normal with deviation sqrt(2/fan-in) (He et al. 2015), scales one, all else zero.

        Each weight has a stream of its own. Raises ConfigError as `check_seed`.
        """
        seed, parameters = check_seed(seed), self._plan.program.parameters
        with self._whole.use():
            self._whole.begin()
            for parameter, stream in zip(parameters, np.random.SeedSequence(seed).spawn(len(parameters)), strict=True):
                name = parameter.tensor.name
                values = np.full(self._tensors[name].shape, parameter.start, parameter.tensor.dtype)
                if parameter.deviation:
                    np.random.default_rng(stream).standard_normal(dtype=values.dtype, out=values)
                    values *= parameter.deviation
                self._write(parameter.tensor, self._own(name, values) if name in self._parts else values)
                self._clear(parameter.caches)
            if self._plan.program.scaling is not None:
                self._write(self._plan.program.scaling, np.array([SCALE, 0]))
            self._whole.end()

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._find(name)
        with self._whole.use():
            self._whole.require(name)
            if name in self._parts:
                return self._from_all(name)
            return self._bound.device.read(self._bound.view(tensor))

    def __setitem__(self, name: str, values: np.ndarray) -> None:
        tensor = self._find(name)
        values = checked(name, values, tensor)
        if name in self._fixed and (values != self._fixed[name]).any():
            raise ConfigError(f"{name} is {self._fixed[name]:g} for ever in this net; affine=true makes it learn")
        with self._whole.use():
            if name in self._parts:
                self._take_share(name, values)
            else:
                self._write(tensor, values)
            stale = [cache for cache in self._caches.get(name, ()) if cache.name in self._whole.torn]
            self._clear(stale)  # those of a step that was broken off: learning starts from these values anew
            self._whole.set_again(name, *(cache.name for cache in stale))

    def serve(self) -> None:
        """As a rank that is not the first: give rank 0 the shares that it asks for, until it asks for no more."""
        ranks = self._bound.ranks
        while ranks is not None and (name := ranks.tell(None)[0]) is not None:
            self._shares(name)

    def served(self) -> None:
        """As rank 0: ask for no more for now."""
        if self._bound.ranks is not None:
            self._bound.ranks.tell(None)

    def is_given(self, name: str) -> bool:
        """Whether what each rank has a share of was set here as a whole, so that the others can have it."""
        return name in self._given

    def settle(self) -> None:
        """Let go of values that were set as a whole."""
        self._given.clear()

    def _from_all(self, name: str) -> np.ndarray:
        """What each rank has a share of. Rank 0 asks all others, who `serve`."""
        ranks = self._bound.ranks
        if name in self._given or ranks is None:
            return self._given[name]
        ranks.tell(name)
        return self._shares(name)

    def _shares(self, name: str) -> np.ndarray:
        """The shares of all ranks, put together."""
        ranks, shape, dtype = self._bound.ranks, self._tensors[name].shape, self._tensors[name].dtype
        assert ranks is not None  # none else have shares
        values = np.empty(shape, dtype).reshape(-1)
        cuts = [self._plan.program.own_values(name, rank) for rank in range(ranks.size)]
        first, last = cuts[ranks.rank]
        own = self._bound.device.read(self._bound.view(self._parts[name])).reshape(-1)[: last - first]
        ranks.exchange(self._bound.device, [own] * ranks.size, [values[a:b] for a, b in cuts])
        return values.reshape(shape)

    def _take_share(self, name: str, values: np.ndarray) -> None:
        """Keep of whole values this rank's share, and, until all have theirs, the whole for them."""
        self._given[name] = np.asarray(values, self._parts[name].dtype)
        if self._bound.ranks is not None:
            self._write(self._parts[name], self._own(name, values))

    def _own(self, name: str, values: np.ndarray) -> np.ndarray:
        """This rank's share of whole values, as it lies in the arena."""
        rank = 0 if self._bound.ranks is None else self._bound.ranks.rank
        first, last = self._plan.program.own_values(name, rank)
        own = np.zeros(self._bound.view(self._parts[name]).shape, values.dtype)
        own.reshape(-1)[: last - first] = values.reshape(-1)[first:last]
        return own

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Names, shapes and dtypes, without the values."""
        return self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _write(self, tensor: Tensor, values: np.ndarray) -> None:
        self._bound.device.write(self._bound.view(tensor), values)

    def _clear(self, caches: Iterable[Tensor]) -> None:
        for cache in caches:
            self._write(cache, np.zeros(self._bound.view(cache).shape, cache.dtype))

    def _find(self, name: str) -> Tensor:
        if not isinstance(name, str) or name not in self._tensors:
            raise UnknownParameter(f"{self._plan.net} has no parameter {told(name)}; it has {', '.join(self._tensors)}")
        return self._tensors[name]


def check_seed(seed: int) -> int:
    """The seed. Raises ConfigError for one that is no integer of at least 0."""
    return integer("the seed", seed)


def checked(name: str, values: object, tensor: Tensor) -> np.ndarray:
    """What is to be set, as an array. Raises ShapeError or ConfigError where it cannot be a value of this tensor."""
    try:
        found = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ShapeError(f"{name} has shape {tensor.shape}; got no array: {error}") from None
    if found.dtype.kind not in "biuf":
        raise ConfigError(f"{name} holds numbers of {tensor.dtype}; got values of {told(str(found.dtype))}")
    if found.shape != tensor.shape:
        raise ShapeError(f"{name} has shape {tensor.shape}; got {found.shape}")
    if found.size and found.dtype.itemsize > np.dtype(tensor.dtype).itemsize:
        most = np.abs(found[np.isfinite(found)]).max(initial=0)
        if most > np.finfo(tensor.dtype).max:
            raise ConfigError(f"{name} holds numbers of {tensor.dtype}; {most:g} is above its range")
    return found


def finite(values: np.ndarray) -> bool:
    """Whether no value is infinite or NaN, without an array of answers."""
    return not values.size or bool(np.isfinite(values.min()) and np.isfinite(values.max()))


class UnknownParameter(ConfigError, KeyError):
    """A name that no parameter has; a KeyError too, so that `in` and `get` work as with any mapping."""

    __str__ = Exception.__str__  # KeyError would quote the message
