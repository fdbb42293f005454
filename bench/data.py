"""What reading and augmenting images costs a training step on the CPU: `python bench/data.py`.

The same steps on the same images, round by round: with all of them in memory, through `loader`, which decodes pictures
in threads ahead of the net, and through `loader` with everything that [augment] offers. For the bundled digits, and for
JPEGs of 256x256 made for the occasion.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter, process_time

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from bench.common import RESULTS, save
from gpunet.data import AnySplit, Dataset, batches, digits, load, loader
from gpunet.model import Model
from gpunet.net.augment import Augment
from gpunet.net.config import load_config
from gpunet.net.net import Net

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
    """Images a second in the best of the rounds: in memory, read, read and augmented; rounds of the three take turns.

    `extra_cpu_time`, the processor's time for reading over that for the steps, is to be had on a busy machine too.
    """
    split, n = data.train, len(data.train)
    order = list(batches(n, options.batch, seed=0, epoch=1))
    kept = [split.take(indices) for indices in order]
    plain = load_config(net).net
    augmented = Net(plain.input, plain.nodes, scale=plain.scale, shift=plain.shift, augment=_everything(plain))
    seconds: dict[str, list[float]] = {"in_memory": [], "read": [], "augmented": []}
    cpu_seconds: dict[str, list[float]] = {which: [] for which in seconds}
    with Model(plain, options.batch, "cpu") as model, Model(augmented, options.batch, "cpu") as augmenting:
        for one in (model, augmenting):
            one.step(*kept[0])
        for _ in range(options.rounds):
            for which in seconds:
                source = kept if which == "in_memory" else _read(split, order)
                elapsed, cpu = _seconds(augmenting if which == "augmented" else model, source)
                seconds[which].append(elapsed)
                cpu_seconds[which].append(cpu)
    speeds = {which: n / min(times) for which, times in seconds.items()}
    extra, extra_augmented = (speeds["in_memory"] / speeds[which] - 1 for which in ("read", "augmented"))
    alone, alone_cpu = _seconds(None, _read(split, order))
    extra_cpu = alone_cpu / min(cpu_seconds["in_memory"])
    extra_cpu_augmented = min(cpu_seconds["augmented"]) / min(cpu_seconds["in_memory"]) - 1
    print(
        f"{name}, {net}: {speeds['in_memory']:.1f} images/s in memory, {speeds['read']:.1f} read, "
        f"{speeds['augmented']:.1f} read and augmented, {n / alone:,.0f} without a net: {extra:+.1%} time to read, "
        f"{extra_augmented:+.1%} to augment, too; {extra_cpu:+.1%} and {extra_cpu_augmented:+.1%} CPU time",
        flush=True,
    )
    return {
        "data": name,
        "net": net,
        "batch": options.batch,
        "images": n,
        "seconds": seconds,
        "images_per_second": speeds | {"reading_alone": n / alone},
        "extra_time": extra,
        "extra_cpu_time": extra_cpu,
        "extra_time_augmented": extra_augmented,
        "extra_cpu_time_augmented": extra_cpu_augmented,
    }


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
    parser.add_argument("--net", default=NET, help="that learns from them (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/data.json)")
    return parser.parse_args(arguments)


NET = "INPUT[112x112x3] -> [[CONV3-32 -> RELU]*2 -> POOL2]*3 -> FC-2"
"""A small VGG; one for 224x224 takes far longer a step and hides more."""


if __name__ == "__main__":
    sys.exit(main())
