"""What light augmentation brings to `vgg_digits`: `python bench/augment.py`.

The images that the net is tested on are left alone: each quarter of those that it learns from is held out in turn, with
and without augmentation, for some seeds.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench.common import RESULTS, save
from gpunet.data import Dataset, Split, digits
from gpunet.model.model import Model
from gpunet.net.augment import Augment
from gpunet.net.config import Config, load_config
from gpunet.net.net import Net
from gpunet.train.trainer import Trainer

FOLDS = 4
WAYS = {
    "none": None,
    "windows": Augment(pad=1),
    "brightness": Augment(brightness=0.2),
    "contrast": Augment(contrast=0.4),
    "contrast and brightness": Augment(contrast=0.2, brightness=0.2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train for each way, seed and fold; print the means and what each way brings; write the JSON."""
    options = _options(arguments)
    config = load_config("vgg_digits")
    config = replace(config, train=config.train.changed(epochs=options.epochs or config.train.epochs))
    found: dict[str, dict[str, Any]] = {}
    for name in options.ways:
        runs = [_accuracy(config, WAYS[name], data, seed) for seed in options.seeds for data in _folds()]
        gains = [after - before for after, before in zip(runs, found.get("none", {"runs": runs})["runs"], strict=True)]
        found[name] = {"runs": runs, "mean": mean(runs), "gain": mean(gains), "gain_error": _error(gains)}
        print(
            f"{name:24} {mean(runs):.2%} held out, {100 * mean(gains):+.2f} points (+- {100 * _error(gains):.2f})",
            flush=True,
        )
    results = {"net": "vgg_digits", "folds": FOLDS, "seeds": options.seeds, "ways": found}
    print(f"written to {save('augment', results, options.json)}")
    return 0


def _folds() -> Iterator[Dataset]:
    """The images to learn from without one quarter, which is tested on."""
    split = digits().train
    parts = np.array_split(np.arange(len(split)), FOLDS)
    for number, held_out in enumerate(parts):
        rest = np.concatenate(parts[:number] + parts[number + 1 :])
        yield Dataset("digits", Split(*split.take(rest)), Split(*split.take(held_out)))


def _accuracy(config: Config, augment: Augment | None, data: Dataset, seed: int) -> float:
    """After the last epoch of the config's own recipe."""
    plain, told = config.net, config.train
    net = Net(plain.input, plain.nodes, scale=plain.scale, shift=plain.shift, augment=augment)
    rate = told.learning_rate
    with Model(net, told.batch, "cpu", optimizer=told.learning, seed=seed, learning_rate=rate) as model:
        trainer = Trainer(model, data, epochs=told.epochs, seed=seed, schedule=told.shape)
        return trainer.run()[-1].judged_accuracy


def _error(gains: Sequence[float]) -> float:
    """The standard error of their mean."""
    return stdev(gains) / sqrt(len(gains))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--epochs", type=int, help="default: those of vgg_digits")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/augment.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
