"""A model: a plan bound to a device. Views are made once; a step walks the list of ops and allocates nothing."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext, suppress
from math import isfinite
from types import TracebackType
from typing import Self, Unpack

import numpy as np

from gpunet.compile.between import BETWEEN_RANKS
from gpunet.compile.ranks import Division, Reduce
from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.errors import ConfigError, DeviceError
from gpunet.memory.plan import Plan
from gpunet.model.ahead import Ahead, Batch
from gpunet.model.batch import check_images
from gpunet.model.bound import BoundProgram
from gpunet.model.feeding import Feeding
from gpunet.model.making import choose_device, require_fit
from gpunet.model.outputs import made_by, named_layers, separate_outputs
from gpunet.model.parameters import Parameters, check_seed, finite
from gpunet.model.whole import Whole, alone
from gpunet.net.graph import INPUT
from gpunet.net.net import Net
from gpunet.optimize.rate import RateFunction
from gpunet.planning.options import Options, Settings
from gpunet.planning.planner import check_net
from gpunet.planning.planner import plan as make_plan
from gpunet.program.algorithm import Math
from gpunet.program.program import AnyDevice, Op, Phase
from gpunet.program.tensor import Tensor
from gpunet.ranks.communicator import Communicator
from gpunet.values.given import told

STEP: tuple[Phase, ...] = ("forward", "loss", "backward", "update")
"""The phases of a training step."""


class Model(Feeding):
    """A net that runs on a device inside the arena that its plan laid out.

    `batch`   the most images of one step; fewer run in the same arena
    `device`  "cpu", "cuda", "cuda:1" (the second GPU), "auto" (cuda where there is one, else cpu), or an open Device
    `optimizer`  a name, an Optimizer, or a gpunet.Learning, which says how parameters learn in all
    `learning_rate`  of a step: a number, or a function of how many steps were taken before it
    `seed`    draws the starting weights, what dropout drops and how images are augmented: the same seed gives the same
              bits
    `budget`  like "6GiB": find the cheapest ways to stay within it, refuse to start above it
    `dtype`   of activations: "float32", "float64", a half type, "bfloat16" or "float16", in which what learns and all
              sums stay float32, or "mixed", the half type that suits the device
    `math`    "exact", or "direct": convolutions without Winograd's algorithm, which rounds differently
    `tuned`   whether convolutions run by what gpunet tune found fastest on this machine, or the choices of another plan
    `plan`    run in this plan of the net, made before for the same device; what it settles is then not asked again
    `debug`   fill what is fresh or free with NaN before every op and wait for each, so that a fault of the GPU names
              its op; results must not change
    `graph`   on a GPU, run what comes again as one CUDA graph, which changes no bit; False, and with `debug`: op by op

    `ranks`   the processes that train this net together, a gpunet.ranks Communicator: `batch` is then that of all of
              them, which each gives its share of; None: this one alone
    `parts`   run a step in so many parts in turn, which gives the bits of so many ranks
    `reduce`  how ranks add up gradients: "exact", in their order, or "fast", as the transport likes
    `sync_bn` batch normalization takes its statistics over the images of all ranks
    `shard`   each rank holds its share of the optimizer's caches alone; `state` asks all ranks for them, see there
    `split_fc`  fully connected layers are divided over ranks: each has its rows of their weights, for the images of all

    A step is whole, or the model says so at the next use and until what is learnt is set again; and it is used by one
    thread at a time: ModelError otherwise.
    Raises BudgetError, naming the batch that would fit; DeviceError where the device cannot be opened or has too
    little memory.
    """

    def __init__(
        self,
        net: Net,
        batch: int = 64,
        device: AnyDevice | Device = "auto",
        *,
        seed: int = 0,
        learning_rate: float | RateFunction = 0.01,
        budget: str | int | None = None,
        plan: Plan | None = None,
        debug: bool = False,
        graph: bool = True,
        ranks: Communicator | None = None,
        parts: int = 1,
        reduce: Reduce = "exact",
        shard: bool = False,
        sync_bn: bool = False,
        split_fc: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        self.net = check_net(net)
        self.seed = check_seed(seed)
        self.math: Math = Options(**settings).math  # and nothing is among the settings that there is not
        self.learning_rate = learning_rate
        self.steps = self.seen = 0
        if plan is not None and not isinstance(plan, Plan):
            raise ConfigError(f"a plan is needed, as gpunet.plan makes them; got {told(plan)}")
        name = device.name if isinstance(device, Device) else choose_device(device)
        size = 1 if ranks is None else ranks.size
        division = Division(size, parts, reduce, shard=shard, sync_bn=sync_bn, split_fc=split_fc)
        self.ranks = ranks if ranks is not None and ranks.size > 1 else None
        if plan is None:
            made = make_plan(net, batch, budget=budget, device=name, division=division, **settings)
            plan = require_fit(net, made, division=division, **settings)
        self.plan = plan
        self._whole = Whole(self.plan)
        self._owns_device = not isinstance(device, Device)
        self.device = device if isinstance(device, Device) else open_device(name)
        try:
            self._bound = BoundProgram(
                self.plan,
                self.device,
                seed=int(seed) % 2**63,
                before_updates=self._whole.begin,
                poison=debug,
                graphs=graph and self.ranks is None,
                ranks=self.ranks,
            )
        except BaseException:
            self._close_device()
            raise
        self.parameters = Parameters(self.plan, self._bound, self._whole)
        self.state = Parameters(self.plan, self._bound, self._whole, caches=True)
        self.parameters.draw(seed)

    @property
    def arena_bytes(self) -> int:
        """Bytes that the model really took for its arena: those of its plan."""
        return self._bound.arena_bytes

    @property
    def whole(self) -> bool:
        """Whether all that is learnt is of the same step: no update was broken off since it was last set."""
        return not self._whole.torn

    @property
    def batch(self) -> int:
        """The most images that one step takes."""
        return self.plan.batch

    @property
    def whole_batch(self) -> int:
        """The most images that one step takes of all ranks together."""
        return self.plan.whole_batch

    @alone
    def step(self, images: np.ndarray, labels: np.ndarray, whole: int | None = None) -> float:
        """One training step: forward, loss, backward, update. Returns the mean loss of the batch before the update.

        A loss that is infinite or NaN updates nothing, and is no step taken.
        `images`  (n, H, W, D), n <= batch; float, used as they are, or uint8, used as pixel*scale + shift; what the
                  net's `augment` says is done to uint8 images, which then come as net.image
        `labels`  (n,) integers, 0 <= label < classes
        `whole`   images of all ranks in this step, these being the rank's share of them; None: these are all

        Raises ShapeError or DataError for arrays that cannot be used; nothing has changed then.
        """
        n = self._feed_both(images, labels, learn=True, whole=whole)
        self._run(n, images, STEP)  # the updates look at the loss where it is: all is asked for before the host waits
        loss = self._read_loss()
        if isfinite(loss):
            self.steps += 1
            self.seen += self._bound.whole or n
        self._whole.end()
        return loss

    def ahead(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same (images, labels), the next ones being made while the device works on the present ones.

        Where the plan has a second buffer for uint8 images, as that of a training step has unless memory is short, they
        are on their way to the device, too, and `step` finds them there. Results do not change by a bit:

            for images, labels in model.ahead(batches):
                model.step(images, labels)
        """
        if self._ahead is not None:  # one batch of an outer loop is in the second buffer
            yield from batches
            return
        self._begun = self.device.mark()
        self._ahead = Ahead(batches, self._send)
        try:
            yield from self._ahead
        finally:
            self._ahead = None

    @alone
    def _forward(self, images: np.ndarray) -> np.ndarray:
        """The scores (n, classes) of n <= batch images."""
        n = self._feed(images)
        self._run(n, images, ("forward",), training=False)
        return self.device.read(self._bound.view(self.plan.program.scores, 0, n)).reshape(n, self.net.classes)

    def outputs(
        self, images: np.ndarray, layers: str | Collection[str] | None = None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(name of the layer, copy of what it gives for n <= batch images), each read as soon as it is made.

        `layers`  whose, by name or pattern, like "conv*"; None: of all whose outputs this plan makes at one time, which
                  leaves out those that only hand on what they get, as dropout does here, and those that a rewrite has
                  moved or fused or that run in rounds

        Where one that is named is not among those, all come from a pass of their own, in a second arena on the same
        device. Raises ConfigError for a name or pattern that no layer has.
        """
        wanted = None if layers is None else named_layers(self.net, layers)
        if wanted is None or wanted <= made_by(self.plan.program):
            yield from (found for found in self._outputs(images) if wanted is None or found[0] in wanted)
        else:
            images = check_images(images, self.net, self.batch, self.plan.dtype)
            yield from separate_outputs(self, images, wanted)

    def _outputs(self, images: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Of all layers whose outputs there are."""
        with self._whole.use():
            self._whole.require()
            n = self._feed(images)
        layers = {node.name for node in self.net.nodes}
        for op, call in self._bound.walk(n, self._skipped(images), ("forward",), training=False):
            with self._whole.use():  # not while the caller has the turn
                call()
            for tensor in op.outputs:
                if tensor.layer in layers and tensor.name == f"{tensor.layer}.y":
                    yield tensor.layer, self.device.read(self._bound.view(tensor, 0, n))

    @alone
    def _evaluate(self, images: np.ndarray, labels: np.ndarray, whole: int | None = None) -> tuple[float, int]:
        """(mean loss, number of images whose label has the highest score) of n <= batch images, nothing learnt.

        `whole`  images of all ranks, as in `step`: both figures are of those then
        """
        n = self._feed_both(images, labels, whole=whole)
        self._run(n, images, ("forward", "loss"), training=False)
        return self._read_loss(), self.correct

    @alone
    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The mean loss that the next step would see on these, with what dropout drops in it; nothing is learnt."""
        n = self._feed_both(images, labels)
        self._bound.run(n, self._skipped(images), ("forward", "loss"))
        return self._read_loss()

    @property
    def correct(self) -> int:
        """How many labels had the highest score in the last step or evaluation."""
        tensor = self.plan.program.correct
        if tensor is None:
            raise ConfigError("this model was planned for mode='infer'; make one with mode='train' to count hits")
        return int(self.device.read(self._bound.view(tensor))[0])

    @alone
    def gradients(self, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """The gradient of the mean loss by the name of what is learnt, as copies; nothing is updated.

        Where the plan has the gradient of the images, that is among them as "input".
        """
        n = self._feed_both(images, labels, learn=True)
        learnt = {p.gradient: p.tensor.name for p in self.plan.program.parameters if p.gradient is not None}
        found = {}
        wanted = self.plan.program.image_gradient
        for op, call in self._bound.walk(n, self._skipped(images), STEP):
            if op.phase != "update" or op.name in BETWEEN_RANKS:
                call()
            for dw in op.inputs if op.phase == "update" else ():
                if dw in learnt:  # complete now, perhaps gone at the end of the step
                    found[learnt[dw]] = self.device.read(self._bound.view(dw))
            if wanted is not None and wanted in op.outputs:
                found[INPUT] = self.device.read(self._bound.view(wanted, 0, n))
        scale = self.scale
        return {name: found[name] / scale for name in (*learnt.values(), INPUT) if name in found}

    @property
    def scale(self) -> float:
        """What gradients of float16 are multiplied by at the moment; 1 where there are none."""
        return self._scaling[0]

    @property
    def overflows(self) -> bool:
        """Whether the gradients of the last step overflowed float16 though they were multiplied by no more than 1."""
        return self.plan.program.scaling is not None and self._scaling == (1, 0)

    @property
    def _scaling(self) -> tuple[float, float]:
        """The scale, and the steps since it changed."""
        tensor = self.plan.program.scaling
        scale, steps = (1, 0) if tensor is None else self.device.read(self._bound.view(tensor)).tolist()
        return scale, steps

    def calls(
        self, images: np.ndarray, labels: np.ndarray, whole: int | None = None
    ) -> Iterator[tuple[Op, Callable[[], None]]]:
        """A training step in the caller's hands: (op, what runs it), each to be called once, in order.

        The arrays, as `step` takes them, are on the device when this returns. An op that runs in rounds comes once for
        each.
        """
        with self._whole.use():
            self._whole.require()
            n = self._feed_both(images, labels, learn=True, whole=whole)
        return self._torn_meanwhile(self._bound.walk(n, self._skipped(images), STEP))

    @alone
    def first_fault(self, images: np.ndarray, labels: np.ndarray) -> tuple[Op, Tensor] | None:
        """Where infinity or NaN first appears in the forward pass of a step, or None: an op, and what it wrote.

        The step is not taken: nothing is updated. Of several ranks each looks at its own share of the last step.
        """
        n = self._feed_both(images, labels, whole=self._bound.whole or None)
        phases: tuple[Phase, ...] = ("forward", "loss") if self.ranks is None else ("forward",)  # of each rank alone
        waited_for = any(op.name in BETWEEN_RANKS and op.phase == "forward" for op in self.plan.program.ops)
        found = None
        for op, tensor, values in self._bound.outputs(n, self._skipped(images), phases):
            if found is None and values.dtype.kind == "f" and not finite(values):
                found = op, tensor
                if not waited_for:
                    break
        return found

    def close(self) -> None:
        """Give the arena back. The model is of no use afterwards."""
        with self._whole.use():
            try:
                self._bound.free()
            finally:
                self._close_device()

    def _close_device(self) -> None:
        if self._owns_device:
            self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with nullcontext() if error is None else suppress(DeviceError):  # what went wrong first says more
            self.close()

    def _run(self, n: int, images: np.ndarray, phases: tuple[Phase, ...], *, training: bool = True) -> None:
        """Run the ops of the given phases for these n images, and ask for the next ones meanwhile."""
        self._bound.run(n, self._skipped(images), phases, training=training)
        self._ask_ahead()

    def _torn_meanwhile(
        self, calls: Iterator[tuple[Op, Callable[[], None]]]
    ) -> Iterator[tuple[Op, Callable[[], None]]]:
        """The calls of a step; from the first update to the end of all of them the model is not whole."""
        for op, call in calls:
            if op.phase == "update":
                self._whole.begin()
            yield op, call
        self._whole.end()

    def _read_loss(self) -> float:
        tensor = self.plan.program.loss
        assert tensor is not None  # labels were given, so there is one
        return float(self.device.read(self._bound.view(tensor))[0])
