"""What `gpunet lr-find` suggests beside a grid of rates, on five nets over the digits: `python bench/lr_find.py`.

Each net is trained at every rate of the grid and at the suggestion, and judged by a fifth of the images to learn from
that is set aside; the test images are not looked at. The suggestion should be within a point of the best of the grid.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import RESULTS, save
from gpunet.data import Dataset, load
from gpunet.model.model import Model
from gpunet.net.config import load_config
from gpunet.net.net import Net
from gpunet.optimize.optimizers import Optimizer, optimizer
from gpunet.train.diverged import Diverged
from gpunet.train.lr_find import RateTests, lr_find, whole_epochs
from gpunet.train.trainer import Trainer

GRID = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
EPOCHS = 6
STEPS = 500


@dataclass(frozen=True)
class Case:
    """A net and how it learns."""

    net: Net
    rule: Optimizer = field(default_factory=lambda: optimizer("momentum"))
    batch: int = 32


def cases() -> dict[str, Case]:
    """Nets with and without normalization, deep and flat, under three optimizers."""
    of = {
        "vgg_digits": load_config("vgg_digits").net,
        "batch norm": _net("[CONV3-16 -> BN -> RELU]*2 -> POOL2 -> CONV3-32 -> BN -> RELU -> GAP -> FC-10"),
        "fully connected": _net("FC-64 -> RELU -> FC-64 -> RELU -> FC-10"),
        "tanh": _net("CONV3-6 -> TANH -> POOL2 -> CONV3-16 -> TANH -> POOL2 -> FC-84 -> TANH -> FC-10"),
        "adam": _net("CONV3-16 -> RELU -> POOL2 -> CONV3-32 -> RELU -> POOL2 -> FC-64 -> RELU -> FC-10"),
    }
    rules = {"fully connected": optimizer("sgd"), "adam": optimizer("adam")}
    batches = {"vgg_digits": 16}
    return {name: Case(net, rules.get(name, optimizer("momentum")), batches.get(name, 32)) for name, net in of.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every rate, print and write what came out; 1 where a suggestion is more than a point below the best."""
    options = _options(arguments)
    data = load("digits", validation="20%")
    found = [_measured(name, case, data, options) for name, case in cases().items() if name in options.nets]
    results = {"grid": options.grid, "epochs": options.epochs, "steps": options.steps, "nets": found}
    print(f"written to {save('lr_find', results, options.json)}")
    return int(any(row["below_best"] > 0.01 for row in found))


def _measured(name: str, case: Case, data: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    started = perf_counter()
    steps = whole_epochs(options.steps, len(data.train), case.batch)
    tests = RateTests(tuple(_test(case, data, steps, seed) for seed in range(3)))
    accuracies = {rate: _accuracy(case, data, rate, options) for rate in options.grid}
    best = max(accuracies, key=lambda rate: accuracies[rate])
    suggested = tests.suggestion
    reached = 0.0 if suggested is None else _accuracy(case, data, suggested, options)
    below = accuracies[best] - reached
    print(
        f"{name:16} suggestion {suggested or 0:.2g}: {reached:.2%}; best of the grid {best:g}: {accuracies[best]:.2%}"
    )
    return {
        "net": name,
        "suggestions": [test.suggestion for test in tests.tests],
        "suggestion": suggested,
        "accuracy": reached,
        "grid": [{"rate": rate, "accuracy": accuracy} for rate, accuracy in accuracies.items()],
        "best_rate": best,
        "below_best": below,
        "seconds": perf_counter() - started,
    }


def _test(case: Case, data: Dataset, steps: int, seed: int) -> Any:
    with Model(case.net, case.batch, "cpu", optimizer=case.rule, seed=seed) as model:
        return lr_find(model, data, steps=steps, seed=seed)


def _accuracy(case: Case, data: Dataset, rate: float, options: argparse.Namespace) -> float:
    """The mean over the seeds of what is told right after the last epoch; a run that diverges tells nothing right."""
    return mean(_run(case, data, rate, options.epochs, seed) for seed in options.seeds)


def _run(case: Case, data: Dataset, rate: float, epochs: int, seed: int) -> float:
    with Model(case.net, case.batch, "cpu", optimizer=case.rule, seed=seed, learning_rate=rate) as model:
        try:
            return Trainer(model, data, epochs=epochs, seed=seed, schedule="cosine").run()[-1].judged_accuracy
        except Diverged:
            return 0.0


def _net(pattern: str) -> Net:
    return load_config(f"INPUT[8x8x1] -> {pattern}").net.entered(scale=1 / 16)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(cases()), help="default: all five")
    parser.add_argument("--grid", type=float, nargs="+", default=list(GRID))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/lr_find.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
