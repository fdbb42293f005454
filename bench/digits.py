"""How well `vgg_digits` learns the bundled digits, seed by seed and in the mean: `python bench/digits.py`.

Trained as `gpunet train vgg_digits` does, on the first 1,437 images; tested on the last 360, by other writers.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import RESULTS, save
from gpunet.data import load
from gpunet.model.model import Model, choose_device
from gpunet.net.config import Config, load_config
from gpunet.optimize.optimizers import optimizer
from gpunet.train.trainer import Trainer


def main(arguments: Sequence[str] | None = None) -> int:
    """Train once for each seed, print every accuracy and the mean, write the JSON."""
    options = _options(arguments)
    config = load_config("vgg_digits")
    device = choose_device(options.device)
    found = []
    for seed in options.seeds:
        started = perf_counter()
        accuracy = _train(config, device, seed)
        found.append({"seed": seed, "test_accuracy": accuracy, "seconds": perf_counter() - started})
        print(f"seed {seed}  test accuracy {accuracy:.2%}  {found[-1]['seconds']:.1f} s on {device}", flush=True)
    average = mean(run["test_accuracy"] for run in found)
    print(f"mean    test accuracy {average:.2%} over {len(found)} seeds")
    results = {"net": "vgg_digits", "device": device, "runs": found, "mean_test_accuracy": average}
    print(f"written to {save('digits', results, options.json)}")
    return 0


def _train(config: Config, device: str, seed: int) -> float:
    """The test accuracy after the last epoch of the config's own recipe."""
    told = config.train
    rule = optimizer(told.optimizer, momentum=told.momentum, weight_decay=told.weight_decay)
    with Model(config.net, told.batch, device, optimizer=rule, seed=seed, learning_rate=told.learning_rate) as model:
        trainer = Trainer(model, load(told.data), epochs=told.epochs, seed=seed, schedule=told.schedule)
        return trainer.run()[-1].test_accuracy


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/digits.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
