"""How well `vgg_digits` learns the bundled digits, seed by seed and in the mean: `python bench/digits.py`.

Trained as `gpunet train vgg_digits` does: of 1,437 images a tenth, drawn by the seed, chooses the epoch, and the test,
of 360 images most of which are by other writers, is made once, with its weights. Beside it what the same recipe comes
to that learns from all 1,437 and keeps its last epoch: nothing is chosen there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import RESULTS, save
from gpunet.data import load
from gpunet.model.making import choose_device
from gpunet.model.model import Model
from gpunet.net.config import Config, load_config
from gpunet.program.program import DeviceName
from gpunet.train.folder import RunFolder
from gpunet.train.last_look import look_at_test
from gpunet.train.metrics import best
from gpunet.train.trainer import Trainer

WAYS: dict[str, str | int] = {"chosen by 10 %": "10%", "all, last epoch": 0}
"""How much is set aside to validate with."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train once for each seed and way, print every accuracy and the means, write the JSON."""
    options = _options(arguments)
    config = load_config("vgg_digits")
    device = choose_device(options.device)
    found = []
    for seed in options.seeds:
        for way, validation in WAYS.items():
            started = perf_counter()
            run = {"seed": seed, "way": way, **_train(config, device, seed, validation)}
            found.append(run | {"seconds": perf_counter() - started})
            told = f"seed {seed}  {way:15}  epoch {run['epoch']:2}  test accuracy {run['test_accuracy']:.2%}"
            print(f"{told}  {found[-1]['seconds']:.1f} s on {device}", flush=True)
    means = {way: mean(run["test_accuracy"] for run in found if run["way"] == way) for way in WAYS}
    for way, average in means.items():
        print(f"mean    {way:15}            test accuracy {average:.2%} over {len(options.seeds)} seeds")
    results = {"net": "vgg_digits", "device": device, "runs": found, "mean_test_accuracy": means}
    print(f"written to {save('digits', results, options.json)}")
    return 0


def _train(config: Config, device: DeviceName, seed: int, validation: str | int) -> dict[str, Any]:
    """The epoch whose weights the config's own recipe leaves, and the test accuracy of these."""
    told = config.train
    options: dict[str, Any] = {"optimizer": told.learning, "seed": seed, "learning_rate": told.learning_rate}
    with Model(config.net, told.batch, device, **options) as model, TemporaryDirectory() as folder:
        data = load(told.data, seed=seed, validation=validation)
        keep = RunFolder(Path(folder), "", "")
        trainer = Trainer(model, data, epochs=told.epochs, seed=seed, schedule=told.shape, watchers=[keep])
        rows = trainer.run()
        if data.validation is None:
            return {"epoch": rows[-1].epoch, "test_accuracy": rows[-1].judged_accuracy}
        chosen = best(rows)
        tested = look_at_test(trainer, Path(folder))
    return {"epoch": chosen.epoch, "val_accuracy": chosen.judged_accuracy, "test_accuracy": tested.accuracy}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default: 0 to 4")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/digits.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
