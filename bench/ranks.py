"""What several ranks cost: `python bench/ranks.py`.

Measured here: a step of one rank and of two on the CPU, each with the same work, and sums in the order of ranks beside
MPI's own all-reduce on the same buffers in the same run; the bytes that were sent beside those that were planned.
Predicted, not measured: the efficiency of 2 to 256 ranks of two nets over named networks, as a table and a picture;
of nets with fully connected layers worth dividing, with these divided, too (--split-fc).
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench.common import RESULTS, save
from gpunet import load, plan
from gpunet.compile.between import REDUCE
from gpunet.compile.ranks import Division
from gpunet.compile.wire import wire_bytes
from gpunet.devices import open_device
from gpunet.errors import ConfigError
from gpunet.model.model import Model
from gpunet.planning.network import ASSUMED, NETWORKS, predict_ranks
from gpunet.program.shares import share
from gpunet.ranks.communicator import Communicator
from gpunet.ranks.mpi import MpiCommunicator, find_starter
from gpunet.ranks.mpi import load as load_mpi

NETS = {"vgg16": 64, "resnet50": 64}
"""Nets whose efficiency is predicted, and images a rank."""

COUNTS = (2, 4, 8, 16, 32, 64, 128, 256)
JOINED_BY = ("10Gb", "25Gb", "100Gb", "pcie3", "nvlink")
CARD = "rtx 3060"
PUBLISHED = {
    "what": "Horovod, VGG-16 on 512 GPUs (P100, 4 a machine, 25 Gbit/s RoCE): 68 % of linear",
    "source": "Sergeev & Del Balso 2018, 'Horovod: fast and easy distributed deep learning in TensorFlow'",
}
SIZES_KIB = (4, 64, 768, 4096, 32768)
"""Of the buffers that are added up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and predict, print and write what came out."""
    options = _options(arguments)
    if options.rank_of:
        _as_rank(options)
        return 0
    results: dict[str, Any] = {
        "ranks": {str(count): _measured(count, options) for count in options.ranks},
        "predicted": _predicted(options),
        "assumed": ASSUMED,
        "card": CARD,
        "published": PUBLISHED,
        "cores": os.cpu_count(),
    }
    _tell(results)
    if options.plot is not None:
        _draw(results["predicted"], options.plot)
    print(f"written to {save('ranks', results, options.json)}")
    return 0


# -- measured -------------------------------------------------------------------------------------------


def _measured(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """What so many ranks of this machine take, in processes of their own, with one thread each."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rank.json"
        words = ["--rank-of", str(path), "--net", options.net, "--images", str(options.images)]
        words += ["--steps", str(options.steps), "--kib", *map(str, options.kib)]
        command = [str(find_starter()), "-n", str(count), sys.executable, __file__, *words]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        found: dict[str, Any] = json.loads(path.read_text())
    return found


def _as_rank(options: argparse.Namespace) -> None:
    """One of the ranks: its steps and its sums; rank 0 writes what they took."""
    ranks = MpiCommunicator()
    found = _steps(ranks, options)
    if ranks.size > 1:
        found["all_reduce"] = [_sums(ranks, kib * 256, options.steps) for kib in options.kib]
    if ranks.rank == 0:
        Path(options.rank_of).write_text(json.dumps(found))
    ranks.close()


