"""Which algorithm of each convolution of the nets is fastest, before they are timed beside PyTorch: `gpunet tune`.

What is found is kept in the user's cache, so the sections behind this one, and all later plans for this GPU, use it.
"""

from collections.abc import Sequence
from typing import Any

from gpunet.devices import target
from gpunet.profile.tune import Timed, Tuned, tune

from .nets import Case
from .setting import Setting
from .steps import CASES
from .table import Table, number

TITLE = "tuning of convolutions"
SECONDS = 90
NEEDS = ("cupy",)

ROUNDS = 3


def run(setting: Setting, cases: Sequence[Case] = CASES, rounds: int = ROUNDS) -> None:
    """Tune each net at its batch; what is known is not timed again."""
    done: set[str] = set()
    for case in cases:
        if setting.quick and case.large:
            setting.findings.skip(f"{case.name}: left out of a quick run")
            continue
        if not setting.goes(case.name, 0):
            continue
        for one in tune(case.load(), case.batch, setting.device, where=target(setting.device.name), rounds=rounds):
            if one.key not in done:
                done.add(one.key)
                setting.findings.append("tuned", {"case": case.name, **_found(one)})
            if not setting.goes(f"{case.name}, behind {one.layers[0]}", 0):
                break


def _found(one: Tuned) -> dict[str, Any]:
    return {
        "key": one.key,
        "layer": one.layers[0],
        "layers": len(one.layers),
        "pass": one.pass_,
        "preferred": _row(one.preferred),
        "algorithms": [_row(timed) for timed in one.order],
    }


def _row(one: Timed) -> dict[str, Any]:
    return {"algorithm": one.algorithm.name, "tile": one.algorithm.tile, "ms": one.ms}


def tables(values: dict[str, Any]) -> list[Table]:
    rows = values.get("tuned", ())
    lines = [
        (
            row["case"],
            row["layer"],
            row["pass"],
            _name(row["preferred"]),
            number(row["preferred"]["ms"]),
            _name(row["algorithms"][0]),
            number(row["algorithms"][0]["ms"]),
            f"{row['preferred']['ms'] / row['algorithms'][0]['ms']:.2f}",
        )
        for row in rows
    ]
    columns = ("net", "layer", "pass", "preferred", "ms", "fastest", "ms", "ratio")
    return [Table("Algorithms of convolutions", columns, lines, left=3)] if lines else []


def _name(row: dict[str, Any]) -> str:
    return f"{row['algorithm']} {row['tile']}" if row["tile"] else str(row["algorithm"])
