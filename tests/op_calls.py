"""Random calls of every op: odd sizes, every fit policy, scratch larger than needed."""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from gpunet.devices import open_device
from gpunet.devices.device import Device
from gpunet.errors import ShapeError
from gpunet.program.volume import FitPolicy, output_size
from tests.ops import Spec, run_op
from tests.oracle import in_halves

FILES = {name: op.__module__.rpartition(".")[2] for name, op in open_device("cpu").ops.items()}
"""The file of every op."""

OPS = sorted(FILES)
"""Every op; one without a call fails the tests that go through them."""


@dataclass(frozen=True)
class Call:
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
        self,
        device: Device,
        in_place: dict[int, int] | None = None,
        behind: dict[int, int] | None = None,
        within: dict[int, tuple[int, int]] | None = None,
    ) -> list[np.ndarray]:
        """The outputs; `in_place`, `behind` and `within` as `run_op` takes them."""
        places = {"in_place": in_place, "behind": behind, "within": within}
        run = run_op(device, self.op, self.inputs, self.outputs, self.scratch, **places, **self.attributes)
        return run[self.spent :]


class Draw:
    """Draws calls. `whole`: values are small whole numbers, so that every order of adding them gives the same bits."""

    def __init__(self, rng: np.random.Generator, dtype: Any = np.float32, *, whole: bool = False):
        self.rng, self.dtype, self.whole = rng, np.dtype(dtype), whole

    def call(self, op: str) -> Call:
        """A random call of this op, which the tests of its file draw: `call_OP(draw)` in tests/test_FILE.py."""
        tests = import_module(f"tests.test_{FILES[op]}")
        call: Call = getattr(tests, f"call_{op}")(self)
        return call

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

    def sum(self, shape: tuple[int, ...]) -> tuple[Spec | np.ndarray, dict[str, int]]:
        """A gradient: half of the time one to which is added."""
        if self.rng.random() < 0.5:
            return (shape, self.dtype), {}
        return self.values(*shape), {"accumulate": 1}

    def pooling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x with ties, NaN and infinities; dy; switches that point anywhere in their windows, as they may lie."""
        N, H, W, D = self.volume()
        self.geometry, H2, W2 = self.window(H, W)
        x = np.round(self.values(N, H, W, D), 0 if self.rng.random() < 0.5 else 7)
        if not self.whole:
            special = self.rng.choice([np.nan, -np.inf, np.inf], x.shape).astype(self.dtype)
            x = np.where(self.rng.random(x.shape) < 0.1, special, x)
        return x, self.values(N, H2, W2, D), self.switches((N, H2, W2, D), self.geometry["F"] ** 2)

    def switches(self, shape: tuple[int, ...], places: int) -> np.ndarray:
        """Some that point at any of so many places: two a byte, where that can be, a byte each, or four."""
        switches = self.rng.integers(0, places, shape).astype(np.uint8 if self.rng.random() < 0.7 else np.int32)
        return in_halves(switches) if places <= 15 and self.rng.random() < 0.5 else switches

    def activations(self) -> np.ndarray:
        x = self.values(*self.volume())
        return np.where(self.rng.random(x.shape) < 0.1, np.array([0, np.nan], self.dtype)[self.size(0, 1)], x)

    def slope(self, op: str, y: np.ndarray, **numbers: float) -> Call:
        """The backward op of a layer that looks at its output."""
        inputs = self.values(*y.shape), y.astype(self.dtype)
        return Call(op, inputs, ((y.shape, self.dtype),), attributes=numbers, aliases=({0: 0}, {0: 1}))

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores, half of the time with ties; labels, half of them one of the best."""
        N, K = self.size(1, 9), self.size(1, 600)
        scores = 20 * self.values(N, K)
        if self.rng.random() < 0.5:
            scores = np.round(scores / 20)
        best = [self.rng.choice(np.flatnonzero(row == row.max())) for row in scores]
        labels = np.where(self.rng.random(N) < 0.5, best, self.rng.integers(0, K, N))
        return scores.reshape(N, 1, 1, K), labels.astype(np.int32)

    def part_of_a_loss(self) -> dict[str, float]:
        """Of how many images, and with which weight; half of the time as the op does it by itself."""
        return {"images": self.size(1, 99), "weight": 0.25} if self.rng.random() < 0.5 else {}
