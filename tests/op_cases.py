"""Random calls of every op: odd sizes, every fit policy, scratch larger than needed."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.errors import ShapeError
from gpunet.layers.conv import Conv
from gpunet.program.chunks import chunk_rows
from gpunet.volume import FitPolicy, Volume, output_size
from tests.ops import Spec, run_op

OPS = sorted(open_device("cpu").ops)
"""Every op; one without a case here fails the tests that go through them."""


@dataclass(frozen=True)
class Case:
    """One call of an op, as `run_op` takes it.

    spent    how many outputs, the first ones, hold nothing afterwards
    aliases  the ways in which outputs may lie where inputs do: {output: input}
    """

    op: str
    inputs: tuple[np.ndarray | None, ...]
    outputs: tuple[Spec | np.ndarray, ...]
    scratch: tuple[Spec | None, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    spent: int = 0
    aliases: tuple[dict[int, int], ...] = ()

    def run(
        self, device: Device, in_place: dict[int, int] | None = None, behind: dict[int, int] | None = None
    ) -> list[np.ndarray]:
        """The outputs; `in_place` and `behind` as `run_op` takes them."""
        places = {"in_place": in_place, "behind": behind}
        run = run_op(device, self.op, self.inputs, self.outputs, self.scratch, **places, **self.attributes)
        return run[self.spent :]


class Draw:
    """Draws cases. `whole`: values are small whole numbers, so that every order of adding them gives the same bits."""

    def __init__(self, rng: np.random.Generator, dtype: Any = np.float32, *, whole: bool = False):
        self.rng, self.dtype, self.whole = rng, np.dtype(dtype), whole

    def case(self, op: str) -> Case:
        """A random case of this op."""
        return getattr(self, f"_{op}")()

    # ---- values and sizes ----

    def values(self, *shape: int) -> np.ndarray:
        if self.whole:
            return self.rng.integers(-3, 4, shape).astype(self.dtype)
        return self.rng.normal(size=shape).astype(self.dtype)

    def size(self, least: int, most: int) -> int:
        return int(self.rng.integers(least, most + 1))

    def depth(self) -> int:
        """Half of the time a multiple of four: a GPU then moves four values at once."""
        return int(self.rng.choice([self.size(1, 9), 4 * self.size(1, 3)]))

    def volume(self) -> tuple[int, int, int, int]:
        """N, H, W, D, all different."""
        while len(set(shape := (self.size(2, 5), self.size(3, 12), self.size(3, 12), self.depth()))) < 4:
            pass
        return shape

    def policy(self) -> FitPolicy:
        return "pad" if self.rng.random() < 0.5 else "crop"

    def window(self, H: int, W: int, *, most_padding: int | None = None) -> tuple[dict[str, int], int, int]:
        """F, S and P that fit into H x W under the policies "pad" and "crop", and H2, W2."""
        fit = self.policy()
        while True:
            F, S = self.size(1, 5), self.size(1, 6)
            P = self.size(0, F - 1 if most_padding is None else most_padding)
            try:
                return {"F": F, "S": S, "P": P}, output_size(H, F, S, P, fit), output_size(W, F, S, P, fit)
            except ShapeError:
                continue

    # ---- conv ----

    def _conv(self) -> tuple[np.ndarray, ...]:
        N, H, W, maps = self.volume()
        self.geometry, F, H2, W2 = self.filters(H, W)
        groups = self.size(1, 3) if self.rng.random() < 0.5 else 1
        D, K = groups * maps, groups * self.depth()
        shape = (K, *F, maps)
        rows = chunk_rows(N + 2, H2, W2, self.size(1, (N + 2) * H2 * W2))
        columns = None if self._pixels else ((rows, F[0] * F[1] * maps), self.dtype)
        self.scratch = (columns, ((max(64, prod(shape)),), self.dtype))
        return self.values(N, H, W, D), self.values(*shape), self.values(K), self.values(N, H2, W2, K)

    def filters(self, H: int, W: int) -> tuple[dict[str, int], tuple[int, int], int, int]:
        """Numbers and extents of filters that fit into H x W, and H2, W2; a tenth of them of one position at stride 1,
        which need no im2col matrix."""
        self._pixels = self.rng.random() < 0.1
        while not self._pixels:
            F, S = ((self.size(1, 5), self.size(1, 5)) for _ in range(2))
            P = tuple(self.size(0, 4) for _ in range(4))
            layer = Conv(1, F, S, P, dilation=self.size(1, 3) if self.rng.random() < 0.3 else 1, fit=self.policy())
            try:
                volume = layer.output(Volume(H, W, 1))
            except ShapeError:
                continue
            return layer.geometry, F, volume.H, volume.W
        return Conv(1, F=1).geometry, (1, 1), H, W

    def _conv_forward(self) -> Case:
        x, w, b, y = self._conv()
        bias = b if self.rng.random() < 0.8 else None
        return Case("conv_forward", (x, w, bias), ((y.shape, self.dtype),), self.scratch, self.geometry)

    def _conv_backward_weights(self) -> Case:
        x, w, _, dy = self._conv()
        dw, accumulate = self._sum(w.shape)
        return Case("conv_backward_weights", (x, dy), (dw,), self.scratch, {**self.geometry, **accumulate})

    def _conv_backward_input(self) -> Case:
        x, w, _, dy = self._conv()
        return Case("conv_backward_input", (dy, w), ((x.shape, self.dtype),), self.scratch, self.geometry)

    # ---- local ----

    def _local(self) -> tuple[np.ndarray, ...]:
        N, H, W, D = self.volume()
        self.geometry, H2, W2 = self.window(H, W, most_padding=4)
        F, K = self.geometry["F"], self.depth()
        self.scratch = (((self.size(2, 2 * (N + K)), F * F * D), self.dtype),)
        return (
            self.values(N, H, W, D),
            self.values(H2, W2, K, F, F, D),
            self.values(H2, W2, K),
            self.values(N, H2, W2, K),
        )

    def _local_forward(self) -> Case:
        x, w, b, y = self._local()
        return Case("local_forward", (x, w, b), ((y.shape, self.dtype),), self.scratch, self.geometry)

    def _local_backward_weights(self) -> Case:
        x, w, _, dy = self._local()
        dw, accumulate = self._sum(w.shape)
        return Case("local_backward_weights", (x, dy), (dw,), self.scratch, {**self.geometry, **accumulate})

    def _local_backward_input(self) -> Case:
        x, w, _, dy = self._local()
        return Case("local_backward_input", (dy, w), ((x.shape, self.dtype),), self.scratch, self.geometry)

    # ---- fc and bias ----

    def _fc(self) -> tuple[np.ndarray, ...]:
        N, H, W, D = self.volume()
        K = self.depth()
        self.scratch = (((max(64, K * H * W * D),), self.dtype),)
        return self.values(N, H, W, D), self.values(K, H * W * D), self.values(K), self.values(N, 1, 1, K)

    def _fc_forward(self) -> Case:
        x, w, b, y = self._fc()
        return Case("fc_forward", (x, w, b), ((y.shape, self.dtype),), self.scratch)

    def _fc_backward_weights(self) -> Case:
        x, w, _, dy = self._fc()
        dw, accumulate = self._sum(w.shape)
        return Case("fc_backward_weights", (x, dy), (dw,), self.scratch, accumulate)

    def _fc_backward_input(self) -> Case:
        x, w, _, dy = self._fc()
        return Case("fc_backward_input", (dy, w), ((x.shape, self.dtype),), self.scratch)

    def _bias_backward(self) -> Case:
        N, H, W, _ = self.volume()
        K, block_rows = self.size(1, 70), self.size(1, 40)
        shape = (K,) if self.rng.random() < 0.7 else (H, W, K)  # of each map, or of each value
        rows, values = (N + 2) * H * W * K // prod(shape), prod(shape)
        partials = -(-rows // block_rows), values
        db, accumulate = self._sum(shape)
        attributes = {"block_rows": block_rows, **accumulate}
        return Case("bias_backward", (self.values(N, H, W, K),), (db,), ((partials, self.dtype),), attributes)

    def _sum(self, shape: tuple[int, ...]) -> tuple[Spec | np.ndarray, dict[str, int]]:
        """A gradient: half of the time one to which is added."""
        if self.rng.random() < 0.5:
            return (shape, self.dtype), {}
        return self.values(*shape), {"accumulate": 1}

    # ---- pool ----

    def _pool(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x with ties, NaN and infinities; dy; switches that point anywhere in their windows."""
        N, H, W, D = self.volume()
        self.geometry, H2, W2 = self.window(H, W)
        x = np.round(self.values(N, H, W, D), 0 if self.rng.random() < 0.5 else 7)
        if not self.whole:
            special = self.rng.choice([np.nan, -np.inf, np.inf], x.shape).astype(self.dtype)
            x = np.where(self.rng.random(x.shape) < 0.1, special, x)
        type_of_switch = np.uint8 if self.rng.random() < 0.7 else np.int32
        switches = self.rng.integers(0, self.geometry["F"] ** 2, (N, H2, W2, D)).astype(type_of_switch)
        return x, self.values(N, H2, W2, D), switches

    def _max_pool_forward(self) -> Case:
        x, y, switches = self._pool()
        outputs = (y.shape, self.dtype), (y.shape, switches.dtype)
        return Case("max_pool_forward", (x,), outputs, attributes=self.geometry)

    def _max_pool_infer(self) -> Case:
        x, y, _ = self._pool()
        return Case("max_pool_infer", (x,), ((y.shape, self.dtype),), attributes=self.geometry)

    def _max_pool_backward(self) -> Case:
        x, dy, switches = self._pool()
        return Case("max_pool_backward", (dy, switches), ((x.shape, self.dtype),), attributes=self.geometry)

    def _average_pool_forward(self) -> Case:
        x, y, _ = self._pool()
        return Case("average_pool_forward", (x,), ((y.shape, self.dtype),), attributes=self.geometry)

    def _average_pool_backward(self) -> Case:
        x, dy, _ = self._pool()
        return Case("average_pool_backward", (dy,), ((x.shape, self.dtype),), attributes=self.geometry)

    def _l2_pool_forward(self) -> Case:
        x, y, _ = self._pool()
        return Case("l2_pool_forward", (x,), ((y.shape, self.dtype),), attributes=self.geometry)

    def _l2_pool_backward(self) -> Case:
        """Any lengths will do; some are 0."""
        x, dy, _ = self._pool()
        y = np.abs(np.round(2 * self.values(*dy.shape)))
        return Case("l2_pool_backward", (dy, x, y), ((x.shape, self.dtype),), attributes=self.geometry)

    # ---- elementwise ----

    def _relu(self) -> np.ndarray:
        x = self.values(*self.volume())
        return np.where(self.rng.random(x.shape) < 0.1, np.array([0, np.nan], self.dtype)[self.size(0, 1)], x)

    def _relu_forward(self) -> Case:
        x = self._relu()
        return Case("relu_forward", (x,), ((x.shape, self.dtype),), aliases=({0: 0},))

    def _relu_backward(self) -> Case:
        y = np.maximum(self._relu(), 0)
        return Case("relu_backward", (self.values(*y.shape), y), ((y.shape, self.dtype),), aliases=({0: 0}, {0: 1}))

    def _slope(self, op: str, y: np.ndarray, **numbers: float) -> Case:
        """The backward op of a layer that looks at its output."""
        inputs = self.values(*y.shape), y.astype(self.dtype)
        return Case(op, inputs, ((y.shape, self.dtype),), attributes=numbers, aliases=({0: 0}, {0: 1}))

    def _leaky_relu_forward(self) -> Case:
        x, alpha = self._relu(), 1 / 2 ** self.size(1, 5)
        return Case(
            "leaky_relu_forward", (x,), ((x.shape, self.dtype),), attributes={"alpha": alpha}, aliases=({0: 0},)
        )

    def _leaky_relu_backward(self) -> Case:
        return self._slope("leaky_relu_backward", self._relu(), alpha=1 / 2 ** self.size(1, 5))

    def _sigmoid_forward(self) -> Case:
        x = 9 * self._relu()
        return Case("sigmoid_forward", (x,), ((x.shape, self.dtype),), aliases=({0: 0},))

    def _sigmoid_backward(self) -> Case:
        return self._slope("sigmoid_backward", 1 / (1 + np.exp(-self._relu())))

    def _tanh_forward(self) -> Case:
        x = self._relu()
        return Case("tanh_forward", (x,), ((x.shape, self.dtype),), aliases=({0: 0},))

    def _tanh_backward(self) -> Case:
        return self._slope("tanh_backward", np.tanh(self._relu()))

    def _dropout(self) -> Case:
        x = self._relu()
        where = {"seed": self.size(0, 2**62), "step": self.size(1, 2**31), "layer": self.size(0, 2**32 - 1)}
        where |= {
            "p": 1 - 1 / 2 ** self.size(1, 3),
            "first_image": self.size(0, 2**33),
            "training": self.size(0, 3) > 0,
        }
        return Case("dropout", (x,), ((x.shape, self.dtype),), attributes=where, aliases=({0: 0},))

    def _mask(self, y: np.ndarray) -> Spec:
        return (len(y), -(-y[0].size // 8)), np.uint8

    def _relu_mask(self) -> Case:
        y = np.maximum(self._relu(), 0)
        return Case("relu_mask", (y,), (self._mask(y),))

    def _relu_backward_masked(self) -> Case:
        dy = self.values(*self.volume())
        mask = self.rng.integers(0, 256, self._mask(dy)[0]).astype(np.uint8)
        return Case("relu_backward_masked", (dy, mask), ((dy.shape, self.dtype),), aliases=({0: 0},))

    def _image_to_float(self) -> Case:
        x = self.rng.integers(0, 256, self.volume()).astype(np.uint8)
        return Case("image_to_float", (x,), ((x.shape, self.dtype),), attributes={"scale": 1 / 64, "shift": -2.0})

    def _update(self, op: str, caches: int, **numbers: float) -> Case:
        shape = self.volume()
        rates = {"learning_rate": 0.25, "weight_decay": 0.5, **numbers}
        found = [self.values(*shape) for _ in range(2 + caches)]
        if "eps" in numbers:
            found[-1] = np.abs(found[-1])  # squares
        return Case(op, (), tuple(found), attributes=rates, spent=1)

    def _sgd_update(self) -> Case:
        return self._update("sgd_update", 0)

    def _momentum_update(self) -> Case:
        return self._update("momentum_update", 1, momentum=0.75)

    def _nesterov_update(self) -> Case:
        return self._update("nesterov_update", 1, momentum=0.75)

    def _adagrad_update(self) -> Case:
        return self._update("adagrad_update", 1, eps=0.125)

    def _rmsprop_update(self) -> Case:
        return self._update("rmsprop_update", 1, alpha=0.75, eps=0.125)

    def _adam_update(self) -> Case:
        step = self.size(1, 9)
        return self._update("adam_update", 2, step=step, beta1=0.75, beta2=0.875, eps=0.125)

    def _adamw_update(self) -> Case:
        step = self.size(1, 9)
        return self._update("adamw_update", 2, step=step, beta1=0.75, beta2=0.875, eps=0.125)

    # ---- merges ----

    def _add(self) -> Case:
        a = self._relu()
        inputs = a, self.values(*a.shape)
        return Case("add", inputs, ((a.shape, self.dtype),), aliases=({0: 0}, {0: 1}))

    def _branches(self) -> tuple[np.ndarray, ...]:
        """Volumes to be joined, half of the time in whole packs."""
        N, H, W, _ = self.volume()
        scale = self.size(0, 1) * 3 + 1
        return tuple(self.values(N, H, W, scale * self.size(1, 5)) for _ in range(self.size(2, 4)))

    def _concat_forward(self) -> Case:
        xs = self._branches()
        shape = (*xs[0].shape[:3], sum(x.shape[3] for x in xs))
        return Case("concat_forward", xs, ((shape, self.dtype),))

    def _concat_backward(self) -> Case:
        xs = self._branches()
        outputs = tuple((x.shape, self.dtype) for x in xs)
        return Case("concat_backward", (np.concatenate(xs, axis=3),), outputs)

    # ---- normalization ----

    def _box(self) -> dict[str, float]:
        F, maps = ((1, 2 * self.size(0, 4) + 1), (2 * self.size(0, 2) + 1, 1), (3, 3))[self.size(0, 2)]
        return {"F": F, "maps": maps, "alpha": 0.25, "beta": 0.75, "k": 1.5}

    def _lrn_forward(self) -> Case:
        x = self._relu()
        return Case("lrn_forward", (x,), ((x.shape, self.dtype),), attributes=self._box())

    def _lrn_backward(self) -> Case:
        x = self._relu()
        return Case("lrn_backward", (self.values(*x.shape), x), ((x.shape, self.dtype),), attributes=self._box())

    def _batch_norm(self) -> tuple[np.ndarray, list[np.ndarray], dict[str, Any]]:
        """x; a mean, a variance, a scale and a shift; eps, and the number of rows in a part."""
        x = self.values(*self.volume())
        each = [self.values(x.shape[-1]) for _ in range(4)]
        each[1] = np.abs(each[1])
        return x, each, {"eps": 0.125}

    def _batch_norm_parts(self, x: np.ndarray) -> tuple[tuple[Spec], dict[str, int]]:
        """Scratch for two more parts than needed, and how many rows a part has."""
        block_rows, D = self.size(1, 40), x.shape[-1]
        return (((2 * (2 - (-x.size // D // block_rows)), D), self.dtype),), {"block_rows": block_rows}

    def _batch_norm_statistics(self) -> Case:
        x, each, _ = self._batch_norm()
        scratch, numbers = self._batch_norm_parts(x)
        numbers |= {"training": int(self.size(0, 3) > 0)}
        return Case("batch_norm_statistics", (x, *each[:2]), ((x.shape[-1:], self.dtype),) * 2, scratch, numbers)

    def _batch_norm_forward(self) -> Case:
        x, each, eps = self._batch_norm()
        return Case("batch_norm_forward", (x, *each), ((x.shape, self.dtype),), attributes=eps, aliases=({0: 0},))

    def _batch_norm_backward_sums(self) -> Case:
        x, each, eps = self._batch_norm()
        scratch, numbers = self._batch_norm_parts(x)
        inputs = self.values(*x.shape), x, *each[:2]
        return Case("batch_norm_backward_sums", inputs, ((x.shape[-1:], self.dtype),) * 2, scratch, numbers | eps)

    def _batch_norm_backward(self) -> Case:
        x, each, eps = self._batch_norm()
        inputs = self.values(*x.shape), x, *each, self.values(x.shape[-1])
        aliases = {0: 0}, {0: 1}
        return Case("batch_norm_backward", inputs, ((x.shape, self.dtype),), attributes=eps, aliases=aliases)

    def _batch_norm_update(self) -> Case:
        _, each, _ = self._batch_norm()
        numbers = {"momentum": 0.25, "images": self.size(2, 9), "positions": self.size(1, 99)}
        return Case("batch_norm_update", tuple(each[:2]), tuple(each[2:]), attributes=numbers)

    # ---- losses ----

    def _scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores, half of the time with ties; labels, half of them one of the best."""
        N, K = self.size(1, 9), self.size(1, 600)
        scores = 20 * self.values(N, K)
        if self.rng.random() < 0.5:
            scores = np.round(scores / 20)
        best = [self.rng.choice(np.flatnonzero(row == row.max())) for row in scores]
        labels = np.where(self.rng.random(N) < 0.5, best, self.rng.integers(0, K, N))
        return scores.reshape(N, 1, 1, K), labels.astype(np.int32)

    def _part_of_a_loss(self) -> dict[str, float]:
        """Of how many images, and with which weight; half of the time as the op does it by itself."""
        return {"images": self.size(1, 99), "weight": 0.25} if self.rng.random() < 0.5 else {}

    def _softmax_forward(self) -> Case:
        scores, labels = self._scores()
        N = len(labels)
        outputs = (scores.shape, self.dtype), ((N,), self.dtype), ((N,), np.int32)
        smoothing = {"smoothing": 0.125} if self.rng.random() < 0.5 else {}
        return Case("softmax_forward", (scores, labels), outputs, (), smoothing, aliases=({0: 0},))

    def _softmax_backward(self) -> Case:
        scores, labels = self._scores()
        p = (np.abs(scores) / 100).astype(self.dtype)
        numbers = self._part_of_a_loss() | ({"smoothing": 0.125} if self.rng.random() < 0.5 else {})
        return Case("softmax_backward", (p, labels), ((p.shape, self.dtype),), (), numbers, aliases=({0: 0},))

    def _margin(self) -> dict[str, float]:
        return {"margin": float(self.rng.choice([0.5, 1.0, 3.0])), "squared": self.size(0, 1)}

    def _hinge_forward(self) -> Case:
        scores, labels = self._scores()
        N = len(labels)
        return Case("hinge_forward", (scores, labels), (((N,), self.dtype), ((N,), np.int32)), (), self._margin())

    def _hinge_backward(self) -> Case:
        scores, labels = self._scores()
        numbers = self._margin() | self._part_of_a_loss()
        outputs = ((scores.shape, self.dtype),)
        return Case("hinge_backward", (scores, labels), outputs, (), numbers, aliases=({0: 0},))

    def _mean_loss(self) -> Case:
        N = self.size(1, 900)
        hits = self.rng.integers(0, 2, N).astype(np.int32)
        return Case("mean_loss", (np.abs(self.values(N)), hits), (((1,), self.dtype), ((1,), np.int32)))

    def _add_loss(self) -> Case:
        numbers = {"weight": 0.25, "training": self.size(0, 1)}
        return Case("add_loss", (self.values(1),), (self.values(1),), (), numbers)
