"""`gpunet data`: fetch a data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer


def data(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="cifar10, cifar100, mnist, fashion-mnist or stl10.", show_default=False),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder that it is put into, as DIR/NAME.")] = Path("data"),
) -> None:
    """Fetch a data set from where its authors give it out, check its sum and unpack it for gpunet train --data.

    A download that breaks off is taken up again where it stopped, also by the next call.

    Exit code 2 if that is not possible, 130 after Ctrl-C.
    """
    from gpunet.data.fetch import fetch
    from gpunet.data.sources import SOURCES

    with _bar() as watch:
        place, fetched = fetch(name, to, watch)
    typer.echo(f"{SOURCES[name].title} is {'' if fetched else 'already '}in {place}; train on it with --data {place}")
    typer.echo(f"its home, with terms and authors: {SOURCES[name].home}")


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, where that is a screen."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
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
