"""A training step on the CPU beside PyTorch's: `python bench/step.py` for the table, `--net NET` for one net.

The same net with the same weights, the same batch, SGD with momentum 0.9, float32, as many threads for both; they take
turns, so that whatever else the machine does hits both alike. The figure is the ratio of the medians. In the table each
net is on all cores, by the time that passes, and on one thread, by the processor's time, which others lengthen less. A
line of it is a process of its own; where the environment forces the kernels of NumPy's BLAS, there is one with these
and one with BLAS's own choice.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import quantiles
from time import process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import gpunet
from bench.common import RESULTS, environment, save
from bench.gpu.peer import TorchTrainer
from bench.gpu.table import Table, as_text, number
from bench.gpu.timing import HostClock, medians, race
from gpunet.devices.cpu.threads import thread_count
from gpunet.model.model import Model
from gpunet.profile.steps import Clock

LEARNING_RATE = 0.01
LOSS_TOLERANCE = 1e-4
"""Largest relative difference of the two losses of the first step: the contenders must compute the same."""

ALL = [("vgg_cifar", 64), ("vgg16", 4), ("resnet20", 64)]
"""Nets and batches on all cores."""

ONE = [("vgg_cifar", 64), ("vgg16", 2), ("resnet20", 64)]
"""On one thread."""

KERNELS = "OPENBLAS_CORETYPE"
"""The variable that forces the kernels of NumPy's BLAS."""

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


class ProcessorClock:
    """The processor time of this process, of all its threads."""

    def mark(self) -> float:
        return process_time()

    def milliseconds(self, first: float, last: float) -> float:
        return (last - first) * 1e3


CLOCKS: dict[str, Clock] = {"wall": HostClock(lambda: None), "processor": ProcessorClock()}
"""By what is timed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print times and ratios, write the JSON. Exit code 1 where the two do not compute the same."""
    options = _options(arguments)
    return _table(options) if options.net is None else _one(options)


def _one(options: argparse.Namespace) -> int:
    """One net in this process."""
    results = measure(gpunet.load(options.net), options.batch, options.seconds, options.time)
    if results is None:
        return 1
    for name, version in (("gpunet", gpunet.__version__), ("torch", torch.__version__)):
        low, middle, high = quantiles(results["milliseconds"][name], n=4)
        print(f"{name:7} {version:12} {middle:8.1f} ms a step  (half of them within {low:.1f} .. {high:.1f})")
    threads = f"{thread_count()} thread{'s' if thread_count() > 1 else ''}"
    print(f"ratio   PyTorch / gpunet {results['ratio']:.2f}   {results['net']}, batch {options.batch}, {threads}")
    print("        " + ", ".join(environment()["blas"]))
    print(f"written to {save('step', results, options.json)}")
    return 0


def measure(net: gpunet.Net, batch: int, seconds: float, time: str) -> dict[str, Any] | None:
    """The times of both, in the time of this clock; None where their losses differ, which is said."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, *net.input.shape), dtype=np.float32)
    labels = rng.integers(0, net.classes, batch)
    torch.set_num_threads(thread_count())
    model = Model(net, batch=batch, device="cpu", optimizer="momentum", learning_rate=LEARNING_RATE)
    peer = TorchTrainer(net, model.parameters, "cpu", learning_rate=LEARNING_RATE)
    loaded = peer.load(images, labels)
    ours, theirs = model.step(images, labels), float(peer.step(*loaded))
    if not abs(ours - theirs) <= LOSS_TOLERANCE * abs(theirs):
        print(f"{net.name}: gpunet's loss is {ours}, PyTorch's {theirs}; they do not compute the same", file=sys.stderr)
        return None
    clock = CLOCKS[time]
    contenders = {
        "gpunet": (clock, lambda: model.step(images, labels)),
        "torch": (clock, lambda: float(peer.step(*loaded))),
    }
    times = race(contenders, seconds=seconds, rounds=(5, 60))
    middle = medians(times)
    return {
        "net": net.name,
        "batch": batch,
        "dtype": "float32",
        "optimizer": "momentum",
        "time": time,
        "threads": thread_count(),
        "arena_bytes": model.plan.arena_bytes,
        "milliseconds": times,
        "gpunet_ms": middle["gpunet"],
        "torch_ms": middle["torch"],
        "ratio": middle["torch"] / middle["gpunet"],
    }


# -- the table ---------------------------------------------------------------------------------------


def _table(options: argparse.Namespace) -> int:
    """Every net both ways, each in a process of its own."""
    found, failed = [], 0
    for kernels, variables in kernel_choices(os.environ).items():
        for nets, time in ((ALL, "wall"), (ONE, "processor")):
            threads = dict.fromkeys(THREADS, "1") if time == "processor" else {}
            for name, batch in nets:
                arguments = ["--net", name, "--batch", batch, "--seconds", options.seconds, "--time", time]
                results = _in_a_process(list(map(str, arguments)), {**variables, **threads})
                failed += results is None
                if results is not None:
                    found.append({**results, "kernels": kernels})
                    print(f"{name}, batch {batch}, {time}: {results['ratio']:.2f}", file=sys.stderr)
    print(as_text(_as_table(found)))
    print(f"written to {save('step', {'steps': found}, options.json)}")
    return int(failed > 0)


def kernel_choices(variables: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The environments in which to measure, by what chooses the kernels of BLAS."""
    plain = {name: value for name, value in variables.items() if name != KERNELS}
    forced = {f"{KERNELS}={variables[KERNELS]}": dict(variables)} if variables.get(KERNELS) else {}
    return {"its own": plain, **forced}


def _in_a_process(arguments: list[str], variables: dict[str, str]) -> dict[str, Any] | None:
    """What this script finds with these arguments and variables; None where it failed, which it has said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.json"
        command = [sys.executable, __file__, *arguments, "--json", str(path)]
        if subprocess.run(command, env=variables, stdout=subprocess.DEVNULL, check=False).returncode:
            return None
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def _as_table(found: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("net", "BLAS's kernels", "batch", "threads", "time", "gpunet ms", "PyTorch ms", "PyTorch / gpunet")
    rows = [
        (
            *(one[name] for name in ("net", "kernels", "batch", "threads", "time")),
            number(one["gpunet_ms"]),
            number(one["torch_ms"]),
            f"{one['ratio']:.2f}",
        )
        for one in found
    ]
    return Table("a training step on the CPU, momentum, float32; medians", columns, rows, left=2)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", help="a shipped net, a config or a pattern, by itself; without it: the table")
    parser.add_argument("--batch", type=int, default=64, help="images of a step of that net (default: %(default)s)")
    parser.add_argument(
        "--time", choices=CLOCKS, default="wall", help="the time that passes, or the processor's (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=25, help="about how long to measure each (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/step.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
