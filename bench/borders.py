"""What zero padding does to scores that slide: `python bench/borders.py`.

A crop by itself is padded with zeros; the same crop within an image has its neighbours there. Both are scored, crop by
crop and in one pass, and compared: VGG-16 at 224 in 384 with random weights (its geometry; nothing is learnt), and two
small nets that learnt digits on pages, with padding and without.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import RESULTS, save
from gpunet import Model, Net, ScoreMap, load, slide
from gpunet.use.demo import PATTERN, demo_config, demo_data, learn, new_page

PADDED = "[CONV3-16 -> RELU]*2 -> POOL2 -> CONV3-32 -> RELU -> POOL2 -> FC-64 -> RELU -> FC-11"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare each net's pass with its crops, print it, write the JSON."""
    options = _options(arguments)
    found = [_vgg16(options.width, seed) for seed in options.seeds]
    found += [_digits(name, pattern, seed) for seed in options.seeds for name, pattern in _PAGES.items()]
    for row in found:
        print(
            f"{row['net']:24} seed {row['seed']}  {row['crops']:5,} crops  rms difference {row['relative_rms']:.2e} of "
            f"the scores' rms, {row['relative_spread']:.2e} of their spread; the same class in {row['same_class']:.1%}",
            flush=True,
        )
    print(f"written to {save('borders', {'runs': found}, options.json)}")
    return 0


def compare(net: Net, weights: Mapping[str, np.ndarray], image: np.ndarray) -> dict[str, Any]:
    """How the scores of one pass differ from those of the crops.

    `relative_rms`     the root mean square of their difference, as a fraction of that of the crops' scores
    `relative_spread`  as a fraction of how much a class's score differs from crop to crop (standard deviation)
    `same_class`       in how many crops the same class has the highest score
    """
    scored = slide(net, weights, image, device="cpu")
    wanted = _crops(net, weights, image, scored)
    off = np.sqrt(np.mean((scored.scores - wanted) ** 2, dtype=np.float64))
    return {
        "crops": wanted.shape[0] * wanted.shape[1],
        "relative_rms": float(off / np.sqrt(np.mean(wanted**2, dtype=np.float64))),
        "relative_spread": float(off / np.sqrt(np.mean(wanted.var(axis=(0, 1)), dtype=np.float64))),
        "same_class": float(np.mean(scored.scores.argmax(2) == wanted.argmax(2))),
    }


def _crops(net: Net, weights: Mapping[str, np.ndarray], image: np.ndarray, like: ScoreMap) -> np.ndarray:
    """The score of each crop by itself."""
    made = np.empty_like(like.scores)
    with Model(net, 1, "cpu", mode="infer") as model:
        for name in model.parameters:
            model.parameters[name] = weights[name]
        for row, column in np.ndindex(*made.shape[:2]):
            top, left = row * like.stride[0], column * like.stride[1]
            made[row, column] = model.forward(image[None, top : top + net.input.H, left : left + net.input.W])[0]
    return made


def _vgg16(width: float, seed: int) -> dict[str, Any]:
    net = load("vgg16").scaled(width)
    with Model(net, 1, "cpu", mode="infer", seed=seed) as model:
        weights = dict(model.parameters)
    image = np.random.default_rng(seed).integers(0, 256, (384, 384, 3), dtype=np.uint8)
    return {"net": f"vgg16 x {width:g}, random", "seed": seed, **compare(net, weights, image)}


def _digits(name: str, pattern: str, seed: int) -> dict[str, Any]:
    config = demo_config(seed, pattern)
    weights = learn(config, demo_data(seed), "cpu")
    return {"net": name, "seed": seed, **compare(config.net, weights, new_page(seed).picture)}


_PAGES = {"digits, padded, trained": PADDED, "digits, P=0, trained": PATTERN}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=0.25, help="of VGG-16 (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="default: 0 1")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/borders.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
