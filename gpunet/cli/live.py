"""`gpunet live`: a page that plans a net, trains it and looks into it."""

import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.errors import ConfigError
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    from gpunet.data import Dataset
    from gpunet.net.config import Config

PATIENCE = 600.0
"""Seconds without a viewer after which it ends."""


def live(
    net: Annotated[
        str, typer.Argument(metavar="[NET | RUN]", help=f"{options.NET_HELP} Or the folder of a run.")
    ] = "vgg_digits",
    data: options.Data = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    device: options.DeviceOrAuto = options.AUTO,
    seed: Annotated[int | None, typer.Option(help="Of starting weights and order.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=told_path, metavar="DIR", help="Folder for the run; default: runs/NET-1, -2, ...", show_default=False
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0: any that is free.")] = 0,
    open: Annotated[bool, typer.Option("--open", help="Open the link in the browser.")] = False,
) -> None:
    """Serve a page, to this machine alone, on which a net is planned, trained and looked into.

    Its link has a token; who does not have it is refused. Ends by the page's stop, by Ctrl-C, or after 10 minutes
    without a viewer; a checkpoint is kept. Needs the extra live.
    """
    from gpunet.cli.trained import quiet
    from gpunet.model.making import choose_device
    from gpunet.train.folder import require_no_run

    serving = _serving()
    resume = _run_of(net)
    if out is not None:
        if resume is not None:
            raise ConfigError(f"{net} is the folder of a run, which goes on in it: leave out --out")
        require_no_run(out)
    config = options.read_net(net if resume is None else str(resume / "config.toml"))
    given = options.training(config, data=data, size=size, skip_broken=skip_broken, seed=seed)
    config = _prepared(replace(config, train=given.settled()))
    quiet()
    code = serving(
        config,
        data_of=_data_of,
        prepared=_prepared,
        device=choose_device(device),
        text=_text_of(net, resume),
        out=out,
        resume=resume,
        port=port,
        patience=PATIENCE,
        ready=lambda link: _tell(link, open),
    )
    if code:
        raise typer.Exit(code)


def _serving() -> Any:
    """What serves. Raises ConfigError without the extra."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"gpunet live needs {error.name}, which is not installed: pip install 'gpunet[live]'"
        ) from None
    from gpunet.live.live import serve

    return serve


def _run_of(text: str) -> Path | None:
    """The folder of a run, where it is one."""
    from gpunet.train.weights import CONFIG

    path = told_path(text)
    try:
        return path if (path / CONFIG).is_file() else None
    except (OSError, ValueError):  # longer than a name can be, or with a NUL in it
        return None


def _text_of(net: str, resume: Path | None) -> str:
    """The text that the page begins with."""
    path = told_path(net) if resume is None else resume / "config.toml"
    if net.endswith(".toml") or resume is not None:
        return path.read_text("utf-8")
    return net


def _prepared(config: "Config") -> "Config":
    """The config as `gpunet train` settles it by its data."""
    from gpunet.cli.suiting import with_scale

    return with_scale(config, None)


def _data_of(config: "Config") -> "Dataset":
    """The data of a config. Raises where its net cannot be trained on them."""
    from gpunet.cli.dataset import dataset_of
    from gpunet.train.start import require_learning
    from gpunet.train.suit import require_suited

    require_learning(config.net, config.train)
    dataset = dataset_of(config.net, config.train)
    require_suited(config.net, dataset, spare_outputs=config.train.spare_outputs)
    return dataset


def _tell(link: str, open: bool) -> None:
    typer.echo(f"gpunet live: {link}\nCtrl-C, or Stop on the page, ends it; a checkpoint is kept")
    if open:
        webbrowser.open(link)
