"""What reading images costs a training step on the CPU: `python bench/data.py`.

The same steps on the same images, round by round: once with all of them in memory, once through `loader`, which decodes
pictures in threads ahead of the net. For the bundled digits, and for JPEGs of 256x256 made for the occasion.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from bench.common import RESULTS, save
from gpunet.data import AnySplit, Dataset, batches, digits, load, loader
from gpunet.model import Model
from gpunet.net.config import load_config

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
SIDE = 256
"""Of the JPEGs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both, print images a second with and without, write the JSON."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        _make_pictures(Path(folder), options.pictures)
        H, W, _ = load_config(options.net).net.input.shape
        pictures = load(folder, size=f"{H}x{W}")
        found = [
            _measure("digits", "vgg_digits", digits(), options),
            _measure(f"{options.pictures} JPEGs of {SIDE}x{SIDE}", options.net, pictures, options),
        ]
    print(f"written to {save('data', {'rounds': options.rounds, 'data': found}, options.json)}")
    return 0


def _make_pictures(folder: Path, count: int) -> None:
    """`count` JPEGs to learn from and two to test on, of two classes: smooth noise, which is as hard as a photo."""
    rng = np.random.default_rng(0)
    for split, n in (("train", count), ("test", 2)):
        for number in range(n):
            path = folder / split / f"class{number % 2}" / f"{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(path, quality=90)


def _measure(name: str, net: str, data: Dataset, options: argparse.Namespace) -> dict[str, object]:
    """Images a second in the best of the rounds, in memory and read; rounds of the two take turns.

    `extra_cpu_time`, the processor's time for reading over that for the steps, is to be had on a busy machine too.
    """
    split, n = data.train, len(data.train)
    order = list(batches(n, options.batch, seed=0, epoch=1))
    kept = [split.take(indices) for indices in order]
    sources: dict[str, Callable[[], Batches]] = {"in_memory": lambda: kept, "read": lambda: _read(split, order)}
    seconds: dict[str, list[float]] = {which: [] for which in sources}
    steps_cpu = []
    with Model(load_config(net).net, options.batch, "cpu") as model:
        model.step(*kept[0])
        for _ in range(options.rounds):
            for which, source in sources.items():
                elapsed, cpu = _seconds(model, source())
                seconds[which].append(elapsed)
                steps_cpu += [cpu] if which == "in_memory" else []
    speeds = {which: n / min(times) for which, times in seconds.items()}
    extra = speeds["in_memory"] / speeds["read"] - 1
    alone, alone_cpu = _seconds(None, _read(split, order))
    extra_cpu = alone_cpu / min(steps_cpu)
    words = f"{speeds['in_memory']:.1f} images/s in memory, {speeds['read']:.1f} read, {n / alone:,.0f} without a net"
    print(f"{name}, {net}: {words}: {extra:+.1%} time, {extra_cpu:+.1%} CPU time", flush=True)
    return {
        "data": name,
        "net": net,
        "batch": options.batch,
        "images": n,
        "seconds": seconds,
        "images_per_second": speeds | {"reading_alone": n / alone},
        "extra_time": extra,
        "extra_cpu_time": extra_cpu,
    }


def _read(split: AnySplit, order: Iterable[np.ndarray]) -> Batches:
    with closing(loader(split, order)) as source:
        yield from source


def _seconds(model: Model | None, source: Batches) -> tuple[float, float]:
    """On the clock and of the processor, for a training step on each batch; without a model, for reading them."""
    started, started_cpu = perf_counter(), process_time()
    for images, labels in source:
        if model:
            model.step(images, labels)
    return perf_counter() - started, process_time() - started_cpu


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--net", default=NET, help="that learns from them (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/data.json)")
    return parser.parse_args(arguments)


NET = "INPUT[112x112x3] -> [[CONV3-32 -> RELU]*2 -> POOL2]*3 -> FC-2"
"""A small VGG; one for 224x224 takes far longer a step and hides more."""


if __name__ == "__main__":
    sys.exit(main())
