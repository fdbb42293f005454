"""How the algorithms of a convolution round in float32 on the CPU: `python bench/rounding.py`.

Standard normal values, filters of 3 x 3 over 64 to 512 maps, two seeds each; the largest error of any value of a
result, relative to the largest value of that result as float64 has it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench.common import RESULTS, save
from bench.gpu.table import Table, as_text
from gpunet.devices import open_device
from gpunet.devices.algorithms import Algorithm, AlgorithmName, Pass, candidates
from gpunet.program.filters import ConvShape

K, N, SEEDS = 64, 2, (0, 1)
SHAPES = [(64, 24), (128, 24), (256, 12), (512, 12)]
"""Maps, and rows and columns of each."""

PASSES: dict[Pass, str] = {"forward": "y", "backward_input": "dx", "backward_weights": "dw"}
NAMES: tuple[AlgorithmName, ...] = ("im2col", "winograd2", "winograd4")
GEOMETRY = {"S_rows": 1, "S_columns": 1, "P_top": 1, "P_left": 1, "dilation_rows": 1, "dilation_columns": 1}
SCRATCH_BYTES = 2**26


def main(arguments: Sequence[str] | None = None, shapes: Sequence[tuple[int, int]] = SHAPES) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help=f"where to write (default: {RESULTS.name}/rounding.json)")
    options = parser.parse_args(arguments)
    errors = {str(name): dict.fromkeys(PASSES.values(), 0.0) for name in NAMES}
    for D, side in shapes:
        for seed in SEEDS:
            for name, found in errors_of(D, side, seed).items():
                errors[name] = {of: max(errors[name][of], found[of]) for of in found}
    rows = [(name, *(f"{error:.1e}" for error in found.values())) for name, found in errors.items()]
    title = "largest error of float32 relative to the largest value"
    print(as_text(Table(title, ("algorithm", *PASSES.values()), rows)))
    print(f"written to {save('rounding', {'shapes': shapes, 'errors': errors}, options.json)}")
    return 0


def errors_of(D: int, side: int, seed: int) -> dict[str, dict[str, float]]:
    """Of every algorithm and pass over D maps of side x side."""
    rng = np.random.default_rng(seed)
    x, w, y = (N, side, side, D), (K, 3, 3, D), (N, side, side, K)
    values = {"x": rng.standard_normal(x), "w": rng.standard_normal(w), "dy": rng.standard_normal(y)}
    narrow = {name: array.astype(np.float32) for name, array in values.items()}
    wide = {name: array.astype(np.float64) for name, array in narrow.items()}
    shape = ConvShape.of(x, w, y, GEOMETRY)
    found: dict[str, dict[str, float]] = {name: {} for name in NAMES}
    for pass_, of in PASSES.items():
        how = {"math": "exact", "device": "cpu", "scratch_limit_bytes": SCRATCH_BYTES}
        for one in candidates(pass_, shape, dtype="float32", **how):  # type: ignore[arg-type]
            expected = run(pass_, Algorithm("im2col", needs_columns=True), shape, wide)
            error = np.abs(run(pass_, one, shape, narrow) - expected).max() / np.abs(expected).max()
            found[one.name][of] = float(error)
    return found


def run(pass_: Pass, algorithm: Algorithm, shape: ConvShape, values: dict[str, np.ndarray]) -> np.ndarray:
    """What an op makes by an algorithm."""
    x, w, dy = values["x"], values["w"], values["dy"]
    inputs, output = {
        "forward": ((x, w, None), dy),
        "backward_input": ((dy, w), x),
        "backward_weights": ((x, dy), w),
    }[pass_]
    result = np.empty_like(output)
    columns = np.empty((shape.positions, shape.length), x.dtype) if algorithm.needs_columns else None
    workspace = np.empty(-(-algorithm.workspace_bytes // x.itemsize), x.dtype) if algorithm.workspace_bytes else None
    op = open_device("cpu").ops[f"conv_{pass_}"]
    op(*inputs, result, columns, workspace, **GEOMETRY, **algorithm.attributes)
    return result


if __name__ == "__main__":
    sys.exit(main())
