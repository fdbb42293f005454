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
    mode: options.Mode = options.ModeName.train,
    dtype: options.DtypeOption = options.Dtype.float32,
    device: options.Device = options.DeviceName.cuda,
    scratch: options.Scratch = None,
    reserve: options.Reserve = None,
    json: options.Json = False,
) -> None:
    """Find the largest batch for each budget, exactly: it fits, one image more does not.

    Exit code 1 where not even one image fits one of them, 2 for a mistake.
    """
    from gpunet.errors import BudgetError
    from gpunet.fit import Fit
    from gpunet.fit import fit as find_largest
    from gpunet.memory.size import parse_bytes
    from gpunet.planner import plan as make_plan

    config = options.read_net(net)
    settings = options.plan_settings(config, optimizer, mode, dtype, device, scratch, reserve)
    found, misfits = [], []
    for budget_bytes in [parse_bytes(text) for text in budget]:
        try:
            found.append(find_largest(config.net, budget_bytes, **settings))
        except BudgetError as error:
            misfits.append(str(error))
            found.append(Fit(budget_bytes, 0, 0, make_plan(config.net, 1, budget=budget_bytes, **settings).total_bytes))
    if json:
        from gpunet.report.as_json import as_text, fit_json

        typer.echo(as_text(fit_json(found)))
    else:
        from gpunet.report.console import show
        from gpunet.report.table import fit_table

        show(fit_table(found))
    for message in misfits:
        complain(message)
    if misfits:
        raise typer.Exit(1)
