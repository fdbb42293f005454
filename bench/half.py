"""Training in half types: does it learn as well as in float32? `python bench/half.py`.

Three nets on the bundled digits, in float32, bfloat16 and float16, with the same seeds: the same starting weights, the
same order of images. Each learns from all 1,437 images for a fixed number of epochs, nothing is chosen, and the mean
test accuracy of the seeds must be within half a point of float32's; exit code 1 where it is not. A seed more or less
moves that of one by half a point, of 360 images, so six of them are the fewest that tell. Then `vgg_digits` step
by step, from the same weights and batches, in both types here and under PyTorch's autocast (bfloat16, CPU): how far the
losses of halves are from those of float32, on either side.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.common import RESULTS, save
from bench.peer.layers import as_maps
from bench.peer.net import torch_loss, torch_net
from gpunet.data import Dataset, load
from gpunet.layers.scaling import SCALING
from gpunet.model.making import choose_device
from gpunet.model.model import Model
from gpunet.net.config import Config, load_config, parse_config
from gpunet.program.program import DeviceName, Dtype
from gpunet.train.trainer import Trainer

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")

TOLERANCE = 0.005
"""How far below float32's the mean accuracy of a half type may be."""

HEAD = 'input = "8x8x1"\nscale = 0.125\nshift = -1.0\n'
"""Of the nets beside `vgg_digits`, as its config has it."""

RESIDUAL = """
net = "CONV3-32(bias=false) -> BN -> RELU -> { CONV3-32(bias=false) -> BN -> RELU -> CONV3-32 -> BN + ID } -> RELU -> \
CONV2-64(S=2, P=0, bias=false) -> BN -> RELU -> GAP -> FC-10"
[train]
data = "digits"
batch = 32
epochs = 8
optimizer = "momentum"
learning_rate = 0.05
weight_decay = 0.0005
schedule = "cosine"
"""

BRANCHES = """
net = "CONV3-32 -> SILU -> { CONV1-16 -> PRELU | CONV3-32 -> LRELU } -> POOL2 -> DROPOUT(p=0.25) -> CONV3-64 -> \
GELU -> AVGPOOL2 -> FC-64 -> TANH -> FC-10"
[train]
data = "digits"
batch = 32
epochs = 8
optimizer = "adam"
learning_rate = 0.002
schedule = "cosine"
"""


def nets() -> dict[str, Config]:
    """By name: a plain VGG, one with batch normalization and a sum, one with branches, dropout and Adam."""
    return {
        "vgg_digits": load_config("vgg_digits"),
        "residual": parse_config(HEAD + RESIDUAL, "residual"),
        "branches": parse_config(HEAD + BRANCHES, "branches"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, print every accuracy, the means and the distances of losses, write the JSON."""
    options = _options(arguments)
    device = choose_device(options.device)
    runs = []
    for name, config in nets().items():
        for seed in options.seeds:
            for dtype in DTYPES:
                run = {"net": name, "seed": seed, "dtype": dtype}
                runs.append(run | learnt(config, device, seed, dtype, options.epochs))
                print(f"{name:11} seed {seed}  {dtype:9} test accuracy {runs[-1]['test_accuracy']:.2%}", flush=True)
    means = {name: {dtype: mean(accuracies(runs, name, dtype)) for dtype in DTYPES} for name in nets()}
    wrong = [
        f"{name} in {dtype} is {found['float32'] - found[dtype]:.2%} below float32"
        for name, found in means.items()
        for dtype in DTYPES
        if found[dtype] < found["float32"] - TOLERANCE
    ]
    for name, found in means.items():
        print(f"{name:11} mean    {', '.join(f'{dtype} {accuracy:.2%}' for dtype, accuracy in found.items())}")
    curves = loss_curves(load_config("vgg_digits"), device, options.steps)
    for name, far in distances(curves).items():
        print(f"losses of {options.steps} steps, {name}: on average {far:.5f} from float32's on the same side")
    results: dict[str, Any] = {"device": device, "tolerance": TOLERANCE, "runs": runs, "mean_test_accuracy": means}
    results |= {"losses": curves, "mean_distance_from_float32": distances(curves)}
    print("\n".join(wrong) or "all within half a point")
    print(f"written to {save('half', results, options.json)}")
    return 1 if wrong else 0


def accuracies(runs: Sequence[dict[str, Any]], net: str, dtype: Dtype) -> list[float]:
    """The test accuracies of a net in a type, seed by seed."""
    return [run["test_accuracy"] for run in runs if (run["net"], run["dtype"]) == (net, dtype)]


def learnt(config: Config, device: DeviceName, seed: int, dtype: Dtype, epochs: int | None) -> dict[str, Any]:
    """The test accuracy of the last epoch, all images that there are to learn from being learnt from."""
    told = config.train
    with Model(
        config.net,
        told.batch,
        device,
        dtype=dtype,
        optimizer=told.learning,
        seed=seed,
        learning_rate=told.learning_rate,
    ) as model:
        data = load(told.data, seed=seed, validation=0)
        trainer = Trainer(model, data, epochs=epochs or told.epochs, seed=seed, schedule=told.shape)
        rows = trainer.run()
        scale = float(model.state[SCALING][0]) if dtype == "float16" else None
    return {"test_accuracy": rows[-1].judged_accuracy, "loss": rows[-1].train_loss, "scale": scale}


def loss_curves(config: Config, device: DeviceName, steps: int) -> dict[str, list[float]]:
    """Losses of so many steps of plain SGD from the same weights on the same batches, by side and type."""
    data = load(config.train.data, validation=0)
    with Model(config.net, 32, device) as drawn:
        start = dict(drawn.parameters)
    found: dict[str, list[float]] = {}
    for dtype in DTYPES:
        with Model(config.net, 32, device, dtype=dtype, optimizer="sgd", learning_rate=0.05) as model:
            found[f"gpunet {dtype}"] = [model.step(*batch) for batch in _batches(config, data, steps)]
    for dtype in ("float32", "bfloat16"):
        peer = torch_net(config.net, start)
        optimizer = torch.optim.SGD(peer.parameters(), lr=0.05)
        losses = found[f"PyTorch {dtype}"] = []
        for images, labels in _batches(config, data, steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = torch_loss(config.net, peer(as_maps(images)), torch.from_numpy(labels.astype(np.int64)))
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return found


def _batches(config: Config, data: Dataset, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same batches for everybody, as floats."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        images, labels = data.train.take(np.sort(rng.choice(len(data.train), 32, replace=False)))
        yield (images * np.float32(config.net.scale) + np.float32(config.net.shift)).astype(np.float32), labels


def distances(curves: dict[str, list[float]]) -> dict[str, float]:
    """By curve of a half type, how far its losses are on average from those of float32 on the same side."""
    return {
        name: float(np.mean(np.abs(np.subtract(losses, curves[f"{name.split()[0]} float32"]))))
        for name, losses in curves.items()
        if not name.endswith("float32")
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(6)), help="default: 0 to 5")
    parser.add_argument("--epochs", type=int, help="of each run; default: what the config says")
    parser.add_argument("--steps", type=int, default=200, help="of the curves of losses (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/half.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
