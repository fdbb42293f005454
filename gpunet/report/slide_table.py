"""The scores of a net over a larger image, for people and for programs."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from gpunet.memory.plan import Plan
from gpunet.report.table import cost_line
from gpunet.use.sliding import ScoreMap, Sweep


def slide_parts(
    sweep: Sweep, scored: ScoreMap, plan: Plan, names: Sequence[str], labels: Sequence[int]
) -> list[Table | str]:
    """What one pass costs, how the crops lie, and the classes that are to be told of."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    table.add_column("class")
    for header in ("mean probability", "highest", "row", "column"):
        table.add_column(header, justify="right")
    mean = scored.mean
    for label in labels:
        row, column = scored.best(label)
        most = scored.probabilities[:, :, label].max()
        table.add_row(names[label], f"{mean[label]:.2%}", f"{most:.2%}", f"{row}", f"{column}")
    return [cost_line(plan), *_words(sweep), "", table]


def _words(sweep: Sweep) -> list[str]:
    rows, columns, crop = sweep.rows, sweep.columns, sweep.crop
    stride = f"{rows.stride}" if rows.stride == columns.stride else f"{rows.stride}x{columns.stride}"
    passes = "1 pass" if sweep.passes == 1 else f"{sweep.passes} passes"
    lines = [
        f"{sweep.image[0]}x{sweep.image[1]} pixels: {rows.crops}x{columns.crops} crops of {crop.H}x{crop.W} at stride "
        f"{stride}, in {passes} over {rows.pixels}x{columns.pixels}"
    ]
    left = [_count(size, word) for size, word in zip(sweep.unseen, ("row", "column"), strict=True) if size]
    if left:
        lines.append(f"not seen, too few for one more crop: the last {' and the last '.join(left)}")
    return lines


def _count(number: int, word: str) -> str:
    return word if number == 1 else f"{number} {word}s"


def slide_json(
    sweep: Sweep, scored: ScoreMap, plan: Plan, names: Sequence[str], labels: Sequence[int]
) -> dict[str, Any]:
    """`probabilities` of a class: a row of them for each row of crops."""
    mean = scored.mean
    return {
        "net": sweep.net.name,
        "image": list(sweep.image),
        "crop": list(scored.crop),
        "stride": list(scored.stride),
        "crops": [sweep.rows.crops, sweep.columns.crops],
        "passes": sweep.passes,
        "arena_bytes": plan.arena_bytes,
        "total_bytes": plan.total_bytes,
        "classes": [
            {
                "label": label,
                "name": names[label],
                "mean_probability": float(mean[label]),
                "best": list(scored.best(label)),
                "probabilities": scored.probabilities[:, :, label].tolist(),
            }
            for label in labels
        ],
    }
