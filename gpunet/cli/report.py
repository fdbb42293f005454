"""`gpunet report`: a run as one HTML file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.cli.trained import judged_tests, training_of
from gpunet.errors import ConfigError, DataError
from gpunet.values.visible import told_path, typable, visible

if TYPE_CHECKING:
    from gpunet.net.config import Config, TrainConfig
    from gpunet.profile.measure import Profile
    from gpunet.program.program import AnyDevice
    from gpunet.report.run_report import Part

SHOWN = 12
"""Mistakes."""


def report(
    run: Annotated[
        Path, typer.Argument(parser=told_path, metavar="RUN", help="The folder of a run.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(parser=told_path, metavar="FILE", help="The .html file; one that is there is replaced.")
    ] = Path("report.html"),
    steps: Annotated[int, typer.Option(min=0, help="Steps that are timed on random images; 0: none.")] = 5,
    data: options.Data = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    device: options.DeviceOrAuto = options.AUTO,
) -> None:
    """Write a run as one HTML file that opens from a disk and asks for nothing.

    Curves, confusion, mistakes, filters, the plan with its pictures and tables, the profile of a step, in what it ran,
    and how to repeat it. What cannot be shown, as data that are not there any more, is told in its place. Needs
    matplotlib.
    """
    from gpunet.report.canvas import require_matplotlib
    from gpunet.report.run_report import report_text
    from gpunet.system.files import check_place, write_whole
    from gpunet.train.history import read_history
    from gpunet.train.weights import open_weights, weights_file

    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"{out} is no name of a page; give one that ends in .html")
    check_place(out)
    require_matplotlib("gpunet report")
    history = read_history(run)
    config, _ = open_weights(run)
    told = training_of(weights_file(run)) or config.train
    made = _profile(config, told, steps, device) if steps else None
    parts = [
        _curves(run),
        *_tested(run, data, size, skip_broken, device),
        _filters(run),
        _memory(config, told, made, device),
        *([_profiled(made)] if made else []),
        _environment(run),
        _repeat(run, config),
    ]
    about = f"{config.net.name}, {config.net.parameters:,} parameters, learnt from {told.data}"
    write_whole(out, report_text(f"The run {history.name}", about, parts))
    typer.echo(f"{out} shows {run}: {', '.join(part.heading.lower() for part in parts)}")


def _curves(run: Path) -> "Part":
    from gpunet.report.curves import draw_curves
    from gpunet.report.run_report import Drawn, Part
    from gpunet.train.history import read_history

    history = read_history(run)
    words = f"loss, accuracy and learning rate over {len(history.epochs)} epochs"
    return Part("Curves", [Drawn(draw_curves([history]), words)])


def _tested(
    run: Path, data: str | None, size: str | None, skip_broken: bool | None, device: str
) -> "tuple[Part, Part]":
    """Confusion and mistakes on the test images; why there are none, where the data cannot be had."""
    from gpunet.data.dataset import file_of
    from gpunet.report.confusion import confusions, draw_confusion
    from gpunet.report.evaluation_table import evaluation_parts
    from gpunet.report.mistakes import draw_mistakes, mistake_lines
    from gpunet.report.run_report import Drawn, Part

    try:
        classes, dataset, judged = judged_tests(run, None, data, size, skip_broken, None, device)
    except (ConfigError, DataError) as error:
        return Part("Confusion", [f"not shown: {error}"]), Part("Mistakes", [f"not shown: {error}"])
    head, counts = f"{run.resolve().name} on {dataset.name}", judged.confusion()
    picture = Drawn(draw_confusion(counts, classes, head), "which classes are taken for which")
    confusion = Part("Confusion", [picture, *confusions(counts, classes, 5), *evaluation_parts(judged, classes)])
    wrong = judged.mistakes(SHOWN)
    if not len(wrong):
        return confusion, Part("Mistakes", ["no image is taken for another class"])
    files = [file_of(dataset.test, int(index)) for index in wrong]
    images, _ = dataset.test.take(wrong)
    drawn = Drawn(draw_mistakes(images, judged, wrong, classes, head, files), "the worst mistakes")
    return confusion, Part("Mistakes", [drawn, *mistake_lines(judged, wrong, classes, files)])


def _filters(run: Path) -> "Part":
    from gpunet.report.filter_picture import draw_filters
    from gpunet.report.run_report import Drawn, Part
    from gpunet.train.filters import filters_of
    from gpunet.train.weights import open_weights

    config, values = open_weights(run)
    try:
        name, w = filters_of(config.net, values)
    except ConfigError as error:
        return Part("Filters", [f"not shown: {error}"])
    return Part("Filters", [Drawn(draw_filters(w, f"{name} of {config.net.name}"), f"the filters of {name}")])


def _profile(config: "Config", told: "TrainConfig", steps: int, device: "AnyDevice") -> "Profile":
    """Some steps on random images, as `gpunet profile` times them."""
    from gpunet.profile.measure import profile
    from gpunet.report.console import working

    with working(f"timing {steps} steps") as say:
        return profile(
            config.net,
            told.batch,
            device,
            steps=steps,
            watch=lambda done: say(f"timed {done} of {steps} steps"),
            budget=told.budget,
            **options.train_settings(told),
        )


def _memory(config: "Config", told: "TrainConfig", made: "Profile | None", device: "AnyDevice") -> "Part":
    """The plan of a step: that which was timed, else that of the run's settings on this device."""
    from gpunet.model.making import choose_device
    from gpunet.planning.planner import plan
    from gpunet.report.plot import draw
    from gpunet.report.run_report import Drawn, Part
    from gpunet.report.table import plan_parts, verdict

    net = config.net
    planned = made.plan if made else None
    if planned is None:
        planned = plan(
            net, told.batch, device=choose_device(device), budget=told.budget, **options.train_settings(told)
        )
    words = "bytes over the steps by kind, and where each tensor lies in the arena"
    return Part("Memory", [Drawn(draw(planned), words), *plan_parts(net, planned, verdict(planned))])


def _profiled(made: "Profile") -> "Part":
    from gpunet.report.profile_table import profile_parts
    from gpunet.report.run_report import Part

    return Part("Profile", profile_parts(made))


def _environment(run: Path) -> "Part":
    """What each start of the run says of the machine."""
    from gpunet.report.run_report import Part
    from gpunet.train.folder import starts_of

    lines = [line for start in starts_of(run) if isinstance(start, dict) for line in (*_lines(start), "")]
    return Part("Environment", lines or ["the run does not say in what it ran"])


def _lines(start: dict[str, Any]) -> list[str]:
    flat = {name: value for name, value in start.items() if not isinstance(value, dict)}
    inner = {
        f"{name}.{one}": value for name, more in start.items() if isinstance(more, dict) for one, value in more.items()
    }
    return [f"{name:24} {visible(str(value))}" for name, value in {**flat, **inner}.items()]


def _repeat(run: Path, config: "Config") -> "Part":
    """The command that trains the same run again, and its config."""
    from gpunet.net.config import dump
    from gpunet.report.run_report import Part
    from gpunet.train.weights import CONFIG

    kept = run / CONFIG
    text = kept.read_text("utf-8") if kept.is_file() else dump(config)
    command = f"gpunet train {typable(kept)} --out again"
    return Part("How to repeat it", [command, "", f"with this in {CONFIG}:", "", *map(visible, text.splitlines())])
