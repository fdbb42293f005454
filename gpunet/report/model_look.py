"""What a model looks like: where it runs and how far it has learnt, and its parameters."""

from math import prod
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gpunet.memory.size import format_bytes
from gpunet.model.model import Model
from gpunet.report.as_json import plan_json
from gpunet.report.table import cost_line


def model_line(model: Model) -> str:
    """The model in one line."""
    plan, steps = model.plan, model.steps
    learnt = f", {steps:,} step{'' if steps == 1 else 's'} taken" if plan.mode == "train" else ", for inference"
    return f"{plan.net} on {plan.device}, batch {plan.batch:,}, arena {format_bytes(model.arena_bytes)}{learnt}"


def model_parts(model: Model) -> list[Table | str]:
    """A model, ready to show: what it costs, how far it is, its parameters."""
    lines = [cost_line(model.plan)]
    if model.plan.mode == "train":
        rate = f"learning rate {model.learning_rate:g}"
        lines.append(f"steps taken {model.steps:,}, images learnt from {model.seen:,}, {rate}, seed {model.seed}")
    return [*lines, "", parameter_table(model)]


def parameter_table(model: Model) -> Table:
    """A row for each parameter, and their total; running statistics are kept and not learnt."""
    tensors = model.parameters.tensors
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_footer=True)
    table.add_column("parameter", "total")
    table.add_column("shape")
    table.add_column("values", f"{sum(prod(tensor.shape) for tensor in tensors.values()):,}", justify="right")
    table.add_column("bytes", format_bytes(sum(tensor.nbytes for tensor in tensors.values())), justify="right")
    rows = _parameters(model)
    words = ["" if row["learnt"] or model.plan.mode == "infer" else "not learnt" for row in rows]
    if any(words):
        table.add_column("")
    for row, word in zip(rows, words, strict=True):
        shape = "x".join(map(str, row["shape"]))
        cells = [row["name"], shape, f"{row['values']:,}", format_bytes(row["nbytes"])]
        table.add_row(*cells, *([word] if any(words) else []))
    return table


def model_json(model: Model) -> dict[str, Any]:
    """All of a model but the values of its parameters."""
    return {
        "net": model.net.name,
        "device": model.plan.device,
        "mode": model.plan.mode,
        "batch": model.batch,
        "steps": model.steps,
        "seen": model.seen,
        "seed": int(model.seed),
        "learning_rate": model.learning_rate,
        "parameters": _parameters(model),
        "plan": plan_json(model.net, model.plan),
    }


def _parameters(model: Model) -> list[dict[str, Any]]:
    learnt = {parameter.tensor.name for parameter in model.plan.program.parameters if parameter.gradient is not None}
    return [
        {
            "name": name,
            "layer": tensor.layer,
            "shape": list(tensor.shape),
            "values": prod(tensor.shape),
            "nbytes": tensor.nbytes,
            "learnt": name in learnt,
        }
        for name, tensor in model.parameters.tensors.items()
    ]
