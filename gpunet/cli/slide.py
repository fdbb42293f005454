"""`gpunet slide`: the scores of a net over a larger image."""

from pathlib import Path
from typing import Annotated

import typer

from gpunet.cli import options
from gpunet.cli.suiting import tell_of_values
from gpunet.errors import ConfigError
from gpunet.values.visible import told_path


def slide(
    weights: options.WeightsFile,
    image: Annotated[Path, typer.Argument(parser=told_path, metavar="IMAGE", help="A picture.", show_default=False)],
    scale: Annotated[
        int | None,
        typer.Option(min=1, help="Bring its short side to so many pixels; default: as it is.", show_default=False),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pixels from one crop to the next; default: the net's own, which it divides.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=told_path, metavar="FILE", help="Draw heat maps into a .png file.", show_default=False),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Class to map, by name or number; may be given several times."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to tell of.")] = 5,
    net: options.NetOfWeights = None,
    device: options.DeviceOrAuto = options.AUTO,
    budget: options.Budget = None,
    json: options.Json = False,
) -> None:
    """Score every crop of a picture at some stride: the net slides over it, its FC layers as CONV layers.

    Says which classes are most probable over all crops, and where each of them is.

    Exit code 1 if it does not fit, 2 for a mistake.
    """
    from gpunet.cli.trained import scoring_model, scoring_plan
    from gpunet.data.picture import read_scaled
    from gpunet.data.white import to_white
    from gpunet.net.weights import convert_weights
    from gpunet.report.slide_table import slide_json, slide_parts
    from gpunet.train.weights import class_names, open_weights, weights_file, white_of
    from gpunet.use.sliding import plan_sweep

    if out is not None:
        from gpunet.report.canvas import check_plot

        check_plot(out, "--out")
    path = weights_file(weights)
    config, values = open_weights(path, net)
    names = class_names(path, config.net.classes)
    tell_of_values(config.net, path)
    chosen = [_class(word, names) for word in label or ()]
    picture = read_scaled(image, scale, config.net.input.D)
    sweep = plan_sweep(config.net, picture.shape, stride)
    made = scoring_plan(sweep.net, 1, device, budget)
    with scoring_model(sweep.net, made, convert_weights(values, sweep.net)) as model:
        scored = sweep.run(model, to_white(picture, white_of(path)))
    told = list(dict.fromkeys([*chosen, *scored.top(top)]))
    if json:
        from gpunet.report.as_json import as_text

        typer.echo(as_text(slide_json(sweep, scored, made, names, told)))
    else:
        from gpunet.report.console import show

        show(*slide_parts(sweep, scored, made, names, told))
    if out is not None:
        from gpunet.report.heat_map import MOST, save_heat_map

        drawn = chosen or scored.top(MOST)
        save_heat_map(picture, scored, drawn, names, out)
        if not json:
            from gpunet.net.words import listed

            typer.echo(f"{out} shows where {listed(names[label] for label in drawn)} may be")


def _class(word: str, names: list[str]) -> int:
    """The number of a class by its name, or by its number. Raises ConfigError for one that there is not."""
    from gpunet.net.words import nearest, shown

    if word in names:
        return names.index(word)
    if word.isascii() and word.isdecimal() and len(word) < 10 and int(word) < len(names):
        return int(word)
    numbers = f"; there are {len(names):,} classes, from 0"
    raise ConfigError(f"there is no class {shown(word)}{nearest(word, names)}{numbers}")
