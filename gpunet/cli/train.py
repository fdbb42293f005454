"""`gpunet train`: plan, refuse what does not fit, train, and keep the run in a folder."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.cli.guard import CTRL_C, complain
from gpunet.errors import GpunetError

if TYPE_CHECKING:
    from gpunet.data import Dataset
    from gpunet.memory.plan import Plan
    from gpunet.net.config import Config
    from gpunet.train.folder import RunFolder


def train(
    net: options.Net,
    epochs: Annotated[int | None, typer.Option(help="How often every image is seen.", show_default=False)] = None,
    batch: options.Batch = None,
    device: Annotated[
        options.AnyDevice, typer.Option(help="auto: the GPU if there is one, else the CPU.")
    ] = options.AnyDevice.auto,
    seed: Annotated[
        int | None,
        typer.Option(help="Of starting weights and order: the same seed gives the same bits.", show_default=False),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Memory it may take, like 6GiB; default: what is free.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run; default: runs/NET-1, -2, ...", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="digits, synthetic, or a path: CIFAR, MNIST, STL-10, pictures in folders, NumPy arrays.",
            show_default=False,
        ),
    ] = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    optimizer: options.Optimizer = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="At the start; the config's schedule changes it.", show_default=False)
    ] = None,
    without: options.Without = None,
    max_cost: options.MaxCost = None,
    micro_batches: options.MicroBatches = False,
    reserve: options.Reserve = None,
) -> None:
    """Train a net: plan it, refuse what does not fit, and keep weights and metrics in a folder after every epoch.

    What is not given here comes from the net's config.

    Exit code 1 if it does not fit, 2 for a mistake or a loss that is no number, 130 after Ctrl-C.
    """
    from gpunet.model import Model, choose_device
    from gpunet.net.config import dump
    from gpunet.report.as_json import as_text, plan_json
    from gpunet.train.folder import RunFolder, open_folder
    from gpunet.train.screen import Screen
    from gpunet.train.trainer import Trainer

    given: dict[str, Any] = {"epochs": epochs, "batch": batch, "seed": seed, "data": data, "optimizer": optimizer}
    given |= {"learning_rate": learning_rate, "budget": budget, "size": size, "skip_broken": skip_broken}
    config = options.read_net(net)
    told = config.train.changed(**{name: value for name, value in given.items() if value is not None}).settled()
    config = replace(config, train=told)
    free = _free_bytes(device) if told.budget is None else {}  # now: opening a GPU takes memory that the reserve counts
    where, rule = choose_device(device), told.rule
    settings = options.fit_settings(without, max_cost, micro_batches)
    settings |= {"reserve": reserve, "optimizer": rule, "device": where}
    made = _affordable(config, free.get(where), settings)
    config = replace(config, train=told.changed(budget=made.budget_bytes if told.budget is None else told.budget))
    dataset = _dataset(config)
    model = Model(config.net, device=where, optimizer=rule, seed=told.seed, learning_rate=told.learning_rate, plan=made)
    with model:
        planned = as_text(plan_json(config.net, made)) + "\n"
        folder = RunFolder(open_folder(out, config.net.name), dump(config), planned)
        screen = Screen()
        watchers = (folder, screen)
        trainer = Trainer(model, dataset, epochs=told.epochs, seed=told.seed, schedule=told.schedule, watchers=watchers)
        typer.echo(f"the run is kept in {folder.path}")
        with _kept(folder), screen:
            last = trainer.run()[-1]
    typer.echo(f"test accuracy {last.test_accuracy:.2%} after epoch {last.epoch}; {folder.describe()}")


def _free_bytes(device: str) -> dict[str, int | None]:
    """Memory that nobody uses, by device; of those that `device` may come to mean."""
    from gpunet.devices import device_names
    from gpunet.doctor import free_bytes

    return {name: free_bytes(name) for name in device_names() if device in ("auto", name)}


def _affordable(config: "Config", free_bytes: int | None, settings: dict[str, Any]) -> "Plan":
    """Plan the run, say what it costs and how it was made to fit. Raises BudgetError, naming the batch that fits.

    Where no budget was said, what is free at the moment decides only if it must: the same run is the same bits on a
    machine with more to spare.
    """
    from gpunet.memory.size import format_bytes
    from gpunet.model import require_fit
    from gpunet.planner import plan
    from gpunet.report.table import cost_line
    from gpunet.report.ways import describe, needed

    net, batch = config.net, config.train.batch
    made = plan(net, batch, budget=config.train.budget, **settings)
    if short := free_bytes is not None and made.total_bytes > free_bytes:
        made = plan(net, batch, budget=max(free_bytes or 0, 1), **settings)
    typer.echo(cost_line(made, free_bytes=free_bytes))
    require_fit(net, made, **settings)
    if needed(made):
        typer.echo(f"to fit: {describe(made)}")
    if short:
        typer.echo(f"that follows from the {format_bytes(free_bytes or 0)} free now, which config.toml keeps as budget")
    return made


def _dataset(config: "Config") -> "Dataset":
    """The data that the config asks for, and a line about them. Raises DataError where the net cannot use them."""
    from gpunet.data import load

    net, told = config.net, config.train
    dataset = load(
        told.data,
        shape=net.input.shape,
        classes=net.classes,
        seed=told.seed,
        size=told.size,
        skip_broken=told.skip_broken,
    )
    dataset.require(net.input.shape, net.classes)
    typer.echo(f"{dataset.name}: {len(dataset.train):,} images to learn from, {len(dataset.test):,} to test on")
    if dataset.note:
        typer.echo(dataset.note)
    return dataset


@contextmanager
def _kept(folder: "RunFolder") -> Iterator[None]:
    """Whatever stops a run, say what is left of it."""
    # NumPy's warnings of overflow say less than the trainer, which stops at a loss that is no number.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"gpunet\.devices")
    try:
        yield
    except KeyboardInterrupt:
        complain(f"stopped; {folder.describe()}")
        raise typer.Exit(CTRL_C) from None
    except GpunetError as error:
        raise type(error)(f"{error}\n{folder.describe()}") from None
