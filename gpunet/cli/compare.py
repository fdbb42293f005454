"""`gpunet compare`: runs side by side."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gpunet.errors import ConfigError, DataError
from gpunet.values.visible import told_path


def compare(
    runs: Annotated[
        list[Path], typer.Argument(parser=told_path, metavar="RUN RUN...", help="Folders of runs.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=told_path,
            metavar="FILE",
            help="A page in .html, with the curves in one picture.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tell in which settings runs differ, and what came of each: accuracies, losses, time and memory.

    Exit code 2 for what is no run.
    """
    from gpunet.report.compare_table import compare_parts
    from gpunet.report.console import show
    from gpunet.train.history import read_history

    if len(runs) < 2:
        raise ConfigError("one run is compared with nothing; give two or more")
    _check(out, len(runs))
    histories = [read_history(run) for run in runs]
    names = [history.name for history in histories]
    names = names if len(set(names)) == len(names) else [f"{run}" for run in runs]
    parts = compare_parts(names, [_settings(run) for run in runs], [_results(run) for run in runs])
    show(*parts)
    if out is None:
        return
    from gpunet.report.curves import draw_curves
    from gpunet.report.run_report import Drawn, Part, report_text
    from gpunet.system.files import write_whole

    curves = Drawn(draw_curves(histories), f"loss, accuracy and learning rate of {', '.join(names)}")
    title = f"{len(runs)} runs compared"
    write_whole(out, report_text(title, ", ".join(names), [Part("Side by side", parts), Part("Curves", [curves])]))
    typer.echo(f"{out} shows them, and their curves")


def _check(out: Path | None, runs: int) -> None:
    """Raise ConfigError where the page cannot be written, before any work."""
    from gpunet.report.canvas import require_matplotlib
    from gpunet.report.curves import MOST_RUNS
    from gpunet.system.files import check_place

    if out is None:
        return
    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"{out} is no name of a page; give one that ends in .html")
    if runs > MOST_RUNS:
        raise ConfigError(f"a page has at most {MOST_RUNS} runs, as many as there are colours; got {runs}")
    check_place(out)
    require_matplotlib("gpunet compare --out")


def _settings(run: Path) -> dict[str, Any]:
    """What config.toml of a run says. Raises DataError where it cannot be read."""
    import tomllib

    from gpunet.train.weights import CONFIG

    try:
        return tomllib.loads((run / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{run / CONFIG} cannot be read: {error}") from None


def _results(run: Path) -> dict[str, Any]:
    """What came of a run, so far as it is finished."""
    from gpunet.memory.size import format_bytes, format_speed
    from gpunet.train.folder import PLAN
    from gpunet.train.history import read_history
    from gpunet.train.last_look import TEST
    from gpunet.train.metrics import best

    rows = list(read_history(run).epochs)
    found: dict[str, Any] = {"epochs": len(rows)}
    if judged := [row for row in rows if row.judged]:
        row = best(judged)
        by = "validation" if row.judged_by == "val" else "test"
        found |= {"best epoch": row.epoch, f"{by} accuracy": f"{row.judged_accuracy:.2%}"}
        found[f"{by} loss"] = f"{row.judged_loss:.4f}"
    tested = _json(run / TEST)
    if isinstance(tested.get("test_accuracy"), float):
        found["test accuracy at the end"] = f"{tested['test_accuracy']:.2%}"
    if rows:
        found["images/s"] = format_speed(rows[-1].images_per_second)
        found["seconds in all"] = f"{sum(row.seconds for row in rows):.1f}"
    planned = _json(run / PLAN)
    for name, words in (("parameters", "parameters"), ("arena_bytes", "arena")):
        if isinstance(planned.get(name), int):
            found[words] = f"{planned[name]:,}" if name == "parameters" else format_bytes(planned[name])
    return found


def _json(path: Path) -> dict[str, Any]:
    """The values in a file; {} where there are none to be read."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
