"""`gpunet train`: plan, refuse what does not fit, train, and keep the run in a folder."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import options
from gpunet.cli.dataset import anywhere, open_dataset, require_there
from gpunet.cli.factors import DecayFactors, RateFactors, read_factors
from gpunet.cli.guard import complain
from gpunet.cli.outcome import look_is_due, tell_finished, tell_outcome
from gpunet.cli.own_gpus import device_of, least_free, planned_for
from gpunet.cli.starting import starting_config, tuned_choices
from gpunet.cli.suiting import require_suited, tell_of_values
from gpunet.cli.together import (
    Gpus,
    Parts,
    Ranks,
    Reduce,
    Shard,
    SplitFC,
    SyncBN,
    division,
    follow,
    opened,
    require_alike,
    start_or_meet,
    together,
)
from gpunet.cli.trained import quiet, tell_of_seed, tell_of_white
from gpunet.errors import ConfigError, GpunetError, OutOfMemory
from gpunet.optimize.schedules import SCHEDULES
from gpunet.values.visible import told_path, typable

if TYPE_CHECKING:
    from gpunet.memory.plan import Plan
    from gpunet.model.model import Model
    from gpunet.net.config import Config, TrainConfig
    from gpunet.program.program import AnyDevice
    from gpunet.ranks.crew import Crew
    from gpunet.report.board import Board
    from gpunet.train.folder import RunFolder
    from gpunet.train.trainer import Trainer


def train(
    context: typer.Context,
    net: Annotated[
        str | None, typer.Argument(metavar="[NET]", help=f"{options.NET_HELP} Not with --resume.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="How often every image is seen.", show_default=False)] = None,
    batch: options.Batch = None,
    device: options.DeviceOrAuto = options.AUTO,
    seed: Annotated[
        int | None,
        typer.Option(help="Of starting weights and order: the same seed gives the same bits.", show_default=False),
    ] = None,
    budget: options.Budget = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=told_path, metavar="DIR", help="Folder for the run; default: runs/NET-1, -2, ...", show_default=False
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            parser=told_path, metavar="RUN", help="Go on with the run in this folder, bit for bit.", show_default=False
        ),
    ] = None,
    data: options.Data = None,
    size: options.Size = None,
    skip_broken: options.SkipBroken = None,
    optimizer: options.Optimizer = None,
    freeze: options.Freeze = None,
    unfreeze: Annotated[
        bool, typer.Option("--unfreeze", help="Let all layers learn, whatever the config says.")
    ] = False,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", "--lr", help="At the start; the schedule changes it.", show_default=False),
    ] = None,
    rate_factor: RateFactors = None,
    decay_factor: DecayFactors = None,
    clip_norm: options.ClipNorm = None,
    schedule: Annotated[
        str | None,
        typer.Option(help=f"Of the learning rate: {', '.join(SCHEDULES)}; settings: in \\[train].", show_default=False),
    ] = None,
    warmup: Annotated[
        str | None, typer.Option(help='How long the rate rises at first, like 500 or "2 epochs".', show_default=False)
    ] = None,
    validation: options.Validation = None,
    patience: options.Patience = None,
    min_delta: options.MinDelta = None,
    spare_outputs: options.SpareOutputs = None,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(help='Checkpoints within an epoch, too: every 1000 steps or "30 minutes".', show_default=False),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard files, too.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            parser=told_path,
            metavar="WEIGHTS",
            help="Start from these weights: a run's folder or file. Without NET, their net is trained.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="K",
            help="Tell K classes apart: layers anew for the scores, the rest as it is.",
            show_default=False,
        ),
    ] = None,
    width: options.Width = None,
    input: options.Input = None,
    scale: options.Scale = None,
    shift: options.Shift = None,
    without: options.Without = None,
    max_cost: options.MaxCost = None,
    max_cost_flops: options.MaxCostFlops = None,
    micro_batches: options.MicroBatches = None,
    ways: options.AskedWays = None,
    reserve: options.Reserve = None,
    no_graph: options.NoGraph = False,
    dtype: options.DtypeOption = None,
    math: options.MathOption = None,
    no_tuned: options.NoTuned = False,
    ranks: Ranks = None,
    gpus: Gpus = None,
    reduce: Reduce = "exact",
    parts: Parts = 1,
    shard_optimizer: Shard = False,
    sync_bn: SyncBN = False,
    split_fc: SplitFC = False,
) -> None:
    """Train a net: plan it, refuse what does not fit, and keep checkpoints, weights and metrics in a folder.

    What is not given here comes from the net's config, or from the run that is gone on with.

    Exit code 1 if it does not fit, 2 for a mistake or a loss that is no number, 130 after Ctrl-C, 143 after SIGTERM.
    """
    from gpunet.model.making import choose_device
    from gpunet.report.board import FOLDER, writer_type
    from gpunet.train.folder import require_no_run
    from gpunet.train.start import require_learning

    crew = start_or_meet(context, ranks, gpus, device)
    if freeze and unfreeze:
        raise ConfigError("--freeze and --unfreeze say the opposite; leave one of them out")
    if tensorboard:
        writer_type()  # before anything runs
    elif resume is not None and (resume / FOLDER).is_dir():
        tensorboard = _can_go_on(resume / FOLDER)
    if out is not None:
        require_no_run(out)
    config = starting_config(net, resume, out, weights, classes, width, input, scale, shift, data)
    told = options.training(
        config,
        epochs=epochs,
        batch=batch,
        seed=seed,
        budget=budget,
        data=data,
        size=size,
        skip_broken=skip_broken,
        optimizer=optimizer,
        freeze=freeze,
        learning_rate=learning_rate,
        rate_factors=read_factors("--rate-factor", rate_factor),
        decay_factors=read_factors("--decay-factor", decay_factor),
        clip_norm=clip_norm,
        schedule=schedule,
        warmup=warmup,
        validation=validation,
        patience=patience,
        min_delta=min_delta,
        spare_outputs=spare_outputs,
        checkpoint_every=checkpoint_every,
        without=without,
        max_cost=max_cost,
        max_cost_flops=max_cost_flops,
        micro_batches=micro_batches,
        ways=ways,
        reserve=reserve,
        dtype=dtype,
        math=math,
    )
    told = (told.changed(freeze=()) if unfreeze else told).settled()
    require_learning(config.net, told)
    if resume is not None and device == options.AUTO:
        device = _device_of(resume)
    if crew is not None:
        device = device_of(crew, device)
    free = options.free_bytes(device) if told.budget is None else {}  # before opening a GPU takes some of it
    where = choose_device(device)
    options.tell_math(told.math, where)
    settings = options.train_settings(told) | {
        **planned_for(crew, where, told.reserve),
        "tuned": tuned_choices(resume, no_tuned),
        "division": division(crew, reduce, parts, shard_optimizer, sync_bn, split_fc),
    }
    made = _affordable(replace(config, train=told), least_free(crew, free, where), settings)
    told = told.changed(budget=made.budget_bytes if told.budget is None else told.budget, dtype=made.dtype)
    with together(crew):
        _run(
            replace(config, train=told),
            made,
            settings,
            crew,
            resume=resume,
            out=out,
            tensorboard=tensorboard,
            graph=not no_graph,
        )


def _can_go_on(events: Path) -> bool:
    """Whether TensorBoard files that a run has can be gone on with; says why if not, which is no reason to stop."""
    from gpunet.report.board import writer_type

    try:
        writer_type()
    except ConfigError as error:
        complain(f"{events} is not gone on with: {error}")
        return False
    return True


def _from_anywhere(told: "TrainConfig") -> "TrainConfig":
    """The same, its paths such that they say the same in another folder."""
    return told.changed(data=anywhere(told.data), weights=told.weights and str(told_path(told.weights).absolute()))


def _device_of(run: Path) -> "AnyDevice":
    """The device that a run was on, as its plan says."""
    from gpunet.devices import device_name
    from gpunet.system.files import read_regular
    from gpunet.train.folder import PLAN

    try:
        return device_name(json.loads(read_regular(run / PLAN))["device"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError):
        return options.AUTO


def _run(
    config: "Config",
    made: "Plan",
    settings: dict[str, Any],
    crew: "Crew | None",
    *,
    resume: Path | None,
    out: Path | None,
    tensorboard: bool,
    graph: bool,
) -> None:
    """Train as planned, in a new folder or in that of the run that is gone on with."""
    from gpunet.net.config import dump
    from gpunet.optimize.span import parse_span
    from gpunet.report.as_json import as_text, plan_json
    from gpunet.train.environment import environment
    from gpunet.train.folder import RunFolder, held, open_folder, require_no_run
    from gpunet.train.several import share_start
    from gpunet.train.start import start_from_weights
    from gpunet.train.trainer import Trainer

    told = config.train
    if resume is not None:
        require_there(told.data, resume, f"gpunet train --resume {typable(resume)} --data NEW")
    dataset = open_dataset(config)
    require_suited(config.net, dataset, told)
    warmup = told.warmup_steps(-(-len(dataset.train) // told.batch))
    with _model(config, made, settings, crew, graph=graph) as model:
        trainer = Trainer(
            model,
            dataset,
            epochs=told.epochs,
            seed=told.seed,
            schedule=told.shape,
            warmup=warmup,
            patience=told.early_stop,
        )
        require_alike(crew, trainer, made)
        if crew is not None and not crew.leads:
            follow(crew, trainer)
            return
        if resume is None and told.weights is not None:
            typer.echo("\n".join(start_from_weights(model, told)))
            tell_of_white(dataset, told_path(told.weights))
            tell_of_values(config.net, told_path(told.weights), dataset)
            tell_of_seed(told, told_path(told.weights))
        path = resume or open_folder(out, config.net.name)
        with held(path):
            if resume is None:
                require_no_run(path)  # nobody else has begun one there meanwhile
            else:
                _go_on(trainer, resume, skip_broken=told.skip_broken)
            folder = RunFolder(
                path,
                dump(replace(config, train=_from_anywhere(told))),
                as_text(plan_json(config.net, made)) + "\n",
                environment=environment(model.device),
                every=None if told.checkpoint_every is None else parse_span(told.checkpoint_every),
            )
            share_start(trainer)
            _train(trainer, folder, tensorboard, crew)


def _train(trainer: "Trainer", folder: "RunFolder", tensorboard: bool, crew: "Crew | None") -> None:
    """Train what is left to be trained, keep it in the folder, and say how it ended."""
    from gpunet.report.board import FOLDER, Board
    from gpunet.train.screen import Screen
    from gpunet.train.several import Noting, Shares, settle_shares
    from gpunet.train.stop import Stop

    if trainer.finished:
        folder.finish(trainer)
        settle_shares(trainer.model)
        tell_finished(trainer, folder, look_is_due(trainer, folder))
        return
    stop, screen = Stop(trainer.model.ranks), Screen()
    events = folder.path / FOLDER
    boards = [Board(events)] if tensorboard else []
    others = [Shares(trainer.model), Noting(crew, folder)] if crew is not None else []
    trainer.watchers = (folder, *boards, *others, screen, stop)
    typer.echo(f"the run is kept in {folder.path}")
    with stop, _kept(folder, boards, trainer.model, crew), screen:
        trainer.run()
    look_is_due(trainer, folder)
    tell_outcome(trainer, folder)


def _model(config: "Config", made: "Plan", settings: dict[str, Any], crew: "Crew | None", *, graph: bool) -> "Model":
    """The model in its arena. Raises OutOfMemory, saying who holds the memory, where there is less than was planned."""
    from gpunet.model.model import Model
    from gpunet.use.doctor import explain_shortage

    told = config.train
    device, ranks = opened(crew, made.device)
    try:
        return Model(
            config.net,
            device=device,
            optimizer=told.learning,
            seed=told.seed,
            learning_rate=told.learning_rate,
            plan=made,
            graph=graph,
            ranks=ranks,
        )
    except OutOfMemory as error:
        raise OutOfMemory(f"{error}\n{explain_shortage(config.net, **settings)}") from None


def _go_on(trainer: "Trainer", folder: Path, *, skip_broken: bool) -> None:
    """Let the trainer go on from the folder's last checkpoint that is whole; say from where, and what differs."""
    from gpunet.train.checkpoint import latest
    from gpunet.train.history import steps_fault
    from gpunet.train.resume import resume

    checkpoint, damaged = latest(folder)
    for line in damaged:
        complain(f"{line}; the checkpoint before it is used")
    for line in resume(trainer, checkpoint, skip_broken=skip_broken):
        complain(f"the run ends in other bits than if it had not been stopped: {line}")
    if fault := steps_fault(folder, checkpoint.state):
        complain(f"{fault}; the run itself goes on as it was")
    typer.echo(f"going on from {checkpoint.path}, after step {trainer.model.steps:,}")


