"""What is predicted of a training step beside what is measured, op by op; and what that says of this card.

The paces that are found are kept in the user's cache, in a file by the card's name: `gpunet plan` and `fit` predict by
them from then on, on any machine to which the file is brought. Ops without products are held against a plain copy, too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpunet.devices.cards import Card, named
from gpunet.devices.cuda.reserve import hardware
from gpunet.planning import efficiency
from gpunet.planning.planner import plan
from gpunet.planning.prediction import BY_TABLE, found_paces, pace_key, predict
from gpunet.profile.measure import Profile, profile

from .kernels import COPY_BYTES, measure_copy
from .nets import Case
from .setting import Setting
from .steps import CASES
from .table import Table, number

TITLE = "predicted and measured"
SECONDS = 75
NEEDS = ("cupy", "torch")

STEPS = 5
SECONDS_A_COPY = 0.5


def run(
    setting: Setting,
    cases: Sequence[Case] = CASES,
    card: Card | None = None,
    steps: int = STEPS,
    copy_bytes: int = COPY_BYTES,
) -> None:
    """Profile each net that there is room for; `card`: the one that this is, None: ask NVML."""
    name = hardware() or "an unknown GPU"
    card = card or _card(name)
    if card is None:
        setting.findings.skip(f"{name} is not in gpunet's table of cards, so nothing is predicted of it")
        return
    setting.findings.note("card", card.name)
    copy = measure_copy(setting, min(copy_bytes, setting.room_bytes // 4), SECONDS_A_COPY)
    setting.findings.note("copy_gb_per_s", copy)
    for case in cases:
        if setting.quick and case.large:
            setting.findings.skip(f"{case.name}: left out of a quick run")
            continue
        net = case.load()
        if setting.goes(case.name, plan(net, case.batch, device=setting.device.name).arena_bytes):
            made = profile(net, case.batch, setting.device, steps=steps)
            setting.findings.append("cases", _case(case, made, card, copy))
            if path := _keep(case, made, card, name):
                setting.findings.note("paces_file", str(path))


def _card(hardware: str) -> Card | None:
    found = named(hardware.partition(", driver ")[0])
    return found[0] if len(found) == 1 else None


def _keep(case: Case, made: Profile, card: Card, hardware: str) -> Path | None:
    """The file of what was found; None where nothing was."""
    source = f"what bench/on_gpu.py found last with {case.name}, on the {hardware}"
    paces = found_paces(made.plan, card, [op.ms for op in made.ops], source)
    return efficiency.keep(card, paces) if paces.by_key else None


def _case(case: Case, made: Profile, card: Card, copy_gb_per_s: float) -> dict[str, Any]:
    """A net: a step and each kind of op, measured and as the table alone has it."""
    expected = predict(made.plan, card, BY_TABLE)
    kinds: dict[str, dict[str, Any]] = {}
    for one, op in zip(expected.ops, made.ops, strict=True):
        row = kinds.setdefault(pace_key(op.op), {"ms": 0.0, "predicted_ms": 0.0, "bytes": 0, "flops": 0, "ops": []})
        row["ms"] += op.ms
        row["predicted_ms"] += one.ms.likely
        row["bytes"] += op.nbytes
        row["flops"] += op.flops
        row["ops"].append({"layer": op.op.layer, "ms": op.ms, "predicted_ms": one.ms.likely, "bound_by": one.bound})
    for row in kinds.values():
        row["pace"] = row["predicted_ms"] / max(row["ms"], 1e-9)
        row["gb_per_s"] = row["bytes"] / max(row["ms"], 1e-9) / 1e6
        row["share_of_copy"] = None if row["flops"] else row["gb_per_s"] / copy_gb_per_s
    return {
        "case": case.name,
        "predicted_ms": list(expected.ms),
        "step_ms": made.step_ms,
        "ops_ms": made.ops_ms,
        "within": expected.ms.low <= made.ops_ms <= expected.ms.high,
        "kinds": kinds,
    }


def tables(values: dict[str, Any]) -> list[Table]:
    cases = values.get("cases", ())
    if not cases:
        return []
    lines = []
    for case in cases:
        low, likely, high = case["predicted_ms"]
        span = f"{number(low)} to {number(high)}"
        within = "yes" if case["within"] else "no"
        lines.append((case["case"], number(case["step_ms"]), number(case["ops_ms"]), number(likely), span, within))
    columns = ("training step", "measured ms", "its ops", "predicted", "from, to", "within")
    notes = (
        f"predicted for the {values['card']} by the table alone; kept for it: {values.get('paces_file', 'nothing')}",
    )
    return [Table("Predicted and measured", columns, lines, notes), *map(_by_kind, cases)]


def _by_kind(case: dict[str, Any]) -> Table:
    ranked = sorted(case["kinds"].items(), key=lambda item: -item[1]["ms"])
    lines = [
        (
            name,
            number(row["ms"]),
            number(row["predicted_ms"]),
            f"{row['pace']:.2f}",
            number(row["gb_per_s"]),
            "-" if row["share_of_copy"] is None else f"{row['share_of_copy']:.0%}",
        )
        for name, row in ranked
    ]
    columns = ("op", "measured ms", "predicted ms", "pace", "GB/s", "of a large copy")
    notes = ("pace: predicted over measured, above 1 faster than the table says; GB/s: inputs and outputs, once",)
    return Table(f"{case['case']}: predicted and measured by op", columns, lines, notes)
