"""A model: a plan bound to a device. Views are made once; a step walks the list of ops and allocates nothing."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import numpy as np

from gpunet.batch import check_images, check_labels
from gpunet.choose import MAX_COST
from gpunet.devices import open_device, target
from gpunet.devices.device import Array, Device
from gpunet.errors import BudgetError, ConfigError, DeviceError, ShapeError
from gpunet.fit import fit
from gpunet.memory.plan import Plan, PlannedTensor
from gpunet.memory.size import format_bytes
from gpunet.net.net import Net
from gpunet.optimizers import Optimizer
from gpunet.planner import WAYS
from gpunet.planner import plan as make_plan
from gpunet.program.program import Mode, Op, Phase, RunTime, Turn
from gpunet.program.tensor import Kind, Tensor

POISON = 0xFF
"""Four or eight such bytes are a NaN."""

STEP: tuple[Phase, ...] = ("forward", "loss", "backward", "update")
"""The phases of a training step."""

Call = tuple[Turn, Callable[[], None]]


class Model:
    """A net that runs on a device inside the arena that its plan laid out.

    `batch`   the most images of one step; fewer run in the same arena
    `device`  "cpu", "cuda", "auto" (cuda where there is a GPU, else cpu), or an open Device
    `seed`    draws the starting weights: the same seed gives the same bits
    `budget`  like "6GiB": find the cheapest ways to stay within it, refuse to start above it
    `plan`    run in this plan of the net, made before for the same device; what it settles is then not asked again
    `debug`   fill what is fresh or free with NaN before every op; results must not change

    Raises BudgetError, naming the batch that would fit; DeviceError where the device cannot be opened or has too
    little memory.
    """

    def __init__(
        self,
        net: Net,
        batch: int = 64,
        device: str | Device = "auto",
        *,
        optimizer: str | Optimizer = "momentum",
        mode: Mode = "train",
        dtype: str = "float32",
        seed: int = 0,
        learning_rate: float = 0.01,
        budget: str | int | None = None,
        scratch_limit: str | int | None = None,
        without: Collection[str] = (),
        max_cost: float = MAX_COST,
        ways: Collection[str] = WAYS,
        plan: Plan | None = None,
        debug: bool = False,
    ) -> None:
        self.net = net
        self.learning_rate = learning_rate
        self.steps = 0  # taken so far; set it to go on from where another run stopped
        self.debug = debug
        name = device.name if isinstance(device, Device) else choose_device(device)
        options: dict[str, Any] = dict(
            optimizer=optimizer,
            mode=mode,
            dtype=dtype,
            device=name,
            scratch_limit=scratch_limit,
            without=without,
            max_cost=max_cost,
            ways=ways,
        )
        self.plan = plan or require_fit(net, make_plan(net, batch, budget=budget, **options), **options)
        self._owns_device = not isinstance(device, Device)
        self.device = device if isinstance(device, Device) else open_device(name)
        self._arena = self.device.allocate(self.plan.arena_bytes)
        self._offsets = {planned.name: planned.offset for planned in self.plan.tensors}
        self._views: dict[tuple[str, int, int], Array] = {}
        self._calls: dict[int, list[Call]] = {}
        self.parameters = Parameters(self)
        if debug:
            self._arena.fill(0, self.plan.arena_bytes, POISON)
        self._initialise(seed)

    @property
    def batch(self) -> int:
        """The most images that one step takes."""
        return self.plan.batch

    def step(self, images: np.ndarray, labels: np.ndarray) -> float:
        """One training step: forward, loss, backward, update. Returns the mean loss of the batch before the update.

        `images`  (n, H, W, D), n <= batch; float, used as they are, or uint8, used as pixel*scale + shift
        `labels`  (n,) integers, 0 <= label < classes

        Raises ShapeError or DataError for arrays that cannot be used; nothing has changed then.
        """
        n = self._feed(images, labels)
        self._run(n, self._skipped(images), *STEP)
        self.steps += 1
        return self._read_loss(n)

    def forward(self, images: np.ndarray) -> np.ndarray:
        """The scores (n, classes) of n <= batch images."""
        n = self._feed(images, None)
        self._run(n, self._skipped(images), "forward")
        return self.device.read(self._view(self.plan.program.scores, 0, n)).reshape(n, self.net.classes)

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
        """(mean loss, number of images whose label has the highest score), in the same arena, nothing learnt."""
        n = self._feed(images, labels)
        self._run(n, self._skipped(images), "forward", "loss")
        return self._read_loss(n), self.correct

    @property
    def correct(self) -> int:
        """How many labels had the highest score in the last step or evaluation."""
        tensor = self.plan.program.correct
        assert tensor is not None  # a training program has one
        return int(self.device.read(self._view(tensor))[0])

    def gradients(self, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """The gradient of the mean loss by parameter name, as copies; nothing is updated."""
        n = self._feed(images, labels)
        found = {}
        for op, call in self._walk(n, self._skipped(images), STEP):
            if op.phase == "update":  # the gradient is complete now, and may be gone at the end of the step
                found[op.outputs[0].name] = self.device.read(self._view(op.inputs[0]))
            else:
                call()
        return {name: found[name] for name in self.parameters}

    def calls(self, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[Op, Callable[[], None]]]:
        """A training step in the caller's hands: (op, what runs it), each to be called once, in order.

        The arrays are on the device when this returns. An op that runs in rounds comes once for each.
        """
        n = self._feed(images, labels)
        return self._walk(n, self._skipped(images), STEP)

    def close(self) -> None:
        """Give the arena back. The model is of no use afterwards."""
        self._views.clear()
        self._calls.clear()
        self._arena.free()
        if self._owns_device:
            self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- feeding -----------------------------------------------------------------------------------

    def _feed(self, images: np.ndarray, labels: np.ndarray | None) -> int:
        """Check the arrays, copy them into the arena, return how many images there are."""
        program = self.plan.program
        images = check_images(images, self.net, self.batch)
        n = len(images)
        if labels is not None:
            if program.labels is None:
                raise ConfigError("this model was planned for mode='infer'; make one with mode='train' to use labels")
            labels = check_labels(labels, n, self.net.classes)
        if self.debug:
            self._poison_free(0)
        tensor = program.image_bytes if images.dtype == np.uint8 else program.images
        self.device.write(self._view(tensor, 0, n), images)
        if labels is not None and program.labels is not None:
            self.device.write(self._view(program.labels, 0, n), labels)
        return n

    def _skipped(self, images: np.ndarray) -> int:
        """Ops to leave out at the start: float images need no conversion."""
        return 0 if np.asarray(images).dtype == np.uint8 else 1

    def _read_loss(self, n: int) -> float:
        tensor = self.plan.program.loss
        assert tensor is not None  # labels were given, so there is one
        return float(self.device.read(self._view(tensor))[0])

    # -- running -----------------------------------------------------------------------------------

    def _run(self, n: int, skip: int, *phases: Phase) -> None:
        """Call the ops of the given phases, in order, for n images."""
        for _, call in self._walk(n, skip, phases):
            call()

    def _walk(self, n: int, skip: int, phases: tuple[Phase, ...]) -> Iterator[tuple[Op, Callable[[], None]]]:
        """The ops of these phases and what calls them, in order; with `debug`, poison goes before and after each."""
        ops = self.plan.program.ops
        for turn, call in self._bound(n):
            op = ops[turn.step]
            if turn.step >= skip and op.phase in phases:
                if self.debug:
                    self._poison_fresh(turn)
                yield op, call
                if self.debug:
                    self._poison_after(turn)

    def _bound(self, n: int) -> list[Call]:
        """What a run over n images calls, bound to its views; made at the first use of each n."""
        if n not in self._calls:
            self._calls[n] = [(turn, self._bind(turn, n)) for turn in self.plan.program.turns(n)]
        return self._calls[n]

    def _bind(self, turn: Turn, n: int) -> Callable[[], None]:
        op = self.plan.program.ops[turn.step]
        function = self.device.ops[op.name]
        arrays = [None if tensor is None else self._view(tensor, turn.first, turn.last) for tensor in op.arguments]
        known = {"images": n, "accumulate": int(turn.round > 0)}
        fixed, late = {}, {}
        for name, value in op.attributes.items():
            if isinstance(value, RunTime) and value.name not in known:
                late[name] = value.name
            else:
                fixed[name] = known[value.name] if isinstance(value, RunTime) else value
        if not late:
            return lambda: function(*arrays, **fixed)
        return lambda: function(*arrays, **fixed, **{name: self._now(what) for name, what in late.items()})

    def _now(self, what: str) -> float:
        """The number that a RunTime which changes from step to step stands for."""
        return self.steps + 1 if what == "step" else self.learning_rate

    def _view(self, tensor: Tensor, first: int = 0, last: int = 0) -> Array:
        """The tensor's place in the arena; of a batched one, what the images [first, last) of the batch use."""
        offset = self._offsets[tensor.name]
        if not tensor.batched:
            first = last = 0
        key = (tensor.name, first, last)
        if key not in self._views:
            shape = tensor.shape
            if tensor.batched:
                shape = (last - first, *tensor.shape[1:])
                if tensor.shape[0] == self.batch:  # a tensor of a loop holds one round only
                    offset += first * (tensor.nbytes // tensor.shape[0])
            self._views[key] = self._arena.view(offset, shape, tensor.dtype)
        return self._views[key]

    # -- poison ------------------------------------------------------------------------------------

    def _poison_fresh(self, turn: Turn) -> None:
        """Fill what begins to live in this turn, unless it takes over bytes that the op still reads."""
        for planned in self.plan.tensors:
            known = planned.kind.persistent or planned.kind is Kind.DATA or planned.name in self.plan.program.takes_over
            again = turn.round > 0 and not self._within_round(planned, turn)
            if planned.first == turn.step and not known and not again:
                self._arena.fill(planned.offset, planned.nbytes, POISON)

    def _within_round(self, planned: PlannedTensor, turn: Turn) -> bool:
        """Whether a tensor of a loop is used afresh in each of its rounds."""
        loop = self.plan.program.loop_at(turn.step)
        return loop is not None and (planned.first > loop.first or planned.last < loop.last)

    def _poison_after(self, turn: Turn) -> None:
        """Fill what is free after this turn; at the end of a round that is what is free at the start of the next."""
        loop = self.plan.program.loop_at(turn.step)
        ends = loop is not None and turn.step == loop.last - 1
        self._poison_free(loop.first if loop and ends and turn.more else turn.step + 1)

    def _poison_free(self, step: int) -> None:
        """Fill every byte that no tensor owns in this step."""
        end = 0
        for planned in sorted(self.plan.alive(step), key=lambda planned: planned.offset):
            if planned.offset > end:
                self._arena.fill(end, planned.offset - end, POISON)
            end = max(end, planned.offset + planned.nbytes)
        if end < self.plan.arena_bytes and step < self.plan.steps:
            self._arena.fill(end, self.plan.arena_bytes - end, POISON)

    # -- parameters --------------------------------------------------------------------------------

    def _initialise(self, seed: int) -> None:
        """Draw the weights (He et al. 2015: normal, deviation sqrt(2/fan-in)), each from its stream; zero the rest."""
        streams = np.random.SeedSequence(seed).spawn(len(self.plan.program.parameters))
        for parameter, stream in zip(self.plan.program.parameters, streams, strict=True):
            shape, dtype = parameter.tensor.shape, parameter.tensor.dtype
            values = np.zeros(shape, dtype)
            if parameter.deviation:
                np.random.default_rng(stream).standard_normal(dtype=values.dtype, out=values)
                values *= parameter.deviation
            self.device.write(self._view(parameter.tensor), values)
            for cache in parameter.caches:
                self.device.write(self._view(cache), np.zeros(shape, dtype))


class Parameters(Mapping[str, np.ndarray]):
    """The parameters by name, as NumPy copies; assigning sets them on the device.

    Conv weights are (K, F, F, D), FC weights (K, inputs) with inputs flattened H, W, D; biases (K,).
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tensors = {p.tensor.name: p.tensor for p in model.plan.program.parameters}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._model.device.read(self._model._view(self._find(name)))

    def __setitem__(self, name: str, values: np.ndarray) -> None:
        tensor = self._find(name)
        values = np.asarray(values)
        if values.shape != tensor.shape:
            raise ShapeError(f"{name} has shape {tensor.shape}; got {values.shape}")
        self._model.device.write(self._model._view(tensor), values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _find(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise ConfigError(f"{self._model.net.name} has no parameter {name!r}; it has {', '.join(self._tensors)}")
        return self._tensors[name]


def choose_device(name: str) -> str:
    """ "auto" becomes cuda where a GPU can be opened, else cpu; other names must be known."""
    if name != "auto":
        target(name)
        return name
    with suppress(DeviceError):
        open_device("cuda").close()
        return "cuda"
    return "cpu"


def require_fit(net: Net, plan: Plan, **options: Any) -> Plan:
    """The plan, if it fits its budget. Raises BudgetError, naming the batch that would, where it does not.

    `options`  those of `gpunet.plan` that the plan was made with, budget and batch aside
    """
    if plan.fits or plan.budget_bytes is None:
        return plan
    largest = fit(net, plan.budget_bytes, **options)
    raise BudgetError(
        f"{net.name} at batch {plan.batch} takes {format_bytes(plan.total_bytes)}, "
        f"{format_bytes(plan.total_bytes - plan.budget_bytes)} more than the budget of "
        f"{format_bytes(plan.budget_bytes)}; "
        f"the largest batch that fits is {largest.batch}"
    )
