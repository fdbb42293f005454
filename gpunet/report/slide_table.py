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
    return [cost_line(plan), *_words(sweep), "", score_table(scored, names, labels)]


def score_table(scored: ScoreMap, names: Sequence[str], labels: Sequence[int]) -> Table:
    """How probable each of these classes is over all crops, and where it is most so."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    table.add_column("class")
    for header in ("mean probability", "highest", "row", "column"):
        table.add_column(header, justify="right")
    mean = scored.mean
    for label in labels:
        row, column = scored.best(label)
        most = scored.probabilities[:, :, label].max()
        table.add_row(names[label], f"{mean[label]:.2%}", f"{most:.2%}", f"{row}", f"{column}")
    return table


def crops(scored: ScoreMap) -> str:
    """How the crops of an image lie, in words."""
    rows, columns, _ = scored.scores.shape
    return f"{rows}x{columns} crops of {_by(scored.crop)} at stride {_by(scored.stride)}"


def _by(pixels: tuple[int, int]) -> str:
    return f"{pixels[0]}x{pixels[1]}"


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
    said = score_json(scored, names, labels)
    return {
        "net": sweep.net.name,
        "image": list(sweep.image),
        **{name: value for name, value in said.items() if name != "classes"},
        "passes": sweep.passes,
        "arena_bytes": plan.arena_bytes,
        "total_bytes": plan.total_bytes,
        "classes": said["classes"],
    }


def score_json(scored: ScoreMap, names: Sequence[str], labels: Sequence[int]) -> dict[str, Any]:
    """How the crops lie, and these classes; `probabilities` as in `slide_json`."""
    mean = scored.mean
    return {
        "crop": list(scored.crop),
        "stride": list(scored.stride),
        "crops": list(scored.scores.shape[:2]),
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
