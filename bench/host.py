"""What a training step costs the host, on a driver of a GPU that does nothing: `python bench/host.py`.

Three ways in turns, in one run: unbound, where each op works out its launches and packs their arguments in every step;
bound, where a step makes prepared calls; and replayed, where it is one graph. Timed is what the thread itself computes,
from uint8 images on the host to the loss; what a GPU's own driver takes for a call, 2 to 8 microseconds, comes on top
of the first two, once for each call.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import gpunet
from bench.common import RESULTS, save
from gpunet.devices.cuda.arrays import Allocation, Argument, Driver, Product, Work, cast
from gpunet.devices.cuda.cublas import Cublas
from gpunet.devices.cuda.device import CudaDevice
from gpunet.devices.cuda.packing import pack
from gpunet.model.model import Model
from gpunet.profile.steps import random_batch

NETS = {"vgg16": 64, "vgg_cifar": 64, "resnet20": 64, "resnet50": 32, "vgg_digits": 16}
"""Shipped nets and images of a step."""

MOST_BOUND, MOST_REPLAYED = 0.3, 0.1
"""Of the unbound way's time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line for each net, write the JSON. Exit code 1 where a ratio is above what it must reach."""
    options = _options(arguments)
    rows = [measure(name, NETS[name], options.seconds) for name in options.net or NETS]
    print(f"{'net':12}{'batch':>6}{'calls':>7}{'us a call':>11}   ms a step: unbound, bound, replayed     ratios")
    for row in rows:
        times = "".join(f"{row[f'{way}_ms']:10.3f}" for way in ("unbound", "bound", "replayed"))
        ratios = f"{row['bound_ratio']:8.3f}{row['replayed_ratio']:8.3f}"
        print(f"{row['net']:12}{row['batch']:6}{row['calls']:7}{row['bound_us_a_call']:11.2f}   {times}{ratios}")
    print(f"written to {save('host', {'most': [MOST_BOUND, MOST_REPLAYED], 'nets': rows}, options.json)}")
    missed = [row["net"] for row in rows if row["bound_ratio"] > MOST_BOUND or row["replayed_ratio"] > MOST_REPLAYED]
    if missed:
        print(f"above {MOST_BOUND} or {MOST_REPLAYED} of the unbound way: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


class IdleDriver(Driver):
    """All that the host does for a launch, and nothing that a GPU would."""

    multiprocessors = 28
    capability = (8, 6)

    def __init__(self) -> None:
        self.calls = 0
        names = ("Create_v2", "Destroy_v2", "SetMathMode", "SetStream_v2", "SetWorkspace_v2", "Sgemm_v2", "Dgemm_v2")
        library: Any = SimpleNamespace(**{f"cublas{name}": _begin for name in names})
        self._cublas = Cublas(library, 0)

    def launch(
        self, file: str, kernel: str, grid: int, block: int, *arguments: Argument, real: np.dtype, shared: int = 0
    ) -> None:
        if self._recorded is not None:
            super().launch(file, kernel, grid, block, *arguments, real=real, shared=shared)
            return
        self.calls += 1
        flat = [one for argument in arguments for one in (argument if isinstance(argument, tuple) else (argument,))]
        _begin(file, kernel, grid, block, tuple(cast(one, real) for one in flat))  # CuPy packs them in C

    def prepare(
        self, file: str, kernel: str, grid: int, block: int, *arguments: Argument, real: np.dtype, shared: int = 0
    ) -> Work:
        packed = pack(arguments, real)
        numbers = (0, grid, 1, 1, block, 1, 1, shared, 0, packed.pointer, 0)

        def run(packed: object = packed) -> None:
            _begin(*numbers)

        return run

    def prepare_gemm(self, product: Product) -> Work:
        self.calls += self._recorded is None
        return self._cublas.prepare(product)

    def capture(self, works: Sequence[Work]) -> Work:
        return lambda: None

    def allocate(self, nbytes: int) -> Allocation:
        return Allocation(2**40, nbytes)

    def free(self, allocation: Allocation) -> None: ...

    def copy_in(self, pointer: int, values: np.ndarray) -> None: ...

    def copy_out(self, pointer: int, values: np.ndarray) -> None:
        values[...] = 1

    def send(self, pointer: int, values: np.ndarray, after: Any) -> None: ...

    def wait_for(self, event: Any) -> None: ...

    def fill(self, pointer: int, byte: int, nbytes: int) -> None: ...

    def synchronize(self) -> None: ...

    def event(self) -> float:
        return perf_counter()

    def elapsed_ms(self, first: float, last: float) -> float:
        return (last - first) * 1e3

    def memory(self) -> tuple[int, int]:
        return 2**40, 2**40

    def close(self) -> None: ...


def _begin(*numbers: object) -> int:
    """In the place of the functions that begin work on a GPU: a status."""
    return 0


class Unbound(Model):
    """Every op is called anew in each step, on arrays that are kept."""

    _calls: Sequence[Callable[[], None]] = ()

    def _run(self, n: int, images: np.ndarray, phases: Any, *, training: bool = True) -> None:
        if not self._calls:
            turns = [turn for turn in self.plan.program.turns(n) if self.plan.program.ops[turn.step].phase in phases]
            calls = [self._bound.call_of(turn, n, training) for turn in turns]
            self._calls = [partial(self.device.ops[name], *arrays, **numbers) for name, arrays, numbers in calls]
        for call in self._calls:
            call()
        self._ask_ahead()


def measure(name: str, batch: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of the host for a step of this net in each way, and device calls of a step."""
    net = gpunet.load(name)
    images, labels = random_batch(net, batch)
    plan = gpunet.plan(net, batch, device="cuda", optimizer="momentum")
    ways: dict[str, Callable[[], float]] = {}
    drivers = {way: IdleDriver() for way in ("unbound", "bound", "replayed")}
    for way, driver in drivers.items():
        kind = Unbound if way == "unbound" else Model
        model = kind(net, batch, CudaDevice(driver), plan=plan, graph=way == "replayed")
        ways[way] = lambda model=model: model.step(images, labels)  # type: ignore[misc]
        ways[way]()
    drivers["unbound"].calls = 0
    ways["unbound"]()
    calls = drivers["unbound"].calls
    times = _race(ways, seconds)
    middle = {way: median(taken) for way, taken in times.items()}
    return {
        "net": name,
        "batch": batch,
        "calls": calls,
        **{f"{way}_ms": ms for way, ms in middle.items()},
        "bound_us_a_call": middle["bound"] / calls * 1e3,
        "unbound_us_a_call": middle["unbound"] / calls * 1e3,
        "bound_ratio": middle["bound"] / middle["unbound"],
        "replayed_ratio": middle["replayed"] / middle["unbound"],
        "rounds": len(times["bound"]),
    }


def _race(ways: dict[str, Callable[[], float]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of the processor for a step of each, in turns."""
    repeats = {way: _repeats(step) for way, step in ways.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    end = perf_counter() + seconds
    while perf_counter() < end or len(times["bound"]) < 5:
        for way, step in ways.items():
            start = process_time()
            for _ in range(repeats[way]):
                step()
            times[way].append((process_time() - start) / repeats[way] * 1e3)
    return times


def _repeats(step: Callable[[], float]) -> int:
    """How many steps take 20 ms or more: the clock of a process counts in coarse ticks."""
    start = perf_counter()
    step()
    return max(1, int(0.02 / (perf_counter() - start)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", action="append", choices=list(NETS), help="one of these nets (default: all)")
    parser.add_argument("--seconds", type=float, default=5, help="how long to measure a net (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/host.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
