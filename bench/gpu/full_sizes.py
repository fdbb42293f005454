"""Whether every kernel is right at the sizes of real nets, before any is timed.

Kernels that move and change values are compared with PyTorch's ops for the same. Every convolution of the nets, by
every algorithm that the device has for it, is compared with PyTorch's in float64: forward and the gradient of the input
for the first and the last image, the gradient of the weights over all of the batch.
"""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np

from gpunet.devices import target
from gpunet.net.config import load
from gpunet.profile.convolutions import ConvCase, Room, conv_cases, numbers, random_values, room_bytes
from gpunet.program.program import Op

from .kernel import Sizes
from .kernel_cases import kernels
from .kernels import TOLERANCE, Arrays, that_fits
from .nets import Case
from .peer import set_tf32
from .setting import Setting
from .table import Table

TITLE = "right at full sizes"
SECONDS = 100
NEEDS = ("cupy", "torch")

GROUPED = "INPUT[57x57x64] -> CONV3-64(groups=64) -> CONV3-128(groups=4, S=2) -> CONV5-32(dilation=2, P=4) -> FC-10"
"""What the large nets are without."""

CASES = (Case(load(GROUPED), 64), Case("vgg16", 64), Case("resnet50", 32))
QUICK = (Case(load(GROUPED), 64), Case("vgg_cifar", 64))

FEW = 8
"""Images whose gradient of the weights is made at once: in float64 they take much memory."""


def run(setting: Setting, cases: Sequence[Case] | None = None, sizes: Sizes | None = None) -> None:
    """Compare everything that there is memory and time for."""
    set_tf32(False)
    check_kernels(setting, sizes or Sizes())
    for case in cases or (QUICK if setting.quick else CASES):
        check_convolutions(setting, case)


def check_kernels(setting: Setting, sizes: Sizes) -> None:
    """Each kernel beside PyTorch's op, once."""
    for name in [kernel.name for kernel in kernels(Sizes())]:
        kernel = that_fits(setting, name, sizes)
        if kernel is None:
            continue
        with Arrays(setting, kernel) as arrays:
            _note(setting, {"what": name, "algorithm": "", "difference": arrays.compare(setting.device.ops)})
        _let_go(setting)


def check_convolutions(setting: Setting, case: Case) -> None:
    """Every distinct convolution of a net by every algorithm."""
    where = target(setting.device.name)
    for one in conv_cases(case.load(), case.batch, where, "float32"):
        what = f"{case.name}: {one.layers[0]}, {one.pass_}"
        if setting.goes(what, 2 * room_bytes(one.ops)):
            expected = Expected(setting, one)
            for op, algorithm in zip(one.ops, one.algorithms, strict=True):
                name = f"{algorithm.name}, tile {algorithm.tile}" if algorithm.tile else algorithm.name
                difference = expected.difference(_result(setting, op))
                _note(setting, {"what": what, "algorithm": name, "difference": difference})
            _let_go(setting)


def _result(setting: Setting, op: Op) -> np.ndarray:
    """What an op makes of random values in an arena of NaNs."""
    with Room([op], setting.device) as room:
        room.spoil()
        arrays = room.arrays(op, random_values)
        setting.device.run(setting.device.bind(op.name, arrays, numbers(op)))
        result = arrays[len(op.arguments) - len(op.scratch) - len(op.outputs)]
        return setting.device.read(result)


