"""`gpunet plan`: what a net costs, layer by layer, and whether it fits."""

from typing import Annotated

import typer

from gpunet.cli import options

CUDA_BUDGET = "12GiB"
"""The largest of the GPUs that people have in mind who ask."""


def plan(
    net: options.Net,
    batch: options.Batch = None,
    optimizer: options.Optimizer = None,
    mode: options.Mode = options.ModeName.train,
    dtype: options.DtypeOption = options.Dtype.float32,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Memory there is, like 6GiB or 12GB; default: 12GiB for cuda, no limit for cpu.", show_default=False
        ),
    ] = None,
    device: options.Device = options.DeviceName.cuda,
    scratch: options.Scratch = None,
    reserve: options.Reserve = None,
    json: options.Json = False,
) -> None:
    """Show what a net costs, layer by layer, to the byte, and whether it fits.

    Exit code 0 if it fits, 1 if it does not (the largest batch that does is named), 2 for a mistake.
    """
    from gpunet.errors import BudgetError
    from gpunet.fit import fit as find_largest
    from gpunet.planner import plan as make_plan

    config = options.read_net(net)
    if budget is None and device == "cuda":
        budget = CUDA_BUDGET
    settings = options.plan_settings(config, optimizer, mode, dtype, device, scratch, reserve)
    made = make_plan(config.net, config.train.batch if batch is None else batch, budget=budget, **settings)
    largest, way_out = None, ""
    if not made.fits and made.budget_bytes is not None:
        try:
            largest = find_largest(config.net, made.budget_bytes, **settings).batch
            way_out = f"the largest batch that fits is {largest}"
        except BudgetError as error:
            largest, way_out = 0, str(error)
    if json:
        from gpunet.report.as_json import as_text, plan_json

        typer.echo(as_text(plan_json(config.net, made, largest_batch=largest)))
    else:
        from gpunet.report.console import show
        from gpunet.report.table import plan_parts, verdict

        show(*plan_parts(config.net, made, verdict(made, way_out)))
    if not made.fits:
        raise typer.Exit(1)
