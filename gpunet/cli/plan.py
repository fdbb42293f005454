"""`gpunet plan`: what a net costs, layer by layer, and whether it fits."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpunet.cli import for_tools, options
from gpunet.cli.together import SplitFC
from gpunet.errors import ConfigError
from gpunet.values.visible import told_path

if TYPE_CHECKING:
    from gpunet.memory.plan import Plan
    from gpunet.net.config import Config
    from gpunet.planning.network import Network
    from gpunet.planning.weird_trick import BothWays


def plan(
    net: options.Net,
    batch: options.Batch = None,
    optimizer: options.Optimizer = None,
    freeze: options.Freeze = None,
    clip_norm: options.ClipNorm = None,
    mode: options.Mode = options.ModeName.train,
    dtype: options.DtypeOption = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Memory there is, like 6GiB or 12GB; default: what the net's config says, else for cuda all that this "
            "machine's GPU has, or an RTX 3060; for cpu no limit.",
            show_default=False,
        ),
    ] = None,
    gpu: options.Gpu = None,
    device: options.Device = "cuda",
    scratch: options.Scratch = None,
    reserve: options.Reserve = None,
    without: options.Without = None,
    max_cost: options.MaxCost = None,
    max_cost_flops: options.MaxCostFlops = None,
    micro_batches: options.MicroBatches = None,
    ways: options.AskedWays = None,
    math: options.MathOption = None,
    no_tuned: options.NoTuned = False,
    plot: Annotated[
        Path | None,
        typer.Option(parser=told_path, metavar="FILE", help="Draw the plan into a .png file.", show_default=False),
    ] = None,
    snapshot: for_tools.Snapshot = None,
    trace: for_tools.Trace = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Show what is alive at the peak, and when.")] = False,
    times: Annotated[
        bool, typer.Option("--times", help="Show what is predicted of each layer: milliseconds, and what bounds them.")
    ] = False,
    images: Annotated[
        int | None,
        typer.Option(
            min=1, max=10**12, help="Of an epoch, whose hours are predicted, like 1281167.", show_default=False
        ),
    ] = None,
    ranks: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Among so many GPUs the batch is divided; the plan is that of each."),
    ] = 1,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What joins the ranks: 25Gb, pcie3, nvlink; how long it takes is predicted.",
            show_default=False,
        ),
    ] = None,
    shard_optimizer: Annotated[
        bool, typer.Option("--shard-optimizer", help="Each rank holds its share of the optimizer's caches alone.")
    ] = False,
    split_fc: SplitFC = False,
    width: options.Width = None,
    input: options.Input = None,
    json: options.Json = False,
    csv: for_tools.Csv = False,
    rows: for_tools.RowsOfPlan = None,
) -> None:
    """Show what a net costs to train as its config says, layer by layer, to the byte, and whether it fits.

    How long a step takes on the card is predicted, not measured.

    With a budget or a card, the cheapest ways to fit it are found and shown. Exit code 0 if it fits, 1 if it does not
    (the largest batch that does is named), 2 for a mistake.
    """
    from gpunet.compile.ranks import Division
    from gpunet.planning.aim import aim
    from gpunet.planning.freezing import freezing_line
    from gpunet.planning.network import network as named_network
    from gpunet.planning.network import predict_ranks
    from gpunet.planning.planner import plan as make_plan
    from gpunet.report.ranks import ranks_json, ranks_table

    for option, given, what in (("--timeline", timeline, "tensor with its steps"), ("--times", times, "layer's times")):
        if json and given:
            raise ConfigError(f"--json has every {what} anyway: leave out {option}")
        if csv and given:
            raise ConfigError(f"--csv prints numbers for a spreadsheet alone: leave out {option}")
    if network is not None and ranks == 1:
        raise ConfigError("--network joins several ranks: say how many, like --ranks 8")
    if shard_optimizer and ranks == 1:
        raise ConfigError("--shard-optimizer divides caches among several ranks: say how many, like --ranks 8")
    if split_fc and ranks == 1:
        raise ConfigError("--split-fc divides fully connected layers over several ranks: say how many, like --ranks 8")
    if ranks > 1 and mode == "infer":
        raise ConfigError("--ranks divides a step of training: leave out --mode infer")
    over = None if network is None else named_network(network)
    for_tools.check_tools(json=json, csv=csv, rows=rows, snapshot=snapshot, trace=trace)
    config = options.read_net(net, width, input)
    if plot is not None:
        from gpunet.report.canvas import check_plot

        check_plot(plot)  # a mistake is told before the work
    told = options.training(
        config,
        optimizer=optimizer,
        freeze=freeze,
        clip_norm=clip_norm,
        reserve=reserve,
        dtype=dtype,
        math=math,
        without=without,
        max_cost=max_cost,
        max_cost_flops=max_cost_flops,
        micro_batches=micro_batches,
        ways=ways,
    )
    said = told.budget if budget is None and gpu is None else budget
    where, limit = aim(device, said, gpu, assume=True)
    options.tell_math(told.math, where.name)
    options.check_fitting((max_cost, max_cost_flops), micro_batches, ways, mode=mode, budget=limit is not None)
    settings = options.plan_settings(told, mode, scratch) | {"device": where, "tuned": not no_tuned}
    settings |= {"division": Division(ranks, shard=shard_optimizer, split_fc=split_fc)}
    made = make_plan(config.net, told.batch if batch is None else batch, budget=limit, **settings)
    largest, way_out = (None, "") if made.fits else _way_out(config, made, settings)
    if plot is not None:
        from gpunet.report.plot import save_plot

        save_plot(made, plot)
    together = None if over is None else predict_ranks(made, over)
    both = _both_ways(config, made, limit, settings, over) if ranks > 1 else None
    for_tools.write_tools(made, snapshot=snapshot, trace=trace)
    if csv:
        typer.echo(made.to_csv(rows), nl=False)
    elif json:
        from gpunet.report.as_json import as_text, plan_json

        values = plan_json(config.net, made, largest_batch=largest, images=images)
        typer.echo(as_text(values if ranks == 1 else values | {"ranks": ranks_json(made, together, both)}))
    else:
        from gpunet.report.console import show
        from gpunet.report.table import plan_parts, verdict

        words = verdict(made, way_out)
        parts = plan_parts(config.net, made, words, timeline=timeline, times=times, images=images)
        if ranks > 1:
            parts[-1:-1] = [ranks_table(made, together, both), ""]
        show(*parts)
        if line := freezing_line(config.net, made.batch, settings):
            show("", line)
    if not made.fits:
        raise typer.Exit(1)


def _both_ways(
    config: "Config", made: "Plan", limit: int | None, settings: dict[str, Any], over: "Network | None"
) -> "BothWays | None":
    """The plan beside that in which fully connected layers are divided, or not, the other way."""
    from gpunet.planning.planner import plan
    from gpunet.planning.weird_trick import both_ways

    turned = replace(settings["division"], split_fc=not settings["division"].split_fc)
    others = settings | {"division": turned}
    return both_ways(made, lambda: plan(config.net, made.whole_batch, budget=limit, **others), over)


def _way_out(config: "Config", made: "Plan", settings: dict[str, Any]) -> tuple[int, str]:
    """The largest batch that fits, 0 for none, and what to do about a plan that does not, for people."""
    from gpunet.errors import BudgetError
    from gpunet.planning.fitter import fit
    from gpunet.planning.options import LADDER_WAYS, Options
    from gpunet.planning.planner import Planner, plan

    assert made.budget_bytes is not None  # all fits where there is no budget
    try:
        largest = fit(config.net, made.budget_bytes, **settings).batch
    except BudgetError as error:
        return 0, str(error)
    words = f"a budget of {made.total_bytes} bytes would hold it"
    mixing = Planner(config.net, Options(**settings)).mixing
    rounds_help = made.mode == "train" and settings["max_cost"] != 0 and not mixing
    if rounds_help and "micro-batches" not in settings["ways"]:
        rounds = plan(config.net, made.batch, budget=made.budget_bytes, **{**settings, "ways": LADDER_WAYS})
        if rounds.fits and rounds.ways.micro_batch > 1:
            words += f", and so would rounds of {rounds.ways.micro_batch:,} images (--micro-batches)"
    return largest, f"{words}; the largest batch that fits is {largest}"