def _steps(ranks: Communicator, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step with the same images for each rank."""
    net, whole = load(options.net), options.images * ranks.size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (whole, *net.image.shape)).astype(np.uint8)
    labels = rng.integers(0, net.classes, whole)
    own = slice(*share(whole, ranks.size, ranks.rank))
    with Model(net, whole, "cpu", ranks=ranks) as model:
        model.step(images[own], labels[own], whole)
        before = ranks.sent_bytes
        took = [_ms(lambda: model.step(images[own], labels[own], whole)) for _ in range(options.steps)]
        planned = wire_bytes(model.plan.program, ranks.rank) if ranks.size > 1 else 0
        sent = (ranks.sent_bytes - before) // options.steps
        return {
            "net": options.net,
            "images_a_rank": options.images,
            "step_ms": median(took),
            "planned_bytes": planned,
            "sent_bytes": sent,
            "sums_bytes": [sum(t.nbytes for t in op.inputs) for op in model.plan.program.ops if op.name == REDUCE],
            "arena_bytes": model.arena_bytes,
            "planned_arena_bytes": model.plan.arena_bytes,
        }


def _sums(ranks: MpiCommunicator, values: int, times: int) -> dict[str, Any]:
    """Milliseconds of a sum in the order of ranks, and of MPI's own, of so many float32, turn by turn."""
    from gpunet.compile.between import arriving
    from gpunet.program.program import Op
    from gpunet.program.tensor import Kind, Tensor
    from gpunet.ranks.collectives import bind

    device, mpi = open_device("cpu"), load_mpi()
    own = np.random.default_rng(ranks.rank).random(values, np.float32)
    most = min(values, 2 * 2**20)
    buffer, scratch = own.copy(), np.empty(arriving(most, own.itemsize, ranks.size), np.float32)
    tensor = Tensor("buffer", Kind.PARAMETER_GRADIENT, (values,), "float32", "bench")
    op = Op("all_reduce", "bench", "update", (tensor,), (tensor,), (tensor, None))
    numbers: dict[str, float | str] = {"most": most, "reduce": "exact", "images": ranks.size}
    calls = bind(op, [buffer, buffer, scratch, None], numbers, device, ranks)
    ordered, plain = [], []
    for _ in range(3 * max(times, 5)):
        ranks.tell(None)
        ordered.append(_ms(lambda: [call() for call in calls]))  # as among the other calls of a step
        ranks.tell(None)
        plain.append(_ms(lambda: mpi.COMM_WORLD.Allreduce(mpi.IN_PLACE, buffer)))
        np.copyto(buffer, own)
    ours, theirs = min(ordered), min(plain)  # of a machine that does other things, too, the least says most
    medians = {"in_order_median_ms": median(ordered), "mpi_median_ms": median(plain)}
    return {"bytes": 4 * values, "in_order_ms": ours, "mpi_ms": theirs, "times_as_long": ours / theirs, **medians}


def _ms(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return 1e3 * (perf_counter() - started)


# -- predicted ------------------------------------------------------------------------------------------


def _predicted(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name, count, split in product(options.nets, options.counts, (False, True)):
        net, images = load(name), NETS.get(name, 64)
        try:
            made = plan(net, images * count, gpu=CARD, division=Division(count, split_fc=split))
        except ConfigError:  # it has no such layers
            continue
        for joined in JOINED_BY:
            found = predict_ranks(made, NETWORKS[joined])
            assert found.efficiency is not None  # the card is known
            rows.append(
                {
                    "net": name,
                    "images_a_rank": images,
                    "ranks": count,
                    "split_fc": split,
                    "network": joined,
                    "wire_bytes": found.sent_bytes,
                    "wire_ms": found.wire_ms,
                    "hidden_ms": found.hidden_ms,
                    "total_bytes": made.total_bytes,
                    "efficiency": found.efficiency.likely,
                    "efficiency_range": [found.efficiency.low, found.efficiency.high],
                }
            )
    return rows


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Efficiency over the number of ranks, a panel for each net."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    nets = list(dict.fromkeys(row["net"] for row in rows))
    figure = Figure(figsize=(5 * len(nets), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, net in zip(figure.subplots(1, len(nets), squeeze=False)[0], nets, strict=True):
        for color, (joined, split) in enumerate(product(JOINED_BY, (False, True))):
            points = [row for row in rows if (row["net"], row["network"], row["split_fc"]) == (net, joined, split)]
            style = {"color": f"C{color // 2}", "linestyle": "--" if split else "-", "marker": "." if split else "o"}
            name = f"{joined}, --split-fc" if split else joined
            if points:
                ranks, reached = zip(*((p["ranks"], 100 * p["efficiency"]) for p in points), strict=True)
                panel.plot(ranks, reached, label=name, **style)
        panel.set(title=f"{net}, {NETS.get(net, 64)} images a rank", xlabel="ranks", ylabel="% of linear, predicted")
        panel.set_xscale("log", base=2)
        panel.set_ylim(0, 100)
        panel.legend(fontsize=7)
    figure.suptitle(f"{CARD}; {ASSUMED}", fontsize=7)
    figure.savefig(path)


# -- what is shown --------------------------------------------------------------------------------------


def _tell(results: dict[str, Any]) -> None:
    for count, found in results["ranks"].items():
        print(
            f"{count} rank(s): {found['step_ms']:8.1f} ms a step of {found['images_a_rank']} images each; "
            f"sent {found['sent_bytes']:,} bytes, planned {found['planned_bytes']:,}"
        )
        if found["sums_bytes"]:
            print(f"    adds up {', '.join(f'{nbytes:,}' for nbytes in found['sums_bytes'])} bytes in a step")
        for sums in found.get("all_reduce", ()):
            print(
                f"    {sums['bytes']:12,} bytes: in order {sums['in_order_ms']:8.3f} ms, MPI's own "
                f"{sums['mpi_ms']:8.3f} ms, {sums['times_as_long']:.2f} times as long"
            )
    print(f"predicted, on the {CARD}: {ASSUMED}")
    for row in results["predicted"]:
        way = "--split-fc" * row["split_fc"]
        print(f"{row['net']:10} {way:10} {row['ranks']:4} ranks over {row['network']:7} {row['efficiency']:6.1%}")
    print(f"published: {PUBLISHED['what']}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="*", default=[1, 2], help="how many to measure")
    parser.add_argument("--net", default="vgg_cifar")
    parser.add_argument("--images", type=int, default=16, help="of each rank in a step")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--kib", type=int, nargs="*", default=SIZES_KIB, help="sizes of buffers that are added up")
    parser.add_argument("--nets", nargs="*", default=list(NETS), help="those whose efficiency is predicted")
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS, help="numbers of ranks for that")
    parser.add_argument("--json", type=Path, default=RESULTS / "ranks.json")
    parser.add_argument("--plot", type=Path, help="draw the predicted efficiency into this .png")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
