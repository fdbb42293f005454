"""What a run of `gpunet train` starts from: a net, the weights of another run, or a run to go on with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gpunet.cli import options
from gpunet.cli.suiting import with_scale
from gpunet.errors import ConfigError
from gpunet.values.visible import typable

if TYPE_CHECKING:
    from gpunet.net.config import Config
    from gpunet.planning.tuned import Orders


def starting_config(
    net: str | None,
    resume: Path | None,
    out: Path | None,
    weights: Path | None,
    classes: int | None,
    width: float | None,
    input: str | None,
    scale: float | None,
    shift: float | None,
    data: str | None,
) -> "Config":
    """The config to train with, `data` aside; the options are those of the command line.

    Raises ConfigError where too little or too much is said.
    """
    changes = {"--weights": weights, "--classes": classes, "--width": width, "--input": input}
    changes |= {"--scale": scale, "--shift": shift}
    if resume is not None:
        return _of_run(net, resume, {**changes, "--out": out})
    config = _of_net(net, weights, width, input, data, headless=classes is not None)
    if classes is not None:
        config = _with_classes(config, classes)
    return with_scale(config, data, scale, shift)


def _of_run(net: str | None, resume: Path, given: "dict[str, object]") -> "Config":
    """The config of a run to go on with."""
    from gpunet.train.weights import CONFIG

    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"--resume goes on with the run as it is, in its own folder: leave out {option}")
    if not (resume / CONFIG).is_file():
        start = f"; --weights {typable(resume)} starts from a file of weights" * resume.is_file()
        raise ConfigError(f"{resume} is no folder of a run: it holds no {CONFIG}{start}")
    return options.read_net(str(resume / CONFIG) if net is None else net)


def tuned_choices(resume: Path | None, no_tuned: bool) -> "bool | Orders":
    """How convolutions are chosen: as is said, but a run that is gone on with keeps what it began with.

    Raises ConfigError for --no-tuned with such a run.
    """
    from gpunet.planning.tuned import CONVOLUTIONS, read_orders
    from gpunet.system.files import read_regular
    from gpunet.train.folder import PLAN

    if resume is None:
        return not no_tuned
    if no_tuned:
        raise ConfigError("--resume goes on with the run as it is, in its own folder: leave out --no-tuned")
    try:
        return read_orders(json.loads(read_regular(resume / PLAN))[CONVOLUTIONS])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # lost, or of no use
        return False


def _of_net(
    net: str | None, weights: Path | None, width: float | None, input: str | None, data: str | None, *, headless: bool
) -> "Config":
    """The config of a net that is given, or that weights are of, which may be `headless`: without those of scores."""
    from gpunet.train.given import require_no_weights

    if net is not None:
        require_no_weights(net)
    if weights is None:
        if net is None:
            raise ConfigError(
                "no net was given; give one, like vgg_digits; start from the weights of another run: --weights RUN; or "
                "go on with a run: --resume RUN"
            )
        return options.read_net(net, width, input)
    from gpunet.cli.trained import training_on
    from gpunet.formats.known import foreign_format
    from gpunet.train.weights import open_weights, weights_file

    path = weights_file(weights)
    foreign = foreign_format(path) is not None
    if net is not None:
        config = options.read_net(net, width, input)
        config = _brought(path, data, config, headless=headless) if foreign else config
    else:
        config = (
            _brought(path, data, headless=headless, input=input)
            if foreign
            else replace(open_weights(path)[0], train=training_on(path, data))
        )
        config = options.resized(config, width, None if foreign else input)
    return replace(config, train=config.train.changed(weights=str(path), fresh=()))


def _brought(
    path: Path, data: str | None, config: "Config | None" = None, *, headless: bool, input: str | None = None
) -> "Config":
    """The config of the net whose weights another framework wrote, with images entering it as they did there: `data`
    that are pictures are brought to their size."""
    from gpunet.data.find import is_pictures
    from gpunet.use.entering import asking
    from gpunet.use.importing import bring

    found = bring(path, config, headless=headless, asked=asking(input=input))
    if not found.match.sure:
        raise ConfigError(
            f"{path} has names that are not known, and its order and shapes are to be looked at first: gpunet import "
            f"{path} --net NET shows them, and --weights takes what it writes"
        )
    typer.echo("\n".join(found.said))
    image = found.net.image
    if data is None or found.config.train.size is not None or not is_pictures(data):
        return found.config
    return replace(found.config, train=found.config.train.changed(size=f"{image.H}x{image.W}"))


def _with_classes(config: "Config", classes: int) -> "Config":
    from gpunet.train.start import with_classes

    net, changed = with_classes(config.net, classes)
    fresh = () if config.train.weights is None else tuple(dict.fromkeys([*config.train.fresh, *changed]))
    return replace(config, net=net, train=config.train.changed(fresh=fresh))
