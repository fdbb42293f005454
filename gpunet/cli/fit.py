"""`gpunet fit`: the largest batch for each budget."""

from typing import Annotated

import typer

from gpunet.cli import options
from gpunet.cli.guard import complain

BUDGETS = ["3GiB", "4GiB", "6GiB", "8GiB", "11GiB", "12GiB"]
"""Of GPUs that people have."""


def fit(
    net: options.Net,
    budget: Annotated[
        list[str], typer.Option(help="Memory there is, like 6GiB or 12GB; may be given several times.")
    ] = BUDGETS,
    optimizer: options.Optimizer = None,
    freeze: options.Freeze = None,
    clip_norm: options.ClipNorm = None,
    mode: options.Mode = options.ModeName.train,
    dtype: options.DtypeOption = options.Dtype.float32,
    device: options.Device = options.DeviceName.cuda,
    scratch: options.Scratch = None,
    reserve: options.Reserve = None,
    without: options.Without = None,
    max_cost: options.MaxCost = None,
    micro_batches: options.MicroBatches = None,
    width: options.Width = None,
    input: options.Input = None,
    json: options.Json = False,
) -> None:
    """Find the largest batch for each budget, exactly: it fits, one image more does not; free of cost, and at a cost.

    What is not given here comes from the net's config.

    Exit code 1 where not even one image fits one of them, 2 for a mistake.
    """
    from gpunet.memory.size import format_bytes, parse_bytes
    from gpunet.planning.fitter import survey, too_small
    from gpunet.report.console import working

    config = options.read_net(net, width, input)
    told = options.training(
        config,
        optimizer=optimizer,
        freeze=freeze,
        clip_norm=clip_norm,
        reserve=reserve,
        without=without,
        max_cost=max_cost,
        micro_batches=micro_batches,
    )
    options.check_fitting(max_cost, micro_batches, mode=mode)
    settings = options.plan_settings(told, mode, dtype, device, scratch)
    surveys, misfits = [], []
    with working("looking for the largest batches") as say:
        for budget_bytes in [parse_bytes(text) for text in budget]:
            say(f"looking for the largest batches in {format_bytes(budget_bytes)}")
            surveys.append(survey(config.net, budget_bytes, **settings))
            if not surveys[-1].chosen.batch:
                misfits.append(str(too_small(config.net, budget_bytes, **settings)))
    if json:
        from gpunet.report.as_json import as_text, fit_json

        typer.echo(as_text(fit_json(surveys)))
    else:
        from gpunet.report.console import show
        from gpunet.report.table import fit_parts

        show(*fit_parts(surveys))
    for message in misfits:
        complain(message)
    if misfits:
        raise typer.Exit(1)