class Expected:
    """What PyTorch makes in float64 of the same random values."""

    def __init__(self, setting: Setting, case: ConvCase) -> None:
        self._setting, self._case = setting, case
        op = case.ops[0]
        inputs = [random_values(tensor) for tensor in op.inputs]
        self._images = [0, case.shape.N - 1]
        makes: dict[str, Callable[..., Any]] = {"forward": self._forward, "backward_input": self._dx}
        make = makes.get(case.pass_, self._dw)
        self._values: np.ndarray = make(*inputs).cpu().numpy()

    def difference(self, found: np.ndarray) -> float:
        """The largest difference as a part of the largest value, infinite where one is no number."""
        part = found if self._case.pass_ == "backward_weights" else found[self._images]
        if not np.isfinite(found).all():
            return inf
        difference = float(np.abs(part - self._values).max() / np.abs(self._values).max())
        return difference if isfinite(difference) else inf

    def _forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> Any:
        import torch

        padded = self._padded(x[self._images])
        bias = None if b is None else torch.from_numpy(b).to(padded)
        y = torch.nn.functional.conv2d(padded, self._filters(w), bias, **self._numbers)
        return y[:, :, : self._case.shape.H2, : self._case.shape.W2].permute(0, 2, 3, 1)

    def _dx(self, dy: np.ndarray, w: np.ndarray) -> Any:
        import torch

        shape, f = self._case.shape, self._case.shape.filters
        x = torch.zeros((2, shape.H, shape.W, shape.D), dtype=torch.float64, device=self._setting.peer)
        padded = self._pad(x.permute(0, 3, 1, 2)).requires_grad_()
        y = torch.nn.functional.conv2d(padded, self._filters(w), None, **self._numbers)
        y = y[:, :, : shape.H2, : shape.W2]
        y.backward(self._maps(dy[self._images]))
        assert padded.grad is not None  # it was asked for
        dx = padded.grad[:, :, f.P_top : f.P_top + shape.H, f.P_left : f.P_left + shape.W]
        return dx.permute(0, 2, 3, 1)

    def _dw(self, x: np.ndarray, dy: np.ndarray) -> Any:
        import torch

        shape, f = self._case.shape, self._case.shape.filters
        size = (shape.K, shape.maps, f.F_rows, f.F_columns)
        w = torch.zeros(size, dtype=torch.float64, device=self._setting.peer, requires_grad=True)
        for first in range(0, shape.N, FEW):  # gradients add up
            y = torch.nn.functional.conv2d(self._padded(x[first : first + FEW]), w, None, **self._numbers)
            y[:, :, : shape.H2, : shape.W2].backward(self._maps(dy[first : first + FEW]))
        assert w.grad is not None
        return w.grad.permute(0, 2, 3, 1)

    @property
    def _numbers(self) -> dict[str, Any]:
        f = self._case.shape.filters
        numbers = {"stride": (f.S_rows, f.S_columns), "dilation": (f.dilation_rows, f.dilation_columns)}
        return {**numbers, "groups": self._case.shape.groups}

    def _maps(self, values: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(values).to(self._setting.peer, torch.float64).permute(0, 3, 1, 2)

    def _filters(self, w: np.ndarray) -> Any:
        return self._maps(w)

    def _padded(self, x: np.ndarray) -> Any:
        return self._pad(self._maps(x))

    def _pad(self, x: Any) -> Any:
        """Zeros on all sides, as many below and on the right as the last windows look at, or more."""
        import torch

        s, f = self._case.shape, self._case.shape.filters
        below = max(0, (s.H2 - 1) * f.S_rows + (f.F_rows - 1) * f.dilation_rows + 1 - f.P_top - s.H)
        right = max(0, (s.W2 - 1) * f.S_columns + (f.F_columns - 1) * f.dilation_columns + 1 - f.P_left - s.W)
        return torch.nn.functional.pad(x, (f.P_left, right, f.P_top, below))


def _note(setting: Setting, row: dict[str, Any]) -> None:
    setting.findings.append("compared", row)
    setting.findings.require(
        row["difference"] <= TOLERANCE,
        f"{row['what']}{' by ' + row['algorithm'] if row['algorithm'] else ''}: differs from PyTorch's by "
        f"{row['difference']:.2g} of the largest value",
    )


def _let_go(setting: Setting) -> None:
    if setting.peer == "cuda":
        import torch

        torch.cuda.empty_cache()


def tables(values: dict[str, Any]) -> list[Table]:
    rows = values.get("compared", ())
    worst: dict[str, tuple[int, dict[str, Any]]] = {}
    for row in rows:
        name = row["algorithm"] or "kernels"
        count, before = worst.get(name, (0, row))
        worst[name] = count + 1, max(before, row, key=lambda one: one["difference"])
    lines = [(name, count, f"{row['difference']:.1e}", row["what"]) for name, (count, row) in worst.items()]
    notes = ("as a part of the largest value; convolutions against float64, other kernels against PyTorch's",)
    columns = ("compared with PyTorch", "cases", "largest difference", "of")
    return [Table("Right at full sizes", columns, lines, notes)] if lines else []
