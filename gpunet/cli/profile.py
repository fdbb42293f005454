"""`gpunet profile`: what a training step takes, layer by layer, and its memory beside the plan."""

from typing import TYPE_CHECKING, Annotated

import typer

from gpunet.cli import for_tools, options
from gpunet.cli.guard import complain
from gpunet.cli.own_gpus import device_of
from gpunet.cli.together import Gpus, Ranks, division, opened, start_or_meet
from gpunet.errors import DataError
from gpunet.system.cache import FOLDER_VARIABLE

if TYPE_CHECKING:
    from gpunet.profile.measure import Profile


def profile(
    context: typer.Context,
    net: options.Net,
    batch: options.Batch = None,
    steps: Annotated[int, typer.Option(help="Steps that are timed whole, and as many op by op.")] = 20,
    device: options.DeviceOrAuto = options.AUTO,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Memory it may take, like 6GiB; default: what the net's config says, else no limit.",
            show_default=False,
        ),
    ] = None,
    gpu: options.Gpu = None,
    reserve: options.Reserve = None,
    optimizer: options.Optimizer = None,
    freeze: options.Freeze = None,
    clip_norm: options.ClipNorm = None,
    dtype: options.DtypeOption = None,
    width: options.Width = None,
    input: options.Input = None,
    no_graph: options.NoGraph = False,
    math: options.MathOption = None,
    no_tuned: options.NoTuned = False,
    ranks: Ranks = None,
    gpus: Gpus = None,
    trace: for_tools.Trace = None,
    json: options.Json = False,
    csv: for_tools.Csv = False,
    rows: for_tools.RowsOfProfile = None,
) -> None:
    """Train some steps on random images: milliseconds layer by layer, and the memory in use beside the plan.

    What is not given here comes from the net's config. With --gpu the step runs on this machine as it is planned for
    that card. What is measured is kept in the user's cache folder: later plans for this GPU use its reserve, and gpunet
    fit predicts images a second of this net. With --ranks or --gpus each profiles its share of the batch, and the
    first one tells: what is sent takes as long as is waited for it. Of that only what NCCL takes is kept.

    Exit code 1 if it does not fit the budget, 2 for a mistake, 130 after Ctrl-C.
    """
    from gpunet.model.making import choose_device
    from gpunet.profile.measure import profile as measure
    from gpunet.report.console import working

    for_tools.check_tools(json=json, csv=csv, rows=rows, trace=trace)
    crew = start_or_meet(context, ranks, gpus, device)
    if crew is not None:
        device = device_of(crew, device)
    config = options.read_net(net, width, input)
    told = options.training(
        config, optimizer=optimizer, freeze=freeze, clip_norm=clip_norm, dtype=dtype, math=math, reserve=reserve
    )
    chosen = choose_device(device)
    options.tell_math(told.math, chosen)
    where, others = opened(crew, chosen)
    with working(f"warming up before {steps} steps") as say:
        made = measure(
            config.net,
            told.batch if batch is None else batch,
            where,
            steps=steps,
            ranks=others,
            watch=lambda done: say(f"timed {done} of {steps} steps"),
            budget=told.budget if budget is None and gpu is None else budget,
            gpu=gpu,
            graph=not no_graph,
            tuned=not no_tuned,
            **options.train_settings(told) | {"division": division(crew)},
        )
    if crew is not None:
        crew.leave()
        if not crew.leads:
            return
    for_tools.write_tools(made, trace=trace)
    if csv:
        typer.echo(made.to_csv(rows), nl=False)
    elif json:
        from gpunet.report.as_json import as_text
        from gpunet.report.profile_json import profile_json

        typer.echo(as_text(profile_json(made)))
    else:
        from gpunet.report.console import show
        from gpunet.report.profile_table import profile_parts

        show(*profile_parts(made))
    for line in _kept(made) if crew is None else _kept_of_ranks(made):
        typer.echo(line, err=json or csv)


def _kept(made: "Profile") -> list[str]:
    """Keep what was measured; a line for each thing that was."""
    from gpunet.memory.size import format_bytes
    from gpunet.profile.keep import keep, keep_paces, keep_reserve

    lines = []
    try:
        if path := keep(made):
            lines.append(f"kept in {path}: gpunet fit predicts images/s of this net")
        if path := keep_paces(made):
            lines.append(f"how fast its ops are is in {path}: gpunet plan and fit predict by it for this card")
        if held := keep_reserve(made):
            lines.append(f"plans for this GPU now reserve {format_bytes(held.nbytes)}, {held.source}")
    except DataError as error:
        complain(f"{error}; nothing was kept for later plans (set {FOLDER_VARIABLE} to another folder)")
    return lines


def _kept_of_ranks(made: "Profile") -> list[str]:
    """What was kept of ranks as they met: times are not, as waits for others are in them."""
    from gpunet.devices.cuda.reserve import measured_nccl
    from gpunet.devices.name import kind_of, split_name
    from gpunet.memory.size import format_bytes

    if kind_of(made.plan.device) != "cuda":
        return []
    held = measured_nccl(made.plan.ranks, split_name(made.plan.device)[1])
    words = f"plans of {made.plan.ranks} ranks on this GPU reserve"
    return [f"{words} {format_bytes(held.nbytes)} for NCCL, {held.source}"] if held else []
