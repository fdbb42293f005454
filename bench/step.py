"""A training step on the CPU beside PyTorch's, in one run: `python bench/step.py`.

The same net with the same weights, the same batch, SGD with momentum 0.9, float32, as many threads for both; they take
turns, so that whatever else the machine does hits both alike. The figure is the ratio of the medians.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import gpunet
from bench.common import RESULTS, environment, save
from bench.gpu.peer import TorchTrainer
from bench.gpu.timing import HostClock, medians, race
from gpunet.devices.cpu.threads import thread_count
from gpunet.model.model import Model

LEARNING_RATE = 0.01
LOSS_TOLERANCE = 1e-4
"""Largest relative difference of the two losses of the first step: the contenders must compute the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the two times and their ratio, write the JSON. Exit code 1 where the two do not compute the same."""
    options = _options(arguments)
    net = gpunet.load(options.net)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((options.batch, *net.input.shape), dtype=np.float32)
    labels = rng.integers(0, net.classes, options.batch)
    torch.set_num_threads(thread_count())

    model = Model(net, batch=options.batch, device="cpu", optimizer="momentum", learning_rate=LEARNING_RATE)
    peer = TorchTrainer(net, model.parameters, "cpu", learning_rate=LEARNING_RATE)
    loaded = peer.load(images, labels)
    ours, theirs = model.step(images, labels), float(peer.step(*loaded))
    if not abs(ours - theirs) <= LOSS_TOLERANCE * abs(theirs):
        print(f"{net.name}: gpunet's loss is {ours}, PyTorch's {theirs}; they do not compute the same", file=sys.stderr)
        return 1

    clock = HostClock(lambda: None)
    contenders = {
        "gpunet": (clock, lambda: model.step(images, labels)),
        "torch": (clock, lambda: float(peer.step(*loaded))),
    }
    times = race(contenders, seconds=options.seconds, rounds=(5, 60))
    middle = medians(times)
    ratio = middle["torch"] / middle["gpunet"]
    for name, version in (("gpunet", gpunet.__version__), ("torch", torch.__version__)):
        low, _, high = quantiles(times[name], n=4)
        print(f"{name:7} {version:12} {middle[name]:8.1f} ms a step  (half of them within {low:.1f} .. {high:.1f})")
    print(f"ratio   PyTorch / gpunet {ratio:.2f}   {net.name}, batch {options.batch}, {thread_count()} threads")
    print("        " + ", ".join(environment()["blas"]))
    results = {
        "net": net.name,
        "batch": options.batch,
        "dtype": "float32",
        "optimizer": "momentum",
        "arena_bytes": model.plan.arena_bytes,
        "milliseconds": times,
        "gpunet_ms": middle["gpunet"],
        "torch_ms": middle["torch"],
        "ratio": ratio,
    }
    print(f"written to {save('step', results, options.json)}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--net", default="vgg_cifar", help="a shipped net, a config or a pattern (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=64, help="images of a step (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=25, help="about how long to measure (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/step.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
