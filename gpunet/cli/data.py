"""`gpunet data`: fetch a data set."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from gpunet.cli.guard import CTRL_C, complain
from gpunet.values.visible import told_path

SIGTERM = 128 + signal.SIGTERM


def data(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="cifar10, cifar100, mnist, fashion-mnist or stl10.", show_default=False),
    ],
    to: Annotated[
        Path, typer.Option(parser=told_path, metavar="DIR", help="Folder that it is put into, as DIR/NAME.")
    ] = Path("data"),
) -> None:
    """Fetch a data set from where its authors give it out, check its sum and unpack it for gpunet train --data.

    A download that breaks off is taken up again where it stopped, also by the next call.

    Exit code 2 if that is not possible, 130 after Ctrl-C, 143 after SIGTERM.
    """
    from gpunet.data.fetch import fetch
    from gpunet.data.sources import SOURCES

    with _ended_by_signals(), _bar() as watch:
        place, fetched = fetch(name, to, watch)
    typer.echo(f"{SOURCES[name].title} is {'' if fetched else 'already '}in {place}; train on it with --data {place}")
    typer.echo(f"its home, with terms and authors: {SOURCES[name].home}")


class _Terminated(KeyboardInterrupt):
    """SIGTERM: whatever tidies up after Ctrl-C does so after this one."""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """On Ctrl-C and SIGTERM say that what is there can be gone on with, and leave with their exit codes."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as ended:
        complain("stopped; run the same command again to go on from there")
        sys.exit(SIGTERM if isinstance(ended, _Terminated) else CTRL_C)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, where that is a screen."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
    console = Console(stderr=True)
    with Progress(
        *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        tasks = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield watch
