"""`gpunet demo`: learn digits, find them on a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import options
from gpunet.errors import ConfigError
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    from gpunet.use.demo import Page
    from gpunet.use.sliding import ScoreMap

PAGE, WEIGHTS, FOUND = "page.png", "weights.safetensors", "found.png"


def demo(
    out: Annotated[
        Path, typer.Option(parser=told_path, metavar="DIR", help="Folder for page, weights and picture.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of pages, weights and order.")] = 0,
    device: options.DeviceOrAuto = options.AUTO,
) -> None:
    """Find handwritten digits on a page: learn them from crops of other pages, then slide; some seconds in all.

    Exit code 2 for a mistake.
    """
    from gpunet.data.picture import save_picture
    from gpunet.net.config import dump_net
    from gpunet.system.files import check_place
    from gpunet.train.folder import make_folder
    from gpunet.train.screen import Screen
    from gpunet.train.weights import save_weights
    from gpunet.use.demo import CLASSES, demo_config, demo_data, learn, new_page
    from gpunet.use.sliding import slide

    make_folder(out)
    for name in (PAGE, WEIGHTS, FOUND):
        check_place(out / name)
    config, data = demo_config(seed), demo_data(seed)
    typer.echo(f"{len(data.train):,} crops to learn from, {len(data.test):,} to test on, each of a digit or of nothing")
    with Screen() as screen:
        weights = learn(config, data, device, [screen])
    save_weights(out / WEIGHTS, weights, {"net": config.net.name, "config": dump_net(config.net), "classes": CLASSES})
    page = new_page(seed)
    save_picture(out / PAGE, page.picture)
    _tell(page, slide(config.net, weights, page.picture, stride=1, device=device), out)


def _tell(page: "Page", scored: "ScoreMap", out: Path) -> None:
    """Say and draw what was found, and how to look further."""
    from gpunet.report.canvas import check_plot
    from gpunet.report.found import save_found
    from gpunet.use.demo import CLASSES, CROP, DIGIT, chances, find, told_right

    found = find(scored)
    correct = told_right(found, page)
    typer.echo(
        f"{out / PAGE} has {len(page.places)} digits that were not learnt from: {sum(correct)} found and told right, "
        f"{len(found) - sum(correct)} wrong"
    )
    try:
        check_plot(out / FOUND, "a picture of what was found")
    except ConfigError as error:  # the demo is of use without it
        typer.echo(str(error))
    else:
        marks = [
            (row, column, CLASSES[label], right) for (row, column, label), right in zip(found, correct, strict=True)
        ]
        middle = (CROP - 1) / 2
        save_found(page.picture, chances(scored).max(axis=2), (middle, middle), marks, DIGIT, out / FOUND)
        typer.echo(f"{out / FOUND} shows them")
    typer.echo(f"look for threes: gpunet slide {out / WEIGHTS} {out / PAGE} --stride 1 --class 3 --out threes.png")