def _affordable(config: "Config", free_bytes: int | None, settings: dict[str, Any]) -> "Plan":
    """Plan the run, say what it costs and how it was made to fit. Raises BudgetError, naming the batch that fits.

    Where no budget was said, what is free at the moment decides only if it must: the same run is the same bits on a
    machine with more to spare.
    """
    from gpunet.memory.size import format_bytes
    from gpunet.model.making import require_fit
    from gpunet.planning.freezing import freezing_line
    from gpunet.planning.planner import plan
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
    if line := freezing_line(net, batch, settings):
        typer.echo(line)
    if short:
        typer.echo(f"that follows from the {format_bytes(free_bytes or 0)} free now, which config.toml keeps as budget")
    return made


@contextmanager
def _kept(folder: "RunFolder", boards: "list[Board]", model: "Model", crew: "Crew | None") -> Iterator[None]:
    """Whatever stops a run, keep and say what is left of it; of several ranks, together with what one of them met."""
    from gpunet.train.diverged import Diverged
    from gpunet.train.several import settle_shares
    from gpunet.train.stop import Stopped

    quiet()
    try:
        yield
    except Stopped as stopped:
        try:
            folder.checkpoint()
            settle_shares(model)
        finally:
            complain(f"stopped; {folder.how_to_go_on()}")
        raise typer.Exit(stopped.exit_code) from None
    except Diverged as error:  # what is kept comes before it; going on from here would end here again
        raise Diverged(f"{error}\n{folder.describe()}\n{folder.how_to_go_on()}") from None
    except GpunetError as error:
        _rescue(folder, crew)
        raise type(error)(f"{error}\n{folder.describe()}\n{folder.how_to_go_on()}") from None
    except Exception:
        _rescue(folder, crew)
        if crew is None:
            complain(f"the run has ended in an error; {folder.how_to_go_on()}")
        raise
    finally:
        folder.close()
        for board in boards:
            board.close()


def _rescue(folder: "RunFolder", crew: "Crew | None") -> None:
    """Keep a checkpoint after an error; of several ranks, what is told of the error says that it goes on from that."""
    folder.rescue()
    if crew is not None:
        crew.watched.note(folder.how_to_go_on())
