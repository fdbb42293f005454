"""What reading and augmenting images costs a training step on the CPU: `python bench/data.py`.

The same steps on the same images, in turns: with all of them in memory, through `loader`, which decodes pictures in
threads ahead of the net, and through `loader` with everything that [augment] offers. For the bundled digits, and for
JPEGs of 256x256 made for the occasion.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import cycle
from operator import truediv
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from bench.common import RESULTS, save
from gpunet.data import AnySplit, Dataset, batches, digits, load, loader
from gpunet.model.model import Model
from gpunet.net.augment import Augment
from gpunet.net.config import load_config
from gpunet.net.net import Net

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
SIDE = 256
"""Of the JPEGs."""
ROUND_SECONDS = 2.0
"""Of each of the three in a round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both, print images a second with and without, write the JSON."""
    options = _options(arguments)
    found = [_measure("digits", "vgg_digits", digits(), options)]
    with tempfile.TemporaryDirectory() as folder:
        _make_pictures(Path(folder), options.pictures)
        for net in options.nets:
            H, W, _ = load_config(net).net.input.shape
            pictures = load(folder, size=f"{H}x{W}")
            found.append(_measure(f"{options.pictures} JPEGs of {SIDE}x{SIDE}", net, pictures, options))
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
    """Images a second in memory, read, read and augmented. In every round the three take turns on the same few batches.

    `extra_time` is the median over the rounds of what a way takes more than the batches in memory in the same round: a
    machine's speed drifts by more than that from one second to another. `extra_cpu_time`, of the processor's time, is
    to be had on a busy machine, too.
    """
    split = data.train
    order = list(batches(len(split), options.batch, seed=0, epoch=1))
    kept = [split.take(indices) for indices in order]
    plain = load_config(net).net
    augmented = Net(plain.input, plain.nodes, scale=plain.scale, shift=plain.shift, augment=_everything(plain))
    seconds: dict[str, list[float]] = {"in_memory": [], "read": [], "augmented": []}
    cpu_seconds: dict[str, list[float]] = {which: [] for which in seconds}
    images = []
    still: dict[str, Any] = {"device": "cpu", "learning_rate": 0}  # it must not diverge: such a loss ends a step
    with Model(plain, options.batch, **still) as model, Model(augmented, options.batch, **still) as augmenting:
        for one in (model, augmenting):
            one.step(*kept[0])
        parts = _parts(len(order), _seconds(model, kept[:1])[0])
        for _, part in zip(range(options.rounds), cycle(parts), strict=False):
            images.append(sum(map(len, order[part])))
            for which in seconds:
                source = kept[part] if which == "in_memory" else _read(split, order[part])
                elapsed, cpu = _seconds(augmenting if which == "augmented" else model, source)
                seconds[which].append(elapsed)
                cpu_seconds[which].append(cpu)
    speeds = {which: median(map(truediv, images, times)) for which, times in seconds.items()}
    extra, extra_augmented = _extra(seconds)
    extra_cpu, extra_cpu_augmented = _extra(cpu_seconds)
    alone, _ = _seconds(None, _read(split, order))
    print(
        f"{name}, {net}: {speeds['in_memory']:.1f} images/s in memory, {speeds['read']:.1f} read, "
        f"{speeds['augmented']:.1f} read and augmented, {len(split) / alone:,.0f} without a net: {extra:+.1%} time to "
        f"read, {extra_augmented:+.1%} to read and augment; {extra_cpu:+.1%} and {extra_cpu_augmented:+.1%} CPU time",
        flush=True,
    )
    return {
        "data": name,
        "net": net,
        "batch": options.batch,
        "images": images,
        "seconds": seconds,
        "images_per_second": speeds | {"reading_alone": len(split) / alone},
        "extra_time": extra,
        "extra_cpu_time": extra_cpu,
        "extra_time_augmented": extra_augmented,
        "extra_cpu_time_augmented": extra_cpu_augmented,
    }


def _parts(steps: int, step_seconds: float) -> list[slice]:
    """So many steps in parts of about ROUND_SECONDS each; what is left at the end is no part."""
    each = min(steps, max(1, round(ROUND_SECONDS / step_seconds)))
    return [slice(first, first + each) for first in range(0, steps - each + 1, each)]


def _extra(seconds: dict[str, list[float]]) -> tuple[float, float]:
    """What reading, and reading and augmenting, take more than batches in memory: the median of the rounds."""
    read, augmented = (
        median(map(truediv, seconds[which], seconds["in_memory"])) - 1 for which in ("read", "augmented")
    )
    return read, augmented


def _everything(net: Net) -> Augment:
    """All that can be done to the images of a net."""
    colours = net.input.D == 3
    return Augment(pad=1, flip=True, contrast=0.2, brightness=0.2, saturation=0.2 * colours)


def _read(split: AnySplit, order: Iterable[np.ndarray]) -> Batches:
    with closing(loader(split, order)) as source:
        yield from source


def _seconds(model: Model | None, source: Batches) -> tuple[float, float]:
    """On the clock and of the processor, for a training step on each batch; without a model, for reading them."""
    started, started_cpu = perf_counter(), process_time()
    for images, labels in model.ahead(source) if model else source:
        if model:
            model.step(images, labels)
    return perf_counter() - started, process_time() - started_cpu


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--nets", nargs="+", default=NETS, help="that learn from them (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/data.json)")
    return parser.parse_args(arguments)


NETS = [f"INPUT[{side}x{side}x3] -> [[CONV3-32 -> RELU]*2 -> POOL2]*3 -> FC-2" for side in (224, 112)]
"""A small VGG on windows as large as those of ImageNet's nets; and on smaller ones, where a step hides less."""


if __name__ == "__main__":
    sys.exit(main())
